"""Topics as circles in the plane, and their shares and coherences as bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tighter.report.markup import escaped
from tighter.report.records import number, numbers
from tighter.report.theme import GOOD, INK, POOR, Drawing, drawn

Rows = list[Mapping[str, Any]]

_MARGIN = 16
# Of the picture, covered by all circles together.
_COVERED = 0.13
_LABEL = 19


def draw_map(rows: Rows, *, name: str, width: int, height: int) -> Drawing:
    """Draw topics at their places, each a link to its words."""
    places = np.array([_place(row) for row in rows], np.float64)
    shares = np.array([number(row.get("prevalence")) for row in rows])
    shares = np.where(shares > 0, shares, 0)
    radii = np.sqrt(_COVERED * width * height * shares / (shares.sum() or 1.0) / np.pi)
    radii = np.clip(radii, 4, min(width, height) / 5)
    known = np.isfinite(places).all(axis=1)
    if not known.any():
        return Drawing("", "No topic has a place.")
    points = _fitted(places[known], radii[known], width, height)
    labels, circles, names = _apart(points), [], []
    # The largest first, so that none is hidden.
    for i in np.argsort(-radii[known], kind="stable"):
        row, (x, y), radius = rows[np.flatnonzero(known)[i]], points[i], radii[known][i]
        topic, words = escaped(row.get("topic")), row.get("relevant_words")
        title = escaped(" ".join(map(str, words))) if isinstance(words, list) else ""
        size = float(np.clip(0.9 * radius, 10, 17))
        circles.append(
            f'<a href="#topic-{topic}"><title>{topic}: {title}</title>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="var(--blue)"'
            ' fill-opacity="0.2" stroke="var(--blue)"/></a>'
        )
        x, y = labels[i]
        names.append(
            f'<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" text-anchor="middle"'
            f' font-size="{size:.1f}" fill="var(--ink)" pointer-events="none">{topic}</text>'
        )
    svg = (
        f'<svg class="map" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Map of {len(rows)} topics.">{"".join(circles + names)}</svg>'
    )
    return Drawing(svg, "" if known.all() else "Topics without a place are left out.")


@drawn("topics", "Share and coherence of each topic.")
def draw_heights(figure: Figure, rows: Rows) -> None:
    """Draw each topic's share of the corpus, and its coherence, as bars."""
    places = np.arange(1, len(rows) + 1)
    shares, coherences = np.transpose([numbers(row, "prevalence", "npmi") for row in rows])
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.bar(places, np.nan_to_num(100 * shares), color=GOOD, width=0.75)
    upper.set_ylabel("share (%)")
    colors = [GOOD if value >= 0 else POOR for value in coherences]
    lower.bar(places, np.nan_to_num(coherences), color=colors, width=0.75)
    lower.axhline(0, color=INK, linewidth=1)
    lower.set_ylabel("NPMI")
    lower.set_xlabel("topic")
    for axes in (upper, lower):
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.set_xlim(0.4, len(rows) + 0.6)
    most = round(72 * figure.get_figwidth()) // 40
    lower.xaxis.set_major_locator(MaxNLocator(nbins=min(len(rows), most), integer=True))


def _place(row: Mapping[str, Any]) -> tuple[float, float]:
    place = row.get("place")
    x, y = place if isinstance(place, list) and len(place) == 2 else (None, None)
    return number(x), number(y)


def _fitted(places: np.ndarray, radii: np.ndarray, width: int, height: int) -> np.ndarray:
    """Places in the picture, one scale for both axes, so that no circle sticks out."""
    size = np.array([width, height], np.float64)
    pad = float(radii.max()) + _MARGIN
    low, high = places.min(axis=0), places.max(axis=0)
    scale = ((size - 2 * pad) / np.maximum(high - low, 1e-9)).min()
    centered = (places - (low + high) / 2) * [scale, -scale]
    return np.clip(centered + size / 2, pad, size - pad) if len(places) > 1 else size[None] / 2


def _apart(points: np.ndarray) -> np.ndarray:
    """Places of numbers: the circles' middles, moved where two would lie on each other."""
    moved = points.copy()
    for _ in range(30):
        apart = moved[:, None] - moved
        # Of two at one place one goes up and the other down.
        order = np.arange(len(moved))
        apart[..., 1] += 1e-3 * (order[:, None] - order)
        distance = np.linalg.norm(apart, axis=-1)
        near = (distance < _LABEL) & (distance > 0)
        push = np.where(near, (_LABEL - distance) / np.maximum(distance, 1e-9) / 2, 0)
        moved += (push[..., None] * apart).sum(axis=1) / 2
    return moved
