"""Estimators of a bound's gradient: three coefficients a draw, functions of the log weights."""

from tighter.gradients.catalog import ESTIMATORS, estimator_from_name
from tighter.gradients.composition import Split, doubly_reparameterize
from tighter.gradients.estimator import Bias, BiasKind, Coefficients, Estimator
from tighter.gradients.expectations import (
    ARM,
    DisARM,
    Draws,
    Enumerated,
    ExpectationEstimator,
    GumbelSoftmax,
    MeasureValued,
)
from tighter.gradients.pathwise import (
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
)
from tighter.gradients.score_function import (
    OVIS,
    VIMCO,
    Baseline,
    Constant,
    DeltaMethod,
    LeaveOneOut,
    RunningMean,
    ScoreFunction,
    WakePhi,
)

__all__ = [
    "ARM",
    "ESTIMATORS",
    "OVIS",
    "VIMCO",
    "Baseline",
    "Bias",
    "BiasKind",
    "Coefficients",
    "Constant",
    "DeltaMethod",
    "DisARM",
    "DoublyReparameterized",
    "Draws",
    "Enumerated",
    "Estimator",
    "ExpectationEstimator",
    "GeneralizedDoublyReparameterized",
    "GumbelSoftmax",
    "LeaveOneOut",
    "MeasureValued",
    "Reparameterized",
    "RunningMean",
    "ScoreFunction",
    "Split",
    "StickingTheLanding",
    "WakePhi",
    "doubly_reparameterize",
    "estimator_from_name",
]
