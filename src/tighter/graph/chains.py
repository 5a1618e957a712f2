"""Chains: the simple paths between two sets of nodes, arrows ignored, shortest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Set

from tighter.graph.arcs import Arcs


def chains(arcs: Arcs, a: Set[int], b: Set[int]) -> Iterator[list[int]]:
    """Every chain from a node of a to one of b, with no inner node in either, shortest first.

    The next one is found by leaving an earlier one at each of its nodes in turn, on the shortest
    way that none has taken from there; so the time for each is at most the number of its nodes
    times the number of arcs, however many there are.

    References:
        Yen, "Finding the K shortest loopless paths in a network", 1971; Lawler 1972.
    """
    # A heap of (length, nodes, the position from which it deviates, first nodes barred there).
    heap: list[tuple[int, list[int], int, frozenset[int]]] = []
    shortest = _shortest(arcs, [], frozenset(), a, b)
    if shortest:
        heap.append((len(shortest), shortest, 0, frozenset()))
    while heap:
        _, chain, deviation, barred = heapq.heappop(heap)
        yield chain
        for i in range(deviation, len(chain)):
            bars = (barred if i == deviation else frozenset()) | {chain[i]}
            rest = _shortest(arcs, chain[:i], bars, a, b)
            if rest:
                heapq.heappush(heap, (i + len(rest), chain[:i] + rest, i, bars))


def _shortest(arcs: Arcs, stem: list[int], barred: Set[int], a: Set[int], b: Set[int]) -> list[int]:
    """The shortest way on from a stem, that does not begin with a barred node; [] if none."""
    if stem and stem[-1] in b:
        return []
    first = arcs.neighbors(stem[-1]) if stem else sorted(a)
    # Only the first node of a chain is in a.
    closed = set(stem) | (a if stem else set())
    entered = {node: -1 for node in first if node not in barred and node not in closed}
    front = list(entered)
    closed |= a
    while front:
        for node in front:
            if node in b:
                return _back(node, entered)
        onward: list[int] = []
        for node in front:
            for other in arcs.neighbors(node):
                if other not in entered and other not in closed:
                    entered[other] = node
                    onward.append(other)
        front = onward
    return []


def _back(node: int, entered: dict[int, int]) -> list[int]:
    nodes = []
    while node >= 0:
        nodes.append(node)
        node = entered[node]
    return nodes[::-1]
