"""Where the nodes of a picture stand: in layers, parents above children, with few crossings."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tighter.graph.arcs import Arcs

SWEEPS = 12


class Layout(NamedTuple):
    """Places in units of pixels, x to the right and y down.

    Attributes:
        places: The center of each node.
        routes: For each arc (parent, child), the points that it passes between them.
        width: Of all.
        height: Of all.
    """

    places: list[tuple[float, float]]
    routes: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def layered(arcs: Arcs, widths: Sequence[float], *, gap: float, layer_height: float) -> Layout:
    """Layers by the longest way from a root, ordered by medians, an arc's bends ordered likewise.

    Args:
        arcs: The graph.
        widths: The width of each node.
        gap: The least room between neighbors in a layer.
        layer_height: From the middle of one layer to that of the next.

    References:
        Sugiyama, Tagawa & Toda, "Methods for visual understanding of hierarchical system
        structures", 1981.
    """
    level = _levels(arcs)
    # A node of the drawing for each layer that an arc passes.
    drawn_levels, drawn_widths = list(level), list(widths)
    ways: dict[tuple[int, int], list[int]] = {}
    for x, y in arcs.pairs():
        passed = range(level[x] + 1, level[y])
        bends = range(len(drawn_levels), len(drawn_levels) + len(passed))
        drawn_levels += passed
        drawn_widths += [gap / 2] * len(passed)
        ways[x, y] = [x, *bends, y]
    above: list[list[int]] = [[] for _ in drawn_levels]
    below: list[list[int]] = [[] for _ in drawn_levels]
    for way in ways.values():
        for x, y in itertools.pairwise(way):
            below[x].append(y)
            above[y].append(x)
    layers: list[list[int]] = [[] for _ in range(max(drawn_levels, default=-1) + 1)]
    for node, number in enumerate(drawn_levels):
        layers[number].append(node)
    layers = _fewest_crossings(layers, above, below)
    x = _positions(layers, above, below, drawn_widths, gap)
    left = min((x[node] - drawn_widths[node] / 2 for node in x), default=0.0)
    right = max((x[node] + drawn_widths[node] / 2 for node in x), default=0.0)
    points = [(x[n] - left, layer_height * drawn_levels[n]) for n in range(len(drawn_levels))]
    return Layout(
        points[: arcs.num_nodes],
        {arc: [points[bend] for bend in way[1:-1]] for arc, way in ways.items()},
        right - left,
        layer_height * max(len(layers) - 1, 0),
    )


def _levels(arcs: Arcs) -> list[int]:
    """The longest way from a root; a root stands just above its first child."""
    level = [0] * arcs.num_nodes
    for node in arcs.order:
        level[node] = max((level[parent] + 1 for parent in arcs.parents(node)), default=0)
    for node in reversed(arcs.order):
        children = arcs.children(node)
        if children and not arcs.parents(node):
            level[node] = min(level[child] for child in children) - 1
    return level


def _fewest_crossings(
    layers: list[list[int]], above: list[list[int]], below: list[list[int]]
) -> list[list[int]]:
    """The best of the orders that sweeps down and up come by."""
    best, fewest = layers, _crossings(layers, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        neighbors = above if down else below
        layers = [list(layer) for layer in layers]
        for i in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            beside = {node: rank for rank, node in enumerate(layers[i - 1 if down else i + 1])}
            own = {node: rank for rank, node in enumerate(layers[i])}
            layers[i] = sorted(
                layers[i],
                key=lambda node: (
                    _middle([beside[other] for other in neighbors[node]], own[node]),
                    own[node],
                ),
            )
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _middle(ranks: list[int], own: int) -> float:
    return statistics.fmean(ranks) if ranks else float(own)


def _crossings(layers: list[list[int]], below: list[list[int]]) -> int:
    total = 0
    for layer, under in itertools.pairwise(layers):
        rank = {node: i for i, node in enumerate(under)}
        ends = [sorted(rank[other] for other in below[node]) for node in layer]
        flat = [end for row in ends for end in row]
        total += sum(x > y for x, y in itertools.combinations(flat, 2))
    return total


def _positions(
    layers: list[list[int]],
    above: list[list[int]],
    below: list[list[int]],
    widths: Sequence[float],
    gap: float,
) -> dict[int, float]:
    """Each node as near as room allows to the mean of its neighbors."""
    x: dict[int, float] = {}
    for layer in layers:
        room = sum(widths[node] for node in layer) + gap * (len(layer) - 1)
        edge = -room / 2
        for node in layer:
            x[node] = edge + widths[node] / 2
            edge += widths[node] + gap
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else layers[::-1]:
            wanted = [_mean_x(above[node] + below[node], x, x[node]) for node in layer]
            x |= zip(layer, _apart(wanted, [widths[node] for node in layer], gap), strict=True)
    return x


def _mean_x(neighbors: list[int], x: dict[int, float], own: float) -> float:
    return statistics.fmean([x[node] for node in neighbors]) if neighbors else own


def _apart(wanted: list[float], widths: list[float], gap: float) -> list[float]:
    """The places nearest to those wanted (least squares) that keep order and room.

    With the room taken off, the order is all there is to keep: isotonic regression, whose
    neighbors in the wrong order are pooled.
    """
    offsets = [0.0]
    for x, y in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (x + y) / 2 + gap)
    pools: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        mean, number = place - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean = (mean * number + other * others) / (number + others)
            number += others
        pools.append((mean, number))
    flat = [mean for mean, number in pools for _ in range(number)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]
