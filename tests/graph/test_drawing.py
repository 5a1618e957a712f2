"""Pictures: every node and edge is there, apart from others, and colored by the answer."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from tests.oracles.chains import random_edges

from tighter.graph import DAG
from tighter.graph.arcs import arcs_between
from tighter.graph.layout import _crossings, _fewest_crossings, layered

SVG = "{http://www.w3.org/2000/svg}"


def test_layout_keeps_nodes_apart_and_parents_above():
    rng = np.random.default_rng(0)
    for _ in range(30):
        edges = random_edges(rng, 8)
        ends = np.array(edges, np.int64).reshape(-1, 2)
        arcs = arcs_between(ends[:, 0], ends[:, 1], 8)
        widths = rng.uniform(40, 150, 8).tolist()
        layout = layered(arcs, widths, gap=20.0, layer_height=70.0)
        for x, y in edges:
            assert layout.places[x][1] < layout.places[y][1]
        for i, j in itertools.combinations(range(8), 2):
            (x, y), (other_x, other_y) = layout.places[i], layout.places[j]
            if y == other_y:
                assert abs(x - other_x) >= (widths[i] + widths[j]) / 2 + 20 - 1e-6
        for (x, _), width in zip(layout.places, widths, strict=True):
            assert width / 2 - 1e-6 <= x <= layout.width - width / 2 + 1e-6


def test_edges_are_uncrossed():
    # a -> y, b -> x: as they stand, the edges cross.
    below = [[3], [2], [], []]
    above = [[], [], [1], [0]]
    assert _crossings([[0, 1], [2, 3]], below) == 1
    assert _crossings(_fewest_crossings([[0, 1], [2, 3]], above, below), below) == 0


def classes(svg, kind):
    root = ElementTree.fromstring(svg)
    return [
        node.get("class", "")
        for node in root.iter(SVG + kind)
        if "paper" not in node.get("class", "")
    ]


def test_svg_shows_the_answer():
    dag = DAG.from_text('z -> x; z -> y; x -> c <- y; c -> "a<b"')
    plain = dag.to_svg()
    assert len(classes(plain, "rect")) == 5
    assert classes(plain, "path") == ["edge"] * 5
    assert "a&lt;b" in plain
    assert dag._repr_svg_() == plain
    apart = dag.d_separated("x", "y", "z").to_svg()
    assert sorted(classes(apart, "rect")) == sorted(
        ["node given blocking", "node end", "node end", "node blocking", "node"]
    )
    assert classes(apart, "path").count("edge blocked") == 4
    assert "2 paths between them, blocked" in apart
    joined = dag.d_separated("x", "y", ["z", "a<b"]).to_svg()
    assert classes(joined, "path").count("edge open") == 2
    assert "node passing" in classes(joined, "rect")
    assert ElementTree.fromstring(DAG([]).to_svg()) is not None
    assert not re.search(r"nan|inf", joined)


def test_dot_shows_the_answer():
    dag = DAG.from_text("z -> x; z -> y")
    answer = dag.d_separated("x", "y", "z")
    dot = answer.to_dot()
    assert DAG.from_text(dot) == dag
    assert re.search(r'z \[style=filled.*color="#d55e00"', dot)
    assert 'z -> x [color="#d55e00"];' in dot
    assert 'label="x ⊥ y | z: d-separated"' in dot
