"""Posteriors shaped by a graph: a conditional a latent, given its parents in the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import check_known
from tighter.distributions.structured import Chain
from tighter.graph import DAG
from tighter.models._families import PosteriorFamily
from tighter.models.networks import ACTIVATIONS, MLP
from tighter.models.posteriors.real import DiagonalGaussian

Values = Mapping[str, Array]


class LinearMean(eqx.Module):
    """A network whose means are linear in its input, and whose scales do not depend on it.

    Attributes:
        weight: Shape (out, in).
        bias: Shape (out,).
        log_scale: Logarithms of standard deviations, shape (out,).
    """

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"]
    log_scale: Float[Array, " out"]

    @classmethod
    def create(cls, num_in: int, num_out: int) -> LinearMean:
        """Independent of its input, with scales 1: from there gradient ascent is well-behaved."""
        return cls(jnp.zeros((num_out, num_in)), jnp.zeros(num_out), jnp.zeros(num_out))

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, "2 out"]:
        """Means and log standard deviations."""
        return jnp.stack([self.weight @ x + self.bias, self.log_scale])


class Conditional(eqx.Module):
    """q(z_i | parents): a family, and a network from the parents to its parameters.

    Attributes:
        parents: Names of other latents and of observed nodes.
        network: The parents' values, flat and in their order -> the family's parameters.
        family: Of the conditional.
        observed: Values of those parents that are observed.
    """

    parents: tuple[str, ...] = eqx.field(static=True)
    network: Callable[[Array], Array]
    family: PosteriorFamily
    observed: dict[str, Array] = eqx.field(default_factory=dict)

    def __call__(self, z: Values) -> Any:
        """The distribution, given the latents drawn before."""
        values = {**self.observed, **z}
        parts = [jnp.ravel(values[name]) for name in self.parents]
        return self.family.distribution(self.network(jnp.concatenate([jnp.zeros(0), *parts])))


class StructuredPosterior(eqx.Module):
    r"""$q(z|x) = \prod_i q(z_i \mid parents_i)$ with the factors of a graph; z is a dict by name.

    Called with an example it gives the posterior, a `Chain`: with draws that carry derivatives
    where the family's do, for any bound and any estimator.

    Attributes:
        names: The latents, in the order in which they are drawn.
        conditionals: One a latent.

    Example:
        >>> inverse = model_graph.faithful_inverse(["z1", "z2"], ["x"])
        >>> encoder = StructuredPosterior.from_graph(
        ...     inverse, {"z1": 2, "z2": 3, "x": 784}, latents=["z1", "z2"], key=key
        ... )
        >>> encoder({"x": x}).rsample(key)["z2"]

    References:
        Webb et al., "Faithful inversion of generative models for effective amortized inference",
        2018, sec. 4.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    conditionals: tuple[Conditional, ...]

    @classmethod
    def from_graph(
        cls,
        dag: DAG,
        sizes: Mapping[str, int],
        *,
        latents: Iterable[str],
        hidden: Sequence[int] | None = (64,),
        activation: str = "tanh",
        family: PosteriorFamily | None = None,
        key: Key[Array, ""],
    ) -> StructuredPosterior:
        """A network for each latent, from its parents in an encoder's graph.

        Args:
            dag: The encoder's graph, such as a `faithful_inverse`: edges lead to latents.
            sizes: How many numbers each node is: a latent's dimensions, an observation's entries.
            latents: The nodes to infer.
            hidden: Widths of each network's hidden layers; (): parameters linear in the parents;
                None: a linear-Gaussian posterior, whose scales are constant.
            activation: A name of `ACTIVATIONS`.
            family: Of each conditional; `DiagonalGaussian()` if left out.
            key: Random key.

        Raises:
            InputError: If the graph has no such latent, an edge leads to an observed node, a node
                is no string or has no size, a name is unknown, or `hidden` is None with another
                family.
        """
        chosen = dag.subset(latents)
        family = DiagonalGaussian() if family is None else family
        check_known("activation", activation, ACTIVATIONS)
        require(
            hidden is not None or isinstance(family, DiagonalGaussian),
            f"hidden=None is a linear-Gaussian posterior, got the family {type(family).__name__}: "
            "give hidden=() or widths",
        )
        _check(dag, chosen, sizes)
        names = tuple(str(node) for node in dag.topological_order if node in chosen)
        conditionals = []
        for name, own_key in zip(names, jax.random.split(key, len(names)), strict=True):
            parents = tuple(str(node) for node in dag.nodes if node in dag.parents(name))
            num_in = sum(
                math.prod(family.latent_shape(sizes[parent])) if parent in chosen else sizes[parent]
                for parent in parents
            )
            if hidden is None:
                network = LinearMean.create(num_in, sizes[name])
            else:
                output = family.shape(sizes[name])
                network = MLP((num_in,), hidden, output, activation=activation, key=own_key)
            conditionals.append(Conditional(parents, network, family))
        return cls(names, tuple(conditionals))

    def __call__(self, x: Values) -> Chain:
        """q(z|x).

        Args:
            x: The observed nodes' values by name.

        Raises:
            InputError: If a node that the encoder sees is missing.
        """
        needed = {name for part in self.conditionals for name in part.parents} - {*self.names}
        if missing := sorted(needed - {*x}):
            raise InputError(
                f"x lacks {missing[0]}, which the encoder sees (x has: {', '.join(x)})"
            )
        parts = {}
        for name, part in zip(self.names, self.conditionals, strict=True):
            observed = {other: x[other] for other in part.parents if other not in self.names}
            parts[name] = Conditional(part.parents, part.network, part.family, observed)
        return Chain(parts)


def _check(dag: DAG, latents: frozenset[Any], sizes: Mapping[str, int]) -> None:
    for parent, child in dag.edges:
        require(
            child in latents,
            f"{child} is observed and the graph has {parent} -> {child}: an encoder's edges lead "
            "to latents, as those of dag.faithful_inverse(latents, observed)",
        )
    for node in dag.nodes:
        named = isinstance(node, str)
        require(named, f"z is a dict by name: a node is a string, got {node!r}")
        if node in latents or dag.children(node):
            size = sizes.get(str(node), 0)
            require(
                isinstance(size, int) and size >= 1,
                f"sizes says how many numbers each node is, 1 or more, got {size!r} for {node}",
            )
