"""Pictures of what `tighter reproduce sticking-the-landing` measured, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_record
from tighter.report.theme import INK

_MARKS = ("o", "s", "x", "^")
# The first is drawn under another that is equal to it.
_WIDTHS = (3.4, 1.5, 1.5, 1.5)


def draw(path: Path) -> list[Path]:
    """Draw noise.png, arrival.png and networks.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / f"{name}.png", size, functools.partial(paint, record=record))
        for name, size, paint in (
            ("noise", (11.5, 4.8), _paint_noise),
            ("arrival", (7.0, 4.8), _paint_arrival),
            ("networks", (11.5, 4.4), _paint_networks),
        )
    ]


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    titles = {
        "mean": "gradient by μ",
        "log_scale": "gradient by log σ",
        "value": "value of the bound",
    }
    for axes, (part, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        looks = zip(_forms(record), COLORS, _MARKS, _WIDTHS, strict=False)
        for name, color, mark, width in looks:
            curve = [r for r in record["curves"] if r["form"] == name and r["distance"] > 0]
            dots = [r for r in record["noise"] if r["form"] == name and r["distance"] > 0]
            axes.plot(
                [r["distance"] for r in curve], [r[part] for r in curve],
                color=color, linewidth=width,
            )  # fmt: skip
            axes.plot(
                [r["distance"] for r in dots], [r[part] for r in dots],
                mark, color=color, markersize=9 if mark == "o" else 6, label=name,
                fillstyle="none" if mark == "o" else "full",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("distance from the optimum, in σ*")
        axes.set_title(title, fontsize=12, color=INK)
    figure.axes[0].set_ylabel("variance of one draw")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, title="dots measured, lines exact"
    )


def _paint_arrival(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    arrival = record["arrival"]
    steps = np.array(arrival["steps"])
    for name, color, width in zip(_forms(record), COLORS, _WIDTHS, strict=False):
        values = np.maximum(arrival["divergence"][name], 1e-15)
        axes.plot(steps, values, color=color, linewidth=width, label=name)
        if values[-1] < 1e-9:
            axes.text(
                steps[-1], values[-1] * 2, "rounding of 32 bits",
                ha="right", va="bottom", color=INK, fontsize=11,
            )  # fmt: skip
        plateau = arrival["plateau"][name]
        if plateau > 1e-12 and name != "analytic entropy":
            axes.plot([steps[-1] * 0.55, steps[-1] * 1.02], [plateau] * 2, ":", color=EXACT)
    axes.plot([], [], ":", color=EXACT, label="exact, to first order in the rate")
    axes.set_yscale("log")
    axes.set_xlabel(f"steps of stochastic gradients, learning rate {arrival['learning_rate']}")
    axes.set_ylabel("KL(q‖posterior), mean over chains, in nats")
    axes.legend(loc="center right", fontsize=11)


def _paint_networks(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    networks = record["networks"]
    forms, rows = list(networks["training"]), networks["noise"]
    colors = dict(zip(_forms(record), COLORS, strict=False))
    width = 0.8 / len(forms)
    for i, name in enumerate(forms):
        at = np.arange(len(rows)) + (i - (len(forms) - 1) / 2) * width
        relative = [row["variance"][name] / row["variance"]["total derivative"] for row in rows]
        bars = left.bar(at, relative, width * 0.92, color=colors[name], label=name)
        left.bar_label(bars, fmt="%.2f", fontsize=10, color=INK, padding=2)
        history = np.array(networks["training"][name]["history"])
        right.plot(*history.T, color=colors[name], linewidth=1.4, label=name)
    left.set_xticks(range(len(rows)), [f"after {row['epoch']}" for row in rows])
    left.set_xlabel(f"epochs on {networks['data']} by the total derivative")
    left.set_ylabel("variance of the encoder's gradient,\nover the total derivative's")
    left.grid(visible=False, axis="x")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    right.set_xlabel("epochs, trained by each form")
    right.set_ylabel("validation ELBO, one draw, nats a datum")
    heights = np.concatenate([line.get_ydata() for line in right.get_lines()])
    right.set_ylim(np.quantile(heights, 0.06), heights.max() + 0.3)


def _forms(record: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["form"] for row in record["noise"]))
