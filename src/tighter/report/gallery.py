"""The sections of pictures: samples, reconstructions, the latent plane."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.images import (
    Tiles,
    affordable,
    are_images,
    best_columns,
    to_sheet,
    to_tiles,
    to_uri,
)
from tighter.report.latent import draw_plane, project
from tighter.report.markup import (
    count,
    figure,
    for_screens,
    in_columns,
    missing,
    panel,
    plot,
    remark,
    section,
)
from tighter.report.records import PICTURES, RunRecord
from tighter.report.theme import INK, TRAINING, VALIDATION, drawn

_SMALL = 32 * 32
_MOST_PANELS, _MOST_ROWS, _MOST_MARKERS = 9, 40, 40
_OF_PRIOR = "What the model makes up: each tile is the mean of p(x|z) for a fresh z from the prior."


def samples(
    record: RunRecord, *, title: str = "Samples from the prior", caption: str = _OF_PRIOR
) -> str:
    """Draws from the model alone."""
    made = record.pictures.get("prior_samples")
    if made is None or not made.size:
        return section("samples", title, _absent(record, "There are no samples yet."))
    # Originals, if there are any, tell better than samples whether rows are pictures.
    if not are_images(record.pictures.get("originals", made)) or not are_images(made):
        return section("samples", title, _heat_rows(made))
    tiles = to_tiles(made)
    shown = affordable(tiles, 60 if _are_small(tiles) else 30)
    cells = "".join(_tile(tiles.pixels[i]) for i in range(shown))
    laid = _laid_out(cells, shown, f"{title}.", small=_are_small(tiles))
    return section("samples", title, figure(laid, caption, _of(shown, len(made)), tiles.note))


def reconstructions(record: RunRecord) -> str:
    """Examples and what is left of them after a way through the latent space."""
    return section("reconstructions", "Reconstructions", _reconstructions(record))


def _reconstructions(record: RunRecord) -> str:
    names = ("originals", "reconstructions", "pixels", "reconstructed_draws")
    originals, rebuilt, pixels, draws = (record.pictures.get(name) for name in names)
    if originals is None or rebuilt is None or not originals.size:
        return _absent(record, "There are no reconstructions yet.")
    if originals.shape != rebuilt.shape:
        shapes = f"{originals.shape} and {rebuilt.shape}"
        return remark(f"Originals and reconstructions differ in shape, {shapes}.")
    if not are_images(originals):
        return _line_pairs(originals, rebuilt)
    above, below = to_tiles(originals), to_tiles(rebuilt)
    shown = affordable(above, 30 if _are_small(above) else 20, budget=250_000)
    rows, caption = [above, below], "An example above and its reconstruction below."
    if pixels is not None and draws is not None and pixels.shape == draws.shape == originals.shape:
        rows = [to_tiles(pixels), above, below, to_tiles(draws)]
        caption = (
            "From above: an example, as the model saw it (binarized), its reconstruction (the"
            " probability of each pixel), and a draw of it, to be compared with the second."
        )
    cells = "".join(
        f'<span class="pair">{"".join(_tile(row.pixels[i]) for row in rows)}</span>'
        for i in range(shown)
    )
    label, small = "Originals above their reconstructions.", _are_small(above)
    laid = _laid_out(cells, shown, label, small=small, pairs=True)
    return figure(laid, caption, _of(shown, len(originals)), above.note or below.note)


def latent_plane(record: RunRecord) -> str:
    """Where the encoder puts examples, and for two dimensions what the decoder makes of them."""
    encodings, grid = record.pictures.get("encodings"), record.pictures.get("grid")
    parts = [_encodings(record, encodings)]
    if grid is not None and grid.size:
        parts.append(_decoded_grid(grid))
    return section("latent", "Latent space", in_columns(parts, "two" if len(parts) == 2 else "one"))


def _encodings(record: RunRecord, encodings: NDArray[Any] | None) -> str:
    if encodings is None or not encodings.size:
        return _absent(record, "There are no encodings yet.")
    names = [str(name) for name in record.pictures.get("label_names", ())]
    plane = project(encodings, record.pictures.get("encoding_labels"), names)
    if plane is None:
        return remark("Too few of the encodings are finite for a picture.")
    where = "its posterior mean"
    if encodings.shape[1] > 2:
        dimensions = f"{encodings.shape[1]} dimensions to two"
        where += f", brought from {dimensions} by principal components"
    colored = "" if plane.labels is None else " Color is its label."
    return panel(draw_plane(plane), f"Each point is an example at {where}.{colored}")


def _decoded_grid(grid: NDArray[Any]) -> str:
    if not are_images(grid.reshape(-1, *grid.shape[2:])):
        return remark("The decoded grid holds vectors, which can't be shown as tiles.")
    uri, note = to_sheet(grid)
    image = f'<img class="sheet" src="{uri}" alt="Decoded means over the latent plane.">'
    caption = (
        f"The decoder's mean over a {grid.shape[0]} × {grid.shape[1]} grid of the prior's"
        " quantiles: z₁ grows to the right, z₂ upward."
    )
    return figure(image, caption, note)


def _heat_rows(made: NDArray[Any]) -> str:
    if not np.isfinite(made).any():
        return remark("The samples hold no finite values to draw.")
    rows = made[:_MOST_ROWS]
    height = 140 + 8 * len(rows)
    drawing, note = for_screens(_draw_rows, rows, name="rows", heights=(height, height))
    caption = (
        "What the model makes up: each row is the mean of p(x|z) for a fresh z from the prior,"
        " feature by feature."
    )
    return figure(drawing, caption, _of(len(rows), len(made)), note)


def _line_pairs(originals: NDArray[Any], rebuilt: NDArray[Any]) -> str:
    shown = min(len(originals), _MOST_PANELS)
    limits = _common_limits(originals[:shown], rebuilt[:shown])
    panels = [
        plot(
            _draw_pair(
                originals[i], rebuilt[i], i + 1, limits, name=f"pair{i + 1}",
                label=f"Example {i + 1} and its reconstruction.",
            )
        )
        for i in range(shown)
    ]  # fmt: skip
    caption = (
        '<span class="key blue">Examples</span> and <span class="key orange">their'
        " reconstructions</span>, feature by feature."
    )
    return figure(in_columns(panels, "three"), caption, _of(shown, len(originals)))


@drawn("rows", "Samples from the prior as rows of colors.")
def _draw_rows(figure: Figure, rows: NDArray[np.floating]) -> str:
    """Vectors, (n, D), one below the other, their values as colors."""
    axes = figure.add_subplot()
    axes.grid(visible=False)
    values = np.where(np.isfinite(rows), rows, np.nan)
    extent = (0.5, rows.shape[1] + 0.5, rows.shape[0] + 0.5, 0.5)
    image = axes.imshow(values, aspect="auto", interpolation="none", cmap="viridis", extent=extent)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlabel("feature (index)")
    axes.set_ylabel("sample (index)")
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30)
    bar.set_label("value (the data's unit)")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return "" if np.isfinite(rows).all() else "Values that aren't finite are left blank."


@drawn("pair", "", width=300, height=190)
def _draw_pair(
    figure: Figure,
    original: NDArray[np.floating],
    reconstruction: NDArray[np.floating],
    number: int,
    limits: tuple[float, float],
) -> None:
    """One vector, (D,), and its reconstruction over it; limits are the same for all panels."""
    axes = figure.add_subplot()
    features = np.arange(1, len(original) + 1)
    style = {"linewidth": 1.5, "marker": "o" if len(original) <= _MOST_MARKERS else None}
    axes.plot(features, original, color=TRAINING, markersize=4, **style)
    axes.plot(features, reconstruction, color=VALIDATION, markersize=3, **style)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_title(f"example {number}", fontsize=11, color=INK, loc="left")
    axes.set_xlabel("feature (index)", fontsize=11)
    axes.set_ylabel("value", fontsize=11)


def _common_limits(*arrays: NDArray[np.floating]) -> tuple[float, float]:
    """A range that holds the finite values of all arrays, with a margin."""
    values = np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad


def _laid_out(cells: str, number: int, label: str, *, small: bool, pairs: bool = False) -> str:
    """Lay tiles out in columns whose number depends on the screen."""
    most = (15, 10, 6) if small else (10, 5, 5)
    wide, middle, narrow = (best_columns(number, width) for width in most)
    kind = "tiles pairs" if pairs else "tiles"
    style = f"--wide:{wide};--middle:{middle};--narrow:{narrow}"
    return f'<div class="{kind}" style="{style}" role="img" aria-label="{label}">{cells}</div>'


def _tile(pixels: NDArray[np.uint8]) -> str:
    return f'<img src="{to_uri(pixels)}" alt="">'


def _are_small(tiles: Tiles) -> bool:
    return tiles.pixels.shape[1] * tiles.pixels.shape[2] <= _SMALL


def _of(shown: int, total: int) -> str:
    return f"The first {count(shown)} of {count(total)} are shown." if shown < total else ""


def _absent(record: RunRecord, what: str) -> str:
    return missing(what, record.remedy(PICTURES))
