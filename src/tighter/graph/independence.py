"""Independence statements: a basis from which all others follow, and all of them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from tighter.graph.arcs import Arcs
from tighter.graph.explanation import statement
from tighter.graph.separation import reached


@dataclass(frozen=True)
class Independence:
    """a ⊥ b | given.

    Attributes:
        a: Nodes on one side.
        b: Nodes on the other.
        given: What is conditioned on.
    """

    a: tuple[Hashable, ...]
    b: tuple[Hashable, ...]
    given: tuple[Hashable, ...]

    def __str__(self) -> str:
        return statement(self.a, self.b, self.given)

    def to_dict(self) -> dict[str, Any]:
        """The statement as plain data."""
        sides = {"a": self.a, "b": self.b, "given": self.given}
        return {"statement": str(self)} | {
            name: [str(node) for node in nodes] for name, nodes in sides.items()
        }


Numbers = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def local_independencies(arcs: Arcs) -> Iterator[Numbers]:
    """Each node, apart from all before it, given its parents; none of these follows from others.

    References:
        Verma & Pearl, "Causal networks: semantics and expressiveness", 1988, theorem 2.
    """
    before: list[int] = []
    for node in arcs.order:
        parents = sorted(arcs.parents(node))
        apart = sorted(set(before) - set(parents))
        if apart:
            yield (node,), tuple(apart), tuple(parents)
        before.append(node)


def pairwise_independencies(arcs: Arcs, *, max_given: int) -> Iterator[Numbers]:
    """Every a ⊥ b | given of single nodes a and b, with few nodes given first."""
    nodes = range(arcs.num_nodes)
    for number in range(max_given + 1):
        for given in itertools.combinations(nodes, number):
            others = [node for node in nodes if node not in given]
            for i, a in enumerate(others[:-1]):
                connected = reached(arcs, [a], set(given))
                for b in others[i + 1 :]:
                    if b not in connected:
                        yield (a,), (b,), given
