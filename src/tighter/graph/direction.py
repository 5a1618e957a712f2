"""Which way an edge points, by the attributes that DOT, and what is made of DOT, give it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

from tighter._errors import InputError

Attributes = Mapping[str, Any]

_DIRECTIONS = ("forward", "back", "both", "none")
_SHAPES = re.compile(
    r"(?:o?[lr]?(?:box|diamond|normal|tee|vee)|ediamond|empty|open|halfopen|none|o?dot)+"
)
_SIGNS = {"none": "-", "circle": "o"}


def pointed(
    tail: Hashable, head: Hashable, attributes: Attributes
) -> tuple[Hashable, Hashable] | None:
    """The edge (parent, child) as DOT draws it, or None where it is not drawn.

    Args:
        tail: The node that the edge is written from.
        head: The node that it is written to.
        attributes: Of them `dir`, `arrowhead`, `arrowtail` and `style` count.

    Raises:
        InputError: If no end has an arrow, or both have; if an end is a circle, or has a mark that
            may point either way.
    """
    given = {
        name: str(attributes.get(name) or "").strip('"')
        for name in ("dir", "arrowhead", "arrowtail", "style")
    }
    if "invis" in re.split(r"[ ,]+", given["style"]):
        return None
    direction = given["dir"] or "forward"
    if direction not in _DIRECTIONS:
        raise InputError(
            f"the edge {tail} -> {head} has dir={direction!r}: it is {', '.join(_DIRECTIONS)}"
        )
    left = _mark(given["arrowtail"]) if direction in ("back", "both") else "none"
    right = _mark(given["arrowhead"]) if direction in ("forward", "both") else "none"
    if (left, right) == ("none", "arrow"):
        return tail, head
    if (left, right) == ("arrow", "none"):
        return head, tail
    shown = f"{tail} {_SIGNS.get(left, '<')}-{_SIGNS.get(right, '>')} {head}".replace("---", "--")
    if "circle" in (left, right):
        raise InputError(f"the edge {shown} has an open end, a circle: decide which way it points")
    if left == right == "arrow":
        raise InputError(
            f"the edge {shown} points both ways: write the cause that both have as a node, "
            f"u -> {tail} and u -> {head}"
        )
    raise InputError(
        f"the edge {shown} has no direction, as in a class of equivalent graphs: decide which way "
        "it points"
    )


def _mark(shape: str) -> str:
    """What an arrow's shape in DOT makes of an end: "arrow", "circle" or "none"."""
    shape = shape or "normal"
    if not _SHAPES.fullmatch(shape):
        raise InputError(
            f"an end of an edge has the mark {shape!r}, which does not say where it points: take "
            "normal or none"
        )
    if "dot" in shape:
        return "circle"
    return "none" if shape.replace("none", "") == "" else "arrow"
