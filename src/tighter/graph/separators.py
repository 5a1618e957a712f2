"""Smallest and minimal separators: vertex cuts of the moral graph of the ancestors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set

from tighter.graph.arcs import Arcs
from tighter.graph.equivalence import moral_neighbors


def smallest_separator(
    arcs: Arcs, a: Set[int], b: Set[int], included: Set[int], allowed: Set[int]
) -> set[int] | None:
    """A smallest set that d-separates a and b, holds `included` and else only nodes of `allowed`.

    The nodes that a separator needs are ancestors of a, b and what is included, and there
    d-separation is separation in the moral graph; so that a smallest one is a smallest vertex cut,
    found by as many searches as it has nodes. Of several the one nearest to a.

    References:
        van der Zander, Liśkiewicz & Textor, "Separators and adjustment sets in causal graphs",
        2019, secs. 4–5; Menger's theorem.
    """
    neighbors = _between(arcs, a, b, included, allowed)
    if any(neighbors[node] & b for node in a):
        return None
    carried: set[tuple[int, int]] = set()
    while (cut := _carry_one_more(neighbors, a, b, carried)) is None:
        pass
    return cut | included


def minimal_separators(
    arcs: Arcs, a: Set[int], b: Set[int], included: Set[int], allowed: Set[int]
) -> Iterator[set[int]]:
    """Every separator of which no node can be left out, those near a first.

    From one, the next are found by moving a node of it to a's side. There may be exponentially many
    in the number of nodes, but each costs at most its number of nodes times that of the arcs.

    References:
        Shen & Liang, "Efficient enumeration of all minimal separators in a graph", 1997.
    """
    neighbors = _between(arcs, a, b, included, allowed)
    if any(neighbors[node] & b for node in a):
        return
    found: set[frozenset[int]] = set()
    waiting: deque[frozenset[int]] = deque()

    def add(side: Set[int]) -> Iterator[set[int]]:
        """The separator nearest to a that has `side` on a's side."""
        closed = set(side).union(*(neighbors[node] for node in side))
        if closed & b:
            return
        beyond = _component(neighbors, b, closed)
        separator = frozenset().union(*(neighbors[node] for node in beyond)) - beyond
        if separator not in found:
            found.add(separator)
            waiting.append(separator)
            yield set(separator) | included

    yield from add(a)
    while waiting:
        separator = waiting.popleft()
        near = _component(neighbors, a, separator)
        for node in sorted(separator):
            yield from add(near | {node})


def _between(
    arcs: Arcs, a: Set[int], b: Set[int], included: Set[int], allowed: Set[int]
) -> dict[int, set[int]]:
    """The graph to cut: the moral graph of the ancestors, without what is included.

    Of a node that no separator may hold, the neighbors are joined in its place.
    """
    moral = moral_neighbors(arcs, arcs.ancestors(a | b | included))
    neighbors = {node: moral[node] - included for node in moral.keys() - included}
    for node in neighbors.keys() - allowed - a - b:
        others = neighbors.pop(node)
        for other in others:
            neighbors[other] |= others
            neighbors[other] -= {node, other}
    return neighbors


def _component(neighbors: dict[int, set[int]], start: Set[int], removed: Set[int]) -> set[int]:
    """What can be come to from `start` without what is removed."""
    component = set(start)
    waiting = list(start)
    while waiting:
        new = neighbors[waiting.pop()] - component - removed
        component |= new
        waiting += new
    return component


def _carry_one_more(
    neighbors: dict[int, set[int]], a: Set[int], b: Set[int], carried: set[tuple[int, int]]
) -> set[int] | None:
    """Reroute the paths in `carried`, which share no node, to be one more; or the smallest cut.

    A search over the two sides of each node: where a way comes in, and where it goes out. A node
    on a path lets nothing through, but leads back along that path.
    """
    before = {y: x for x, y in carried if y not in b}
    entered: dict[tuple[int, str], tuple[int, str] | None] = {(node, "out"): None for node in a}
    waiting = deque(entered)
    while waiting:
        state = node, side = waiting.popleft()
        if node in b:
            _reroute(state, entered, carried)
            return None
        if side == "out":
            onward = [(other, "in") for other in neighbors[node] - a]
            onward += [(node, "in")] * (node in before)
        else:
            onward = [(before.get(node, node), "out")]
        for new in onward:
            if new not in entered:
                entered[new] = state
                waiting.append(new)
    return {node for node, side in entered if side == "in" and (node, "out") not in entered}


def _reroute(
    state: tuple[int, str],
    entered: dict[tuple[int, str], tuple[int, str] | None],
    carried: set[tuple[int, int]],
) -> None:
    """Add to the paths the steps that led to `state`, and take away those that it went back."""
    while (before := entered[state]) is not None:
        if before[0] != state[0]:
            if state[1] == "in":
                carried.add((before[0], state[0]))
            else:
                carried.remove((state[0], before[0]))
        state = before
