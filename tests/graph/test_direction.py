"""Which way an edge points: what attributes say of it, wherever formats allow them."""

import networkx
import pytest

from tighter._errors import InputError
from tighter.graph import DAG

NO_DIRECTION, BOTH, OPEN = "has no direction", "points both ways", "has an open end"


@pytest.mark.parametrize(
    ("body", "edges"),
    [
        ("a -> b [dir=both, arrowtail=none, arrowhead=none]", NO_DIRECTION),  # as causal-learn does
        ("a -> b [dir=both, arrowtail=none, arrowhead=normal]", "ab"),
        ("a -> b [dir=both; arrowhead=none]", "ba"),
        ("a -> b [dir=both]", BOTH),
        ("a -> b [dir=back]", "ba"),
        ("a -> b [dir=none]", NO_DIRECTION),
        ('a -> b [dir = "no" + "ne"]', NO_DIRECTION),
        ("a -> b [color=red][dir\n=\nback]", "ba"),
        ("a -> b [arrowhead=none]", NO_DIRECTION),
        ("a -> b [arrowtail=none]", "ab"),
        ("a -> b [dir=back, arrowtail=none]", NO_DIRECTION),
        ("a -> b [dir=both, arrowtail=odot]", OPEN),
        ("a -> b [arrowhead=odot]", OPEN),
        ("a -> b [arrowhead=nonenormal]", "ab"),
        ("a -> b [arrowhead=inv]", "the mark 'inv', which does not say where"),
        ("a -> b [dir=up]", "dir='up': it is forward, back"),
        ('a -> b [dir=""]', "ab"),
        ("a -> b [DIR=none, label=dir, x=none] /* [dir=none] */", "ab"),
        ('a -> b [label="dir=none", xlabel=<dir=none>] // [dir=none]\n', "ab"),
        ("graph [dir=none] node [dir=none] dir=none a -> b", "ab"),
        ("a -> b [style=invis] b -> c [style=dashed]", "bc"),
        # An edge has the defaults of the place and time at which it is made.
        ("a -> b edge [dir=back] b -> c", "ab cb"),
        ("edge [dir=none] a -> b [dir=forward]", "ab"),
        ("edge [dir=none] edge [dir=back] a -> b", "ba"),
        ("subgraph s { edge [dir=back] a -> b } b -> c", "ba bc"),
        ("edge [dir=back] { a -> b { edge [dir=forward] b -> c } } c -> d", "ba bc dc"),
        ("subgraph s { edge [dir=back] } a -> b subgraph s { b -> c } c -> d", "ab cb cd"),
        # Of chains and of several nodes at once, attributes hold for each edge.
        ("a:n -> b:s:e -> c [dir=back]", "ba cb"),
        ("{a b} -> {c d} [dir=back]", "ca cb da db"),
        ("{a -> b} -> c [dir=back]", "ab ca cb"),
        ("a -> b a -> b [dir=back]", "the edges form a cycle, a -> b -> a"),
        ("a -> b [key=1] a -> b [key=1, dir=back]", "ba"),
    ],
)  # fmt: skip
def test_dot(body, edges):
    _check(DAG.from_text, f"digraph {{ {body} }}", edges)


def test_dot_more(tmp_path):
    _check(DAG.from_text, "strict digraph { a -> b; a -> b [dir=back] }", "ba")
    _check(DAG.from_text, 'digraph { "a\\\n" -> b }', "ab")
    with pytest.raises(InputError, match=r"line 2, column 3 of the graph: the edge a -- b has no"):
        DAG.from_text("digraph {\na -> b [dir=none] }")
    for text in ('{"a": "b"}', "z: x"):  # no ports but in DOT
        with pytest.raises(InputError, match="of the graph: expected"):
            DAG.from_text(text)
    with pytest.raises(InputError, match=r"expected '\{' after 'subgraph'"):
        DAG.from_text("digraph { subgraph s -> a }")


ARROWS = '<data key="y"><y:PolyLineEdge xmlns:y="w"><y:Arrows source="{}" target="{}"/></y:PolyLineEdge></data>'  # noqa: E501


@pytest.mark.parametrize(
    ("default", "edge", "edges"),
    [
        ("directed", "", "ab"),
        ("directed", 'directed="false"', NO_DIRECTION),
        ("undirected", "", NO_DIRECTION),
        ("undirected", 'directed="true"', "ab"),
        ("", "", NO_DIRECTION),
        ("directed", ("none", "standard"), "ab"),
        ("directed", ("delta", "none"), "ba"),
        ("directed", ("none", "none"), NO_DIRECTION),
        ("directed", ("standard", "standard"), BOTH),
        ("directed", ("circle", "standard"), OPEN),
    ],
)
def test_graphml(default, edge, edges):
    own, inner = ("", ARROWS.format(*edge)) if isinstance(edge, tuple) else (edge, "")
    _check(
        DAG.from_graphml,
        '<graphml xmlns="x"><key id="y" for="edge" yfiles.type="edgegraphics"/>'
        f'<graph edgedefault="{default}"><edge source="a" target="b" {own}>{inner}</edge></graph>'
        "</graphml>",
        edges,
    )


def test_networkx():
    for attributes, edges in (
        ({}, "ab"),
        ({"dir": '"back"'}, "ba"),  # as pydot reads it
        ({"dir": None, "style": 3}, "ab"),
        ({"arrowhead": "none"}, NO_DIRECTION),
    ):
        graph = networkx.MultiDiGraph()
        graph.add_edge("a", "b", **attributes)
        _check(DAG.from_networkx, graph, edges)
        _check(DAG.from_graphml, "\n".join(networkx.generate_graphml(graph)), edges) if (
            None not in attributes.values()
        ) else None
    _check(DAG.from_networkx, networkx.DiGraph([("a", "b")], edge={"dir": "none"}), NO_DIRECTION)


def _check(read, text, edges):
    """The edges as pairs of letters, or words of the refusal."""
    if set(edges.replace(" ", "")) <= set("abcde"):
        assert {"".join(edge) for edge in read(text).edges} == set(edges.split())
        return
    with pytest.raises(InputError) as caught:
        read(text)
    assert edges in str(caught.value)
    assert "\n" not in str(caught.value)


IGRAPH = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="v_name" for="node" attr.name="name" attr.type="string"/>
<graph id="G" edgedefault="directed">
<node id="n0"><data key="v_name">rain</data></node>
<node id="n1"><data key="v_name">wet</data></node><edge source="n0" target="n1"/>
</graph></graphml>"""
YED = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml">
<key for="node" id="d6" yfiles.type="nodegraphics"/><graph edgedefault="directed">
<node id="n0"><data key="d6"><y:ShapeNode><y:NodeLabel>rain
<y:LabelModel/></y:NodeLabel></y:ShapeNode></data></node>
<node id="n1"><data key="d6"><y:ShapeNode><y:NodeLabel>wet</y:NodeLabel></y:ShapeNode></data></node>
<edge source="n0" target="n1"/></graph></graphml>"""
DOT = r'digraph { n0 [label="\Nrain"]; n1 [label=<<b>wet</b>>]; n0 -> n1; n0 [label="ra" + "in"] }'


@pytest.mark.parametrize(
    ("read", "text"),
    [(DAG.from_graphml, IGRAPH), (DAG.from_graphml, YED), (DAG.from_text, DOT)],
)
def test_nodes_are_asked_for_by_name_and_by_label(read, text):
    dag = read(text)
    assert dag.edges == (("n0", "n1"),)
    assert dag.labels == {"n0": "rain", "n1": "wet"}
    assert dag.parents("wet") == dag.parents("n1") == {"n0"}
    assert not dag.d_separated("rain", ["wet"])
    assert "wet" in dag
    assert dag.labeled() == DAG([("rain", "wet")])
    assert dag.labeled().parents("n1") == {"rain"}
    with pytest.raises(InputError, match=r"no node rein.*did you mean rain\?"):
        dag.parents("rein")


def test_labels_of_several_nodes_are_refused():
    dag = DAG.from_text(
        'digraph { 0 [label=a]; 1 [label=a]; 2 [label="0"]; 3 [label="\\N"] 0 -> 1 }'
    )
    assert dag.parents("1") == {"0"}
    assert dag.parents("3") == frozenset()
    assert dag.labeled() is dag
    for name, count in (("a", 2), ("0", 2)):
        with pytest.raises(InputError, match=f"{name} may be any of {count} nodes"):
            dag.d_separated([name], "3")
