"""Folders of images: read when they are asked for, all of one size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.data.source import threads

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_MOST_NAMED = 5
_WORKERS = 4


class Images:
    """The images of a folder, as uint8: gray (N, height, width), or (N, height, width, 3).

    Turned as their EXIF says. With a size, the largest square in the middle is brought to it; else
    all have one shape. They are in color where any of them is.

    Args:
        folder: Holds the files, itself or in folders, whose names are the labels.
        size: Pixels a side; None to keep the images as they are.

    Raises:
        InputError: If there are none, or they have several shapes and no size is asked for.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, *, size: int | None = None):
        check_installed("PIL")
        require(size is None or size >= 1, f"an image has 1 pixel a side or more, got size {size}")
        self.folder, self._size = folder, size
        files = image_files(folder)
        require(files, f"{folder} holds no images ({', '.join(SUFFIXES)})")
        described = list(threads(_WORKERS).map(_described, files))
        self._leave_out(files, [what is None for what in described])
        sound = [(f, what) for f, what in zip(files, described, strict=True) if what is not None]
        self.files = [file for file, _ in sound]
        self._mode = "RGB" if any(colored for _, (_, colored) in sound) else "L"
        shapes: dict[tuple[int, int], list[Path]] = {}
        for file, (shape, _) in sound:
            shapes.setdefault(shape, []).append(file)
        if size is None and len(shapes) > 1:
            (one, some), (other, others) = sorted(shapes.items(), key=lambda s: -len(s[1]))[:2]
            raise InputError(
                f"the images of {folder} have {len(shapes)} shapes: {len(some)} are {_sides(one)}, "
                f"{len(others)} {_sides(other)} ({others[0].relative_to(folder)}): give one size "
                "for all (--size 64, size=64)"
            )
        height, width = (size, size) if size else next(iter(shapes))
        self.shape = (len(self.files), height, width) + (3,) * (self._mode == "RGB")

    def read(self) -> np.ndarray:
        """All of them; those that can't be decoded are left out from here on."""

        def tried(file: Path) -> np.ndarray | None:
            try:
                return self._decoded(file)
            except InputError:
                return None

        decoded = list(threads(_WORKERS).map(tried, self.files))
        self._leave_out(self.files, [image is None for image in decoded])
        sound = [image is not None for image in decoded]
        self.files = [file for file, kept in zip(self.files, sound, strict=True) if kept]
        self.shape = (len(self.files), *self.shape[1:])
        return np.stack([image for image in decoded if image is not None])

    def _leave_out(self, files: list[Path], are_broken: list[bool]) -> None:
        """Name and count those that can't be read."""
        broken = [file for file, is_so in zip(files, are_broken, strict=True) if is_so]
        if not broken:
            return
        listed = ", ".join(str(file.relative_to(self.folder)) for file in broken[:_MOST_NAMED])
        more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
        require(len(broken) < len(files), f"no image of {self.folder} can be read: {listed}{more}")
        warnings.warn(
            f"{len(broken)} of {len(files)} images of {self.folder} can't be read and are left "
            f"out: {listed}{more}",
            stacklevel=3,
        )

    @property
    def labels(self) -> np.ndarray | None:
        """The folder of each image; None where all are in one."""
        inside = [file.relative_to(self.folder).parts[:-1] for file in self.files]
        names = np.asarray([parts[0] if parts else "" for parts in inside])
        return names if len(set(names.tolist())) > 1 else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> np.ndarray:
        some = [self.files[row] for row in np.arange(len(self))[rows]]
        images = np.empty((len(some), *self.shape[1:]), np.uint8)
        for place, image in enumerate(threads(_WORKERS).map(self._decoded, some)):
            images[place] = image
        return images

    def _decoded(self, file: Path) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(file) as opened:
                image = opened if opened.format == "PNG" else ImageOps.exif_transpose(opened)
                image = image.convert(self._mode)
        except Exception as error:
            raise InputError(f"{file} can't be read ({error}): remove it or mend it") from None
        if self._size is not None:
            side = min(image.size)
            left, top = ((whole - side) // 2 for whole in image.size)
            square = (left, top, left + side, top + side)
            size = (self._size, self._size)
            image = image.resize(size, Image.Resampling.BOX, box=square)
        array = np.asarray(image)
        require(array.shape == self.shape[1:], f"{file} changed its shape while it was read")
        return array


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and of those in it, in the order of their names."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def _described(file: Path) -> Any:
    """((height, width), whether it is in color) by its header; None where it can't be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            # A camera writes no PNG, of which all would have to be decoded.
            turned = image.format != "PNG" and image.getexif().get(0x0112, 1) >= 5
            colored = image.mode not in ("1", "L", "LA", "I", "I;16", "F")
            return ((width, height) if turned else (height, width)), colored
    except Exception:
        return None


def _sides(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
