"""The sections of pictures: samples, reconstructions, the latent plane."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tighter.report.images import Tiles, affordable, are_images, columns, to_sheet, to_tiles, to_uri
from tighter.report.latent import draw_plane, project
from tighter.report.markup import figure, missing, plot, plots, remark, section
from tighter.report.records import PICTURES, RunRecord
from tighter.report.vectors import common_limits, draw_pair, draw_rows
from tighter.report.words import count

_SMALL = 32 * 32
_MOST_PANELS = 9
_MOST_ROWS = 40
_OF_PRIOR = "What the model makes up: each tile is the mean of p(x|z) for a fresh z from the prior."


def samples(
    record: RunRecord, *, title: str = "Samples from the prior", caption: str = _OF_PRIOR
) -> str:
    """Draws from the model alone."""
    drawn = record.pictures.get("prior_samples")
    if drawn is None or not drawn.size:
        return section("samples", title, _absent(record, "There are no samples yet."))
    # Originals, if there are any, tell better than samples whether rows are pictures.
    if not are_images(record.pictures.get("originals", drawn)) or not are_images(drawn):
        return section("samples", title, _heat_rows(drawn))
    tiles = to_tiles(drawn)
    shown = affordable(tiles, 60 if _are_small(tiles) else 30)
    cells = "".join(_tile(tiles.pixels[i]) for i in range(shown))
    grid = _grid(cells, shown, f"{title}.", small=_are_small(tiles))
    return section("samples", title, figure(grid, caption, _of(shown, len(drawn)), tiles.note))


def reconstructions(record: RunRecord) -> str:
    """Examples and what is left of them after a way through the latent space."""
    title = "Reconstructions"
    originals = record.pictures.get("originals")
    rebuilt = record.pictures.get("reconstructions")
    if originals is None or rebuilt is None or not originals.size:
        return section(
            "reconstructions", title, _absent(record, "There are no reconstructions yet.")
        )
    if originals.shape != rebuilt.shape:
        shapes = f"{originals.shape} and {rebuilt.shape}"
        line = remark(f"Originals and reconstructions differ in shape, {shapes}.")
        return section("reconstructions", title, line)
    if not are_images(originals):
        return section("reconstructions", title, _line_pairs(originals, rebuilt))
    above, below = to_tiles(originals), to_tiles(rebuilt)
    shown = affordable(above, 30 if _are_small(above) else 20, budget=250_000)
    rows, caption = [above, below], "An example above and its reconstruction below."
    pixels, drawn = (record.pictures.get(n) for n in ("pixels", "reconstructed_draws"))
    if pixels is not None and drawn is not None and pixels.shape == drawn.shape == originals.shape:
        rows = [to_tiles(part) for part in (pixels, originals, rebuilt, drawn)]
        caption = (
            "From above: an example, as the model saw it (binarized), its reconstruction (the"
            " probability of each pixel), and a draw of it, to be compared with the second."
        )
    cells = "".join(
        f'<span class="pair">{"".join(_tile(row.pixels[i]) for row in rows)}</span>'
        for i in range(shown)
    )
    grid = _grid(
        cells, shown, "Originals above their reconstructions.", small=_are_small(above), pairs=True
    )
    notes = (_of(shown, len(originals)), above.note or below.note)
    return section("reconstructions", title, figure(grid, caption, *notes))


def latent_plane(record: RunRecord) -> str:
    """Where the encoder puts examples, and for two dimensions what the decoder makes of them."""
    title = "Latent space"
    parts = []
    encodings = record.pictures.get("encodings")
    plane = None
    if encodings is None or not encodings.size:
        parts.append(_absent(record, "There are no encodings yet."))
    else:
        plane = project(encodings, record.pictures.get("encoding_labels"))
        if plane is None:
            parts.append(remark("Too few of the encodings are finite for a picture."))
    if plane is not None and encodings is not None:
        drawing = draw_plane(plane)
        latent = encodings.shape[1]
        where = "its posterior mean"
        if latent > 2:
            where += f", brought from {latent} dimensions to two by principal components"
        caption = f"Each point is an example at {where}."
        if plane.labels is not None:
            caption += " Color is its label."
        parts.append(figure(plot(drawing), caption, drawing.note))
    grid = record.pictures.get("grid")
    if grid is not None and grid.size:
        parts.append(_decoded_grid(grid))
    style = "two" if len(parts) == 2 else "one"
    return section("latent", title, f'<div class="{style}">{"".join(parts)}</div>')


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


def _heat_rows(drawn: NDArray[Any]) -> str:
    if not np.isfinite(drawn).any():
        return remark("The samples hold no finite values to draw.")
    rows = drawn[:_MOST_ROWS]
    height = 140 + 8 * len(rows)
    wide = draw_rows(rows, width=960, height=height)
    narrow = draw_rows(rows, width=380, height=height)
    caption = (
        "What the model makes up: each row is the mean of p(x|z) for a fresh z from the prior,"
        " feature by feature."
    )
    return figure(plots(wide, narrow), caption, _of(len(rows), len(drawn)), wide.note)


def _line_pairs(originals: NDArray[Any], rebuilt: NDArray[Any]) -> str:
    shown = min(len(originals), _MOST_PANELS)
    limits = common_limits(originals[:shown], rebuilt[:shown])
    panels = "".join(
        plot(draw_pair(originals[i], rebuilt[i], number=i + 1, limits=limits)) for i in range(shown)
    )
    caption = (
        '<span class="key blue">Examples</span> and <span class="key orange">their'
        " reconstructions</span>, feature by feature."
    )
    content = f'<div class="three">{panels}</div>'
    return figure(content, caption, _of(shown, len(originals)))


def _grid(cells: str, number: int, label: str, *, small: bool, pairs: bool = False) -> str:
    """Lay tiles out in columns whose number depends on the screen."""
    most = (15, 10, 6) if small else (10, 5, 5)
    wide, middle, narrow = (columns(number, width) for width in most)
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
