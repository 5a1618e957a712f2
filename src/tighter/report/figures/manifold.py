"""Pictures of what `tighter reproduce manifold` found, from its files alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_arrays, read_record
from tighter.report.theme import CATEGORIES, INK, MUTED, SURFACE


def draw(path: Path) -> list[Path]:
    """Draw plane.png, encodings.png and against_prior.png into the experiment's folder."""
    record, arrays = read_record(path), read_arrays(path)
    return [
        draw_picture(
            path / f"{name}.png", size, functools.partial(paint, record=record, arrays=arrays)
        )
        for name, size, paint in (
            ("plane", (7.2, 7.4), _paint_plane),
            ("encodings", (7.2, 6.6), _paint_encodings),
            ("against_prior", (11.5, 4.4), _paint_against_prior),
        )
    ]


def _paint_plane(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    # A blank line around each picture keeps it from its neighbors.
    grid = np.pad(arrays["grid"].squeeze(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns, height, width = grid.shape
    sheet = grid.swapaxes(1, 2).reshape(rows * height, columns * width)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, extent=(0, 1, 0, 1), interpolation="nearest")
    axes.grid(visible=False)
    axes.set_xlabel("Φ(z₁), the prior's quantile")
    axes.set_ylabel("Φ(z₂)")
    axes.set_title(
        f"pixels' probabilities over the plane; {record['data']}, {record['epochs']} epochs",
        fontsize=12, color=INK,
    )  # fmt: skip


def _paint_encodings(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    points = arrays["encodings"]
    labels = arrays.get("encoding_labels", np.zeros(len(points), int))
    for label, color in zip(np.unique(labels), CATEGORIES, strict=False):
        chosen = points[labels == label]
        axes.plot(*chosen.T, ".", color=color, markersize=4, label=str(label))
    for radius in (1, 2, 3):
        # Of a plane's normal, the share within r is 1 − exp(−r²/2).
        axes.add_patch(Circle((0, 0), radius, fill=False, color=EXACT, linewidth=1, zorder=3))
        share = -100 * np.expm1(-(radius**2) / 2)
        text = axes.text(
            0, radius, f"{share:.0f} %", ha="center", va="center", fontsize=10, zorder=4
        )
        text.set_path_effects([withStroke(linewidth=3, foreground=SURFACE)])
    axes.set_aspect("equal")
    axes.set_xlabel("z₁ (mean of q)")
    axes.set_ylabel("z₂ (mean of q)")
    axes.set_title("encodings; circles: shares of the prior within", fontsize=12, color=INK)
    if "encoding_labels" in arrays:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="label", markerscale=3)


def _paint_against_prior(
    figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    panels = figure.subplots(1, 3)
    at = np.linspace(-5, 5, 201)
    for i, axes in enumerate(panels[:2]):
        axes.hist(
            arrays["draws"][:, i], bins=np.linspace(-5, 5, 61).tolist(), density=True,
            color=COLORS[i], alpha=0.55, label="encodings",
        )  # fmt: skip
        axes.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color=EXACT, label="prior")
        axes.set_xlabel(f"z{'₁₂'[i]}")
        axes.set_ylabel("density")
        distance = record["encodings"]["statistic"][i]
        axes.set_title(f"Kolmogorov–Smirnov distance {distance:.3f}", fontsize=12, color=INK)
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
        axes.legend(loc="upper right", fontsize=10)
        panels[2].plot(
            arrays["prior_quantiles"][i], arrays["sample_quantiles"][i],
            "o", color=COLORS[i], markersize=3.5, label=f"z{'₁₂'[i]}",
        )  # fmt: skip
    panels[2].plot([-3.5, 3.5], [-3.5, 3.5], color=MUTED, linewidth=1, zorder=1)
    panels[2].set_aspect("equal")
    panels[2].set_xlabel("quantile of the prior")
    panels[2].set_ylabel("quantile of the encodings")
    panels[2].set_title("quantiles against quantiles", fontsize=12, color=INK)
    panels[2].legend(loc="upper left")
