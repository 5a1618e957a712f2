"""d-separation: seconds to build a graph and to answer, bytes an edge, beside networkx and pgmpy.

uv run python -m benchmarks.d_separation [--nodes 100000] [--degree 4] [--queries 200]
    [--large 1000000] [--pgmpy PYTHON]   (an interpreter that has pgmpy)

Random graphs: each pair of nodes is joined with one probability, from the earlier to the later in a
random order. A query has random a, b and nodes given: 0, 3 or 30 of them, a hundredth and a tenth
of all. networkx and pgmpy answer fewer of the same queries, as each takes long.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np

from tighter.graph import DAG

Query = tuple[int, int, set[int]]

PEER = """
import json, sys, time
from pgmpy.base import DAG
number, edges, queries = json.load(sys.stdin)
start = time.perf_counter()
dag = DAG([tuple(edge) for edge in edges])
dag.add_nodes_from(range(number))
built = time.perf_counter() - start
seconds, answers = [], []
for a, b, given in queries:
    start = time.perf_counter()
    answers.append(not dag.is_dconnected(a, b, observed=given))
    seconds.append(time.perf_counter() - start)
print(json.dumps([built, seconds, answers]))
"""


def random_edges(rng: np.random.Generator, num_nodes: int, degree: float) -> list[tuple[int, int]]:
    """Edges of a random graph with a mean degree (parents and children)."""
    number = int(num_nodes * degree / 2)
    pairs = rng.integers(0, num_nodes, size=(number + number // 50 + 10, 2))
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)[:number]
    names = rng.permutation(num_nodes)
    return [(x, y) for x, y in names[pairs].tolist()]


def random_queries(
    rng: np.random.Generator, num_nodes: int, num_given: int, number: int
) -> list[Query]:
    """Two nodes and others that are given."""
    found = []
    for _ in range(number):
        a, b, *given = rng.choice(num_nodes, size=num_given + 2, replace=False).tolist()
        found.append((a, b, set(given)))
    return found


def timed(answer: Callable[[Query], bool], queries: list[Query]) -> tuple[list[float], list[bool]]:
    """Seconds of each query, and the answers."""
    seconds, answers = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(answer(query))
        seconds.append(time.perf_counter() - start)
    return seconds, answers


def shown(name: str, seconds: list[float], note: str = "") -> None:
    milliseconds = [1000 * second for second in seconds]
    print(
        f"  {name:9s} median {statistics.median(milliseconds):9.3f} ms, 95 % "
        f"below {np.quantile(milliseconds, 0.95):9.3f}, longest {max(milliseconds):9.3f} {note}"
    )


def query_times(num_nodes: int, degree: float, number: int, pgmpy: str | None) -> None:
    rng = np.random.default_rng(0)
    edges = random_edges(rng, num_nodes, degree)
    dag = DAG(edges, range(num_nodes))
    peer = networkx.DiGraph(edges)
    peer.add_nodes_from(range(num_nodes))
    # A collection of garbage passes over every object that there is; no query makes any that stay.
    gc.collect()
    gc.freeze()
    for num_given in (0, 3, 30, num_nodes // 100, num_nodes // 10):
        queries = random_queries(rng, num_nodes, num_given, number)
        few = queries[:5]
        print(f"{num_nodes} nodes, {len(edges)} edges, {num_given} given:")
        seconds, answers = timed(lambda q: bool(dag.d_separated(*q)), queries)
        shown("tighter", seconds, f"({sum(answers)} of {number} separated)")
        theirs, others = timed(lambda q: networkx.is_d_separator(peer, {q[0]}, {q[1]}, q[2]), few)
        assert others == answers[: len(few)]
        shown("networkx", theirs)
        if pgmpy and num_given == 3:  # it takes long to build
            built, theirs, others = pgmpy_times(pgmpy, num_nodes, edges, few)
            assert others == answers[: len(few)]
            shown("pgmpy", theirs, f"(built in {built:.1f} s)")


def pgmpy_times(
    python: str, num_nodes: int, edges: list[tuple[int, int]], queries: list[Query]
) -> Any:
    given = json.dumps([num_nodes, edges, [(a, b, sorted(nodes)) for a, b, nodes in queries]])
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PEER],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def building(num_nodes: int, degree: float, *, words: bool) -> None:
    edges: list = random_edges(np.random.default_rng(1), num_nodes, degree)
    nodes: Any = range(num_nodes)
    if words:
        nodes = [f"node {name}" for name in nodes]
        edges = [(nodes[x], nodes[y]) for x, y in edges]
    start = time.perf_counter()
    dag = DAG(edges, nodes)
    seconds = time.perf_counter() - start
    number = len(dag._graph.arcs.child_rows)
    del dag
    gc.collect()
    tracemalloc.start()
    dag = DAG(edges, nodes)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"{num_nodes} nodes named by {'words' if words else 'numbers'}, {number} edges: built in "
        f"{seconds:.2f} s, {kept / number:.0f} bytes an edge kept, {peak / number:.0f} at most "
        "while building"
    )
    queries = [
        (nodes[a], nodes[b], {nodes[node] for node in given})
        for a, b, given in random_queries(np.random.default_rng(2), num_nodes, 3, 200)
    ]
    shown("tighter", timed(lambda q: bool(dag.d_separated(*q)), queries)[0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--degree", type=float, default=4.0)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--pgmpy")
    arguments = parser.parse_args()
    query_times(arguments.nodes, arguments.degree, arguments.queries, arguments.pgmpy)
    for words in (False, True):
        building(arguments.large, arguments.degree, words=words)


if __name__ == "__main__":
    main()
