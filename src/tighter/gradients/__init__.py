"""Estimators of a bound's gradient: three coefficients a draw, functions of the log weights."""

from tighter.gradients._estimator import Bias, BiasKind, Coefficients, Estimator
from tighter.gradients.composition import Split, doubly_reparameterize
from tighter.gradients.pathwise import (
    DoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
)
from tighter.gradients.score_function import VIMCO, Baseline, LeaveOneOut, ScoreFunction
from tighter.gradients.table import ESTIMATORS, estimator_from_name
from tighter.gradients.wake_phi import WakePhi

__all__ = [
    "ESTIMATORS",
    "VIMCO",
    "Baseline",
    "Bias",
    "BiasKind",
    "Coefficients",
    "DoublyReparameterized",
    "Estimator",
    "LeaveOneOut",
    "Reparameterized",
    "ScoreFunction",
    "Split",
    "StickingTheLanding",
    "WakePhi",
    "doubly_reparameterize",
    "estimator_from_name",
]
