"""Equivalence classes against all graphs with the same statements; moral graphs; bases."""

import itertools

import networkx
import numpy as np
import pytest
from tests.oracles.chains import members, questions, random_edges, separation_table

from tighter._errors import InputError
from tighter.graph import DAG, Independence


def all_dags(num_nodes):
    pairs = list(itertools.combinations(range(num_nodes), 2))
    for choice in itertools.product((0, 1, 2), repeat=len(pairs)):
        edges = [
            pair if way == 1 else pair[::-1] for pair, way in zip(pairs, choice, strict=True) if way
        ]
        try:
            yield DAG(edges, range(num_nodes))
        except InputError:
            continue


def test_classes_by_enumeration():
    classes: dict[bytes, list[DAG]] = {}
    for dag in all_dags(4):
        classes.setdefault(separation_table(list(dag.edges), 4).tobytes(), []).append(dag)
    assert sum(map(len, classes.values())) == 543  # labeled graphs of four nodes
    assert len(classes) == 185  # Gillispie & Perlman 2002, table 1
    for same in classes.values():
        shared = set.intersection(*(set(dag.edges) for dag in same))
        skeleton = {frozenset(edge) for edge in same[0].edges}
        for dag in same:
            found = dag.equivalence_class()
            assert set(found.directed) == shared
            assert {frozenset(e) for e in found.directed + found.undirected} == skeleton
            assert dag.is_equivalent_to(same[0])
    one, *others = [same[0] for same in classes.values()]
    assert not any(one.is_equivalent_to(other) for other in others)


def test_compelled_arrows_of_five_and_six_nodes():
    """Meek's third rule needs four nodes; random graphs of more, against covered edges."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        dag = DAG(random_edges(rng, 6), range(6))
        # An edge is reversible if some sequence of reversals of covered edges reverses it.
        seen, waiting, reversible = {dag}, [dag], set()
        while waiting:
            graph = waiting.pop()
            for x, y in graph.edges:
                if graph.parents(y) == graph.parents(x) | {x}:
                    reversible.add(frozenset((x, y)))
                    other = DAG([e for e in graph.edges if e != (x, y)] + [(y, x)], range(6))
                    if other not in seen:
                        seen.add(other)
                        waiting.append(other)
        assert {frozenset(edge) for edge in dag.equivalence_class().undirected} == reversible
        if len(seen) > 300:
            break


def test_moral_graph_and_blanket_against_networkx():
    rng = np.random.default_rng(1)
    for _ in range(30):
        num_nodes = int(rng.integers(2, 9))
        dag = DAG(random_edges(rng, num_nodes), range(num_nodes))
        peer = networkx.moral_graph(dag.to_networkx())
        assert {frozenset(e) for e in dag.moralize()} == {frozenset(e) for e in peer.edges}
        for node in dag.nodes:
            assert dag.ancestors(node) == networkx.ancestors(dag.to_networkx(), node)
            assert dag.descendants(node) == networkx.descendants(dag.to_networkx(), node)
            rest = set(dag.nodes) - {node}
            blanket = dag.markov_blanket(node)
            assert not rest - blanket or dag.d_separated(node, rest - blanket, blanket)
            for other in blanket:
                assert not dag.d_separated(node, other, blanket - {other})


def test_pairwise_statements_are_all_there_are():
    rng = np.random.default_rng(2)
    for _ in range(10):
        num_nodes = int(rng.integers(2, 6))
        edges = random_edges(rng, num_nodes)
        table = separation_table(edges, num_nodes)
        expected = {
            ((a,), (b,), tuple(members(given)))
            for a, b, given in questions(num_nodes)
            if table[a, b, given]
        }
        found = DAG(edges, range(num_nodes)).independencies(pairwise=True)
        assert {(s.a, s.b, s.given) for s in found} == expected
        assert len(found) == len(expected)


def test_a_basis_fixes_the_graph_and_has_nothing_to_spare():
    """The statements hold, and a graph that lacks one more edge's worth of them is another."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        edges = random_edges(rng, 6)
        dag = DAG(edges, range(6))
        basis = dag.independencies()
        assert len({statement.a for statement in basis}) == len(basis) <= 5
        for statement in basis:
            assert dag.d_separated(statement.a, statement.b, statement.given)
            assert set(statement.given) == dag.parents(statement.a[0])
            # An edge from a node that it names would break this statement and no other.
            more = DAG([*edges, (statement.b[0], statement.a[0])], range(6))
            broken = [s for s in basis if not more.d_separated(s.a, s.b, s.given)]
            assert statement in broken
        # All pairs that no edge joins are told apart by the basis alone.
        named = {frozenset((s.a[0], other)) for s in basis for other in s.b}
        every = {frozenset(pair) for pair in itertools.combinations(range(6), 2)}
        assert named == every - {frozenset(edge) for edge in edges}


def test_statements_as_text():
    dag = DAG.from_text("z -> x; z -> y")
    assert [str(statement) for statement in dag.independencies()] == ["y ⊥ x | z"]
    assert str(Independence(("a", "b"), ("c",), ())) == "a, b ⊥ c"
    assert str(dag.equivalence_class()) == "z -- x; z -- y"
    with pytest.raises(InputError, match="pass max_given"):
        DAG([], range(13)).independencies(pairwise=True)
    assert len(DAG([], range(13)).independencies(pairwise=True, max_given=0)) == 78
