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
from tighter.models.probabilistic_pca import ProbabilisticPCA
from tighter.models.vae import NETWORKS, VAE

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "OBSERVATIONS",
    "VAE",
    "Bernoulli",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "Gaussian",
    "LatentVariableModel",
    "LearnedGaussian",
    "LinearGaussian",
    "Observation",
    "ProbabilisticPCA",
]
