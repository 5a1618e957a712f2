"""Pictures of what `tighter reproduce logistic` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, draw_picture, read_record
from tighter.report.theme import AXIS


def draw(path: Path) -> list[Path]:
    """Draw noise.png and convergence.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("noise", (8.2, 4.2), _paint_noise),
            ("convergence", (11.5, 4.6), _paint_convergence),
        )
    ]


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row["estimator"] for row in record["noise"]))
    for shift, place, filled in ((-0.2, "start", False), (0.2, "optimum", True)):
        rows = [row for row in record["noise"] if row["at"] == place]
        axes.barh(
            np.arange(len(rows)) + shift,
            [row["variance"] for row in rows],
            height=0.36,
            color=COLORS[: len(rows)],
            alpha=1.0 if filled else 0.45,
        )
        for at, row in enumerate(rows):
            label = f"  {row['variance']:.3g}, at the {place}"
            axes.text(row["variance"], at + shift, label, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    least, most = (f([row["variance"] for row in record["noise"]]) for f in (min, max))
    axes.set_xlim(least / 3, most * 60)
    axes.set_xlabel(f"variance of the gradient ({record['draws']} draws, all data)")


def _paint_convergence(figure: Figure, record: dict[str, Any]) -> None:
    by_step, by_evaluation = figure.subplots(1, 2, sharey=True)
    gap = lambda values: record["best_elbo"] - np.array(values)  # noqa: E731
    for curve, color in zip(record["curves"], COLORS, strict=False):
        step = np.array(curve["step"])
        for axes, across in ((by_step, step), (by_evaluation, step * curve["evaluations"])):
            axes.plot(across[1:], gap(curve["elbo"])[1:], color=color, label=curve["estimator"])
            axes.fill_between(
                across[1:], gap(curve["high"])[1:], gap(curve["low"])[1:], color=color, alpha=0.2
            )
    for axes, label in (
        (by_step, "steps"),
        (by_evaluation, f"evaluations of the log likelihood of {record['batch']} data"),
    ):
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.axhline(1, color=AXIS, linewidth=1)
    by_evaluation.set_xscale("log")
    by_step.set_ylabel("nats below the best ELBO")
    handles, labels = by_step.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
