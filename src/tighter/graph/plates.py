"""Plates: nodes that are repeated, and the graph with every copy written out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from tighter._errors import InputError

_MOST = 1_000_000  # nodes and edges


@dataclass(frozen=True)
class Plate:
    """Nodes that stand in one plate, and how often it is repeated.

    Attributes:
        nodes: What is repeated; a single name is one node.
        size: How many copies.
    """

    nodes: tuple[Hashable, ...]
    size: int

    def __init__(self, nodes: Sequence[Hashable], size: int) -> None:
        if not isinstance(size, int) or size < 1:
            raise InputError(f"a plate is repeated at least once, got size {size!r}")
        object.__setattr__(self, "nodes", (nodes,) if isinstance(nodes, str) else tuple(nodes))
        object.__setattr__(self, "size", size)


Edges = list[tuple[Hashable, Hashable]]


def unroll(
    nodes: Sequence[Hashable], edges: Sequence[tuple[Hashable, Hashable]], plates: Sequence[Plate]
) -> tuple[Edges, list[Hashable]]:
    """Edges and nodes of the graph with its plates written out.

    Copies are named z[0], z[1], …, and z[0,2] in two plates, in the order of the plates. Copies are
    joined where they agree on every plate that both are in.

    Raises:
        InputError: If a plate holds a node that the graph has not, a copy would be named as
            another node is, or there would be too many.
    """
    for plate in plates:
        strange = [node for node in plate.nodes if node not in set(nodes)]
        if strange:
            raise InputError(f"a plate holds {strange[0]!r}, which is no node of the graph")
    within = {node: [i for i, plate in enumerate(plates) if node in plate.nodes] for node in nodes}

    joined = [sorted({*within[parent], *within[child]}) for parent, child in edges]
    number = sum(math.prod(plates[i].size for i in axes) for axes in (*within.values(), *joined))
    if number > _MOST:
        raise InputError(
            f"written out, the plates hold more than {_MOST} nodes and edges: a few copies tell "
            "what many do"
        )

    def copies(axes: Sequence[int]) -> list[dict[int, int]]:
        ranges = [range(plates[axis].size) for axis in axes]
        return [dict(zip(axes, place, strict=True)) for place in itertools.product(*ranges)]

    def name(node: Hashable, place: dict[int, int]) -> Hashable:
        axes = within[node]
        return f"{node}[{','.join(str(place[axis]) for axis in axes)}]" if axes else node

    unrolled_nodes = [name(node, place) for node in nodes for place in copies(within[node])]
    twice = [node for node, count in Counter(unrolled_nodes).items() if count > 1]
    if twice:
        raise InputError(f"a copy in a plate is named {twice[0]}, as another node: rename that one")
    unrolled_edges = [
        (name(parent, place), name(child, place))
        for (parent, child), axes in zip(edges, joined, strict=True)
        for place in copies(axes)
    ]
    return unrolled_edges, unrolled_nodes
