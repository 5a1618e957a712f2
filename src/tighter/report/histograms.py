"""How the evaluation went, example by example: effective sample sizes, k̂ and log-likelihoods."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from tighter.report.theme import FAIR, GOOD, INK, MUTED, POOR, Drawing, draw, drawable
from tighter.report.words import count, counted, signed

_SIZE = {"width": 320, "height": 240}
_BINS = 28


def draw_ess(ess: NDArray[np.floating]) -> Drawing:
    """Draw the effective sample sizes, on a logarithmic axis if they span a factor of twenty."""

    def paint(figure: Figure) -> str:
        axes = _axes(figure, "effective sample size (draws)")
        values = finite(ess)
        positive = values[values > 0]
        if positive.size and positive.max() > 20 * positive.min():
            values = positive
            edges = np.geomspace(positive.min(), positive.max() * (1 + 1e-9), _BINS + 1)
            edges[0] = positive.min()
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.4g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            edges = _edges(0.0, values.max())
        _bars(axes, values, edges, [GOOD] * (len(edges) - 1))
        _mark(axes, float(np.median(values)), f"median {count(np.median(values))}")
        return _dropped(ess, values)

    return draw(paint, name="ess", label="Histogram of effective sample sizes.", **_SIZE)


def draw_khat(khat: NDArray[np.floating]) -> Drawing:
    """Draw k̂, colored by what it means: up to 0.5, up to 0.7, above."""

    def paint(figure: Figure) -> str:
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
            axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (3, 3)))
            axes.annotate(
                f"{limit}",
                (limit, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                horizontalalignment="center",
                fontsize=11,
                color=INK,
            )
        clipped = int(np.sum(shown != values))
        note = (
            f"{counted(clipped, 'lies', 'lie')} beyond the axis, in the outermost bars."
            if clipped
            else ""
        )
        return " ".join(filter(None, (note, _dropped(khat, values))))

    return draw(paint, name="khat", label="Histogram of Pareto k-hat.", **_SIZE)


def draw_log_likelihoods(value: NDArray[np.floating]) -> Drawing:
    """Draw the log-likelihoods, leaving out a far tail that would squeeze the rest."""

    def paint(figure: Figure) -> str:
        axes = _axes(figure, "log-likelihood (nats)")
        values = finite(value)
        low, middle, high = np.quantile(values, [0.02, 0.5, 0.98])
        low = max(values.min(), low - 2 * (middle - low))
        high = min(values.max(), high + 2 * (high - middle))
        edges = _edges(low, high)
        _bars(axes, values, edges, [GOOD] * (len(edges) - 1))
        mean = float(values.mean())
        if low <= mean <= high:
            _mark(axes, mean, f"mean {signed(mean, 2)}")
        beyond = int(np.sum((values < low) | (values > high)))
        far = signed(float(values.min() if values.min() < low else values.max()), 1)
        note = f"{counted(beyond, 'lies', 'lie')} outside, as far as {far} nats." if beyond else ""
        return " ".join(filter(None, (note, _dropped(value, values))))

    return draw(paint, name="values", label="Histogram of log-likelihoods.", **_SIZE)


def draw_histogram(
    values: NDArray[np.floating], label: str, *, name: str, width: int = 320, height: int = 240
) -> Drawing:
    """Draw numbers of examples by any one value, with its mean marked.

    Args:
        values: One an example.
        label: What it is and its unit, for the axis.
        name: Unique on the page.
        width: In CSS pixels.
        height: In CSS pixels.
    """

    def paint(figure: Figure) -> str:
        axes = _axes(figure, label)
        shown = finite(values)
        if not shown.size:
            return _dropped(values, shown)
        _bars(axes, shown, _edges(shown.min(), shown.max()), [GOOD] * _BINS)
        _mark(axes, float(shown.mean()), f"mean {signed(float(shown.mean()), 3)}")
        return _dropped(values, shown)

    return draw(paint, name=name, label=f"Histogram: {label}.", width=width, height=height)


def finite(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Those that can be drawn, as float64."""
    values = np.asarray(values, dtype=np.float64)
    return values[drawable(values)]


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
    axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64], colors: list[str]
) -> None:
    heights, _ = np.histogram(values, edges)
    filled = np.flatnonzero(heights)
    widths = 0.9 * np.diff(edges)
    axes.bar(
        edges[filled] + 0.05 * np.diff(edges)[filled],
        heights[filled],
        width=widths[filled],
        align="edge",
        color=[colors[i] for i in filled],
    )
    axes.set_xlim(edges[0], edges[-1])


def _mark(axes: Axes, value: float, text: str) -> None:
    axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    left, right = axes.transAxes.inverted().transform(
        axes.transData.transform([(value, 0.0), (value, 0.0)])
    )[:, 0]
    place = float((left + right) / 2)
    alignment = "left" if place < 0.25 else "right" if place > 0.75 else "center"
    axes.annotate(
        text,
        (value, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        horizontalalignment=alignment,
        fontsize=11,
        color=MUTED,
    )


def _dropped(given: NDArray[np.floating], shown: NDArray[np.float64]) -> str:
    missing = given.size - shown.size
    return (
        f"{counted(missing, 'value is', 'values are')} not finite and left out." if missing else ""
    )
