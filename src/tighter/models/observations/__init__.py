"""Observation families: what turns a decoder's output into p(x|z)."""

from tighter.models.observations._observation import (
    Factorized,
    Observation,
    Support,
    check_support,
)
from tighter.models.observations.bernoulli import Bernoulli
from tighter.models.observations.gaussian import Gaussian, LearnedGaussian
from tighter.models.observations.missing import Missing
from tighter.models.observations.standardized import Standardized
from tighter.models.observations.table import OBSERVATIONS, observation_from_name

__all__ = [
    "OBSERVATIONS",
    "Bernoulli",
    "Factorized",
    "Gaussian",
    "LearnedGaussian",
    "Missing",
    "Observation",
    "Standardized",
    "Support",
    "check_support",
    "observation_from_name",
]
