"""Pictures of what `tighter reproduce importance-posterior` found, from its files alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, draw_picture, read_arrays, read_record
from tighter.report.theme import INK


def draw(path: Path) -> list[Path]:
    """Draw densities.png and divergence.png into the experiment's folder."""
    record, arrays = read_record(path), read_arrays(path)
    paint_densities = functools.partial(_paint_densities, record=record, arrays=arrays)
    paint_divergence = functools.partial(_paint_divergence, record=record)
    return [
        draw_picture(path / "densities.png", (10.4, 8.0), paint_densities),
        draw_picture(path / "divergence.png", (11.5, 4.6), paint_divergence),
    ]


def _paint_densities(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    targets = record["targets"]
    columns = 1 + len(record["shown"])
    panels = figure.subplots(len(targets), columns, sharex=True, sharey=True, squeeze=False)
    titles = ["true posterior p", *(_title(number) for number in record["shown"])]
    seen = record["seen"]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=12, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("z₁")
    for line, (name, target) in zip(panels, targets.items(), strict=True):
        grids = arrays[name.replace(" ", "_")]
        for column, (axes, grid) in enumerate(zip(line, grids, strict=True)):
            axes.imshow(
                grid.T, origin="lower", extent=(-seen, seen, -seen, seen), cmap="magma",
                vmin=0, vmax=grids[0].max(), interpolation="bilinear",
            )  # fmt: skip
            axes.grid(visible=False)
            axes.set_xticks([-2, 0, 2])
            axes.set_yticks([-2, 0, 2])
            if column:
                at = record["numbers"].index(record["shown"][column - 1])
                axes.text(
                    0.04, 0.95, f"KL {target['divergence'][at]:.2g} nats", color="white",
                    transform=axes.transAxes, va="top", fontsize=11,
                )  # fmt: skip
        line[0].set_ylabel(f"{name}\nz₂")


def _paint_divergence(figure: Figure, record: dict[str, Any]) -> None:
    numbers = record["numbers"]
    panels = figure.subplots(1, len(record["targets"]), sharey=True, squeeze=False)[0]
    for axes, (name, target) in zip(panels, record["targets"].items(), strict=True):
        rows = target["measured"]
        curves = (
            ("log p − L_K, the bound's gap", -np.array(target["bound"]), "bound", -1),
            ("KL(q_EW‖p)", np.array(target["divergence"]), "divergence", 1),
        )
        for (label, exact, key, sign), color in zip(curves, COLORS, strict=False):
            axes.plot(numbers, exact, color=color, linewidth=1.5, label=f"{label}: exact")
            clear = [row for row in rows if sign * row[key] > 2 * row[f"{key}_error"]]
            axes.errorbar(
                [row["K"] for row in clear], [sign * row[key] for row in clear],
                yerr=[row[f"{key}_error"] for row in clear],
                fmt="o", color=color, markersize=5, label="by draws",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("draws K")
        axes.set_title(name, fontsize=12, color=INK)
    panels[0].set_ylabel("nats")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _title(number: int) -> str:
    return "q, K = 1" if number == 1 else f"q_EW, K = {number}"
