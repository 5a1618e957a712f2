"""Training: the only place where a bound becomes a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tighter.training.arrays import load_parameters, save_parameters
from tighter.training.fit import FitResult, check_numbers, fit
from tighter.training.processes import initialize
from tighter.training.steps import Trainable

if TYPE_CHECKING:
    from tighter.training.schedules import SCHEDULES

__all__ = [
    "SCHEDULES",
    "FitResult",
    "Trainable",
    "check_numbers",
    "fit",
    "initialize",
    "load_parameters",
    "save_parameters",
]


def __getattr__(name: str) -> Any:
    if name != "SCHEDULES":
        raise AttributeError(f"module 'tighter.training' has no attribute {name!r}")
    from tighter.training import schedules  # late: a fit gets its optimizer from who imported optax

    return schedules.SCHEDULES
