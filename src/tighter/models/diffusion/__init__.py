"""Diffusion models: noise schedules, denoisers, the chain of latents, its bound, and sampling."""

from tighter.models.diffusion.bound import DiffusionBound
from tighter.models.diffusion.chain import ReverseChain
from tighter.models.diffusion.denoisers import DENOISERS, MLPDenoiser, UNet
from tighter.models.diffusion.imputation import Completed
from tighter.models.diffusion.model import DiffusionModel
from tighter.models.diffusion.predictions import PREDICTIONS, Prediction
from tighter.models.diffusion.sampling import SAMPLERS
from tighter.models.diffusion.schedules import (
    SCHEDULES,
    CosineSchedule,
    CustomSchedule,
    LearnedSchedule,
    LinearSchedule,
    Schedule,
)
from tighter.models.diffusion.terms import DiffusionTerms, diffusion_terms

__all__ = [
    "DENOISERS",
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "Completed",
    "CosineSchedule",
    "CustomSchedule",
    "DiffusionBound",
    "DiffusionModel",
    "DiffusionTerms",
    "LearnedSchedule",
    "LinearSchedule",
    "MLPDenoiser",
    "Prediction",
    "ReverseChain",
    "Schedule",
    "UNet",
    "diffusion_terms",
]
