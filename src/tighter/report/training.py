"""The section on training: the bound against epochs, in training and in validation."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.markup import (
    count,
    counted,
    figure,
    for_screens,
    missing,
    remark,
    section,
    signed,
    stats,
    with_error,
)
from tighter.report.records import METRICS, RunRecord
from tighter.report.theme import (
    DASHED,
    INK,
    MUTED,
    SURFACE,
    TRAINING,
    VALIDATION,
    drawable,
    drawn,
    finite,
    write_at,
)

_NARROW = 500


class Curves(NamedTuple):
    """The two curves over the same epochs, NaN where there is nothing finite."""

    epochs: NDArray[np.float64]
    training: NDArray[np.float64]
    validation: NDArray[np.float64]

    @property
    def best(self) -> int | None:
        """The row of the best validation bound, or None if there was no validation."""
        return int(np.nanargmax(self.validation)) if np.isfinite(self.validation).any() else None

    @property
    def named(self) -> list[tuple[str, NDArray[np.float64], str]]:
        """Name, values and color of those that have a finite value."""
        both = [("training", self.training, TRAINING), ("validation", self.validation, VALIDATION)]
        return [curve for curve in both if np.isfinite(curve[1]).any()]


def bound_curves(metrics: Mapping[str, NDArray[np.float64]]) -> Curves:
    """The columns of the metrics that the picture shows; NaN for what can't be drawn."""
    epochs = metrics.get("epoch", np.empty(0))
    absent = np.full(len(epochs), np.nan)
    columns = [metrics.get(name, absent) for name in ("bound", "validation_bound")]
    return Curves(epochs, *(np.where(drawable(column), column, np.nan) for column in columns))


def training(record: RunRecord) -> str:
    """The bound's curves."""
    title = "Training"
    if not record.metrics:
        line = "No epoch has been recorded yet."
        return section("training", title, missing(line, record.remedy(METRICS)))
    curves = bound_curves(record.metrics)
    cut = remark("The last line of metrics.jsonl was cut short and is left out.")
    summary = stats([*best_bound(record), *_progress(record)])
    notes = cut if record.metrics_cut else ""
    if not curves.named:
        line = remark("None of the recorded bounds is a finite number, so there is no curve.")
        return section("training", title, summary, line, notes)
    caption = (
        "The bound on the log-likelihood at each epoch; higher is better. In training it is the"
        " mean over the epoch's batches, while the parameters moved"
    )
    caption += (
        "; in validation that of held-out examples, at the parameters after the epoch. So the"
        " shaded gap is not the generalization gap alone: early on training lags behind, and may be"
        " below."
        if curves.best is not None
        else "."
    )
    drawing, note = for_screens(_draw_bounds, curves, name="bounds", heights=(340, 300))
    return section("training", title, summary, figure(drawing, caption, note), notes)


def best_bound(record: RunRecord) -> list[tuple[str, str, str]]:
    """The best validation bound, if there was validation."""
    curves = bound_curves(record.metrics)
    if curves.best is None:
        return []
    value, epoch = curves.validation[curves.best], curves.epochs[curves.best]
    errors = record.metrics.get("validation_error")
    error = math.nan if errors is None else float(errors[curves.best])
    text = with_error(float(value), error)
    return [("Best validation bound", text, f"nats, epoch {epoch:.0f}")]


def _progress(record: RunRecord) -> list[tuple[str, str, str]]:
    steps, speeds = (
        finite(record.metrics.get(name, np.empty(0))) for name in ("step", "steps_per_second")
    )
    epochs = count(len(record.metrics["epoch"]))
    entries = [("Epochs", epochs, f"{count(steps.max())} steps" if steps.size else "")]
    if speeds.size:
        speed = float(np.median(speeds))
        entries.append(("Median speed", signed(speed, 0 if speed >= 10 else 2), "steps/s"))
    return entries


@drawn("bounds", "Training and validation bound against epochs.")
def _draw_bounds(figure: Figure, curves: Curves) -> str:
    """The curves. Narrower than 500 pixels, a legend replaces the labels at their ends."""
    axes = figure.add_subplot()
    low, high = _limits(curves)
    axes.set_ylim(low, high)
    first, last = curves.epochs[0], curves.epochs[-1]
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("epoch")
    axes.set_ylabel("bound (nats per datum)")
    _plot(axes, curves)
    _mark_best(axes, curves)
    width, height = np.round(72 * figure.get_size_inches())
    if width < _NARROW:
        figure.legend(loc="outside upper left", ncols=2)
    else:
        _label_ends(axes, curves, nats_per_pixel=(high - low) / (height - 70))
    broken = int(np.sum(~np.isfinite(curves.training)))
    have = counted(broken, "epoch has", "epochs have")
    note = f"{have} no finite training bound." if broken else ""
    return " ".join(filter(None, (_outside(curves, low, high), note)))


def _plot(axes: Axes, curves: Curves) -> None:
    # Validation may skip epochs: lines and gap go straight from one recorded value to the next.
    if len(curves.named) == 2:
        upper, lower = (_filled(curves.epochs, values) for _, values, _ in curves.named)
        axes.fill_between(curves.epochs, upper, lower, color=TRAINING, alpha=0.13, linewidth=0)
    marker = "o" if len(curves.epochs) <= 40 else None
    for name, values, color in curves.named:
        known = np.isfinite(values)
        style = {"linewidth": 2, "marker": marker, "markersize": 3.5}
        axes.plot(curves.epochs[known], values[known], color=color, label=name, **style)


def _filled(epochs: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Missing values between known ones interpolated; those before and after stay NaN."""
    known = np.isfinite(values)
    return np.interp(epochs, epochs[known], values[known], left=np.nan, right=np.nan)


def _mark_best(axes: Axes, curves: Curves) -> None:
    if curves.best is None:
        return
    epoch, value = curves.epochs[curves.best], curves.validation[curves.best]
    axes.vlines(epoch, axes.get_ylim()[0], value, color=MUTED, **DASHED)
    axes.plot(
        epoch, value, marker="o", markersize=9, markerfacecolor=SURFACE,
        markeredgecolor=VALIDATION, markeredgewidth=2, zorder=5,
    )  # fmt: skip
    late = epoch > sum(axes.get_xlim()) / 2
    write_at(
        axes, f"best validation: {signed(value, 2)} at epoch {epoch:.0f}", (epoch, 0),
        (-8 if late else 8, 10), xycoords=("data", "axes fraction"), color=INK,
        horizontalalignment="right" if late else "left",
    )  # fmt: skip


def _label_ends(axes: Axes, curves: Curves, *, nats_per_pixel: float) -> None:
    """Write each curve's name at its end, moved apart where they would overlap."""
    ends = [(name, float(values[np.isfinite(values)][-1]), c) for name, values, c in curves.named]
    shifts = [0.0] * len(ends)
    if len(ends) == 2:
        distance = (ends[0][1] - ends[1][1]) / nats_per_pixel
        push = max(0.0, 17 - abs(distance)) / 2 * (1 if distance >= 0 else -1)
        shifts = [push, -push]
    for (name, value, color), shift in zip(ends, shifts, strict=True):
        place = axes.get_xlim()[1], value
        style = {"verticalalignment": "center", "color": color, "annotation_clip": False}
        write_at(axes, name, place, (6, shift), **style)


def _limits(curves: Curves) -> tuple[float, float]:
    """A range for the y axis that wild epochs can't stretch, and that holds the end and the best.

    The spread of the epochs after the first tenth sets the scale; what lies further out than
    that spread is left out of the picture, and the caption says so.
    """
    both = np.stack([curves.training, curves.validation])
    values = both[np.isfinite(both)]
    calm = both[:, max(1, len(curves.epochs) // 10) :]
    calm = calm[np.isfinite(calm)]
    low, high = np.quantile(calm if calm.size >= 4 else values, [0.05, 0.95])
    spread = high - low
    low = max(values.min(), low - spread)
    high = min(values.max(), high + spread)
    needed = [column[np.isfinite(column)][-1] for _, column, _ in curves.named]
    needed += [] if curves.best is None else [curves.validation[curves.best]]
    low, high = min(low, *needed), max(high, *needed)
    pad = 0.08 * (high - low) or max(1.0, 0.01 * abs(high))
    return float(low - pad), float(high + pad)


def _outside(curves: Curves, low: float, high: float) -> str:
    values = np.stack([curves.training, curves.validation])
    beyond = (values < low) | (values > high)
    if not beyond.any():
        return ""
    epochs = curves.epochs[beyond.any(axis=0)]
    worst = values[beyond][np.argmax(np.abs(values[beyond]))]
    alone = len(epochs) == 1
    which = f"Epoch {epochs[0]:.0f} lies" if alone else f"{count(len(epochs))} epochs lie"
    return f"{which} outside the picture, as far as {signed(worst, 1)} nats."
