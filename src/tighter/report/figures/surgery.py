"""Pictures of what `tighter reproduce surgery` found, from its record alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tighter.report.figures.drawing import COLORS, EXACT, draw_picture, read_record
from tighter.report.theme import INK, MUTED

_LINE = np.linspace(-3.6, 3.6, 361)


def draw(path: Path) -> list[Path]:
    """Draw terms.png and toy.png into the experiment's folder."""
    record = read_record(path)
    return [
        draw_picture(path / "terms.png", (9.6, 4.8), functools.partial(_paint_terms, record)),
        draw_picture(path / "toy.png", (11.5, 6.4), functools.partial(_paint_toy, record)),
    ]


def _paint_terms(record: dict[str, Any], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    rows = record["rows"]
    at = np.arange(len(rows))
    names = [str(row["num_latent"]) for row in rows]
    information = np.array([row["index_code_mutual_information"] for row in rows])
    marginal = np.array([row["marginal_kl"] for row in rows])
    left.bar(at, information, 0.55, color=COLORS[0], label="mutual information I(n; z)")
    left.bar(at, marginal, 0.55, bottom=information, color=COLORS[1], label="marginal KL(q(z)‖p)")
    for where, below, height in zip(at, information, marginal, strict=True):
        left.text(where, below / 2, f"{below:.2f}", ha="center", va="center", color="white")
        left.text(
            where, below + height + 0.15, f"{height:.2f}", ha="center", va="bottom", color=COLORS[1]
        )
    ceiling = record["log_num_examples"]
    left.axhline(ceiling, color=EXACT, linewidth=1.5, linestyle="--")
    left.text(-0.44, ceiling + 0.12, f"log N = {ceiling:.2f}", color=EXACT, ha="left", va="bottom")
    left.set_ylim(0, 1.32 * max(ceiling, float((information + marginal).max())))
    left.set_xlim(-0.5, len(rows) - 0.5)
    left.set_ylabel("average KL(q(z|x)‖p), nats a datum")
    left.legend(loc="upper left")
    elbos = [row["elbo"] for row in rows]
    right.plot(at, elbos, "o-", color=COLORS[2], markersize=7)
    for where, value in zip(at, elbos, strict=True):
        right.annotate(
            f"{value:.1f}".replace("-", "−"), (where, value), (8, -15),
            textcoords="offset points", ha="left", color=INK,
        )  # fmt: skip
    span = max(elbos) - min(elbos)
    right.set_ylim(min(elbos) - 0.15 * span - 0.5, max(elbos) + 0.25 * span + 0.5)
    right.set_xlim(-0.5, len(rows) - 0.2)
    right.set_ylabel("ELBO, nats a datum")
    for axes in (left, right):
        axes.set_xticks(at, names)
        axes.set_xlabel("latent dimensions")
        axes.grid(visible=False, axis="x")
    figure.suptitle(
        f"{record['data']}, N = {record['num_examples']:,}, {record['epochs']} epochs",
        fontsize=12, color=INK,
    )  # fmt: skip


def _paint_toy(record: dict[str, Any], figure: Figure) -> None:
    toys = record["toy"]
    panels = figure.subplots(2, len(toys), sharex="row", sharey="row", height_ratios=(1.5, 1))
    parts = {
        "reconstruction": "reconstruction − best",
        "mutual_information": "mutual information",
        "marginal_kl": "marginal KL",
    }
    best = max(max(toy["reconstruction"]) for toy in toys.values())
    for (above, below), (name, toy) in zip(panels.T, toys.items(), strict=True):
        _paint_codes(above, toy)
        above.set_title(name, fontsize=12, color=INK)
        above.set_xlabel("z")
        time = np.array(toy["time"]) / toy["time"][-1]
        for (part, label), color in zip(parts.items(), COLORS[2:], strict=False):
            values = np.array(toy[part]) - (best if part == "reconstruction" else 0)
            below.plot(time, values, color=color, linewidth=1.6, label=label)
        below.set_xlabel(f"time of the flow, 0 to {toy['time'][-1]:g}")
        below.set_xticks([])
    panels[0, 0].set_ylabel("density")
    panels[1, 0].set_ylabel("nats")
    panels[0, 0].set_ylim(0, 1.7)
    panels[0, 0].legend(loc="upper left", fontsize=10)
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)


def _paint_codes(axes: Axes, toy: dict[str, Any]) -> None:
    """The two densities before (dashed) and after, and the prior."""
    prior = _density(0.0, 1.0)
    axes.fill_between(_LINE, prior, color=MUTED, alpha=0.14, linewidth=0, label="prior")
    for code, color in enumerate(COLORS[:2]):
        before, after = (_density(toy["mean"][i][code], toy["scale"][i][code]) for i in (0, -1))
        axes.plot(_LINE, before, "--", color=color, linewidth=1.2)
        width, name = 3.4 - 1.6 * code, f"q(z|x{'₁₂'[code]})"
        axes.plot(_LINE, after, color=color, linewidth=width, label=name)
    axes.plot([], [], "--", color=MUTED, linewidth=1.2, label="before")


def _density(mean: float, scale: float) -> np.ndarray:
    return np.exp(-(((_LINE - mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
