"""Examples that are no pictures: rows of features, as heat maps and as lines."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.theme import INK, TRAINING, VALIDATION, Drawing, draw

_MOST_MARKERS = 40


def draw_rows(rows: NDArray[np.floating], *, width: int, height: int) -> Drawing:
    """Draw vectors, (n, D), one below the other, their values as colors."""

    def paint(figure: Figure) -> str:
        axes = figure.add_subplot()
        axes.grid(visible=False)
        values = np.where(np.isfinite(rows), rows, np.nan)
        extent = (0.5, rows.shape[1] + 0.5, rows.shape[0] + 0.5, 0.5)
        image = axes.imshow(
            values, aspect="auto", interpolation="none", cmap="viridis", extent=extent
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.set_xlabel("feature (index)")
        axes.set_ylabel("sample (index)")
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30)
        bar.set_label("value (the data's unit)")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        return "" if np.isfinite(rows).all() else "Values that aren't finite are left blank."

    label = "Samples from the prior as rows of colors."
    return draw(paint, name=f"rows{width}", label=label, width=width, height=height)


def draw_pair(
    original: NDArray[np.floating],
    reconstruction: NDArray[np.floating],
    *,
    number: int,
    limits: tuple[float, float],
) -> Drawing:
    """Draw one vector, (D,), and its reconstruction over it.

    Args:
        original: The example.
        reconstruction: Of the same length.
        number: Its place among the examples, from 1.
        limits: The y axis, the same for all panels so that they compare.
    """

    def paint(figure: Figure) -> str:
        axes = figure.add_subplot()
        features = np.arange(1, len(original) + 1)
        marker = "o" if len(original) <= _MOST_MARKERS else None
        axes.plot(features, original, color=TRAINING, linewidth=1.5, marker=marker, markersize=4)
        axes.plot(
            features, reconstruction, color=VALIDATION, linewidth=1.5, marker=marker, markersize=3
        )
        axes.set_ylim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.set_title(f"example {number}", fontsize=11, color=INK, loc="left")
        axes.set_xlabel("feature (index)", fontsize=11)
        axes.set_ylabel("value", fontsize=11)
        return ""

    label = f"Example {number} and its reconstruction."
    return draw(paint, name=f"pair{number}", label=label, width=300, height=190)


def common_limits(*arrays: NDArray[np.floating]) -> tuple[float, float]:
    """A range that holds the finite values of all arrays, with a margin."""
    values = np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad
