"""The encoder that a model's graph asks for: its factors, and what another encoder denies."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from tighter._errors import InputError
from tighter.graph.dag import DAG, Edge, Nodes
from tighter.graph.explanation import Separation


@dataclass(frozen=True)
class Factor:
    """One conditional of a posterior, q(node | parents)."""

    node: Hashable
    parents: tuple[Hashable, ...]

    def __str__(self) -> str:
        given = f" | {', '.join(map(str, self.parents))}" if self.parents else ""
        return f"q({self.node}{given})"


@dataclass(frozen=True)
class Factorization:
    """The posterior as a product, in the order in which the latents are drawn.

    Attributes:
        factors: A conditional for each latent.
    """

    factors: tuple[Factor, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.factors))


@dataclass(frozen=True)
class Faithfulness:
    """Whether a posterior of an encoder's graph can be exact, and whether a smaller one could.

    Attributes:
        denied: For each dependence of the model that the encoder leaves out, an answer of the model
            (latent and left-out node d-connected given the latent's parents, with an open path).
        needless: Edges of the encoder that can go, each on its own, with nothing denied.
    """

    denied: tuple[Separation, ...]
    needless: tuple[Edge, ...]

    @property
    def faithful(self) -> bool:
        """Whether no dependence is denied: an exact posterior has these factors."""
        return not self.denied

    @property
    def minimal(self) -> bool:
        """Whether it is faithful and no edge can go."""
        return self.faithful and not self.needless

    def __bool__(self) -> bool:
        return self.faithful

    def __str__(self) -> str:
        lines = ["faithful" if self.faithful else "not faithful: the encoder denies"]
        lines += [f"  {answer.statement}, open: {answer.witness}" for answer in self.denied]
        if self.faithful:
            needless = ", ".join(f"{parent} -> {child}" for parent, child in self.needless)
            lines[0] += f", but not minimal: {needless} can go" if needless else " and minimal"
        return "\n".join(lines)


def posterior_factorization(encoder: DAG, latents: Nodes | None = None) -> Factorization:
    """The factors q(z_i | parents) of an encoder's graph, such as a `faithful_inverse`.

    Args:
        encoder: A graph over latents and observed nodes.
        latents: The latents; None: the nodes that have parents.
    """
    with_parents = frozenset(child for _, child in encoder.edges)
    chosen = with_parents if latents is None else encoder.subset(latents)
    return Factorization(
        tuple(
            Factor(node, tuple(other for other in encoder.nodes if other in encoder.parents(node)))
            for node in encoder.topological_order
            if node in chosen
        )
    )


def check_encoder(model: DAG, encoder: DAG, latents: Nodes, observed: Nodes) -> Faithfulness:
    r"""Whether a posterior with the factors of an encoder's graph can be that of the model.

    It can if every latent is d-separated in the model, given its parents in the encoder, from the
    other observed nodes and the other latents that are drawn before it. These statements imply
    every independence that the encoder claims.

    Args:
        model: The generative graph.
        encoder: A graph over the same nodes whose edges lead to latents.
        latents: What the encoder infers.
        observed: All other nodes.

    Raises:
        InputError: If the encoder has other nodes, or an edge to an observed node.
    """
    hidden, seen = model.partition(latents, observed)
    strange = set(encoder.nodes) ^ set(model.nodes)
    if strange:
        raise InputError(f"model and encoder have the same nodes: {min(map(str, strange))} differs")
    for parent, child in encoder.edges:
        if child in seen:
            raise InputError(
                f"{child} is observed and the encoder has {parent} -> {child}: "
                "an encoder's edges lead to latents"
            )
    denied, needless = [], []
    before = set(seen)
    for node in encoder.topological_order:
        if node not in hidden:
            continue
        parents = encoder.parents(node)
        for other in (other for other in model.nodes if other in before - parents):
            answer = model.d_separated(node, other, parents)
            if not answer:
                denied.append(answer)
        for parent in (other for other in encoder.nodes if other in parents):
            if model.d_separated(node, parent, parents - {parent}):
                needless.append((parent, node))
        before.add(node)
    return Faithfulness(tuple(denied), () if denied else tuple(needless))
