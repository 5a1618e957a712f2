"""Pictures of what `tighter reproduce iwae-table` measured, from its files alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_arrays, read_record
from tighter.report.theme import INK

# Of a normal distribution, for 95 %.
_QUANTILE = 1.96


def draw(path: Path) -> list[Path]:
    """Draw table.png and units.png into the experiment's folder."""
    record, arrays = read_record(path), read_arrays(path)
    return [
        draw_picture(
            path / f"{name}.png", size, functools.partial(paint, record=record, arrays=arrays)
        )
        for name, size, paint in (
            ("table", (10.5, 4.8), _paint_table),
            ("units", (6.8, 4.6), _paint_units),
        )
    ]


def _paint_table(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2)
    numbers = sorted({row["num_samples"] for row in record["rows"]})
    for axes, value in ((left, "nll"), (right, "active")):
        _lines(axes, record["rows"], value, "{}", marker="o", linestyle="-")
        # What was published is of MNIST, and stands beside images of its size alone.
        if record["shape"] == [28, 28]:
            theirs = [row for row in record["published"] if row["num_samples"] in numbers]
            label = "{}, published: MNIST, 3280 epochs"
            _lines(axes, theirs, value, label, marker="o", linestyle=":", markerfacecolor="none")
        axes.set_xscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.set_xlim(numbers[0] / 1.3, numbers[-1] * 1.3)
        axes.set_xlabel("draws K in training")
    left.set_ylabel("test −log p(x), nats")
    left.set_title(
        f"{record['num_test']} test examples; bars: 95 % of the\ndifference to K = 1, by examples",
        fontsize=12, color=INK,
    )  # fmt: skip
    right.set_ylabel("active units")
    right.set_title(f"{record['data']}, {record['epochs']} epochs", fontsize=12, color=INK)
    most = max(row["active"] for row in [*record["rows"], *record["published"]])
    right.set_ylim(0, 1.1 * most)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _lines(axes: Axes, rows: list[dict[str, Any]], value: str, label: str, **style: Any) -> None:
    """A line for VAE and one for IWAE, with bars where a difference was measured."""
    for name, color in zip(("VAE", "IWAE"), COLORS, strict=False):
        own = [row for row in rows if row["model"] == name]
        bars = [_QUANTILE * row.get("difference_error", 0) for row in own]
        axes.errorbar(
            [row["num_samples"] for row in own], [row[value] for row in own],
            yerr=bars if value == "nll" and any(bars) else None,
            color=color, label=label.format(name), capsize=3, **style,
        )  # fmt: skip


def _paint_units(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    for name, color in zip(("VAE", "IWAE"), COLORS, strict=False):
        own = [row for row in record["rows"] if row["model"] == name]
        # The first is that of one draw, of both the same: drawn once.
        for row, style in zip(own, (":", "-", "--"), strict=False):
            alone = row["num_samples"] == 1
            if alone and name == "IWAE":
                continue
            variances = np.sort(arrays[f"variance_{name}_{row['num_samples']}"])[::-1]
            axes.plot(
                np.arange(1, len(variances) + 1), np.maximum(variances, 1e-7),
                linestyle=style, color=EXACT if alone else color, marker=".",
                label=f"{'both' if alone else name}, K = {row['num_samples']}: {row['active']}",
            )  # fmt: skip
    axes.axhline(record["threshold"], color=COLORS[-1], linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("unit of z, in order")
    axes.set_ylabel("variance over x of the posterior's mean")
    axes.set_title(f"active units: above {record['threshold']:g}", fontsize=12, color=INK)
    axes.legend(loc="upper right")
