"""Arrays of values in [0, 1] as tiles and sheets of pictures: PNG inside data URIs."""

import base64
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tighter._files import writing
from tighter.report.markup import percent

_SHARP = 168
_LARGEST = 96
_SMALLEST_SQUARE = 16


class Tiles(NamedTuple):
    """Pictures of one size.

    Attributes:
        pixels: Bytes, (n, H, W) or (n, H, W, C).
        note: What the caption must say about values that aren't drawn as they are, or "".
    """

    pixels: NDArray[np.uint8]
    note: str


def are_images(examples: NDArray[Any]) -> bool:
    """Whether examples, (n, ...), can be shown as pictures.

    Rows are taken for pictures only if they make a square of at least 4 × 4 and keep to [0, 1];
    any other row is a vector.
    """
    if examples.size == 0:
        return False
    if examples.ndim > 2:
        return True
    length = examples.shape[1]
    square = length >= _SMALLEST_SQUARE and math.isqrt(length) ** 2 == length
    values = examples[np.isfinite(examples)]
    return square and bool(((values >= -0.01) & (values <= 1.01)).all())


def to_tiles(examples: NDArray[Any]) -> Tiles:
    """Turn examples, (n, H, W), (n, H, W, C) or (n, side²), into bytes.

    Values outside [0, 1] are clipped, and those that aren't finite become 0; the note counts both.
    """
    if examples.ndim == 2:
        side = math.isqrt(examples.shape[1])
        examples = examples.reshape(-1, side, side)
    if examples.ndim == 4 and examples.shape[-1] == 1:
        examples = examples[..., 0]
    values = examples.astype(np.float64)
    broken = ~np.isfinite(values)
    values = np.where(broken, 0.0, values)
    outside = (values < -1e-6) | (values > 1 + 1e-6)
    notes = (
        (outside, "of the values lie outside [0, 1] and are clipped."),
        (broken, "of the values aren't finite and drawn as 0."),
    )
    note = " ".join(f"{percent(which.mean())} {what}" for which, what in notes if which.any())
    return Tiles(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8), note)


def to_uri(pixels: NDArray[np.uint8]) -> str:
    """One picture, (H, W) or (H, W, C), as a data URI.

    A small one is enlarged by a whole factor with hard edges, so that it stays crisp on every
    screen without the browser's smoothing; a large one is reduced.
    """
    return _encode(_resized(Image.fromarray(pixels), sharp=_SHARP, largest=_LARGEST))


def to_sheet(grid: NDArray[Any]) -> tuple[str, str]:
    """A grid of examples, (g, g, ...), as one picture without gaps: its data URI and a note."""
    rows, columns = grid.shape[:2]
    pixels, note = to_tiles(grid.reshape(rows * columns, *grid.shape[2:]))
    height, width, *channels = pixels.shape[1:]
    sheet = pixels.reshape(rows, columns, height, width, *channels).swapaxes(1, 2)
    picture = Image.fromarray(sheet.reshape(rows * height, columns * width, *channels))
    return _encode(_resized(picture, sharp=1000, largest=1000)), note


def write_picture(examples: NDArray[Any], path: Path) -> Path:
    """Examples in rows and columns, as a PNG file.

    Args:
        examples: Values in [0, 1], (n, H, W) or (n, H, W, C); others are clipped.
        path: Where to write.

    Returns:
        The path.
    """
    number = len(examples)
    width = best_columns(number, math.ceil(math.sqrt(number)))
    blank = np.zeros((-number % width, *examples.shape[1:]), examples.dtype)
    grid = np.concatenate([examples, blank])
    uri, _ = to_sheet(grid.reshape(-1, width, *examples.shape[1:]))
    with writing(path) as place:
        place.write_bytes(base64.b64decode(uri.partition(",")[2]))
    return path


def affordable(tiles: Tiles, most: int, *, budget: int = 500_000) -> int:
    """How many tiles, at most, keep a page light: their bytes before compression set the limit."""
    height, width, *channels = tiles.pixels.shape[1:]
    ratio = min(1.0, _LARGEST / max(height, width))
    size = height * width * ratio**2 * math.prod(channels)
    return min(len(tiles.pixels), most, max(1, int(budget / size)))


def best_columns(number: int, most: int) -> int:
    """How many columns lay out a number of tiles with the least gap in the last row."""
    if number <= most:
        return max(1, number)
    return min(range(most, most // 2, -1), key=lambda width: -number % width)


def _resized(picture: Image.Image, *, sharp: int, largest: int) -> Image.Image:
    """Enlarged by a whole factor to at most `sharp` pixels a side; reduced if above `largest`."""
    longest = max(picture.size)
    if longest > largest:
        width, height = (max(1, round(side * largest / longest)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.BOX)
    factor = max(1, sharp // longest)
    size = picture.width * factor, picture.height * factor
    return picture.resize(size, Image.Resampling.NEAREST)


def _encode(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
