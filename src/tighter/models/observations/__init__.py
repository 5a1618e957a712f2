"""Observation families: what turns a decoder's output into p(x|z)."""

from tighter.models.observations._observation import (
    Factorized,
    Observation,
    Support,
    check_support,
)
from tighter.models.observations.bernoulli import Bernoulli
from tighter.models.observations.beta import Beta
from tighter.models.observations.categorical import Categorical, CategoricalPixels
from tighter.models.observations.continuous_bernoulli import ContinuousBernoulli
from tighter.models.observations.counts import NegativeBinomial, Poisson
from tighter.models.observations.discretized_logistic import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from tighter.models.observations.factor_gaussian import FactorGaussian
from tighter.models.observations.full_gaussian import FullGaussian
from tighter.models.observations.gaussian import (
    EntrywiseGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    LearnedGaussian,
)
from tighter.models.observations.heavy_tails import Laplace, StudentT
from tighter.models.observations.log_normal import LogNormal
from tighter.models.observations.missing import Missing
from tighter.models.observations.mixed import Mixed
from tighter.models.observations.multinomial import Multinomial
from tighter.models.observations.standardized import Standardized
from tighter.models.observations.table import OBSERVATIONS, observation_from_name
from tighter.models.observations.zero_inflated import ZeroInflated

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
