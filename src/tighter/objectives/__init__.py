"""Log weights to a bound to its gradient: log p - log q is formed here and nowhere else."""

from tighter.objectives.closed_forms import AnalyticEntropy, AnalyticKL
from tighter.objectives.enumerated_labels import EnumeratedLabels
from tighter.objectives.objective import Objective
from tighter.objectives.russian_roulette import SUMO
from tighter.objectives.weighted_surgery import WeightedSurgery

__all__ = [
    "SUMO",
    "AnalyticEntropy",
    "AnalyticKL",
    "EnumeratedLabels",
    "Objective",
    "WeightedSurgery",
]
