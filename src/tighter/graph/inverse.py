"""The minimal faithful inverse: what each latent depends on when the observed come first."""

from __future__ import annotations

import itertools
from collections.abc import Set

from tighter.graph.arcs import Arcs
from tighter.graph.equivalence import moral_neighbors
from tighter.graph.separation import reached


def inverse_arcs(
    arcs: Arcs, latents: Set[int], *, upward: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """The order in which latents are drawn, and the arcs of a minimal faithful inverse.

    Latents are eliminated one by one, a latent after its latent parents (`upward`: after its latent
    children), and of those that can come next the one that adds the fewest edges to the moral
    graph. What an eliminated latent depends on, given all that is left, becomes its parents: its
    Markov boundary there, found by one walk. (The neighbors in the moral graph, which the paper
    takes, are the same, save that upward they can be too many: below a latent of which nothing is
    observed.)

    Args:
        arcs: The model.
        latents: The latent nodes; all others are observed.
        upward: Eliminate children before parents, not parents before children.

    Returns:
        Latents in the order of drawing, which is the elimination's reversed; arcs (parent, child).

    References:
        Webb, Golinski, Zinkov, Siddharth, Rainforth, Teh & Wood, "Faithful inversion of generative
        models for effective amortized inference", 2018, algorithm 1.
    """
    earlier, later = (arcs.children, arcs.parents) if upward else (arcs.parents, arcs.children)
    neighbors = moral_neighbors(arcs, range(arcs.num_nodes))
    left = set(range(arcs.num_nodes))
    waiting = {node: sum(other in latents for other in earlier(node)) for node in latents}
    ready = {node for node, number in waiting.items() if not number}
    fills: dict[int, int] = {}
    eliminated, inverted = [], []
    while ready:
        fills |= {node: _fill(neighbors, node) for node in ready - fills.keys()}
        node = min(ready, key=lambda node: (fills[node], node))
        ready.remove(node)
        left.remove(node)
        eliminated.append(node)
        boundary = reached(arcs, [node], left) & left
        inverted += [(parent, node) for parent in sorted(boundary)]
        for changed in _eliminate(neighbors, node):
            fills.pop(changed, None)
        for other in later(node):
            if other in latents:
                waiting[other] -= 1
                if not waiting[other]:
                    ready.add(other)
    return eliminated[::-1], inverted


def _fill(neighbors: dict[int, set[int]], node: int) -> int:
    """How many edges eliminating a node adds."""
    pairs = itertools.combinations(neighbors[node], 2)
    return sum(y not in neighbors[x] for x, y in pairs)


def _eliminate(neighbors: dict[int, set[int]], node: int) -> set[int]:
    """Join a node's neighbors in its place; returns the nodes whose fill may have changed."""
    others = neighbors.pop(node)
    for other in others:
        neighbors[other] |= others
        neighbors[other] -= {node, other}
    return others.union(*(neighbors[other] for other in others))
