"""What of a graph its independencies fix: the skeleton, the colliders, what arrows they compel."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from tighter.graph.arcs import Arcs


@dataclass(frozen=True)
class EquivalenceClass:
    """All graphs with the same d-separations (a completed partially directed graph).

    Attributes:
        directed: Edges (parent, child) that all of them have.
        undirected: Edges that some have one way and some the other.
    """

    directed: tuple[tuple[Hashable, Hashable], ...]
    undirected: tuple[tuple[Hashable, Hashable], ...]

    def __str__(self) -> str:
        arrows = [f"{x} -> {y}" for x, y in self.directed]
        return "; ".join(arrows + [f"{x} -- {y}" for x, y in self.undirected])


def moral_neighbors(arcs: Arcs, nodes: Iterable[int]) -> dict[int, set[int]]:
    """Neighbors in the moral graph: arrows dropped, the parents of each child joined.

    Args:
        arcs: The graph.
        nodes: The nodes to keep, with all of their ancestors.
    """
    neighbors: dict[int, set[int]] = {node: set() for node in nodes}
    for node in neighbors:
        family = arcs.parents(node)
        for x, y in itertools.combinations([node, *family], 2):
            neighbors[x].add(y)
            neighbors[y].add(x)
    return neighbors


def unshielded_colliders(arcs: Arcs) -> set[tuple[int, int, int]]:
    """Triples x → c ← y whose x and y are not adjacent, x < y."""
    neighbors = [set(arcs.neighbors(node)) for node in range(arcs.num_nodes)]
    return {
        (x, c, y)
        for c in range(arcs.num_nodes)
        for x, y in itertools.combinations(arcs.parents(c), 2)
        if y not in neighbors[x]
    }


def compelled_arcs(arcs: Arcs) -> set[tuple[int, int]]:
    """The arcs (parent, child) that every graph with the same d-separations has.

    They are the arcs of unshielded colliders, and what follows when neither a collider nor a cycle
    may be added.

    References:
        Meek, "Causal inference and causal explanation with background knowledge", 1995, rules 1–3.
    """
    neighbors = [set(arcs.neighbors(node)) for node in range(arcs.num_nodes)]
    colliders = unshielded_colliders(arcs)
    compelled = {(x, c) for x, c, _ in colliders} | {(y, c) for _, c, y in colliders}
    into: list[set[int]] = [set() for _ in neighbors]
    for x, y in compelled:
        into[y].add(x)
    waiting = [(x, y) for x, y in arcs.pairs() if (x, y) not in compelled]
    while True:
        new = [(x, y) for x, y in waiting if _must_point(x, y, neighbors, into)]
        if not new:
            return compelled
        compelled.update(new)
        for x, y in new:
            into[y].add(x)
        waiting = [arc for arc in waiting if arc not in compelled]


def _must_point(x: int, y: int, neighbors: list[set[int]], into: list[set[int]]) -> bool:
    """Whether x → y is compelled by the arrows known so far."""
    if any(w not in neighbors[y] for w in into[x]):
        return True  # w → x − y, w and y apart: x ← y would make a collider
    if any(x in into[w] for w in into[y]):
        return True  # x → w → y: x ← y would make a cycle
    # x − u → y ← w − x, u and w apart: with x ← y, one of x's two would make a cycle or a collider
    beside = (neighbors[x] & into[y]) - into[x]
    return any(w not in neighbors[u] for u, w in itertools.combinations(beside, 2))
