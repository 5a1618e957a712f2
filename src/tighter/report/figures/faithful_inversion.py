"""Pictures of what `tighter reproduce faithful-inversion` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_record
from tighter.report.theme import INK


def draw(path: Path) -> list[Path]:
    """Draw training.png and edges.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("training", (11.5, 4.8), _paint_training),
            ("edges", (11.5, 4.8), _paint_edges),
        )
    ]


def _paint_training(figure: Figure, record: dict[str, Any]) -> None:
    panels = figure.subplots(1, len(record["models"]), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, record["models"], strict=True):
        rows = [row for row in record["encoders"] if row["model"] == name]
        for row, color in zip(rows, COLORS, strict=False):
            curve = row["curve"]
            axes.plot(
                curve["step"], np.maximum(curve["divergence"], 1e-9), color=color,
                label=row["encoder"],
            )  # fmt: skip
            if row["least"] > 1e-9:
                axes.axhline(row["least"], color=color, linewidth=1, linestyle="--")
        axes.axhline(1e-3, color=EXACT, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-9)
        axes.set_xlabel("steps")
        axes.set_title(name, fontsize=12, color=INK)
    panels[0].set_ylabel("KL(q‖posterior), nats an example")
    panels[0].text(0.98, 1.25e-3, "1e-3 nat", fontsize=9, color=EXACT, ha="right",
                   transform=panels[0].get_yaxis_transform())  # fmt: skip
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels),
        title="dashed: the least that the encoder's graph allows, exactly",
    )  # fmt: skip


def _paint_edges(figure: Figure, record: dict[str, Any]) -> None:
    panels = figure.subplots(1, len(record["models"]), squeeze=False)[0]
    for axes, name in zip(panels, record["models"], strict=True):
        rows = [row for row in record["edges"] if row["model"] == name]
        rows.sort(key=lambda row: -row["least"])
        for shift, field, label, color in (
            (-0.2, "least", "KL(q‖p), the ELBO's loss", COLORS[0]),
            (0.2, "dependence", "KL(p‖q), a conditional mutual information", COLORS[4]),
        ):
            values = [row[field] for row in rows]
            axes.barh(np.arange(len(rows)) + shift, values, 0.38, color=color, label=label)
        axes.set_yticks(range(len(rows)), [f"{row['parent']} → {row['child']}" for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("nats an example, at best")
        axes.set_title(f"{name}: edge left out of the inverse", fontsize=12, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
