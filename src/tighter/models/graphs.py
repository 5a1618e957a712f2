"""The graph of each model of this library: what its latents and observations depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tighter._errors import InputError
from tighter.graph import DAG
from tighter.graph.examples import diffusion, hierarchy, in_plate, vae
from tighter.models._model import LatentVariableModel
from tighter.models.bayesian import BayesianModel
from tighter.models.conditional import ConditionalVAE, GivenContext
from tighter.models.diffusion import DiffusionModel
from tighter.models.hierarchical import HierarchicalVAE
from tighter.models.linear_gaussian_graph import LinearGaussianGraph
from tighter.models.missing_not_at_random import MissingNotAtRandom
from tighter.models.multimodal.model import MultimodalVAE
from tighter.models.semi_supervised import SemiSupervisedVAE
from tighter.models.topics.model import TopicModel
from tighter.models.topics.words import DirichletTopics


def graph_of(model: Any, *, num_examples: int | None = None) -> DAG:
    """The model's graph; a node is a whole latent or observation.

    Parameters that are only trained are no nodes: a distribution is asked for given them.

    Args:
        model: A model of this library, or one of yours that is a `LatentVariableModel` of one
            latent z and one observation x.
        num_examples: How many examples are written out, z[0], x[0], …, what they share once; None:
            one, without number.

    Raises:
        InputError: If the model is none whose graph is known; if `num_examples` is below 1.

    Example:
        >>> dag = graph_of(HierarchicalVAE.create((28, 28), key=key))
        >>> print(posterior_factorization(dag.faithful_inverse(["z1", "z2"], ["x"])))
        q(z1 | x) q(z2 | z1)
    """
    dag = _example_graph(model)
    return in_plate(dag, tuple(node for node in dag.nodes if node not in _SHARED), num_examples)


# Nodes of which there is one for all examples.
_SHARED = ("parameters", "topics")


def _example_graph(model: Any) -> DAG:
    for kind, graph in _GRAPHS.items():
        if isinstance(model, kind):
            return graph(model)
    raise InputError(
        f"the graph of {type(model).__name__} is not known: write it as a DAG, or for a numpyro "
        "model take tighter.integrations.numpyro_graph"
    )


def _of_topics(model: TopicModel) -> DAG:
    drawn = isinstance(model.words, DirichletTopics)
    return DAG([("z", "x"), ("topics", "x")] if drawn else [("z", "x")])


def _given_context(model: ConditionalVAE) -> DAG:
    edges = [("context", "x"), ("z", "x")]
    return DAG([("context", "z"), *edges] if isinstance(model.of_z, GivenContext) else edges)


def _of_diffusion(model: DiffusionModel) -> DAG:
    # In continuous time the chain has no steps to name: its one latent is the whole path.
    return vae() if model.num_steps is None else diffusion(model.num_steps)


# The first that a model is one of; the last stands for all that have one latent z.
_GRAPHS: dict[type, Callable[[Any], DAG]] = {
    HierarchicalVAE: lambda model: hierarchy(len(model.num_latent)),
    ConditionalVAE: _given_context,
    SemiSupervisedVAE: lambda model: DAG([("label", "x"), ("z", "x")]),
    MissingNotAtRandom: lambda model: DAG([("z", "x"), ("x", "mask")]),
    MultimodalVAE: lambda model: DAG([("z", name) for name in model.decoders]),
    TopicModel: _of_topics,
    BayesianModel: lambda model: DAG([("parameters", "datum")]),
    DiffusionModel: _of_diffusion,
    LinearGaussianGraph: lambda model: model.dag,
    LatentVariableModel: lambda model: vae(),
}
