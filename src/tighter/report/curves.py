"""The bound against epochs, in training and in validation."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.theme import INK, MUTED, SURFACE, TRAINING, VALIDATION, Drawing, draw, drawable
from tighter.report.words import count, counted, signed

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
    def drawable(self) -> bool:
        """Whether there is a finite number at all."""
        return bool(np.isfinite([self.training, self.validation]).any())


def bound_curves(metrics: Mapping[str, NDArray[np.float64]]) -> Curves:
    """The columns of the metrics that the picture shows; NaN for what can't be drawn."""
    epochs = metrics.get("epoch", np.empty(0))
    absent = np.full(len(epochs), np.nan)
    columns = [metrics.get(name, absent) for name in ("bound", "validation_bound")]
    training, validation = (np.where(drawable(column), column, np.nan) for column in columns)
    return Curves(epochs, training, validation)


def draw_bounds(curves: Curves, *, width: int, height: int) -> Drawing:
    """Draw the curves. Narrower than 500 pixels, a legend replaces the labels at their ends."""

    def paint(figure: Figure) -> str:
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
        if width < _NARROW:
            figure.legend(loc="outside upper left", ncols=2)
        else:
            _label_ends(axes, curves, nats_per_pixel=(high - low) / (height - 70))
        return " ".join(filter(None, (_outside(curves, low, high), _broken(curves))))

    label = "Training and validation bound against epochs."
    return draw(paint, name=f"bounds{width}", label=label, width=width, height=height)


def _plot(axes: Axes, curves: Curves) -> None:
    # Validation may skip epochs: lines and gap go straight from one recorded value to the next.
    if np.isfinite(curves.training).any() and np.isfinite(curves.validation).any():
        upper, lower = (_filled(curves.epochs, v) for v in (curves.training, curves.validation))
        axes.fill_between(curves.epochs, upper, lower, color=TRAINING, alpha=0.13, linewidth=0)
    marker = "o" if len(curves.epochs) <= 40 else None
    for values, color, name in (
        (curves.training, TRAINING, "training"),
        (curves.validation, VALIDATION, "validation"),
    ):
        known = np.isfinite(values)
        if known.any():
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
    axes.vlines(epoch, axes.get_ylim()[0], value, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.plot(
        epoch,
        value,
        marker="o",
        markersize=9,
        markerfacecolor=SURFACE,
        markeredgecolor=VALIDATION,
        markeredgewidth=2,
        zorder=5,
    )
    left, right = axes.get_xlim()
    late = epoch > (left + right) / 2
    axes.annotate(
        f"best validation: {signed(value, 2)} at epoch {epoch:.0f}",
        (epoch, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-8 if late else 8, 10),
        textcoords="offset points",
        horizontalalignment="right" if late else "left",
        color=INK,
    )


def _label_ends(axes: Axes, curves: Curves, *, nats_per_pixel: float) -> None:
    """Write each curve's name at its end, moved apart where they would overlap."""
    ends: list[tuple[float, str, str]] = []
    for values, color, name in (
        (curves.training, TRAINING, "training"),
        (curves.validation, VALIDATION, "validation"),
    ):
        finite = values[np.isfinite(values)]
        if finite.size:
            ends.append((float(finite[-1]), color, name))
    shifts = [0.0] * len(ends)
    if len(ends) == 2:
        distance = (ends[0][0] - ends[1][0]) / nats_per_pixel
        push = max(0.0, 17 - abs(distance)) / 2 * (1 if distance >= 0 else -1)
        shifts = [push, -push]
    for (value, color, text), shift in zip(ends, shifts, strict=True):
        axes.annotate(
            text,
            (axes.get_xlim()[1], value),
            xytext=(6, shift),
            textcoords="offset points",
            verticalalignment="center",
            color=color,
            annotation_clip=False,
        )


def _limits(curves: Curves) -> tuple[float, float]:
    """A range for the y axis that wild epochs can't stretch, and that holds the end and the best.

    The spread of the epochs after the first tenth sets the scale; what lies further out than
    that spread is left out of the picture, and the caption says so.
    """
    settled = slice(max(1, len(curves.epochs) // 10), None)
    values = np.concatenate([curves.training, curves.validation])
    values = values[np.isfinite(values)]
    calm = np.concatenate([curves.training[settled], curves.validation[settled]])
    calm = calm[np.isfinite(calm)]
    if calm.size < 4:
        calm = values
    low, high = np.quantile(calm, [0.05, 0.95])
    spread = high - low
    low = max(values.min(), low - spread)
    high = min(values.max(), high + spread)
    must = [column[np.isfinite(column)][-1:] for column in (curves.training, curves.validation)]
    if curves.best is not None:
        must.append(curves.validation[curves.best : curves.best + 1])
    needed = np.concatenate(must)
    low, high = min(low, needed.min()), max(high, needed.max())
    pad = 0.08 * (high - low) or max(1.0, 0.01 * abs(high))
    return float(low - pad), float(high + pad)


def _broken(curves: Curves) -> str:
    missing = int(np.sum(~np.isfinite(curves.training)))
    if not missing:
        return ""
    return f"{counted(missing, 'epoch has', 'epochs have')} no finite training bound."


def _outside(curves: Curves, low: float, high: float) -> str:
    values = np.stack([curves.training, curves.validation])
    beyond = (values < low) | (values > high)
    if not beyond.any():
        return ""
    epochs = curves.epochs[beyond.any(axis=0)]
    extreme = values[beyond]
    worst = extreme[np.argmax(np.abs(extreme))]
    which = (
        f"Epoch {epochs[0]:.0f} lies" if len(epochs) == 1 else f"{count(len(epochs))} epochs lie"
    )
    return f"{which} outside the picture, as far as {signed(worst, 1)} nats."
