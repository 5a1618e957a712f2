"""Latent-variable models: a prior, a likelihood and an approximate posterior each."""

from tighter.models._model import LatentVariableModel
from tighter.models.linear_gaussian import LinearGaussian
from tighter.models.networks import (
    ACTIVATIONS,
    MLP,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
)
from tighter.models.observations import (
    OBSERVATIONS,
    Bernoulli,
    Gaussian,
    LearnedGaussian,
    Observation,
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
from tighter.models.probabilistic_pca import ProbabilisticPCA
from tighter.models.vae import NETWORKS, VAE

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "OBSERVATIONS",
    "POSTERIORS",
    "VAE",
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
    "Observation",
    "PosteriorFamily",
    "ProbabilisticPCA",
    "posterior_from_name",
]
