"""d-separation: walks over states (node, side that it was entered from), from both ends."""

from __future__ import annotations

from collections.abc import Iterable, Set

from tighter.graph.arcs import Arcs

_MANY = 20  # states for each node that is an end or given: more than it mostly has ancestors

# State 2v: node v, entered from a child (or where the walk starts); state 2v + 1: from a parent.


def open_path(arcs: Arcs, a: Set[int], b: Set[int], given: Set[int]) -> list[int] | None:
    """A path between a and b that `given` leaves open, or None: then a and b are d-separated.

    Two walks spread, from a and from b, the narrower one first, until they meet or one has nowhere
    to go. A state is entered once, so the time is linear in the arcs at worst, and most often far
    less. Nodes that lead neither to an end nor to what is given could be left out from the start;
    they are once so many states were entered that finding them out is worth it.

    Args:
        arcs: The graph.
        a: Nodes; none of them in b.
        b: Nodes.
        given: Nodes that are conditioned on; none of them in a or b.

    Returns:
        The nodes of a path from a to b, each once, with no inner node in a or b.

    References:
        Shachter, "Bayes-Ball: The rational pastime", 1998, sec. 3.
    """
    entered = tuple(dict.fromkeys((2 * node for node in ends), -1) for ends in (a, b))
    fronts = [list(states) for states in entered]
    relevant: Set[int] | None = None
    while fronts[0] and fronts[1]:
        if relevant is None and sum(map(len, entered)) > _MANY * (10 + len(given)):
            relevant = arcs.ancestors({*a, *b, *given})
        side = len(fronts[0]) > len(fronts[1])
        here, there = entered[side], entered[not side]
        front: list[int] = []
        for state in fronts[side]:
            for onward in _onward(arcs, state, given):
                if onward in here or (relevant is not None and onward >> 1 not in relevant):
                    continue
                here[onward] = state
                met = _meeting(onward, there, given)
                if met is not None:
                    ends = (_trail(onward, here), _trail(met, there))
                    return _path(ends[side][::-1] + ends[not side][1:])
                front.append(onward)
        fronts[side] = front
    return None


def reached(arcs: Arcs, a: Iterable[int], given: Set[int]) -> set[int]:
    """Every node that a path from a, open given `given`, comes to.

    That a node is given itself does not matter: it is reached if it is connected to a given the
    others of `given`.
    """
    states = {2 * node for node in a}
    waiting = list(states)
    while waiting:
        new = [state for state in _onward(arcs, waiting.pop(), given) if state not in states]
        states.update(new)
        waiting += new
    return {state >> 1 for state in states}


def _onward(arcs: Arcs, state: int, given: Set[int]) -> list[int]:
    """The states that come next: a given node turns back to its parents what came from one."""
    node, from_parent = state >> 1, state & 1
    if node in given:
        return [2 * parent for parent in arcs.parents(node)] if from_parent else []
    states = [2 * child + 1 for child in arcs.children(node)]
    return states if from_parent else states + [2 * parent for parent in arcs.parents(node)]


def _meeting(state: int, others: dict[int, int], given: Set[int]) -> int | None:
    """The other walk's state with which this one makes an open junction."""
    node, from_parent = state >> 1, state & 1
    if node in given:  # a collider: both come from parents
        return state if from_parent and state in others else None
    if 2 * node in others:
        return 2 * node
    return state + 1 if not from_parent and state + 1 in others else None


def _trail(state: int, entered: dict[int, int]) -> list[int]:
    """The nodes from this state back to where its walk started."""
    nodes = []
    while state >= 0:
        nodes.append(state >> 1)
        state = entered[state]
    return nodes


def _path(walk: list[int]) -> list[int]:
    """The walk without its loops; the rest is open.

    Where a loop is cut out at a node, the node either was passed, and still is; or it has become a
    collider, and then the loop had left it for a child and could come back only from a given node
    below. No other end is on the way: an end is where a walk starts, so that none goes past it.
    """
    places: dict[int, None] = {}
    for node in walk:
        if node in places:
            while next(reversed(places)) != node:
                places.popitem()
        places[node] = None
    return list(places)
