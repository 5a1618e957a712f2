"""The latent plane: encodings of examples, in two dimensions, colored by label."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from tighter.report.markup import count, counted, percent
from tighter.report.theme import (
    AXIS,
    CATEGORIES,
    INK,
    MARKERS,
    MUTED,
    SURFACE,
    TRAINING,
    Drawing,
    drawable,
    drawn,
)

_MOST_POINTS = 5000
_MOST_CATEGORIES = 20


class Plane(NamedTuple):
    """Points in two dimensions with the names of their axes."""

    points: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    axes: tuple[str, str]
    note: str
    names: Sequence[str] = ()


def project(
    encodings: NDArray[np.floating],
    labels: NDArray[np.integer] | None,
    label_names: Sequence[str] = (),
) -> Plane | None:
    """Bring encodings to two dimensions, by principal components if they have more.

    Args:
        encodings: Posterior means, (N, latent).
        labels: A category an example, (N,), or None.
        label_names: The categories' names, where these are words.

    Returns:
        The plane, or None if fewer than two encodings are finite or there is no dimension.
    """
    kept = np.flatnonzero(drawable(encodings).all(axis=1))
    if len(kept) < 2 or encodings.shape[1] == 0:
        return None
    notes = []
    if len(kept) < len(encodings):
        lost = counted(len(encodings) - len(kept), "encoding isn't", "encodings aren't")
        notes.append(f"{lost} finite and left out.")
    values = encodings.astype(np.float64)
    latent = values.shape[1]
    if latent == 1:
        # Points on a line hide one another: spread them evenly across it.
        spread = (np.arange(len(values)) * (math.sqrt(5) - 1) / 2) % 1
        values = np.column_stack([values[:, 0], spread])
        names = ("z (no unit)", "spread for sight only")
    elif latent == 2:
        names = ("z₁ (no unit)", "z₂ (no unit)")
    else:
        centered = values - values[kept].mean(axis=0)
        scale = max(float(np.abs(centered[kept]).max()), np.finfo(float).tiny)
        variances, directions = np.linalg.eigh(np.cov(centered[kept] / scale, rowvar=False))
        top = directions[:, [-1, -2]]
        # A component's sign is arbitrary: let its largest loading be positive.
        top = top * np.sign(top[np.abs(top).argmax(axis=0), [0, 1]])
        values = centered @ top
        total = variances.sum()
        shares = variances[[-1, -2]] / total if total > 0 else np.zeros(2)
        names = (
            f"first principal component ({percent(shares[0])} of variance)",
            f"second principal component ({percent(shares[1])})",
        )
    if len(kept) > _MOST_POINTS:
        notes.append(f"{count(_MOST_POINTS)} of {count(len(kept))} are drawn, evenly chosen.")
        kept = kept[np.linspace(0, len(kept) - 1, _MOST_POINTS).astype(int)]
    chosen = None if labels is None else np.asarray(labels)[kept].astype(np.int64)
    return Plane(values[kept], chosen, names, " ".join(notes), label_names)


def draw_plane(plane: Plane) -> Drawing:
    """Draw the plane as a square scatter of points with a legend of categories."""
    labels = "colored by label" if plane.labels is not None else "without labels"
    return _draw_plane(plane, label=f"Encodings in two dimensions, {labels}.")


@drawn("latent", "", width=380, height=400)
def _draw_plane(figure: Figure, plane: Plane) -> str:
    axes = figure.add_subplot()
    axes.set_xlabel(plane.axes[0])
    axes.set_ylabel(plane.axes[1])
    is_line = plane.axes[1].startswith("spread")
    if is_line:
        axes.set_yticks([])
    else:
        axes.set_aspect("equal", adjustable="datalim")
        axes.axhline(0, color=AXIS, linewidth=1, zorder=1)
        axes.axvline(0, color=AXIS, linewidth=1, zorder=1)
    many = len(plane.points) > 1000
    groups = _groups(plane)
    for name, members, color, marker in groups:
        size = (3.6 if many else 5.5) * (1.7 if marker.startswith("$") else 1)
        # A picture of many points is smaller than a list of them.
        axes.plot(
            *plane.points[members].T, linestyle="none", marker=marker, color=color, markersize=size,
            markeredgewidth=0, alpha=0.85, rasterized=many, label=name,
        )  # fmt: skip
    if plane.labels is None:
        return plane.note
    # Words would hide one another, and have shapes of their own.
    for name, members, *_ in [] if is_line or plane.names else groups:
        if name != "other":
            _name_group(axes, plane.points[members], name)
    legend = figure.legend(
        loc="outside lower center", ncols=min(len(groups), 5), handletextpad=0.1,
        columnspacing=1.0, markerscale=1.6 if many else 1.2,
    )  # fmt: skip
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1)
    return plane.note


def _groups(plane: Plane) -> list[tuple[str, NDArray[np.bool_], str, str]]:
    """Name, members, color and marker of each category; the rarest are pooled if many."""
    if plane.labels is None:
        return [("encodings", np.ones(len(plane.points), dtype=bool), TRAINING, "o")]
    categories, sizes = np.unique(plane.labels, return_counts=True)
    common = np.sort(categories[np.argsort(-sizes, kind="stable")[:_MOST_CATEGORIES]])
    colors = [CATEGORIES[position % len(CATEGORIES)] for position in range(len(common))]
    shapes = [MARKERS[(i + i // len(MARKERS)) % len(MARKERS)] for i in range(len(common))]
    groups = []
    for category, color, shape in zip(common.tolist(), colors, shapes, strict=True):
        word = plane.names[category] if 0 <= category < len(plane.names) else ""
        # A category of one digit is its own marker.
        marker = f"${category}$" if not word and 0 <= category <= 9 else shape
        groups.append((word or str(category), plane.labels == category, color, marker))
    rest = ~np.isin(plane.labels, common)
    return groups if not rest.any() else [*groups, ("other", rest, MUTED, ".")]


def _name_group(axes: Axes, points: NDArray[np.float64], name: str) -> None:
    """Write a category's name at its middle, so that color isn't the only way to tell it."""
    across, up = np.median(points, axis=0)
    text = axes.text(
        float(across), float(up), name, color=INK, fontsize=15, fontweight="bold",
        horizontalalignment="center", verticalalignment="center", zorder=6,
    )  # fmt: skip
    text.set_path_effects([withStroke(linewidth=3.5, foreground=SURFACE)])
