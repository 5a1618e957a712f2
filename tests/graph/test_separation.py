"""d-separation against its definition, against networkx and against linear-Gaussian models."""

import itertools

import networkx
import numpy as np
import pytest
from tests.oracles.chains import members, paths, questions, random_edges, separation_table

from tighter._errors import InputError
from tighter.graph import DAG


def random_dags(seed, number, largest=8):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        num_nodes = int(rng.integers(2, largest + 1))
        edges = random_edges(rng, num_nodes)
        yield rng, num_nodes, edges, DAG(edges, range(num_nodes))


def check_against_definition(seed, number, share_of_networkx):
    asked = compared = 0
    for rng, num_nodes, edges, dag in random_dags(seed, number):
        table = separation_table(edges, num_nodes)
        peer = networkx.DiGraph(edges)
        peer.add_nodes_from(range(num_nodes))
        for a, b, given in questions(num_nodes):
            answer = dag.d_separated(a, b, members(given))
            assert bool(answer) == table[a, b, given], (edges, a, b, members(given))
            asked += 1
            if not answer:
                witness = answer.witness
                assert witness.open
                assert (witness.nodes[0], witness.nodes[-1]) == (a, b)
                assert set(witness.arcs) <= set(edges)
                assert len(set(witness.nodes)) == len(witness.nodes)
            if rng.random() < share_of_networkx:
                compared += 1
                theirs = networkx.is_d_separator(peer, a, b, set(members(given)))
                assert bool(answer) == theirs
    return asked, compared


def test_definition_and_networkx():
    asked, compared = check_against_definition(0, 30, 0.03)
    assert asked > 5_000
    assert compared > 150


@pytest.mark.slow
def test_definition_and_networkx_on_many_graphs():
    asked, compared = check_against_definition(1, 2_000, 1.0)
    print(f"{asked} questions, {compared} of them to networkx as well")


def test_sets_against_networkx():
    for rng, num_nodes, edges, dag in random_dags(2, 80):
        peer = networkx.DiGraph(edges)
        peer.add_nodes_from(range(num_nodes))
        for _ in range(5):
            side = rng.integers(0, 4, num_nodes)
            a, b, given = ({int(node) for node in np.flatnonzero(side == i)} for i in range(3))
            if not a or not b:
                continue
            answer = dag.d_separated(a, b, given)
            assert bool(answer) == networkx.is_d_separator(peer, a, b, given)
            assert bool(answer) == all(path.blocked for path in answer.paths) or answer.more_paths
            witness = () if answer else (answer.witness,)
            for path in (*answer.paths, *witness):
                assert a.intersection(path.nodes) == {path.nodes[0]}
                assert b.intersection(path.nodes) == {path.nodes[-1]}


def test_paths_are_all_chains_shortest_first():
    for rng, num_nodes, edges, dag in random_dags(3, 40, largest=6):
        a, b = rng.choice(num_nodes, 2, replace=False).tolist()
        given = [node for node in range(num_nodes) if node not in (a, b) and rng.random() < 0.3]
        answer = dag.d_separated(a, b, given, max_paths=1000)
        found = [path.nodes for path in answer.paths]
        assert sorted(found) == sorted(tuple(path) for path in paths(edges, num_nodes, a, b))
        lengths = [len(path) for path in found]
        assert lengths == sorted(lengths)
        assert not answer.more_paths
        assert bool(answer) == all(path.blocked for path in answer.paths)
        if len(found) > 1:
            few = dag.d_separated(a, b, given, max_paths=1)
            assert few.more_paths
            assert [path.nodes for path in few.paths] == found[:1]


def test_a_path_says_what_each_node_does():
    dag = DAG.from_text("a -> b -> c <- d <- e -> f; c -> g -> h")
    (path,) = dag.d_separated("a", "f", ["h"]).paths
    assert str(path) == "a → b → c ← d ← e → f"
    kinds = [(junction.node, junction.kind, junction.blocks) for junction in path.junctions]
    assert kinds == [
        ("b", "chain", False),
        ("c", "collider", False),
        ("d", "chain", False),
        ("e", "fork", False),
    ]
    assert path.junctions[1].descendant == "h"
    (path,) = dag.d_separated("a", "f", ["b", "e"]).paths
    assert [junction.node for junction in path.blocking] == ["b", "c", "e"]
    assert path.arcs == (("a", "b"), ("b", "c"), ("d", "c"), ("e", "d"), ("e", "f"))


def test_many_states_leave_out_what_does_not_matter():
    """Graphs large enough that nodes below all that is asked about are left out on the way."""
    rng = np.random.default_rng(7)
    for _ in range(12):
        order = rng.permutation(400).tolist()
        pairs = np.sort(rng.integers(0, 400, size=(700, 2)), axis=1).tolist()
        dag = DAG([(order[x], order[y]) for x, y in pairs if x != y], range(400))
        peer = dag.to_networkx()
        for number in (0, 1, 2, 4):
            a, b, *given = rng.choice(400, number + 2, replace=False).tolist()
            answer = dag.d_separated(a, b, given)
            assert bool(answer) == networkx.is_d_separator(peer, a, b, set(given))
            assert answer or answer.witness.open


def test_proofs():
    # Bishop's figure 8.22: a -> e <- f -> b, e -> c.
    dag = DAG.from_text("a -> e <- f -> b; e -> c")
    assert str(dag.d_separated("a", "b", "c")) == (
        "a ⊥̸ b | c: a and b are d-connected given c: a path between them is open.\n"
        "  a → e ← f → b: open at e, where a collider above c, which is given, lets through; "
        "at f, where a fork that is not given lets through.\n"
        "So they can depend on each other given c."
    )
    assert str(dag.d_separated("a", "b", "f")) == (
        "a ⊥ b | f: a and b are d-separated given f: the one path between them is blocked.\n"
        "  1. a → e ← f → b: blocked at e, "
        "where a collider blocks while neither it nor a descendant is given.\n"
        "So they are independent given f, whatever the conditional distributions."
    )
    alone = DAG([], ["x", "y"]).d_separated("x", "y")
    assert str(alone).endswith("d-separated given nothing: no path joins them.")
    edge = DAG([("x", "y")]).d_separated("x", "y")
    assert "x → y: open: nothing blocks an edge." in str(edge)
    complete = DAG(itertools.combinations(range(8), 2))
    assert complete.d_separated(0, 7).more_paths
    many = DAG([(0, i) for i in range(1, 21)] + [(i, 21) for i in range(1, 21)])
    proof = str(many.d_separated(0, 21, range(1, 21)))
    assert "each of 20 paths" in proof
    assert proof.count("\n") == 14
    assert "  … and longer ones, blocked too.\n" in proof
    assert "each of more than 5 paths" in str(many.d_separated(0, 21, range(1, 21), max_paths=5))


def test_linear_gaussian_models():
    """Zero partial correlations, and no others for coefficients in general position."""
    for rng, num_nodes, edges, dag in random_dags(4, 20, largest=6):
        coefficients = np.zeros((num_nodes, num_nodes))
        for parent, child in edges:
            coefficients[child, parent] = rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
        mixing = np.linalg.inv(np.eye(num_nodes) - coefficients)
        covariance = mixing * rng.uniform(0.5, 2.0, num_nodes) @ mixing.T
        for a, b, given in questions(num_nodes):
            kept = [a, b, *members(given)]
            precision = np.linalg.inv(covariance[np.ix_(kept, kept)])
            correlation = precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
            # Rounding is of order 1e-13 here; a generic correlation so small has odds of 1e-8.
            assert (abs(correlation) < 1e-10) == bool(dag.d_separated(a, b, members(given)))


def test_known_traps():
    # networkx#6216: {D} was taken for a separator of C and F.
    dag = DAG([tuple(edge) for edge in ("AB", "AE", "BC", "BD", "DC", "DF", "ED", "EF")])
    assert not dag.d_separated("C", "F", "D")
    assert not dag.d_separated("C", "F")
    found = set(dag.minimal_separators("C", "F"))
    assert frozenset("D") not in found
    assert found == {frozenset("BD"), frozenset("DE")}
    # networkx#6994: sets that overlap were separated, and so were neighbors.
    with pytest.raises(InputError, match="A is in a and in b at once"):
        dag.d_separated({"A", "B"}, {"A"}, set())
    with pytest.raises(InputError, match="A is in a and in given"):
        dag.d_separated("A", "F", "A")
    assert dag.minimal_separator("A", "B") is None
    assert list(dag.minimal_separators("A", "B")) == []
    assert not dag.d_separated("A", "B", ["E"])
    # pgmpy#2354: {A, B} was given where C alone separates.
    dag = DAG([("A", "X"), ("A", "B"), ("B", "X"), ("C", "B"), ("C", "Y")])
    assert dag.minimal_separator("X", "Y") == {"C"}


def test_shielded_collider_and_its_descendants():
    # A collider whose parents are joined, and one opened from far below.
    shielded = DAG.from_text("a -> c <- b; a -> b; c -> d")
    assert not shielded.d_separated("a", "b", "c")
    chain = DAG([("a", 0), ("b", 0), *itertools.pairwise(range(300))])
    assert chain.d_separated("a", "b")
    answer = chain.d_separated("a", "b", 299)
    assert not answer
    assert answer.witness.junctions[0].descendant == 299


@pytest.mark.parametrize("a", ["f", "b"])
def test_symmetry_of_the_witness(a):
    dag = DAG.from_text("a -> e <- f -> b; e -> c")
    assert dag.d_separated("a", a, "c").witness.nodes == tuple(
        reversed(dag.d_separated(a, "a", "c").witness.nodes)
    )
