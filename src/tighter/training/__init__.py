"""Training: the only place where a bound becomes a loss."""

from tighter.training.arrays import load_parameters, save_parameters
from tighter.training.examples import check_numbers
from tighter.training.fit import FitResult, fit
from tighter.training.schedules import SCHEDULES
from tighter.training.steps import Trainable

__all__ = [
    "SCHEDULES",
    "FitResult",
    "Trainable",
    "check_numbers",
    "fit",
    "load_parameters",
    "save_parameters",
]
