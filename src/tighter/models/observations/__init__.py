"""Observation families: what turns a decoder's output into p(x|z)."""

from tighter.models.observations.categorical import Categorical, CategoricalPixels, Multinomial
from tighter.models.observations.continuous import (
    EntrywiseGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    Laplace,
    LearnedGaussian,
    LogNormal,
    StudentT,
)
from tighter.models.observations.correlated_gaussian import FactorGaussian, FullGaussian
from tighter.models.observations.counts import NegativeBinomial, Poisson, ZeroInflated
from tighter.models.observations.discretized_logistic import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from tighter.models.observations.mixed import Mixed
from tighter.models.observations.observation import Factorized, Observation
from tighter.models.observations.support import Support, check_support
from tighter.models.observations.table import OBSERVATIONS, observation_from_name
from tighter.models.observations.unit_interval import Bernoulli, Beta, ContinuousBernoulli
from tighter.models.observations.wrapped import Missing, Standardized

__all__ = [
    "OBSERVATIONS",
    "Bernoulli",
    "Beta",
    "Categorical",
    "CategoricalPixels",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "EntrywiseGaussian",
    "FactorGaussian",
    "Factorized",
    "FullGaussian",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Laplace",
    "LearnedGaussian",
    "LogNormal",
    "Missing",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Observation",
    "Poisson",
    "Standardized",
    "StudentT",
    "Support",
    "ZeroInflated",
    "check_support",
    "observation_from_name",
]
