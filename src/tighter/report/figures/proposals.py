"""Pictures of what `tighter reproduce proposals` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_record
from tighter.report.theme import INK, MUTED

_VARIANCE = "variance of a weight, Var w / p(x)²"


def draw(path: Path) -> list[Path]:
    """Draw variance.png, errors.png and signs.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("variance", (11.5, 4.6), _paint_variance),
            ("errors", (6.6, 4.6), _paint_errors),
            ("signs", (6.6, 4.6), _paint_signs),
        )
    ]


def _paint_variance(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    _curve_and_dots(left, record["path_curve"], record["path"], "step")
    left.set_xlabel("share of the way from the prior to the posterior")
    left.set_title("mean and covariance moved", fontsize=12, color=INK)
    left.set_ylabel(_VARIANCE)
    left.set_ylim(bottom=-2)
    left.annotate(
        "zero at the posterior", (1, 0.6), xytext=(0.98, 24), ha="right", color=INK,
        arrowprops={"arrowstyle": "->", "color": MUTED},
    )  # fmt: skip

    finite = [row for row in record["widths"] if row["exact"] is not None]
    infinite = [row for row in record["widths"] if row["exact"] is None]
    _curve_and_dots(right, record["width_curve"], finite, "width")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_ylim(0.05, 3000)
    for row in infinite:
        quarters = row["quarters"]
        label = "four quarters of the draws" if row is infinite[0] else None
        right.plot([row["width"]] * len(quarters), quarters, "x", color=COLORS[1], label=label)
    right.axvspan(0.22, 0.5, color=COLORS[1], alpha=0.08, linewidth=0)
    right.text(0.235, 1200, "infinite", color=COLORS[1])
    right.set_xlim(0.22, 18)
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set_xlabel("covariance, times the posterior's")
    right.set_title("too narrow and too wide, at the right mean", fontsize=12, color=INK)
    for axes in (left, right):
        axes.legend(loc="upper right")


def _curve_and_dots(
    axes: Axes, curve: list[dict[str, Any]], rows: list[dict[str, Any]], across: str
) -> None:
    axes.plot(
        [row[across] for row in curve], [row["exact"] for row in curve],
        color=EXACT, linewidth=1.5, label="exact: χ²(posterior‖proposal)",
    )  # fmt: skip
    axes.errorbar(
        [row[across] for row in rows], [row["measured"] for row in rows],
        yerr=[row["standard_error"] or 0 for row in rows],
        fmt="o", color=COLORS[0], markersize=5, label="measured",
    )  # fmt: skip


def _paint_errors(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    names = {0.0: "prior (simple Monte Carlo)", 1.0: "posterior (no error but rounding)"}
    for step, color in zip(
        dict.fromkeys(row["step"] for row in record["errors"]), COLORS, strict=False
    ):
        rows = [row for row in record["errors"] if row["step"] == step]
        num = [row["k"] for row in rows]
        label = names.get(step, f"{step:g} of the way")
        axes.plot(
            num, [row["measured"] for row in rows], "o", color=color, markersize=5, label=label
        )
        if step < 1:
            axes.plot(num, [row["exact"] for row in rows], color=color, linewidth=1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("draws K")
    axes.set_ylabel("relative error of p̂(x), root mean square")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 0.12), title="proposal; lines: √(χ² / K)", fontsize=10
    )


def _paint_signs(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["signs"]
    shifts = [row["shift"] for row in rows]
    axes.plot(shifts, [1.0 for _ in rows], "-", color=COLORS[2], label="simple Monte Carlo")
    axes.plot(
        shifts, [row["measured"] for row in rows], "o", color=COLORS[0], label="proposal ∝ |f| p"
    )
    axes.plot(
        [row["shift"] for row in record["sign_curve"]],
        [row["exact"] for row in record["sign_curve"]],
        color=EXACT, linewidth=1.5, label="exact: (E|f|)² − (E f)²",
    )  # fmt: skip
    axes.plot(
        shifts,
        [row["halves"] for row in rows],
        "s",
        color=COLORS[1],
        markersize=4,
        label="f⁺ and f⁻, each its own proposal",
    )
    axes.set_xlabel("a;  f = z + a,  z ~ N(0, 1)")
    axes.set_ylabel("variance of one draw's estimate of E f")
    axes.set_ylim(-0.05, 1.75)
    axes.legend(loc="upper center", ncols=1)
