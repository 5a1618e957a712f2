"""Arrays as they stand in a file, and how they become data sets."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from tighter._errors import InputError
from tighter.data.dataset import Dataset

Part = Literal["train", "validation", "test"]


@dataclasses.dataclass(frozen=True, eq=False)
class Raw:
    """One part of a source before scaling.

    Args:
        x: The examples, of the type that the file has.
        labels: Their labels, where the source has them.
        origin: Where `x` was read, for messages.
    """

    x: np.ndarray
    labels: np.ndarray | None
    origin: str


def to_datasets(
    parts: Mapping[Part, Raw], name: str, *, pixels: bool | None = None
) -> dict[Part, Dataset]:
    """Turn what was read into data sets on one scale.

    NaN is a missing value. 8-bit images (uint8 with a value above 1 in any part) are divided by
    255; everything else keeps its numbers. All parts are judged together, so that a dark test set
    is not left unscaled, and values may be missing in all parts or in none.

    Args:
        parts: What was read.
        name: The name of the data sets.
        pixels: Whether uint8 is to be divided by 255; none to tell by the values.

    Returns:
        A data set for each part.

    Raises:
        InputError: If an array cannot be a data set, a row of it or a column of the train set is
            missing altogether, or if only some parts are 8-bit images.
    """
    is_bytes = {part: raw.x.dtype == np.uint8 for part, raw in parts.items()}
    scaled = pixels is not False and any(
        is_bytes[part] and (pixels or bool((raw.x > 1).any())) for part, raw in parts.items()
    )
    if scaled and not all(is_bytes.values()):
        types = ", ".join(f"{raw.origin} is {raw.x.dtype}" for raw in parts.values())
        raise InputError(
            f"the parts would be on different scales, as only uint8 is divided by 255: {types}; "
            "store them as one type"
        )
    missing = any(raw.x.dtype.kind == "f" and bool(np.isnan(raw.x).any()) for raw in parts.values())
    if missing and "train" in parts:
        _refuse_missing_columns(parts["train"])
    return {
        part: _to_dataset(raw, name, scaled=scaled, missing=missing) for part, raw in parts.items()
    }


def _refuse_missing_columns(raw: Raw) -> None:
    if raw.x.ndim != 2 or raw.x.dtype.kind != "f" or not len(raw.x):
        return
    columns = np.flatnonzero(np.isnan(raw.x).all(axis=0))
    if columns.size:
        listed = ", ".join(str(column) for column in columns[:5]) + ", …" * (columns.size > 5)
        raise InputError(
            f"{raw.origin}: nothing is known of {columns.size} of {raw.x.shape[1]} columns, all of "
            f"them missing: {listed} (counted from 0); drop them"
        )


def _to_dataset(raw: Raw, name: str, *, scaled: bool, missing: bool) -> Dataset:
    x = raw.x.astype(np.float32) / np.float32(255) if scaled else raw.x
    try:
        return Dataset(x, raw.labels, name, missing=missing)
    except InputError as error:
        raise InputError(f"{raw.origin}: {error}") from error
