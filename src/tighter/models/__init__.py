"""Latent-variable models: a prior, a likelihood and an approximate posterior each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tighter._extras import check_installed
from tighter.models import networks, observations, posteriors, priors
from tighter.models._composition import latent_families
from tighter.models._families import Space
from tighter.models._layers_of_latents import LAYERED_ENCODERS, BottomUp, Ladder, LayeredEncoder
from tighter.models._model import Completion, LatentVariableModel
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
from tighter.models.hierarchical import HierarchicalVAE
from tighter.models.inference import FreePosterior, SemiAmortized
from tighter.models.linear_gaussian import LinearGaussian, ProbabilisticPCA
from tighter.models.linear_gaussian_graph import LinearGaussianGraph
from tighter.models.missing_not_at_random import MASKS, MissingNotAtRandom
from tighter.models.multimodal.joint import (
    JOINT_POSTERIORS,
    ExpertByExpert,
    JointPosterior,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
)
from tighter.models.multimodal.model import MultimodalVAE
from tighter.models.networks import *  # noqa: F403
from tighter.models.observations import *  # noqa: F403
from tighter.models.posteriors import *  # noqa: F403
from tighter.models.priors import *  # noqa: F403
from tighter.models.semi_supervised import SemiSupervisedVAE
from tighter.models.topics.model import TOPIC_POSTERIORS, TopicModel
from tighter.models.vae import VAE

if TYPE_CHECKING:
    from tighter.models.flows import FlowPosterior, FlowPrior

__all__ = [
    "BAYESIAN_POSTERIORS",
    "DENOISERS",
    "JOINT_POSTERIORS",
    "LAYERED_ENCODERS",
    "MASKS",
    "PREDICTIONS",
    "SAMPLERS",
    "SCHEDULES",
    "TOPIC_POSTERIORS",
    "VAE",
    "BayesianModel",
    "BottomUp",
    "Completion",
    "ConditionalVAE",
    "DiffusionBound",
    "DiffusionModel",
    "DiffusionTerms",
    "ExpertByExpert",
    "FlowPosterior",
    "FlowPrior",
    "FreePosterior",
    "GivenContext",
    "HierarchicalVAE",
    "JointPosterior",
    "Ladder",
    "LatentVariableModel",
    "LayeredEncoder",
    "LearnedSchedule",
    "LinearGaussian",
    "LinearGaussianGraph",
    "MissingNotAtRandom",
    "MixtureOfExperts",
    "MixtureOfProducts",
    "MultimodalVAE",
    "ProbabilisticPCA",
    "ProductOfExperts",
    "SemiAmortized",
    "SemiSupervisedVAE",
    "Space",
    "TopicModel",
    "UNet",
    "cluster",
    "clustering_accuracy",
    "diffusion_terms",
    "graph_of",
    "halves",
    "latent_families",
    "log_predictive",
    "one_hot",
    "posterior_predictive",
]
__all__ += networks.__all__
__all__ += observations.__all__
__all__ += posteriors.__all__
__all__ += priors.__all__


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tighter.models' has no attribute {name!r}")
    check_installed("flowjax")
    from tighter.models import flows

    return vars(flows)[name]
