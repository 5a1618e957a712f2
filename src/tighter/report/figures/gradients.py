"""Pictures of what `tighter reproduce gradients` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, draw_picture, read_record
from tighter.report.theme import AXIS, INK


def draw(path: Path) -> list[Path]:
    """Draw variances.png, bernoulli.png and inside.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("variances", (11.5, 6.6), _paint_survey),
            ("bernoulli", (6.4, 4.2), _paint_bernoulli),
            ("inside", (6.4, 4.2), _paint_inside),
        )
    ]


def _paint_survey(figure: Figure, record: dict[str, Any]) -> None:
    rows = record["survey"]
    costs = list(dict.fromkeys(row["cost"] for row in rows))
    grid = figure.subplots(2, len(costs), squeeze=False)
    for column, cost in enumerate(costs):
        for line, parameter in enumerate(("μ", "σ")):
            axes = grid[line][column]
            chosen = [row for row in rows if row["cost"] == cost]
            curves = [row for row in record["curves"] if row["cost"] == cost]
            _dots(axes, chosen, "k", [row["variance"][line] for row in chosen])
            _lines(axes, curves, "k", [row["exact"][line] for row in curves])
            axes.set_yscale("log")
            if min(row["k"] for row in chosen) > 0:
                axes.set_xscale("log")
            # A variance of zero has no place on a logarithmic axis.
            seen = [row["variance"][line] for row in chosen if row["variance"][line] > 1e-6]
            axes.set_ylim(min(seen) / 3, max(seen) * 3)
            axes.set_title(f"{cost}, derivative by {parameter}", fontsize=12, color=INK)
            axes.set_xlabel("k")
            axes.set_ylabel("variance of one draw" if column == 0 else "")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _paint_bernoulli(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["bernoulli"]
    _dots(axes, rows, "p", [row["variance"] for row in rows])
    _lines(axes, rows, "p", [row["exact"] for row in rows])
    axes.set_xlabel("p, the probability of 1")
    axes.set_ylabel("variance by the logit, 2 evaluations")
    axes.legend(loc="upper right")
    axes.set_ylim(0, 0.095)


def _paint_inside(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["inside"]
    phi = np.array([row["phi"] for row in rows])
    inside, missing = (np.array([row[name] for row in rows]) for name in ("inside", "missing"))
    fine = np.linspace(phi.min(), phi.max(), 200)
    axes.plot(fine, 1 + 3 * fine**2, color=COLORS[0])
    axes.plot(fine, 1 + fine**2, color=COLORS[1])
    axes.axhline(0, color=AXIS, linewidth=1)
    axes.plot(
        phi, inside + missing, "o", color=COLORS[0], label="E[∇g] + E[g ∇log q]: the gradient"
    )
    axes.plot(phi, inside, "o", color=COLORS[1], label="E[∇g] alone: ∇ moved inside")
    axes.set_xlabel("φ;  q = N(φ, 1),  g = φ z²")
    axes.set_ylabel("derivative of E[g]")
    axes.legend(loc="upper center")
    axes.set_ylim(-0.3, 10.5)


def _dots(axes: Axes, rows: list[dict[str, Any]], across: str, values: list[float]) -> None:
    """What was measured, an estimator a color."""
    for name, color in zip(_names(rows), COLORS, strict=False):
        here = [i for i, row in enumerate(rows) if row["estimator"] == name]
        at = [rows[i][across] for i in here]
        axes.plot(at, [values[i] for i in here], "o", color=color, markersize=5, label=name)


def _lines(axes: Axes, rows: list[dict[str, Any]], across: str, values: list[float]) -> None:
    """The exact answers behind the dots."""
    for name, color in zip(_names(rows), COLORS, strict=False):
        here = [i for i, row in enumerate(rows) if row["estimator"] == name]
        at = [rows[i][across] for i in here]
        axes.plot(at, [values[i] for i in here], color=color, linewidth=1.5)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["estimator"] for row in rows))
