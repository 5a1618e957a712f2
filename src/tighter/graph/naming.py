"""A graph's nodes by name, as its users speak of them, and by number, as its algorithms do."""

from __future__ import annotations

import difflib
import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tighter._errors import InputError
from tighter.graph.arcs import Arcs, CycleError, arcs_between

_SHOWN = 12  # names in a message


@dataclass(frozen=True, eq=False)
class Named:
    """Arcs, and the names of the nodes that they join.

    Attributes:
        arcs: Between numbers.
        names: The name of each number.
        index: The number of each name.
        labels: What some nodes are called besides, by name.
    """

    arcs: Arcs
    names: Sequence[Hashable]
    index: dict[Hashable, int]
    labels: Mapping[Hashable, Hashable]

    def edges(self) -> list[tuple[Hashable, Hashable]]:
        """Every edge (parent, child)."""
        return [(self.names[tail], self.names[head]) for tail, head in self.arcs.pairs()]

    def set_of(self, numbers: Iterable[int]) -> frozenset[Hashable]:
        """The names of numbers, without order."""
        return frozenset([self.names[number] for number in numbers])

    def tuple_of(self, numbers: Iterable[int]) -> tuple[Hashable, ...]:
        """The names of numbers, in their order."""
        return tuple([self.names[number] for number in numbers])

    def number(self, node: Hashable, what: str = "") -> int:
        """The number of a node; `what` it is, for the error."""
        try:
            found = [self.index[node]] if node in self.index else []
            found += self._labeled.get(node, [])
        except TypeError:  # a list or a set, which is no node
            found = []
        if not found:
            raise self._unknown(node, what)
        if len(found) > 1:
            listed = " and ".join(repr(self.names[number]) for number in found[:_SHOWN])
            raise InputError(
                f"{node} may be any of {len(found)} nodes, {listed}, by name or label: give them "
                "labels of their own"
            )
        return found[0]

    def __contains__(self, node: Hashable) -> bool:
        return node in self.index or node in self._labeled

    @cached_property
    def _labeled(self) -> dict[Hashable, list[int]]:
        """The numbers of what has a label that is not its name."""
        labeled: dict[Hashable, list[int]] = defaultdict(list)
        for name, label in self.labels.items():
            if label != name:
                labeled[label].append(self.index[name])
        return dict(labeled)

    def numbers(self, nodes: Any, what: str = "") -> list[int]:
        """The numbers of a node or several, each once, in the graph's order.

        Args:
            nodes: A node; if it is none, an iterable of nodes.
            what: What the nodes are, for the error.
        """
        try:
            if nodes in self:
                return [self.number(nodes, what)]
        except TypeError:  # a list or a set, which is no node
            pass
        if isinstance(nodes, str) or not isinstance(nodes, Iterable):
            raise self._unknown(nodes, what)
        try:
            if not self.labels:
                return sorted({self.index[node] for node in nodes})
        except (KeyError, TypeError):
            pass
        return sorted({self.number(node, what) for node in nodes})

    def sides(
        self, a: Any, b: Any, given: Any, what: str = "given"
    ) -> tuple[list[int], list[int], list[int]]:
        """The numbers of three sets with no node in common, the first two not empty.

        Args:
            a: The first.
            b: The second.
            given: The third.
            what: What the third is, for the error.
        """
        names = ("a", "b", what)
        numbers = {
            name: self.numbers(side, name) for name, side in zip(names, (a, b, given), strict=True)
        }
        for name in names[:2]:
            if not numbers[name]:
                raise InputError(f"{name} has no nodes: name one at least")
        for one, other in itertools.combinations(names, 2):
            both = set(numbers[one]).intersection(numbers[other])
            if both:
                raise InputError(
                    f"{self._listed(both)} in {one} and in {other} at once: "
                    f"a, b and {what} have no node in common"
                )
        return numbers["a"], numbers["b"], numbers[what]

    def cut(
        self, a: Any, b: Any, included: Any, restricted: Any
    ) -> tuple[set[int], set[int], set[int], set[int]]:
        """Two sides, what a separator of them must hold, and what it may."""
        ends, others, held = map(set, self.sides(a, b, included, "included"))
        if restricted is None:
            allowed = set(range(len(self.names)))
        else:
            allowed = set(self.numbers(restricted, "restricted"))
        if held - allowed:
            raise InputError(
                f"{self._listed(held - allowed)} included and not in restricted: name it in both"
            )
        return ends, others, held, allowed - ends - others

    def partition(self, latents: Any, observed: Any) -> tuple[list[int], list[int]]:
        """Latent and observed nodes, which are all nodes."""
        hidden, seen = self.numbers(latents, "latents"), self.numbers(observed, "observed")
        both = set(hidden) & set(seen)
        if both:
            raise InputError(f"{self._listed(both)} both latent and observed: choose one")
        neither = set(range(len(self.names))) - {*hidden, *seen}
        if neither:
            raise InputError(
                f"{self._listed(neither)} neither latent nor observed: every node is one of them"
            )
        return hidden, seen

    def _listed(self, numbers: set[int]) -> str:
        """Names for the beginning of a sentence, with the verb."""
        names = [str(self.names[number]) for number in sorted(numbers)]
        if len(names) == 1:
            return f"{names[0]} is"
        more = " …" if len(names) > _SHOWN else ""
        return f"{', '.join(names[:_SHOWN])}{more} are"

    def _unknown(self, node: Any, what: str) -> InputError:
        names = [str(name) for name in (*self.names, *self.labels.values())]
        near = difflib.get_close_matches(str(node), names[:10_000], n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        more = f", … {len(names)} in all" if len(names) > _SHOWN else ""
        where = f", in {what}" if what else ""
        known = f"(there are: {', '.join(names[:_SHOWN])}{more})" if names else "(there are none)"
        text = " ".join(str(node).split())
        return InputError(f"there is no node {text:.60}{where}{hint} {known}")


def named(
    edges: Iterable[Any], nodes: Iterable[Any], labels: Mapping[Hashable, Hashable] = {}
) -> Named:
    """A graph from pairs of names, and labels by name.

    Raises:
        InputError: If an edge is no pair, a name can't be hashed, a label is of no node, or there
            is a cycle.
    """
    if isinstance(edges, str):
        raise InputError(
            f"edges are pairs (parent, child), got a text: DAG.from_text({edges!r:.60})"
        )
    for what, given in (("edges are pairs (parent, child)", edges), ("nodes are several", nodes)):
        if not isinstance(given, Iterable):
            raise InputError(f"{what}, got {given!r:.60}")
    nodes = (nodes,) if isinstance(nodes, str) else nodes
    # A million edges take a few passes, none of which is a loop of Python's own.
    pairs = edges.tolist() if isinstance(edges, np.ndarray) else list(edges)
    kinds = set(map(type, pairs))
    if not all(issubclass(kind, tuple | list) for kind in kinds) or set(map(len, pairs)) - {2}:
        strange = next(e for e in pairs if not isinstance(e, tuple | list) or len(e) != 2)
        raise InputError(f"an edge is a pair (parent, child), got {strange!r:.60}")
    try:
        index, numbers = _numbered([*nodes, *itertools.chain.from_iterable(pairs)])
    except TypeError as error:
        raise InputError(f"a node must be hashable: {error}") from None
    names = list(index)
    numbers = numbers[len(numbers) - 2 * len(pairs) :]
    try:
        arcs = arcs_between(numbers[::2], numbers[1::2], len(names))
    except CycleError as error:
        cycle = [str(names[node]) for node in error.cycle]
        shown = cycle if len(cycle) <= _SHOWN else [*cycle[: _SHOWN - 1], "…", cycle[-1]]
        if len(cycle) == 1:
            raise InputError(
                f"{cycle[0]} has an edge to itself: take {cycle[0]} -> {cycle[0]} out"
            ) from None
        raise InputError(
            f"the edges form a cycle, {' -> '.join([*shown, cycle[0]])}: take one of them out"
        ) from None
    if strange := [node for node in labels if node not in index]:
        raise InputError(f"a label is of a node, and there is no node {strange[0]!r:.60}")
    return Named(arcs, names, index, dict(labels))


def _numbered(nodes: list[Any]) -> tuple[dict[Any, int], NDArray[np.int64]]:
    """A number for each name, in the order of their first places; and those of all the nodes."""
    if set(map(type, nodes)) == {int}:
        low, high = min(nodes), max(nodes)
        # A table costs a tenth of looking each up.
        if high - low <= 4 * len(nodes) and max(-low, high) < 2**62:
            values = np.array(nodes, np.int64) - low
            first = np.full(high - low + 1, len(values))
            first[values[::-1]] = np.arange(len(values))[::-1]  # the last one written stays
            places = np.sort(first[first < len(values)])
            table = np.empty(high - low + 1, np.int64)
            table[values[places]] = np.arange(len(places))
            names = (values[places] + low).tolist()
            return dict(zip(names, range(len(names)), strict=True)), table[values]
    index: dict[Any, int] = defaultdict(itertools.count().__next__)
    numbers = np.fromiter(map(index.__getitem__, nodes), np.int64, len(nodes))
    return dict(index), numbers
