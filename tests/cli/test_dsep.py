"""tighter dsep: verdicts with proofs, files, pictures, and what it refuses."""

import json
import subprocess
import sys

import pytest

from tighter.graph import DAG

FORK = "z -> x; z -> y"


def test_verdict_and_proof(call):
    answer = call("dsep", FORK, "x", "y", "--given", "z")
    assert answer.status == 0
    assert answer.err == ""
    assert answer.out == f"{DAG.from_text(FORK).d_separated('x', 'y', 'z')}\n"
    assert answer.out.startswith("x ⊥ y | z: x and y are d-separated given z")
    assert "d-connected given nothing" in call("dsep", FORK, "x", "y").out


def test_several_nodes(call):
    graph = "a -> c <- b; c -> d; e"
    told = call("dsep", graph, "a,e", "b", "--given", "c,d", "--json")
    record = json.loads(told.out)
    assert record["statement"] == "a, e ⊥̸ b | c, d"
    assert record["separated"] is False
    assert record["witness"]["path"] == "a → c ← b"
    again = call("dsep", graph, "a,e", "b", "--given", "c", "--given", "d", "--json")
    assert json.loads(again.out) == record
    plates = call("dsep", "z -> x", "z[0]", "z[1]", "--plate", "z,x=2", "--given", "x[0],x[1]")
    assert "no path joins them" in plates.out
    two = call("dsep", "z -> x", "z[0,1]", "x[1,1]", "--plate", "z,x=2", "--plate", "z,x=2")
    assert two.status == 0


def test_nodes_are_named_as_they_are_asked_for(call, tmp_path):
    (tmp_path / "g.dot").write_text("digraph { 0 [label=rain]; 1 [label=wet]; 0 -> 1 }")
    assert "0 ⊥̸ 1:" in call("dsep", "g.dot", "0", "1").out
    assert "rain ⊥̸ wet:" in call("dsep", "g.dot", "rain", "1").out
    assert (
        "rain[0] ⊥ wet[1]"
        in call("dsep", "g.dot", "rain[0]", "wet[1]", "--plate", "rain,wet=2").out
    )
    assert "0[0] ⊥ 1[1]" in call("dsep", "g.dot", "0[0]", "1[1]", "--plate", "0,1=2").out


def test_independencies(call):
    assert call("dsep", FORK).out == "y ⊥ x | z\n"
    assert call("dsep", "a -> c <- b; c -> d", "--all").out.splitlines() == [
        "a ⊥ b",
        "a ⊥ d | c",
        "b ⊥ d | c",
        "b ⊥ d | a, c",
        "a ⊥ d | c, b",
    ]
    record = json.loads(call("dsep", FORK, "--json").out)
    assert record["independencies"][0]["given"] == ["z"]
    both = call("dsep", FORK, "x", "y", "--all")
    assert both.out == call("dsep", FORK, "x", "y").out + "x ⊥ y | z\n"
    record = json.loads(call("dsep", FORK, "x", "y", "--all", "--json").out)
    assert record["separated"] is False
    assert len(record["independencies"]) == 1
    chain = " -> ".join(f"node{i}" for i in range(60))  # longer than a file's name may be
    assert call("dsep", chain, "node0", "node9", "--given", "node4").status == 0
    chain = " -> ".join("abcdefghijklmn")
    few = call("dsep", chain, "--all", "--max-given", "1").out.splitlines()
    assert len(few) == 12 * 13 * 14 // 6  # two nodes, and one between them given
    assert call("dsep", "a -> b").err == "the graph implies no independence\n"


def test_files(call, tmp_path):
    dag = DAG.from_text(FORK)
    for name, text in {"g.dot": dag.to_dot(), "g.graphml": dag.to_graphml(), "g": FORK}.items():
        (tmp_path / name).write_text(text)
        assert "d-separated" in call("dsep", name, "x", "y", "--given", "z").out
    picture = tmp_path / "answer.svg"
    answer = call("dsep", FORK, "x", "y", "--given", "z", "--svg", picture)
    assert answer.err == f"picture {picture}\n"
    assert picture.read_text() == dag.d_separated("x", "y", "z").to_svg()
    call("dsep", FORK, "--svg", picture)
    assert picture.read_text() == dag.to_svg()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((FORK, "x", "zz"), "there is no node zz, in b; did you mean z? (there are: z, x, y)"),
        ((FORK, "x", "y", "--given", "x"), "x is in a and in given at once"),
        ((FORK, "x", "x"), "x is in a and in b at once"),
        ((FORK, "x"), "two sides are needed"),
        ((FORK, "--given", "z"), "--given is for a question"),
        ((FORK, "--max-given", "1"), "--max-given is of --all"),
        (("->".join(map(str, range(14))), "--all"), "pass --max-given, the number"),
        (("z -> x; z => y", "x", "y"), "line 1, column 11 of the graph: expected a name"),
        (("a -> b -> a", "a", "b"), "the edges form a cycle, a -> b -> a"),
        (("none.dot", "a", "b"), "there is no file none.dot"),
        (("", "a", "b"), "the graph is empty"),
        (("/tmp", "a", "b"), "/tmp is a folder: name a file"),
        ((FORK, "x", "y", "--plate", "z"), "--plate is nodes and a number, z,x=3, got 'z'"),
        ((FORK, "x", "y", "--plate", "z=1" + "0" * 30), "hold more than 1000000 nodes"),
        ((FORK, "x", "y", "--plate", "z=" + "9" * 5000), "--plate is nodes and a number"),
        ((FORK, "x", "y", "--svg", "no/where.svg"), "--svg is in a folder that exists"),
        ((FORK, "x", "y", "--max-paths", "0"), "--max-paths is at least 1, got 0"),
        ((FORK, "", "y"), "a has no nodes"),
    ],
)
def test_refusals(refused, words, complaint):
    assert complaint in refused("dsep", *words)


def test_a_file_that_is_no_text(refused, tmp_path):
    (tmp_path / "g.dot").write_bytes(b"\xff\xfe\x00\x81")
    assert "is no text" in refused("dsep", "g.dot", "a", "b")
    (tmp_path / "g.graphml").write_text("<graphml>")
    assert "of the GraphML" in refused("dsep", "g.graphml", "a", "b")


def test_help_and_no_jax(call):
    assert "z -> x; z -> y" in call("dsep", "--help").out
    code = (
        "import sys; from tighter.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "dsep", FORK, "x", "y"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("False\n")
