"""Latent-variable models: a prior, a likelihood and an approximate posterior each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tighter._extras import check_installed
from tighter.models._composition import latent_families
from tighter.models._model import Completion, LatentVariableModel
from tighter.models._space import Space
from tighter.models.bayesian import (
    BAYESIAN_POSTERIORS,
    BayesianModel,
    log_predictive,
    posterior_predictive,
)
from tighter.models.clustering import cluster, clustering_accuracy
from tighter.models.conditional import ConditionalVAE, GivenContext, halves, one_hot
from tighter.models.diffusion import (
    DENOISERS,
    PREDICTIONS,
    SAMPLERS,
    SCHEDULES,
    DiffusionBound,
    DiffusionModel,
    DiffusionTerms,
    LearnedSchedule,
    UNet,
    diffusion_terms,
)
from tighter.models.graphs import graph_of
from tighter.models.hierarchical import (
    LAYERED_ENCODERS,
    BottomUp,
    HierarchicalVAE,
    Ladder,
    LayeredEncoder,
)
from tighter.models.inference import FreePosterior, SemiAmortized
from tighter.models.linear_gaussian import LinearGaussian
from tighter.models.linear_gaussian_graph import LinearGaussianGraph
from tighter.models.missing_not_at_random import MASKS, MissingNotAtRandom
from tighter.models.multimodal.expert_by_expert import ExpertByExpert
from tighter.models.multimodal.joint_posteriors import (
    JOINT_POSTERIORS,
    JointPosterior,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
)
from tighter.models.multimodal.model import MultimodalVAE
from tighter.models.networks._layers import ACTIVATIONS
from tighter.models.networks.convolutions import ConvolutionalDecoder, ConvolutionalEncoder
from tighter.models.networks.mlp import MLP
from tighter.models.networks.table import NETWORKS, Applied
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
from tighter.models.posteriors.bounded import (
    BetaPosterior,
    DirichletPosterior,
    LogitNormalPosterior,
)
from tighter.models.posteriors.discrete import BernoulliPosterior, CategoricalPosterior
from tighter.models.posteriors.gaussian import (
    DiagonalGaussian,
    FullCovarianceGaussian,
    LowRankGaussian,
)
from tighter.models.posteriors.mixture import MixturePosterior
from tighter.models.posteriors.structured import StructuredPosterior
from tighter.models.posteriors.student_t import StudentTPosterior
from tighter.models.posteriors.table import POSTERIORS, PosteriorFamily, posterior_from_name
from tighter.models.priors.independent import (
    BernoulliPrior,
    CategoricalPrior,
    DiagonalPrior,
    DirichletPrior,
    LaplacePrior,
    StandardNormal,
    UniformPrior,
)
from tighter.models.priors.mixture import MixturePrior
from tighter.models.priors.table import PRIORS, PriorFamily, prior_from_name
from tighter.models.priors.vamp import VampPrior
from tighter.models.probabilistic_pca import ProbabilisticPCA
from tighter.models.semi_supervised import SemiSupervisedVAE
from tighter.models.topics.model import TOPIC_POSTERIORS, TopicModel
from tighter.models.vae import VAE

if TYPE_CHECKING:
    from tighter.models.posteriors.flow import FlowPosterior
    from tighter.models.priors.flow import FlowPrior

__all__ = [
    "ACTIVATIONS",
    "BAYESIAN_POSTERIORS",
    "DENOISERS",
    "JOINT_POSTERIORS",
    "LAYERED_ENCODERS",
    "MASKS",
    "MLP",
    "NETWORKS",
    "OBSERVATIONS",
    "POSTERIORS",
    "PREDICTIONS",
    "PRIORS",
    "SAMPLERS",
    "SCHEDULES",
    "TOPIC_POSTERIORS",
    "VAE",
    "Applied",
    "BayesianModel",
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
    "DiffusionBound",
    "DiffusionModel",
    "DiffusionTerms",
    "DirichletPosterior",
    "DirichletPrior",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "EntrywiseGaussian",
    "ExpertByExpert",
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
    "JointPosterior",
    "Ladder",
    "Laplace",
    "LaplacePrior",
    "LatentVariableModel",
    "LayeredEncoder",
    "LearnedGaussian",
    "LearnedSchedule",
    "LinearGaussian",
    "LinearGaussianGraph",
    "LogNormal",
    "LogitNormalPosterior",
    "LowRankGaussian",
    "Missing",
    "MissingNotAtRandom",
    "Mixed",
    "MixtureOfExperts",
    "MixtureOfProducts",
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
    "ProductOfExperts",
    "SemiAmortized",
    "SemiSupervisedVAE",
    "Space",
    "StandardNormal",
    "Standardized",
    "StructuredPosterior",
    "StudentT",
    "StudentTPosterior",
    "Support",
    "TopicModel",
    "UNet",
    "UniformPrior",
    "VampPrior",
    "ZeroInflated",
    "check_support",
    "cluster",
    "clustering_accuracy",
    "diffusion_terms",
    "graph_of",
    "halves",
    "latent_families",
    "log_predictive",
    "observation_from_name",
    "one_hot",
    "posterior_from_name",
    "posterior_predictive",
    "prior_from_name",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tighter.models' has no attribute {name!r}")
    check_installed("flowjax")
    if name == "FlowPosterior":
        from tighter.models.posteriors import flow
    else:
        from tighter.models.priors import flow
    return getattr(flow, name)
