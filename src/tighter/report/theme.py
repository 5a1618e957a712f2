"""The figures' common look, and Matplotlib's SVG made fit to stand inside a page.

Figures are painted in the light palette; on the way out each of its colors becomes a CSS variable
of the same meaning, so that one figure serves light and dark pages. Text stays text, in the page's
own font.
"""

import io
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

INK = "#1d2733"
MUTED = "#5c6874"
AXIS = "#b9c2cb"
GRID = "#e6eaee"
SURFACE = "#fefefe"
TRAINING = "#0072b2"
VALIDATION = "#d55e00"
GOOD, FAIR, POOR = TRAINING, "#e69f00", VALIDATION

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    AXIS: "--axis",
    GRID: "--grid",
    SURFACE: "--surface",
    TRAINING: "--blue",
    FAIR: "--amber",
    VALIDATION: "--orange",
}

# Petroff's ten colors (arXiv 2107.02270), chosen by search to stay apart under color blindness.
CATEGORIES = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": AXIS,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-4, 10),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelpad": 6.0,
    "axes.labelsize": 12.0,
    "axes.linewidth": 1.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.size": 12.0,
    "grid.color": GRID,
    "grid.linewidth": 1.0,
    "legend.fontsize": 12.0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": AXIS,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 11.0,
    "ytick.color": AXIS,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 11.0,
    "xtick.major.size": 4.0,
    "ytick.major.size": 0.0,
}


def drawable(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values can stand in a figure: finite, and no overflow waiting to happen."""
    return np.abs(values.astype(np.float64)) < 1e100


def plain_logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 in plain numbers."""
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.4g}"))
    axis.set_minor_locator(NullLocator())


class Drawing(NamedTuple):
    """A figure and what its caption must add, such as values that lie outside the picture."""

    svg: str
    note: str = ""


def draw(
    paint: Callable[[Figure], str], *, name: str, label: str, width: int, height: int
) -> Drawing:
    """Paint a figure in the house style and return it as inline SVG.

    Args:
        paint: Fills an empty figure and returns the note for the caption, or "".
        name: Unique on the page: keeps the identifiers of its figures apart. It also takes the
            place of chance in them, so that the same data give the same bytes.
        label: What the figure shows, for those who can't see it. Plain text without markup.
        width: In CSS pixels.
        height: In CSS pixels.
    """
    # A user's own matplotlibrc must not change the report, hence "default".
    with matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        # SVG counts in points of 1/72 inch; here a point is one pixel of the page.
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        note = paint(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", dpi=160, metadata={"Date": None})
    return Drawing(_inline(stream.getvalue(), label=label), note)


def _inline(svg: str, *, label: str) -> str:
    """Reduce a stand-alone SVG file to an element for HTML: smaller, and with the page's colors."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # A style element inside would speak for the whole page; the stylesheet repeats this one.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    # Two decimals of a pixel are enough in coordinates; numbers in text are left alone.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group()), svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    box = view.group() if view else ""
    svg = re.sub(r"<svg[^>]*>", f'<svg {box} role="img" aria-label="{label}">', svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"> <", "><", svg)
    return re.sub("|".join(VARIABLES), lambda color: f"var({VARIABLES[color.group()]})", svg)
