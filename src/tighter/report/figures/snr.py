"""Pictures of what `tighter reproduce snr` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_record
from tighter.report.theme import INK, MUTED

# Points by which a slope's words are moved, for those that end at nearly the same height.
_SHIFTS = {"doubly reparameterized": 7, "wake-φ": -7}


def draw(path: Path) -> list[Path]:
    """Draw snr.png and means.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("snr", (11.5, 6.0), _paint_ratios),
            ("means", (6.8, 4.8), _paint_means),
        )
    ]


def _paint_ratios(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, rows, over in ((left, record["of_draws"], "K"), (right, record["of_bounds"], "M")):
        for name, color in zip(_names(rows), COLORS, strict=False):
            _dots(axes, rows, name, over, color)
            (fit,) = [
                slope
                for slope in record["slopes"]
                if (slope["estimator"], slope["over"]) == (name, over)
            ]
            last = max(row[over] for row in rows)
            ends = np.array([fit["since"], last], float)
            line = np.exp(fit["intercept"]) * ends ** fit["slope"]
            axes.plot(ends, line, color=color, linewidth=1.5)
            slope = f"{fit['slope']:+.3f} ± {fit['error']:.3f}".replace("-", "−")
            axes.annotate(
                slope, (last, line[-1]), (7, _SHIFTS.get(name, 0) if over == "K" else 0),
                textcoords="offset points", va="center", color=color, fontsize=11,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        numbers = sorted({row[over] for row in rows})
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(0.75, last ** (1.26 if over == "K" else 1.38))
    numbers = np.geomspace(4, 1024, 9)
    for name, color in zip(_names(record["of_draws"]), COLORS, strict=False):
        limit = record["limits"][name]
        left.plot(
            numbers, limit["coefficient"] * numbers ** limit["power"],
            ":", color=color, linewidth=1.5,
        )  # fmt: skip
    left.set_xlabel("draws K of a bound (M = 1)")
    left.set_ylabel("signal-to-noise ratio of the gradient")
    left.set_title("the total derivative by φ loses as 1/√K", fontsize=12, color=INK)
    right.set_xlabel(f"bounds M averaged (K = {record['of_bounds'][0]['K']})")
    right.set_title("every one gains as √M", fontsize=12, color=INK)
    handles, labels = left.get_legend_handles_labels()
    handles += [
        Line2D([], [], color=MUTED, linewidth=1.5),
        Line2D([], [], color=MUTED, linewidth=1.5, linestyle=":"),
    ]
    labels += ["fitted, with its slope", "exact, as K → ∞"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _paint_means(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = [row for row in record["of_draws"] if "mean" in row]
    for name, color in zip(_names(record["of_draws"]), COLORS, strict=False):
        # The total derivative has the mean of the doubly reparameterized one, and more noise.
        here = [row for row in rows if row["estimator"] == name]
        if name == "total derivative" or not here:
            continue
        axes.errorbar(
            [row["K"] for row in here], [row["mean"] for row in here],
            yerr=[row["mean_error"] for row in here],
            fmt="o-", color=color, markersize=5, linewidth=1.2, label=name,
        )  # fmt: skip
    limits = record["limits"]
    axes.axhline(limits["sticking the landing"]["mean"], color=EXACT, linewidth=1.2, zorder=1)
    numbers = np.geomspace(6, 1024, 99)
    falling = limits["doubly reparameterized"]["mean_times_k"] / numbers
    axes.plot(numbers, falling, ":", color=EXACT, linewidth=1.5, label="exact, as K → ∞")
    axes.text(
        1024, limits["sticking the landing"]["mean"] - 0.012,
        "exact: gradient of −KL(posterior‖q)", color=INK, fontsize=11, ha="right", va="top",
    )  # fmt: skip
    axes.set_xscale("log")
    numbers = sorted({row["K"] for row in rows})
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.minorticks_off()
    axes.set_xlabel("draws K of a bound")
    axes.set_ylabel("mean of the gradient by b, a coordinate, in nats")
    axes.set_ylim(-0.32, 0.1)
    axes.legend(loc="upper right", ncols=2, fontsize=11)


def _dots(axes: Axes, rows: list[dict[str, Any]], name: str, over: str, color: str) -> None:
    here = [row for row in rows if row["estimator"] == name]
    # On a logarithmic axis there is no place for a signal that can't be told from none.
    here = [row for row in here if row["snr"] > 2 * row["snr_error"]]
    axes.errorbar(
        [row[over] for row in here], [row["snr"] for row in here],
        yerr=[row["snr_error"] for row in here],
        fmt="o", color=color, markersize=5, label=name if name == "θ" else f"φ, {name}",
    )  # fmt: skip


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["estimator"] for row in rows))
