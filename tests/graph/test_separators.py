"""Separators against enumeration of all sets."""

import itertools

import networkx
import numpy as np
import pytest
from tests.oracles.chains import members, random_edges, separation_table

from tighter._errors import InputError
from tighter.graph import DAG


@pytest.mark.parametrize("seed", range(3))
def test_smallest_and_all_minimal_separators(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        num_nodes = int(rng.integers(3, 8))
        edges = random_edges(rng, num_nodes)
        dag, table = DAG(edges, range(num_nodes)), separation_table(edges, num_nodes)
        a, b, *others = rng.permutation(num_nodes).tolist()
        allowed = [node for node in others if seed == 0 or rng.random() < 0.7]
        held = [node for node in allowed if seed == 2 and rng.random() < 0.3]
        sets = [given for given in range(2**num_nodes) if set(members(given)) <= set(allowed)]
        right = [set(members(s)) for s in sets if table[a, b, s] and set(held) <= set(members(s))]
        minimal = {frozenset(s) for s in right if not any(other < s for other in right)}
        options = {} if seed == 0 else {"included": held, "restricted": allowed}
        assert set(dag.minimal_separators(a, b, **options)) == minimal
        smallest = dag.minimal_separator(a, b, **options)
        if not minimal:
            assert smallest is None
        else:
            assert smallest in minimal
            assert len(smallest) == min(map(len, minimal))


def test_smallest_separators_are_as_small_as_those_of_networkx():
    """Graphs in which a path found first stands in the way of others."""
    rng = np.random.default_rng(6)
    sizes = set()
    for _ in range(150):
        order = rng.permutation(16).tolist()
        edges = [pair for pair in itertools.combinations(order, 2) if rng.random() < 0.17]
        dag = DAG(edges, range(16))
        found = dag.minimal_separator(order[-1], order[-2])
        if found is None:
            continue
        assert dag.d_separated(order[-1], order[-2], found)
        above = dag.ancestors(order[-2:]) | set(order[-2:])
        moral = networkx.moral_graph(dag.to_networkx().subgraph(above))
        cut = networkx.minimum_node_cut(moral, order[-1], order[-2])
        assert len(found) == len(cut)
        sizes.add(len(cut))
    assert sizes >= {0, 1, 2, 3, 4}


def test_separators_of_sets():
    rng = np.random.default_rng(5)
    for _ in range(40):
        edges = random_edges(rng, 7)
        dag = DAG(edges, range(7))
        a, b, others = [0, 1], [2, 3], [4, 5, 6]
        subsets = [set(s) for k in range(4) for s in itertools.combinations(others, k)]
        right = [s for s in subsets if dag.d_separated(a, b, s)]
        minimal = {frozenset(s) for s in right if not any(other < s for other in right)}
        assert set(dag.minimal_separators(a, b)) == minimal
        smallest = dag.minimal_separator(a, b)
        assert smallest in minimal if minimal else smallest is None


def test_many_disjoint_paths_need_as_many_nodes():
    edges = [edge for i in range(50) for edge in (("a", i), (i, i + 100), (i + 100, "b"))]
    found = DAG(edges).minimal_separator("a", "b")
    assert found == set(range(50))  # those nearest to a
    dag = DAG.from_text("a -> m <- c; m -> n -> b; a -> k -> n")
    assert dag.minimal_separator("a", "b") == {"n"}
    assert dag.minimal_separator("a", "b", restricted=["m"]) is None


def test_included_must_be_restricted_too():
    dag = DAG.from_text("a -> b -> c")
    with pytest.raises(InputError, match="b is included and not in restricted"):
        dag.minimal_separator("a", "c", included="b", restricted=[])
