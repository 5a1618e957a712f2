"""The figures' common look, and Matplotlib's SVG made fit to stand inside a page.

Figures are painted in the light palette; on the way out each of its colors becomes a CSS variable
of the same meaning, so that one figure serves light and dark pages. Text stays text, in the page's
own font.
"""

import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Literal, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

INK = "#1d2733"
MUTED = "#5c6874"
AXIS = "#b9c2cb"
SURFACE = "#fefefe"
TRAINING = GOOD = "#0072b2"
FAIR = "#e69f00"
VALIDATION = POOR = "#d55e00"

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    AXIS: "--axis",
    "#e6eaee": "--grid",
    SURFACE: "--surface",
    TRAINING: "--blue",
    FAIR: "--amber",
    VALIDATION: "--orange",
}

# Petroff's ten colors (arXiv 2107.02270), chosen by search to stay apart under color blindness.
CATEGORIES = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
# One a category, so that color is not the only way to tell them apart.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHED: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (3, 3))}

_STYLE = Path(__file__).with_name("page.mplstyle")


class Drawing(NamedTuple):
    """A figure and what its caption must add, such as values that lie outside the picture."""

    svg: str
    note: str = ""


def drawn(
    name: str, label: str, width: int = 320, height: int = 240
) -> Callable[[Callable[Concatenate[Figure, ...], str | None]], Callable[..., Drawing]]:
    """Decorate what paints into an empty figure: it then returns the figure as inline SVG.

    What is decorated may return a note for the caption. The function that is made takes everything
    but the figure, and any of the arguments below by keyword.

    Args:
        name: Unique on the page: keeps the identifiers of its figures apart. It also takes the
            place of chance in them, so that the same data give the same bytes.
        label: What the figure shows, for those who can't see it. Plain text without markup.
        width: In CSS pixels.
        height: In CSS pixels.
    """
    usual = {"name": name, "label": label, "width": width, "height": height}

    def decorate(paint: Callable[Concatenate[Figure, ...], str | None]) -> Callable[..., Drawing]:
        @functools.wraps(paint)
        def draw(*args: Any, **changed: Any) -> Drawing:
            options = usual | changed
            # A user's own matplotlibrc must not change the report, hence "default".
            style = ["default", _STYLE, {"svg.hashsalt": options["name"]}]
            with matplotlib.style.context(style):
                # SVG counts in points of 1/72 inch; here a point is one pixel of the page.
                size = options["width"] / 72, options["height"] / 72
                figure = Figure(figsize=size, layout="constrained")
                note = paint(figure, *args)
                stream = io.StringIO()
                figure.savefig(stream, format="svg", dpi=160, metadata={"Date": None})
            return Drawing(_inline(stream.getvalue(), label=options["label"]), note or "")

        return draw

    return decorate


def drawable(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values can stand in a figure: finite, and no overflow waiting to happen."""
    return np.abs(values.astype(np.float64)) < 1e100


def finite(values: NDArray[Any]) -> NDArray[np.float64]:
    """Those that can be drawn, as float64."""
    values = np.asarray(values, dtype=np.float64)
    return values[drawable(values)]


def plain_logarithmic(
    axes: Axes, which: Literal["x", "y"], subs: tuple[float, ...] = (1.0, 2.0, 5.0), **more: int
) -> None:
    """Make an axis logarithmic, with ticks at such multiples of powers of 10, in plain numbers."""
    scale, axis = (axes.set_xscale, axes.xaxis) if which == "x" else (axes.set_yscale, axes.yaxis)
    scale("log")
    axis.set_major_locator(LogLocator(subs=subs, **more))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.4g}"))
    axis.set_minor_locator(NullLocator())


def write_at(
    axes: Axes, text: str, place: tuple[Any, Any], offset: tuple[Any, Any], **style: Any
) -> None:
    """Write a text so many pixels from a place in the data."""
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **style)


def write_above(axes: Axes, text: str, at: float, **style: Any) -> None:
    """Write a text above the axes, over a value."""
    style = {"horizontalalignment": "center", "fontsize": 11} | style
    write_at(axes, text, (at, 1), (0, 3), xycoords=("data", "axes fraction"), **style)


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
