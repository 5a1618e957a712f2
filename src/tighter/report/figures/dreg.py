"""Pictures of what `tighter reproduce dreg` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, draw_picture, read_record
from tighter.report.theme import AXIS, INK, plain_logarithmic


def draw(path: Path) -> list[Path]:
    """Draw held_out.png and noise.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("held_out", (12.5, 4.8), _paint_held_out),
            ("noise", (9.5, 3.6), _paint_noise),
        )
    ]


def _paint_held_out(figure: Figure, record: dict[str, Any]) -> None:
    by_steps, by_seconds, apart = figure.subplots(1, 3)
    steps = np.array(record["steps"])
    for row, color in zip(record["runs"], COLORS, strict=False):
        for axes, across in ((by_steps, steps), (by_seconds, np.array(row["seconds"]))):
            axes.plot(across, row["held_out"], ".-", color=color, label=row["estimator"])
        difference, error = (np.array(row[name]) for name in ("difference", "difference_error"))
        apart.plot(steps, difference, ".-", color=color)
        low, high = difference - 1.96 * error, difference + 1.96 * error
        apart.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    # The first steps, in which all rise alike, would leave no room for the rest.
    values = np.array([row["held_out"] for row in record["runs"]])
    low, high = values[:, len(steps) // 4].min(), values.max()
    for axes in (by_steps, by_seconds):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set_xlim(left=0)
    by_steps.set_ylabel(f"IWAE bound, K = {record['num_samples']}, held out, nats")
    apart.axhline(0, color=AXIS, linewidth=1, zorder=1)
    apart.set_ylabel("bound less that of plain IWAE, nats")
    apart.set_title("differences; bands: 95 %, by examples", fontsize=12, color=INK)
    apart.set_xlabel("steps")
    by_steps.set_xlabel("steps")
    by_steps.set_title(
        f"{record['data']}, {record['epochs']} epochs of {record['num_train']}",
        fontsize=12, color=INK,
    )  # fmt: skip
    by_seconds.set_xlabel("seconds of training")
    by_seconds.set_title("trained in turns", fontsize=12, color=INK)
    handles, labels = by_steps.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    rows = record["noise"]
    names = [row["estimator"] for row in rows]
    for axes, value in ((left, "phi_variance"), (right, "phi_snr")):
        for place, (row, color) in enumerate(zip(rows, COLORS, strict=False)):
            low, high = row[f"{value}_interval"]
            middle = row[value]
            axes.errorbar(
                [middle], [place], xerr=[[middle - low], [high - middle]],
                fmt="o", color=color, capsize=3,
            )  # fmt: skip
    plain_logarithmic(left, "x")
    left.set_yticks(range(len(rows)), names)
    left.invert_yaxis()
    left.set_xlabel("variance of φ's gradient, summed")
    right.set_xlim(left=0)
    right.set_xlabel("signal-to-noise ratio of φ's gradient")
    figure.suptitle(
        f"one model, half way; {record['num_replicates']} gradients of {record['batch_size']} "
        f"examples, K = {record['num_samples']}; bars: 95 %",
        fontsize=12, color=INK,
    )  # fmt: skip
