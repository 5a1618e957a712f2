"""Latent-variable models: a prior, a likelihood and an approximate posterior each."""

from tighter.models._composition import latent_families
from tighter.models._model import Completion, LatentVariableModel
from tighter.models._space import Space
from tighter.models.bounded_posteriors import (
    BetaPosterior,
    DirichletPosterior,
    LogitNormalPosterior,
)
from tighter.models.clustering import cluster, clustering_accuracy
from tighter.models.conditional import ConditionalVAE, GivenContext, halves, one_hot
from tighter.models.convolutions import ConvolutionalDecoder, ConvolutionalEncoder
from tighter.models.discrete_posteriors import BernoulliPosterior, CategoricalPosterior
from tighter.models.flow_posterior import FlowPosterior
from tighter.models.flow_prior import FlowPrior
from tighter.models.gaussian_posteriors import (
    DiagonalGaussian,
    FullCovarianceGaussian,
    LowRankGaussian,
)
from tighter.models.hierarchical import (
    LAYERED_ENCODERS,
    BottomUp,
    HierarchicalVAE,
    Ladder,
    LayeredEncoder,
)
from tighter.models.independent_priors import (
    BernoulliPrior,
    CategoricalPrior,
    DiagonalPrior,
    DirichletPrior,
    LaplacePrior,
    StandardNormal,
    UniformPrior,
)
from tighter.models.inference import FreePosterior, SemiAmortized
from tighter.models.linear_gaussian import LinearGaussian
from tighter.models.missing_not_at_random import MASKS, MissingNotAtRandom
from tighter.models.mixture_posterior import MixturePosterior
from tighter.models.mixture_prior import MixturePrior
from tighter.models.multimodal import MultimodalVAE
from tighter.models.networks import ACTIVATIONS, MLP, NETWORKS, Applied
from tighter.models.observations import (
    OBSERVATIONS,
    Bernoulli,
    Beta,
    Categorical,
    CategoricalPixels,
    ContinuousBernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    EntrywiseGaussian,
    FactorGaussian,
    Factorized,
    FullGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    Laplace,
    LearnedGaussian,
    LogNormal,
    Missing,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Observation,
    Poisson,
    Standardized,
    StudentT,
    Support,
    ZeroInflated,
    check_support,
    observation_from_name,
)
from tighter.models.posteriors import POSTERIORS, PosteriorFamily, posterior_from_name
from tighter.models.priors import PRIORS, PriorFamily, prior_from_name
from tighter.models.probabilistic_pca import ProbabilisticPCA
from tighter.models.semi_supervised import SemiSupervisedVAE
from tighter.models.student_t_posterior import StudentTPosterior
from tighter.models.vae import VAE
from tighter.models.vamp_prior import VampPrior

__all__ = [
    "ACTIVATIONS",
    "LAYERED_ENCODERS",
    "MASKS",
    "MLP",
    "NETWORKS",
    "OBSERVATIONS",
    "POSTERIORS",
    "PRIORS",
    "VAE",
    "Applied",
    "Bernoulli",
    "BernoulliPosterior",
    "BernoulliPrior",
    "Beta",
    "BetaPosterior",
    "BottomUp",
    "Categorical",
    "CategoricalPixels",
    "CategoricalPosterior",
    "CategoricalPrior",
    "Completion",
    "ConditionalVAE",
    "ContinuousBernoulli",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "DiagonalGaussian",
    "DiagonalPrior",
    "DirichletPosterior",
    "DirichletPrior",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "EntrywiseGaussian",
    "FactorGaussian",
    "Factorized",
    "FlowPosterior",
    "FlowPrior",
    "FreePosterior",
    "FullCovarianceGaussian",
    "FullGaussian",
    "Gaussian",
    "GivenContext",
    "HeteroscedasticGaussian",
    "HierarchicalVAE",
    "Ladder",
    "Laplace",
    "LaplacePrior",
    "LatentVariableModel",
    "LayeredEncoder",
    "LearnedGaussian",
    "LinearGaussian",
    "LogNormal",
    "LogitNormalPosterior",
    "LowRankGaussian",
    "Missing",
    "MissingNotAtRandom",
    "Mixed",
    "MixturePosterior",
    "MixturePrior",
    "MultimodalVAE",
    "Multinomial",
    "NegativeBinomial",
    "Observation",
    "Poisson",
    "PosteriorFamily",
    "PriorFamily",
    "ProbabilisticPCA",
    "SemiAmortized",
    "SemiSupervisedVAE",
    "Space",
    "StandardNormal",
    "Standardized",
    "StudentT",
    "StudentTPosterior",
    "Support",
    "UniformPrior",
    "VampPrior",
    "ZeroInflated",
    "check_support",
    "cluster",
    "clustering_accuracy",
    "halves",
    "latent_families",
    "observation_from_name",
    "one_hot",
    "posterior_from_name",
    "prior_from_name",
]
