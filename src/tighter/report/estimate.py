"""The sections on what a run comes to: the estimate in big type, and how far to trust it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.markup import (
    big,
    bold,
    count,
    counted,
    decimals,
    escaped,
    in_columns,
    missing,
    panel,
    percent,
    remark,
    section,
    side_by_side,
    signed,
    stats,
    verdict_box,
    with_error,
)
from tighter.report.records import EVALUATION, EXAMPLES, RunRecord, numbers, read_results
from tighter.report.records import section as part
from tighter.report.theme import (
    DASHED,
    FAIR,
    GOOD,
    INK,
    MUTED,
    POOR,
    drawn,
    finite,
    plain_logarithmic,
    write_above,
)
from tighter.report.training import best_bound

_BINS = 28
_TERMS = {
    "reconstruction": ("Reconstruction", "E[log p(x|z₀)], exact; larger is better"),
    "prior_kl": ("Prior KL", "of the noisiest latent from N(0, 1), exact; smaller is better"),
    "diffusion": ("Diffusion", "KL of all steps between, estimated; smaller is better"),
}


def answer(record: RunRecord) -> str:
    """The log-likelihood in big type, its errors, and the verdict."""
    if record.evaluation is None:
        line = missing("There is no log-likelihood yet.", record.remedy(EVALUATION))
        return section("result", "Log-likelihood", line, stats(best_bound(record)))
    keys = ("log_likelihood", "standard_error", "num_examples", "num_samples", "seed")
    value, error, examples, draws, seed = numbers(record.evaluation, *keys)
    split = escaped(record.evaluation.get("split") or "")
    over = f"{count(examples)} {split} examples" if examples >= 0 else f"{split} examples"
    return section(
        "result",
        f"{split.capitalize()} log-likelihood" if split else "Log-likelihood",
        big("nats per datum", value, error),
        f'<p class="under">Mean{" ± standard error" if error >= 0 else ""} over {over}'
        + (f", each from {count(draws)} importance samples" if draws >= 0 else "")
        + (f" (seed {seed:.0f})" if seed >= 0 else "")
        + ".</p>",
        stats(_errors(record.evaluation, draws)),
        verdict_box(record.evaluation),
        side_by_side(read_results(record.directory, "evaluation")),
    )


def diffusion_answer(record: RunRecord) -> str:
    """The bound in big type, in bits per dimension where pixels have levels, and its terms."""
    if record.evaluation is None:
        line = missing("The bound was not measured yet.", record.remedy(EVALUATION))
        return section("result", "Bound", line)
    keys = ("bound", "standard_error", "num_examples", "num_times", "levels")
    value, error, examples, times, levels = numbers(record.evaluation, *keys)
    bits = record.evaluation.get("bits_per_dimension")
    split = escaped(record.evaluation.get("split") or "")
    under = f"Mean ± standard error over {count(examples)} {split} examples"
    under += f", {count(times)} times each" if times >= 0 else ""
    if isinstance(bits, Mapping):
        nats = f"{bold(value, error)} <small>nats per datum</small>"
        under += f"; pixels of {count(levels)} levels, dequantized: {nats}"
    return section(
        "result",
        f"{split.capitalize()} bound",
        big("bits per dimension", *numbers(bits, "mean", "standard_error"))
        if isinstance(bits, Mapping)
        else big("nats per datum", value, error),
        f'<p class="under">{under}.</p>',
        _terms(record.evaluation.get("terms")),
        side_by_side(read_results(record.directory, "evaluation")),
    )


def reliability(record: RunRecord) -> str:
    """Histograms over the evaluated examples."""
    title = "How far to trust the estimate"
    panels = []
    for name, (draw, caption) in _HISTOGRAMS.items():
        values = record.examples.get(name)
        if values is not None and finite(values).size:
            panels.append(panel(draw(values), caption))
        elif values is not None:
            panels.append(remark(f"No value of {name} is finite, so there is no histogram of it."))
    if not panels:
        line = "Nothing was recorded for single examples."
        return section("reliability", title, missing(line, record.remedy(EXAMPLES)))
    return section("reliability", title, in_columns(panels, "three"))


def _terms(terms: Any) -> str:
    """The terms of a diffusion model's bound."""
    if not isinstance(terms, Mapping):
        return ""
    rows = "".join(
        f"<tr><th>{name}</th><td>{bold(*numbers(part(terms, key), 'mean', 'standard_error'))}</td>"
        f"<td>{what}</td></tr>"
        for key, (name, what) in _TERMS.items()
        if isinstance(terms.get(key), Mapping)
    )
    return (
        '<table class="terms"><caption>The bound is the reconstruction less the other two, in nats'
        f" per datum</caption><tbody>{rows}</tbody></table>"
    )


def _errors(evaluation: Mapping[str, Any], draws: float) -> list[tuple[str, str, str]]:
    entries = []
    keys = ("monte_carlo_error", "share_pareto_k_above_0.7", "num_examples")
    noise, share, examples = numbers(evaluation, *keys)
    if not math.isnan(noise):
        entries.append(("Monte Carlo error", signed(noise, decimals(noise)), "nats, of the draws"))
    ess, error = numbers(evaluation, "median_ess", "median_ess_standard_error")
    if not math.isnan(ess):
        of = f"of {count(draws)} draws" if draws >= 0 else "draws"
        entries.append(("Median effective sample size", with_error(ess, error, places=0), of))
    if 0 <= share <= 1:
        spread = math.sqrt(share * (1 - share) / examples) if examples > 0 else 0.0
        of = f"± {percent(spread)} of examples" if spread else "of examples"
        entries.append(("k̂ above 0.7", percent(share), of))
    for title, key in (("Bound, as trained", "bound"), ("Log-likelihood − bound", "bound_gap")):
        value, error = numbers(evaluation, key, f"{key}_standard_error")
        if not math.isnan(value):
            entries.append((title, with_error(value, error), "nats"))
    return entries


@drawn("ess", "Histogram of effective sample sizes.")
def _draw_ess(figure: Figure, ess: NDArray[np.floating]) -> str:
    """On a logarithmic axis if they span a factor of twenty."""
    axes = _axes(figure, "effective sample size (draws)")
    values = finite(ess)
    positive = values[values > 0]
    edges = _edges(0.0, values.max())
    if positive.size and positive.max() > 20 * positive.min():
        values = positive
        edges = np.geomspace(positive.min(), positive.max() * (1 + 1e-9), _BINS + 1)
        edges[0] = positive.min()
        plain_logarithmic(axes, "x", (1.0, 3.0), numticks=6)
    _bars(axes, values, edges)
    _mark(axes, float(np.median(values)), f"median {count(np.median(values))}")
    return _dropped(ess, values)


@drawn("khat", "Histogram of Pareto k-hat.")
def _draw_khat(figure: Figure, khat: NDArray[np.floating]) -> str:
    """Colored by what it means: up to 0.5, up to 0.7, above."""
    axes = _axes(figure, "Pareto k̂ (no unit)")
    values = finite(khat)
    shown = np.clip(values, -0.5, 1.5)
    # Edges at multiples of 0.05, so that 0.5 and 0.7 part the bars; the interval that holds
    # a limit reaches up to it and includes it, as "k̂ ≤ 0.7" says.
    first = min(np.floor(shown.min() / 0.05), 0)
    last = max(np.ceil(shown.max() / 0.05), 18)
    edges = np.arange(first, last + 1) * 0.05
    middles = (edges[1:] + edges[:-1]) / 2
    colors = [GOOD if k < 0.5 else FAIR if k < 0.7 else POOR for k in middles]
    _bars(axes, np.maximum(np.nextafter(shown, -np.inf), edges[0]), edges, colors)
    for limit in (0.5, 0.7):
        axes.axvline(limit, color=INK, **DASHED)
        write_above(axes, f"{limit}", limit, color=INK)
    return _noted(int(np.sum(shown != values)), "beyond the axis, in the outermost bars", khat)


@drawn("values", "Histogram of log-likelihoods.")
def _draw_log_likelihoods(figure: Figure, value: NDArray[np.floating]) -> str:
    """Without a far tail that would squeeze the rest."""
    axes = _axes(figure, "log-likelihood (nats)")
    values = finite(value)
    low, middle, high = np.quantile(values, [0.02, 0.5, 0.98])
    low = max(values.min(), low - 2 * (middle - low))
    high = min(values.max(), high + 2 * (high - middle))
    _bars(axes, values, _edges(low, high))
    mean = float(values.mean())
    if low <= mean <= high:
        _mark(axes, mean, f"mean {signed(mean, 2)}")
    beyond = int(np.sum((values < low) | (values > high)))
    far = signed(float(values.min() if values.min() < low else values.max()), 1)
    return _noted(beyond, f"outside, as far as {far} nats", value)


_HISTOGRAMS = {
    "pareto_k": (
        _draw_khat,
        "k̂ tells how heavy the tail of an example's importance weights is:"
        ' <span class="key blue">up to 0.5</span> the estimate converges fast,'
        ' <span class="key amber">up to 0.7</span> it is usable,'
        ' <span class="key orange">above</span> it can\'t be relied on: its error is larger'
        " than it says, and it is more likely too low than too high.",
    ),
    "ess": (
        _draw_ess,
        "The effective sample size is how many independent draws from the true posterior"
        " would serve as well as the weighted ones.",
    ),
    "value": (
        _draw_log_likelihoods,
        "The estimated log-likelihood of each example. Those far to the left are what the"
        " model finds hardest to explain.",
    ),
}


@drawn("histogram", "Histogram.")
def _draw_histogram(figure: Figure, values: NDArray[np.floating], label: str) -> str:
    axes = _axes(figure, label)
    shown = finite(values)
    if shown.size:
        _bars(axes, shown, _edges(shown.min(), shown.max()))
        _mark(axes, float(shown.mean()), f"mean {signed(float(shown.mean()), 3)}")
    return _dropped(values, shown)


def histogram_panel(
    values: NDArray[np.floating], label: str, caption: str, *, name: str, **size: int
) -> str:
    """Numbers of examples by any one value, with its mean marked.

    Args:
        values: One an example; those that are not finite are left out, and the note says so.
        label: Of the axis, with the unit.
        caption: Below the figure.
        name: Of the figure, unique on the page.
        size: Width and height in CSS pixels.
    """
    drawing = _draw_histogram(values, label, name=name, label=f"Histogram: {label}.", **size)
    return panel(drawing, caption)


def _axes(figure: Figure, label: str) -> Axes:
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(label)
    axes.set_ylabel("examples")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return axes


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Equal bins from low to high; one unit wide in all if the two are the same."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return np.linspace(low, high, _BINS + 1)


def _bars(
    axes: Axes,
    values: NDArray[np.float64],
    edges: NDArray[np.float64],
    colors: list[str] | None = None,
) -> None:
    heights, _ = np.histogram(values, edges)
    filled = np.flatnonzero(heights)
    widths = np.diff(edges)[filled]
    axes.bar(
        edges[filled] + 0.05 * widths, heights[filled], width=0.9 * widths, align="edge",
        color=[colors[i] if colors else GOOD for i in filled],
    )  # fmt: skip
    axes.set_xlim(edges[0], edges[-1])


def _mark(axes: Axes, value: float, text: str) -> None:
    axes.axvline(value, color=INK, **DASHED)
    place, _ = axes.transAxes.inverted().transform(axes.transData.transform((value, 0.0)))
    alignment = "left" if place < 0.25 else "right" if place > 0.75 else "center"
    write_above(axes, text, value, horizontalalignment=alignment, color=MUTED)


def _noted(number: int, where: str, given: NDArray[np.floating]) -> str:
    """How many values lie elsewhere, and how many are left out."""
    note = f"{counted(number, 'lies', 'lie')} {where}." if number else ""
    return " ".join(filter(None, (note, _dropped(given, finite(given)))))


def _dropped(given: NDArray[np.floating], shown: NDArray[np.float64]) -> str:
    lost = given.size - shown.size
    return f"{counted(lost, 'value is', 'values are')} not finite and left out." if lost else ""
