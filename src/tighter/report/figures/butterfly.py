"""Pictures of what `tighter reproduce butterfly` measured, from its files alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_arrays, read_record
from tighter.report.theme import INK, SURFACE

# Where a posterior is drawn: all that holds this share of its largest value.
_SEEN = 1e-3


def draw(path: Path) -> list[Path]:
    """Draw butterfly.png, posteriors.png and bounds.png into the experiment's folder."""
    record, arrays = read_record(path), read_arrays(path)
    return [
        draw_picture(
            path / f"{name}.png", size, functools.partial(paint, record=record, arrays=arrays)
        )
        for name, size, paint in (
            ("butterfly", (11.5, 6.4), _paint_butterfly),
            ("posteriors", (11.5, 6.2), _paint_posteriors),
            ("bounds", (11.5, 5.0), _paint_bounds),
        )
    ]


def _paint_butterfly(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    left.plot(*arrays["x"].T, ".", color=COLORS[5], markersize=2.5, label="drawn from the model")
    closed = np.abs(arrays["line"]) <= np.pi
    left.plot(*arrays["curve"][closed].T, color=EXACT, linewidth=1, label="μ(z), −π ≤ z ≤ π")
    _mark(left, record)
    figure.legend(loc="outside upper left", ncols=2, markerscale=3)
    left.set_title(f"{len(arrays['x'])} draws", fontsize=12, color=INK)
    image = right.pcolormesh(
        arrays["density_x"], arrays["density_y"], np.maximum(arrays["log_density"], -12),
        cmap="Blues", vmin=-12, vmax=0, shading="nearest", rasterized=True,
    )  # fmt: skip
    _mark(right, record)
    right.set_title("exact log p(x)", fontsize=12, color=INK)
    right.grid(visible=False)
    figure.colorbar(image, ax=right, label="log p(x), nats (palest: −12 and below)", shrink=0.8)
    for axes in (left, right):
        axes.set_aspect("equal")
        axes.set_xlabel("x₁")
    left.set_ylabel("x₂")


def _mark(axes: Axes, record: dict[str, Any]) -> None:
    for letter, point in zip("ABCDEF", record["points"], strict=True):
        axes.plot(*point["x"], "o", color=COLORS[1], markersize=4.5)
        text = axes.annotate(
            letter, point["x"], xytext=(6, 3), textcoords="offset points",
            color=INK, fontweight="bold",
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=3, foreground=SURFACE)])


def _paint_posteriors(
    figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    grid = figure.subplots(2, 3)
    z = arrays["posterior_line"]
    for i, (axes, point) in enumerate(zip(grid.flat, record["points"], strict=True)):
        density = arrays["posteriors"][i]
        mean, scale = point["mean"], point["scale"]
        gaussian = np.exp(-0.5 * ((z - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
        axes.plot(z, density, color=EXACT, linewidth=1.5, label="exact p(z|x)")
        axes.plot(z, gaussian, "--", color=COLORS[1], linewidth=1.5, label="best Gaussian")
        shown = np.flatnonzero(np.maximum(density, gaussian) > _SEEN * density.max())
        margin = 0.15 * (z[shown[-1]] - z[shown[0]])
        axes.set_xlim(z[shown[0]] - margin, z[shown[-1]] + margin)
        axes.set_ylim(0, 1.15 * max(density.max(), gaussian.max()))
        _write_shares(axes, z, density)
        letter, (across, up) = "ABCDEF"[i], point["x"]
        title = f"{letter}: {point['name']}, x = ({across:g}, {up:g})".replace("-", "−")
        axes.set_title(title, fontsize=12, color=INK)
        axes.set_xlabel("z")
        axes.set_ylabel("density" if i % 3 == 0 else "")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def _write_shares(axes: Axes, z: np.ndarray, density: np.ndarray) -> None:
    """Above each of several separate modes, its share of the posterior."""
    seen = density > _SEEN * density.max()
    edges = np.flatnonzero(np.diff(seen)) + 1
    modes = [part for part in np.split(np.arange(len(z)), edges) if seen[part[0]]]
    for i, part in enumerate(modes) if len(modes) > 1 else ():
        share = 100 * density[part].sum() * (z[1] - z[0])
        peak = part[np.argmax(density[part])]
        # The outermost have their room outside, the others inside.
        leftward = i == 0 or (z[peak] > 0 and i < len(modes) - 1)
        axes.annotate(
            f"{share:.0f} %", (z[peak], density[peak]), xytext=(-5 if leftward else 5, 2),
            textcoords="offset points", ha="right" if leftward else "left", color=INK,
        )  # fmt: skip


def _paint_bounds(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2)
    exact = record["exact"]
    laws = {"the prior": "chi_square_prior", "Gaussian and a wide one": "chi_square_mixture"}
    for name, color in zip(_names(record["bounds"]), COLORS, strict=False):
        rows = [row for row in record["bounds"] if row["proposal"] == name]
        num = np.array([row["k"] for row in rows])
        left.errorbar(
            num, [row["gap"] for row in rows], [row["standard_error"] for row in rows],
            fmt="o", color=color, markersize=5, label=name,
        )  # fmt: skip
        if name in laws:
            left.plot(num, exact[laws[name]] / 2 / num, color=color, linewidth=1.2)
    left.axhline(exact["unseen_gap"], color=COLORS[1], linestyle=":", linewidth=1.5)
    left.plot(1, exact["elbo_gap"], "_", color=EXACT, markersize=16, markeredgewidth=2)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(5e-5, 3e6)
    left.set_xlabel("draws K")
    left.set_ylabel("log p(x) − bound, nats")
    left.set_title(f"mean of {record['num_points']} points", fontsize=12, color=INK)
    left.plot([], [], color=INK, linewidth=1.2, label="χ²/2K, exact")
    left.plot([], [], ":", color=COLORS[1], label="what lies 4 scales off the Gaussian")
    left.plot([], [], "_", color=EXACT, markersize=12, markeredgewidth=2, label="exact ELBO")
    left.legend(loc="upper right", fontsize=10)
    of_points = record["bounds_of_points"]
    for i, (point, color) in enumerate(zip(record["points"], COLORS, strict=False)):
        rows = [row for row in of_points if row["point"] == point["name"]]
        rows = [
            row for row in rows if row["proposal"] == "Gaussian and a wide one" and row["k"] > 1
        ]
        num = np.array([row["k"] for row in rows])
        right.errorbar(
            num, [row["gap"] for row in rows], [row["standard_error"] for row in rows],
            fmt="o", color=color, markersize=5, label=f"{'ABCDEF'[i]}: {point['name']}",
        )  # fmt: skip
        right.plot(num, point["chi_square_mixture"] / 2 / num, color=color, linewidth=1.2)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(5e-6, 2e3)
    right.set_xlabel("draws K")
    right.set_title("the points of the picture, Gaussian and a wide one", fontsize=12, color=INK)
    right.legend(loc="upper right", fontsize=10, ncols=2)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["proposal"] for row in rows))
