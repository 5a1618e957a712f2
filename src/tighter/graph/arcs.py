"""A graph's arcs between numbered nodes, in compressed rows: what all algorithms here walk over."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

_BROAD = 1_000  # nodes in a level that are worth a pass over all nodes


class CycleError(ValueError):
    """The arcs form a cycle."""

    def __init__(self, cycle: list[int]) -> None:
        super().__init__(f"a cycle: {cycle}")
        self.cycle = cycle


@dataclass(frozen=True, eq=False)
class Arcs:
    """Parents and children of the nodes 0 … n − 1 of a directed acyclic graph.

    Rows are memory views of 32-bit numbers: 8 bytes an arc and 12 a node, and elements come out as
    Python's own integers, which numpy's do not.

    Attributes:
        num_nodes: n.
        order: The nodes, parents before children.
        parent_starts: Where each node's row of `parent_rows` begins; n + 1 of them.
        parent_rows: Parents of node 0, of node 1, …
        child_starts: Where each node's row of `child_rows` begins.
        child_rows: Children of node 0, of node 1, …
    """

    num_nodes: int
    order: memoryview
    parent_starts: memoryview
    parent_rows: memoryview
    child_starts: memoryview
    child_rows: memoryview

    @property
    def num_arcs(self) -> int:
        """How many arcs there are."""
        return len(self.child_rows)

    def parents(self, node: int) -> list[int]:
        """The parents of a node."""
        return self.parent_rows[self.parent_starts[node] : self.parent_starts[node + 1]].tolist()

    def children(self, node: int) -> list[int]:
        """The children of a node."""
        return self.child_rows[self.child_starts[node] : self.child_starts[node + 1]].tolist()

    def neighbors(self, node: int) -> list[int]:
        """Parents and children of a node."""
        return self.parents(node) + self.children(node)

    def ancestors(self, nodes: Iterable[int]) -> set[int]:
        """The nodes and all that lead to them."""
        return _closure(nodes, self.parents)

    def descendants(self, nodes: Iterable[int]) -> set[int]:
        """The nodes and all that they lead to."""
        return _closure(nodes, self.children)

    def nearest_below(self, node: int, wanted: Set[int]) -> int | None:
        """A wanted descendant with the fewest arcs on the way to it, or None."""
        entered, front = {node}, [node]
        while front:
            onward = []
            for child in (child for upper in front for child in self.children(upper)):
                if child in wanted:
                    return child
                if child not in entered:
                    entered.add(child)
                    onward.append(child)
            front = onward
        return None

    def pairs(self) -> list[tuple[int, int]]:
        """Every arc (parent, child)."""
        tails = np.repeat(np.arange(self.num_nodes), np.diff(self.child_starts))
        return list(zip(tails.tolist(), self.child_rows.tolist(), strict=True))


def arcs_between(tails: Numbers, heads: Numbers, num_nodes: int) -> Arcs:
    """Arcs from tails to heads; what is named twice counts once.

    Args:
        tails: The parent of each arc.
        heads: The child of each arc.
        num_nodes: Nodes are 0 … num_nodes − 1.

    Raises:
        CycleError: If there is a directed cycle (a loop at one node, too).
    """
    codes = np.sort(tails * num_nodes + heads)  # by tail, then by head
    codes = codes[np.diff(codes, prepend=-1) > 0]
    first, last = np.divmod(codes, max(num_nodes, 1)) if len(codes) else (codes, codes)
    first, last = first.astype(np.int32), last.astype(np.int32)
    child_starts, parent_starts = _starts(first, num_nodes), _starts(last, num_nodes)
    parents = first[np.argsort(last, kind="stable")]
    order = _order(first, last, child_starts, parent_starts, parents)
    rows: Any = (order, parent_starts, parents, child_starts, last)
    return Arcs(num_nodes, *(memoryview(row) for row in rows))


def _starts(ends: Any, num_nodes: int) -> Any:
    counts = np.bincount(ends, minlength=num_nodes)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _order(first: Any, last: Any, child_starts: Any, parent_starts: Any, parents: Any) -> Any:
    """Parents before children; the numbers' own order where that will do."""
    num_nodes = len(child_starts) - 1
    if np.all(first < last):
        return np.arange(num_nodes, dtype=np.int32)
    waiting = np.diff(parent_starts)
    front = np.flatnonzero(waiting == 0)
    levels = [front]
    while len(front) > _BROAD:  # whole levels at once, while they have many nodes
        children = last[_places(child_starts, front)]
        waiting -= np.bincount(children, minlength=num_nodes).astype(np.int32)
        front = np.unique(children[waiting[children] == 0])
        levels.append(front)
    order, number = np.concatenate(levels).tolist(), len(front)
    waiting, starts, rows = waiting.tolist(), child_starts.tolist(), last.tolist()
    for node in itertools.islice(order, len(order) - number, None):  # order grows as it is read
        for child in rows[starts[node] : starts[node + 1]]:
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    if len(order) < num_nodes:
        raise CycleError(_cycle(waiting, parent_starts, parents))
    return np.array(order, np.int32)


def _places(starts: Any, nodes: Any) -> Any:
    """The places of the nodes' rows, one row after the other."""
    lengths = starts[nodes + 1] - starts[nodes]
    shifts = starts[nodes] - np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())


def _cycle(waiting: list[int], parent_starts: Any, parents: Any) -> list[int]:
    """A cycle among nodes that still wait, each of which has a parent that does."""
    node = next(node for node, number in enumerate(waiting) if number)
    trail: dict[int, None] = {}
    while node not in trail:
        trail[node] = None
        row = parents[parent_starts[node] : parent_starts[node + 1]].tolist()
        node = next(parent for parent in row if waiting[parent])
    upward = list(trail)
    cycle = upward[upward.index(node) :][::-1]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


def _closure(nodes: Iterable[int], onward: Any) -> set[int]:
    closed = set(nodes)
    waiting = list(closed)
    while waiting:
        new = [node for node in onward(waiting.pop()) if node not in closed]
        closed.update(new)
        waiting += new
    return closed
