"""Pictures of graphs, in SVG and in DOT, and of what d-separation says of them."""

from __future__ import annotations

import html
import itertools
import math
import unicodedata
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from tighter.graph.arcs import Arcs
from tighter.graph.layout import Layout, layered
from tighter.graph.text import write_dot

RADIUS = 20.0
GAP = 28.0
LAYER = 78.0
MARGIN = 16.0
LETTER = 8.2  # mean width of a letter, in pixels at the size below
SIZE = 15

INK, MUTED, GIVEN = "#1d2733", "#5c6874", "#cdd4db"
OPEN, BLOCKED = "#0072b2", "#d55e00"

_STYLE = f"""
.graph {{ color-scheme: light dark; --ink: {INK}; --muted: {MUTED}; --surface: #fefefe;
  --given: {GIVEN}; --open: {OPEN}; --blocked: {BLOCKED}; }}
@media (prefers-color-scheme: dark) {{ .graph {{ --ink: #e8ecf0; --muted: #9aa5b0;
  --surface: #14191f; --given: #4a5561; --open: #56b4e9; --blocked: #ff8c42; }} }}
.graph .paper {{ fill: var(--surface); }}
.graph text {{ font: {SIZE}px system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }}
.graph text.caption {{ font-size: 14px; text-anchor: start; }}
.graph .node {{ fill: var(--surface); stroke: var(--ink); stroke-width: 1.5; }}
.graph .given {{ fill: var(--given); }}
.graph .end {{ stroke-width: 3.5; }}
.graph .passing {{ stroke: var(--open); stroke-width: 3; }}
.graph .blocking {{ stroke: var(--blocked); stroke-width: 3; stroke-dasharray: 5 3; }}
.graph .edge {{ fill: none; stroke: var(--muted); stroke-width: 1.5; }}
.graph .head {{ fill: var(--muted); }}
.graph .edge.open {{ stroke: var(--open); stroke-width: 3; }}
.graph .head.open {{ fill: var(--open); }}
.graph .edge.blocked {{ stroke: var(--blocked); stroke-width: 2; }}
.graph .head.blocked {{ fill: var(--blocked); }}
"""


class Highlight(NamedTuple):
    """What a picture shows beside the graph.

    Attributes:
        nodes: For a node, what it is: "given" (filled), "end" (a thick rim), "passing" (on an open
            path, blue), "blocking" (orange and dashed).
        edges: For an edge, what the path along it is: "open" or "blocked".
        caption: Lines below.
    """

    nodes: dict[Hashable, list[str]]
    edges: dict[tuple[Hashable, Hashable], str]
    caption: tuple[str, ...]


NOTHING = Highlight({}, {}, ())


def svg_of(names: Sequence[Hashable], arcs: Arcs, highlight: Highlight = NOTHING) -> str:
    """A picture that stands alone, for light and dark pages: layers, parents above children.

    Args:
        names: The nodes' names.
        arcs: The arcs between their numbers.
        highlight: What to show beside.
    """
    caption = highlight.caption
    widths = [max(2 * RADIUS, _text_width(str(name)) + 1.2 * RADIUS) for name in names]
    layout = layered(arcs, widths, gap=GAP, layer_height=LAYER)
    width = max(layout.width, max(map(_caption_width, caption), default=0.0)) + 2 * MARGIN
    height = layout.height + 2 * RADIUS + 2 * MARGIN + 22 * len(caption)
    left = (width - layout.width) / 2
    top = MARGIN + RADIUS
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(caption[0] if caption else 'A directed acyclic graph')}</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<g transform="translate({left:.1f} {top:.1f})">',
    ]
    edges = sorted(arcs.pairs(), key=lambda arc: bool(highlight.edges.get(_named(names, arc))))
    for arc in edges:
        lines += _edge(arc, layout, widths, highlight.edges.get(_named(names, arc), ""))
    for name, (x, y), w in zip(names, layout.places, widths, strict=True):
        classes = " ".join(["node", *highlight.nodes.get(name, [])])
        lines.append(
            f'<rect class="{classes}" x="{x - w / 2:.1f}" y="{y - RADIUS:.1f}" width="{w:.1f}" '
            f'height="{2 * RADIUS:.0f}" rx="{RADIUS:.0f}"/>'
            f'<text x="{x:.1f}" y="{y + 0.35 * SIZE:.1f}">{escape(str(name))}</text>'
        )
    lines.append("</g>")
    foot = layout.height + 2 * RADIUS + MARGIN + 22
    for i, line in enumerate(caption):
        lines.append(
            f'<text class="caption" x="{MARGIN:.0f}" y="{foot + 22 * i:.0f}">{escape(line)}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def escape(text: str) -> str:
    """The text in XML; signs that XML can't hold as one that stands for them."""
    return html.escape(
        "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    )


def dot_of(
    names: Sequence[Hashable],
    edges: Sequence[tuple[Hashable, Hashable]],
    highlight: Highlight = NOTHING,
) -> str:
    """The graph in DOT, colored as in `svg_of`."""
    looks = {
        "given": f'style=filled, fillcolor="{GIVEN}"',
        "end": "penwidth=3",
        "passing": f'color="{OPEN}"',
        "blocking": f'color="{BLOCKED}", peripheries=2',
        "open": f'color="{OPEN}", penwidth=3',
        "blocked": f'color="{BLOCKED}"',
    }
    return write_dot(
        names,
        edges,
        styles={
            name: ", ".join(looks[role] for role in found)
            for name, found in highlight.nodes.items()
        },
        edge_styles={edge: looks[role] for edge, role in highlight.edges.items()},
        caption=highlight.caption[0] if highlight.caption else "",
    )


def _edge(arc: tuple[int, int], layout: Layout, widths: Sequence[float], role: str) -> list[str]:
    """A smooth line from rim to rim, and its head."""
    x, y = arc
    points = [layout.places[x], *layout.routes[arc], layout.places[y]]
    start = _rim(points[0], points[1], widths[x], 0.0)
    head = _rim(points[-1], points[-2], widths[y], 2.0)
    neck = _toward(head, points[-2], 10.0)
    points = [start, *points[1:-1], neck]
    drawn = f"M{start[0]:.1f} {start[1]:.1f}"
    if len(points) == 2:
        drawn += f" L{neck[0]:.1f} {neck[1]:.1f}"
    else:  # through the middles of the segments, bent at the points between them
        for one, two in itertools.pairwise(points[1:]):
            middle = ((one[0] + two[0]) / 2, (one[1] + two[1]) / 2) if two != neck else two
            drawn += f" Q{one[0]:.1f} {one[1]:.1f} {middle[0]:.1f} {middle[1]:.1f}"
    angle = math.atan2(head[1] - neck[1], head[0] - neck[0])
    corners = [head, *(_polar(neck, angle + side * math.pi / 2, 4.5) for side in (1, -1))]
    shape = " ".join(f"{px:.1f},{py:.1f}" for px, py in corners)
    classes = f" {role}" if role else ""
    return [
        f'<path class="edge{classes}" d="{drawn}"/>',
        f'<polygon class="head{classes}" points="{shape}"/>',
    ]


def _rim(
    center: tuple[float, float], toward: tuple[float, float], width: float, off: float
) -> tuple[float, float]:
    """Where the line from a node's center toward a point leaves its pill-shaped rim."""
    straight = width / 2 - RADIUS  # half the straight part; the ends are half circles
    dx, dy = toward[0] - center[0], toward[1] - center[1]
    inside, outside = 0.0, 1.0
    for _ in range(30):
        t = (inside + outside) / 2
        x, y = t * dx, t * dy
        if math.hypot(max(abs(x) - straight, 0.0), y) < RADIUS + off:
            inside = t
        else:
            outside = t
    return center[0] + inside * dx, center[1] + inside * dy


def _toward(
    start: tuple[float, float], end: tuple[float, float], length: float
) -> tuple[float, float]:
    return _polar(start, math.atan2(end[1] - start[1], end[0] - start[0]), length)


def _polar(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    return start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)


def _text_width(text: str) -> float:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return LETTER * (len(text) + wide)


def _caption_width(line: str) -> float:
    return 0.93 * _text_width(line)


def _named(names: Sequence[Hashable], arc: tuple[int, int]) -> tuple[Hashable, Hashable]:
    return names[arc[0]], names[arc[1]]
