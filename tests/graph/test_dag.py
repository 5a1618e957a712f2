"""Graphs from edges and from text, back to text, and what is no graph."""

import copy
import itertools
import pickle
import subprocess
import sys

import networkx
import numpy as np
import pytest
from tests.oracles.chains import random_edges

from tighter._errors import InputError
from tighter.graph import DAG, Plate


def test_edges_and_nodes():
    dag = DAG([("z", "x"), ("z", "y"), ("z", "x")], nodes=("y", "w"))
    assert dag.nodes == ("y", "w", "z", "x")
    assert set(dag.edges) == {("z", "x"), ("z", "y")}
    assert len(dag) == 4
    assert "w" in dag
    assert dag.parents("x") == {"z"}
    assert dag.children("z") == {"x", "y"}
    assert dag.ancestors(["x", "w"]) == {"z"}
    assert dag.topological_order.index("z") < dag.topological_order.index("y")
    assert repr(dag) == "DAG([('z', 'y'), ('z', 'x')], nodes=['w'])"
    assert dag == DAG([("z", "y"), ("z", "x")], nodes="w")
    assert hash(dag) == hash(DAG([("z", "y"), ("z", "x")], nodes="w"))
    assert dag != DAG([("z", "y"), ("z", "x")])
    assert len(DAG([])) == 0


def test_nodes_of_any_kind():
    dag = DAG([(("z", 0), 1), (1, "x"), (10**30, "x"), (None, 1)])
    assert dag.d_separated(("z", 0), "x", 1)
    assert not dag.d_separated(("z", 0), 10**30, ["x"])
    numbers = DAG([(7, -2), (3, 7)], nodes=[5])
    assert numbers.nodes == (5, 7, -2, 3)
    assert numbers.parents(7) == {3}
    assert DAG([(10**6, 3), (3, 5)]).nodes == (10**6, 3, 5)
    assert DAG([(10**30, 10**30 + 1)]).parents(10**30 + 1) == {10**30}
    from_array = DAG(np.array([[0, 1], [1, 2]]))
    assert from_array.d_separated(0, 2, 1)


def test_a_graph_does_not_change():
    dag = DAG([("z", "x")])
    for name in ("nodes", "edges", "anything", "_graph"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(dag, name, ())
    assert copy.deepcopy(dag) == dag
    assert pickle.loads(pickle.dumps(dag)) == dag


def test_random_cycles_are_shown():
    rng = np.random.default_rng(0)
    for _ in range(20):
        edges = random_edges(rng, 7)
        order = list(networkx.topological_sort(networkx.DiGraph(edges))) if edges else []
        back = [(y, x) for i, x in enumerate(order) for y in order[i + 1 :]]
        closing = [e for e in back if networkx.has_path(networkx.DiGraph(edges), e[1], e[0])]
        if not closing:
            continue
        x, y = closing[int(rng.integers(len(closing)))]
        with pytest.raises(InputError) as caught:
            DAG([*edges, (x, y)])
        shown = str(caught.value).split("cycle, ")[1].split(":")[0].split(" -> ")
        cycle = [int(node) for node in shown]
        assert cycle[0] == cycle[-1]
        assert set(itertools.pairwise(cycle)) <= {*edges, (x, y)}
        assert len(set(cycle)) == len(cycle) - 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DAG([("a", "b"), ("b", "c"), ("c", "a")]), "cycle, a -> b -> c -> a: take one"),
        (lambda: DAG([("a", "a")]), "a has an edge to itself: take a -> a out"),
        (lambda: DAG(["ab"]), "an edge is a pair (parent, child), got 'ab'"),
        (lambda: DAG([("a", "b", "c")]), "an edge is a pair (parent, child), got ('a', 'b', 'c')"),
        (lambda: DAG([3]), "an edge is a pair (parent, child), got 3"),
        (lambda: DAG("a -> b"), "DAG.from_text('a -> b')"),
        (lambda: DAG([(["a"], "b")]), "a node must be hashable"),
        (lambda: DAG([], nodes=[[]]), "a node must be hashable"),
        (lambda: DAG([("apple", "b")]).parents("appel"), "no node appel; did you mean apple?"),
        (lambda: DAG([(i, i + 1) for i in range(99)]).parents("q"), "10, 11, … 100 in all)"),
        (lambda: DAG([("a", "b")]).d_separated("a", "b", "c"), "no node c, in given"),
        (lambda: DAG([("a", "b")]).d_separated("a", ["b", "q"]), "no node q, in b"),
        (lambda: DAG([("a", "b")]).d_separated([], "b"), "a has no nodes"),
        (lambda: DAG([("a", "b")]).d_separated(["a", "b"], "b"), "b is in a and in b at once"),
        (lambda: DAG([]).d_separated("a", "b"), "no node a, in a (there are none)"),
        (lambda: DAG([("a", "b")]).unrolled(Plate(["q"], 2)), "'q', which is no node"),
        (lambda: Plate(["a"], 0), "at least once, got size 0"),
        (
            lambda: DAG([("z", "x"), ("z[0]", "x")]).unrolled(Plate("z", 2)),
            "a copy in a plate is named z[0], as another node",
        ),
        (lambda: DAG([("a", "b")]).d_separated("a", "b", max_paths=0), "max_paths is at least 1"),
        (lambda: DAG([("a", "b")]).d_separated("a", "q\nr"), "no node q r, in b"),
        (
            lambda: DAG([("z", "x"), ("z", "y")]).minimal_separator("x", "y", included="x"),
            "x is in a and in included at once",
        ),
        (lambda: DAG([("a\x01", "b")]).to_graphml(), "can't hold the name 'a\\x01'"),
        (
            lambda: DAG.from_graphml(
                "<graphml><graph edgedefault='directed'><edge source='a'/></graph></graphml>"
            ),
            "an edge of the GraphML has no source or no target",
        ),
        (lambda: DAG.from_networkx(networkx.Graph([(1, 2)])), "got Graph: make it with"),
        (lambda: DAG.from_graphml("<graphml><a></graphml>"), "line 1, column"),
        (lambda: DAG.from_graphml("<graphml/>"), "no GraphML that can be read"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "edges", "nodes"),
    [
        ("z -> x; z -> y", "zx zy", "zxy"),
        ("z->x\nz->y\n\n", "zx zy", "zxy"),
        ("a -> b <- c", "ab cb", "abc"),
        ("a → b ← c ; d", "ab cb", "abcd"),
        ("{a, b} -> c -> {d e}", "ac bc cd ce", "abcde"),
        ("# a comment\na -> b // another\n/* one\nmore */ c", "ab", "abc"),
        ('digraph {a -> b; c [shape=box, pos="1,2!"]; node [color=red]; x=3}', "ab", "abc"),
        ('strict digraph "my graph"\n{\n a:n -> b:s:e [label=<<b>x</b>>] c; }', "ab", "abc"),
        ("digraph g { subgraph cluster_1 { label=plate; a -> b } -> c }", "ab ac bc", "abc"),
        ("digraph { rankdir=LR graph [a=b] a -> subgraph s {b c} }", "ab ac", "abc"),
        ('"a" -> "b"', "ab", "ab"),
        ("", "", ""),
    ],
)
def test_text(text, edges, nodes):
    dag = DAG.from_text(text)
    assert set(dag.edges) == {tuple(edge) for edge in edges.split()}
    assert set(dag.nodes) == set(nodes)


def test_names_in_text():
    dag = DAG.from_text('"my node" -> z[0]; z[0] -> z[0,1]; "say \\"x\\"" -> β -> x.1; x\'')
    assert dag.nodes == ("my node", "z[0]", "z[0,1]", 'say "x"', "β", "x.1", "x'")
    assert DAG.from_text(dag.to_dot()) == dag
    steps = DAG.from_text("a -> x[t-1]; x[t] -> b")
    assert steps.nodes == ("a", "x[t-1]", "x[t]", "b")
    odd = DAG([("a\nb\t\x01\\", "q")], ["alone"])
    assert DAG.from_text(odd.to_dot()) == odd
    assert len(DAG.from_text(DAG([(1, "1")]).to_dot())) == 2
    text = 'digraph { label=<<b>T</b>>; rankdir=LR; "a" + "b" -> c [label="x" + "y"] }'
    assert DAG.from_text(text) == DAG([("ab", "c")])
    assert DAG([], "abc").nodes == ("abc",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a => b", "line 1, column 3 of the graph: expected a name or an arrow, got '=> b'"),
        ("a -> b\nb ->", "line 2, column 5 of the graph: expected the name of a node, got the end"),
        ("a -> ; b", "line 1, column 6 of the graph: expected the name of a node, got '; b'"),
        ("a b", "line 1, column 3 of the graph: expected '->', '<-' or ';'"),
        ("z -> x, z -> y", "line 1, column 7 of the graph: expected '->', '<-' or ';' (several"),
        ("a -- b", "line 1, column 3 of the graph: expected an edge with a direction, '->', got"),
        ("graph { a -- b }", "expected 'digraph', whose edges have a direction"),
        ("digraph { a -> b", "line 1, column 17 of the graph: expected '}' to close the graph"),
        ("digraph { a } b", "line 1, column 15 of the graph: expected nothing more, got 'b'"),
        ("{a b -> c", "expected '}' to close the brace"),
        ("digraph { a [x=1 }", "expected ']' to close the attributes"),
        ('a -> "b', "line 1, column 6 of the graph: expected a name or an arrow, got '\"b'"),
        ("a -> a", "a has an edge to itself"),
        ("a = b; x -> y", "line 1, column 3 of the graph: expected '->'"),
        ("a [x=1] -> b", "line 1, column 3 of the graph: expected '->'"),
        ("{" * 3000, "expected 100 braces within one another at most"),
    ],
)
def test_text_that_is_no_graph(text, words):
    with pytest.raises(InputError) as caught:
        DAG.from_text(text)
    assert words in str(caught.value)


def test_to_others_and_back():
    rng = np.random.default_rng(1)
    for _ in range(10):
        dag = DAG([(f"n {x}", f"n {y}") for x, y in random_edges(rng, 6)], ["alone", "graph", "3"])
        assert DAG.from_text(dag.to_dot()) == dag
        assert DAG.from_graphml(dag.to_graphml()) == dag
        assert DAG.from_networkx(dag.to_networkx()) == dag
    assert DAG.from_networkx(networkx.MultiDiGraph([(1, 2), (1, 2)])) == DAG([(1, 2)])


def test_plates():
    dag = DAG.from_text("t -> z -> x; w -> x")
    flat = dag.unrolled(Plate(["z", "x"], 2), Plate(["x", "w"], 3))
    assert len(flat.nodes) == 1 + 2 + 3 + 6
    assert flat.parents("x[1,2]") == {"z[1]", "w[2]"}
    assert flat.parents("z[1]") == {"t"}
    assert flat.d_separated("z[0]", "z[1]", "t")
    assert not flat.d_separated("z[0]", "z[1]", ["t", "x[0,0]", "x[1,0]"])
    assert dag.unrolled() == dag
    above = DAG.from_text("z -> s").unrolled(Plate("z", 3))
    assert above.parents("s") == {"z[0]", "z[1]", "z[2]"}


def test_no_jax_and_nothing_else_that_is_slow():
    code = (
        "import sys; from tighter.graph import DAG\n"
        "print(DAG([('z', 'x')]).d_separated('z', 'x'))\n"
        "print([m for m in ('jax', 'scipy', 'networkx', 'numpyro') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_order_and_cycles_of_broad_graphs():
    """Levels of thousands of nodes, then narrow ones."""
    rng = np.random.default_rng(2)
    names = rng.permutation(6_000).tolist()
    pairs = np.sort(rng.integers(0, 4_000, size=(6_000, 2)), axis=1)
    edges = [(names[x], names[y]) for x, y in pairs.tolist() if x != y]
    edges += list(itertools.pairwise(names[3_990:]))
    dag = DAG(edges, range(6_000))
    place = {node: i for i, node in enumerate(dag.topological_order)}
    assert len(place) == 6_000
    assert all(place[x] < place[y] for x, y in edges)
    with pytest.raises(InputError, match="the edges form a cycle"):
        DAG([*edges, (names[-1], names[3_995])], range(6_000))


def test_a_large_graph_answers():
    """Long chains: no recursion, and no walk over more than there is."""
    number = 5_000
    dag = DAG([(i, i + 1) for i in reversed(range(number))])
    assert dag.d_separated(0, number, number // 2)
    assert len(dag.d_separated(0, number).witness.nodes) == number + 1
    assert dag.minimal_separator(0, number) == {1}
    with pytest.raises(InputError, match=r"cycle, 0 -> 1 -> .* … -> 5000 -> 0"):
        DAG([*((i, i + 1) for i in range(number)), (number, 0)])
