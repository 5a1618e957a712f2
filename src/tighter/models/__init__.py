"""Latent-variable models: a prior, a likelihood and an approximate posterior each."""

from tighter.models._model import LatentVariableModel
from tighter.models.convolutions import ConvolutionalDecoder, ConvolutionalEncoder
from tighter.models.linear_gaussian import LinearGaussian
from tighter.models.networks import ACTIVATIONS, MLP, NETWORKS, Applied
from tighter.models.observations import (
    OBSERVATIONS,
    Bernoulli,
    Gaussian,
    LearnedGaussian,
    Missing,
    Observation,
    Standardized,
    Support,
    observation_from_name,
)
from tighter.models.posteriors import (
    POSTERIORS,
    DiagonalGaussian,
    FlowPosterior,
    FullCovarianceGaussian,
    LowRankGaussian,
    PosteriorFamily,
    posterior_from_name,
)
from tighter.models.priors import PRIORS, PriorFamily, StandardNormal, prior_from_name
from tighter.models.probabilistic_pca import ProbabilisticPCA
from tighter.models.vae import VAE

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "OBSERVATIONS",
    "POSTERIORS",
    "PRIORS",
    "VAE",
    "Applied",
    "Bernoulli",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "DiagonalGaussian",
    "FlowPosterior",
    "FullCovarianceGaussian",
    "Gaussian",
    "LatentVariableModel",
    "LearnedGaussian",
    "LinearGaussian",
    "LowRankGaussian",
    "Missing",
    "Observation",
    "PosteriorFamily",
    "PriorFamily",
    "ProbabilisticPCA",
    "StandardNormal",
    "Standardized",
    "Support",
    "observation_from_name",
    "posterior_from_name",
    "prior_from_name",
]
