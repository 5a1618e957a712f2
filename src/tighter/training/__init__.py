"""Training: the only place where a bound becomes a loss."""

from tighter.training.arrays import load_parameters, save_parameters
from tighter.training.fit import FitResult, check_numbers, fit
from tighter.training.schedules import SCHEDULES

__all__ = ["SCHEDULES", "FitResult", "check_numbers", "fit", "load_parameters", "save_parameters"]
