"""d-separation by its definition: every chain of a small graph, and every set that may be given."""

import itertools
from collections.abc import Iterator

import numpy as np


def random_edges(rng: np.random.Generator, num_nodes: int) -> list[tuple[int, int]]:
    """The edges of a random graph, of any density, whose numbers are in no special order."""
    density = rng.uniform(0.1, 0.8)
    names = rng.permutation(num_nodes).tolist()
    pairs = itertools.combinations(names, 2)
    return [pair for pair in pairs if rng.random() < density]


def paths(edges: list[tuple[int, int]], num_nodes: int, a: int, b: int) -> Iterator[list[int]]:
    """Every chain from a to b."""
    beside = {node: set() for node in range(num_nodes)}
    for x, y in edges:
        beside[x].add(y)
        beside[y].add(x)
    waiting = [[a]]
    while waiting:
        path = waiting.pop()
        if path[-1] == b:
            yield path
        else:
            waiting += [[*path, node] for node in beside[path[-1]] if node not in path]


def separation_table(edges: list[tuple[int, int]], num_nodes: int) -> np.ndarray:
    """[a, b, given]: is every chain blocked? `given` is a set of nodes as a number in binary."""
    arcs = set(edges)
    below = _descendants(edges, num_nodes)
    given = np.arange(2**num_nodes)
    table = np.ones((num_nodes, num_nodes, len(given)), bool)
    for a, b in itertools.combinations(range(num_nodes), 2):
        for path in paths(edges, num_nodes, a, b):
            blocked = np.zeros(len(given), bool)
            for left, node, right in zip(path, path[1:], path[2:], strict=False):
                if (left, node) in arcs and (right, node) in arcs:
                    blocked |= given & below[node] == 0
                else:
                    blocked |= given >> node & 1 == 1
            table[a, b] &= blocked
        table[b, a] = table[a, b]
    return table


def questions(num_nodes: int) -> Iterator[tuple[int, int, int]]:
    """Every (a, b, given), a < b, with a and b not given."""
    for a, b in itertools.combinations(range(num_nodes), 2):
        for given in range(2**num_nodes):
            if not given & (1 << a | 1 << b):
                yield a, b, given


def members(given: int) -> list[int]:
    """The nodes of a set that is written in binary."""
    return [node for node in range(given.bit_length()) if given >> node & 1]


def _descendants(edges: list[tuple[int, int]], num_nodes: int) -> list[int]:
    """Each node and what it leads to, in binary."""
    below = [1 << node for node in range(num_nodes)]
    for _ in range(num_nodes):
        for x, y in edges:
            below[x] |= below[y]
    return below
