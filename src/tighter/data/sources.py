"""From a word or a path to a train, a validation and a test set."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._files import reading
from tighter.data.arrays import Part, Raw, read_archive, read_idx, to_datasets
from tighter.data.dataset import Dataset, Splits, check_fraction, split
from tighter.data.images import Images, image_files
from tighter.data.schema import infer_schema, without_columns
from tighter.data.source import Shards, Subset
from tighter.data.table import SUFFIXES, read_table

if TYPE_CHECKING:
    import polars

_ARCHIVES = (".npy", ".npz")
_FILES = ", ".join((*_ARCHIVES, *SUFFIXES))
_IDX_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_IDX_EXPECTED = (
    "train-images-idx3-ubyte and, where they exist, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with or without .gz"
)
_MOST_LISTED = 5
_IN_MEMORY = 256 * 2**20  # bytes
_LOOKED_AT = 1000  # examples, to tell what the numbers are
_DIGITS = "datasets/data/digits.csv.gz"  # in scikit-learn


def load(
    source: str | Path,
    *,
    array: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    drop: Sequence[str] = (),
    kinds: Mapping[str, str] = {},
    header: bool | None = None,
    target: str | None = None,
    missing_words: Sequence[str] | None = None,
    pixels: bool | None = None,
    size: int | None = None,
) -> Splits:
    """Read a data set and split it.

    Official parts are kept as they are; what is missing is carved from the train set by a seeded
    permutation. Of uint8 arrays, those with values above 1 are divided by 255; other numbers stay.
    NaN in an array of floats, and what a table leaves open, is missing: the parts say so.

    Args:
        source: One of

            - the word "digits": scikit-learn's 1797 digits of 8 by 8 pixels, scaled to [0, 1] (a
              folder of that name is "./digits");
            - a folder of IDX files under the names of MNIST, gzipped or not;
            - a folder of images, whose folders are their labels;
            - a folder of `.npy` files, one after the other;
            - a `.npy` or `.npz` file, of which no pickle is ever read;
            - a `.csv`, `.tsv` or `.parquet` table, whose parts have its schema.
        array: The array of an `.npz` file that holds the examples, where its name does not tell.
            It is taken without labels.
        validation: The share of the train set to set aside, unless the source has its own.
        test: The same for the test set.
        seed: Same seed, same split.
        drop: Columns of a table to leave out.
        kinds: Kinds of a table's columns by name, where their types do not tell ("positive",
            "unit", "count", …; see `infer_schema`).
        header: Whether the first line of a CSV file is a header; none to tell by its cells.
        target: The column of a table that is no part of an example but its label.
        missing_words: Words of a CSV file that stand for missing cells, in place of the usual ones
            (see `read_table`).
        pixels: Whether numbers of uint8 are pixels, to be divided by 255; none to take them for
            such where one is above 1.
        size: Pixels a side, to which the middle of each image of a folder is brought.

    Returns:
        The three parts. What takes more than 256 MB, of images, `.npy` files and folders of these,
        is read by rows when it is asked for.

    Raises:
        InputError: If the source cannot be found, read, understood or split.

    Example:
        >>> splits = load("digits", seed=1)
        >>> splits.train.shape
        (8, 8)
    """
    check_fraction("validation", validation)
    check_fraction("test", test)
    if not isinstance(source, (str, Path)):
        raise InputError(
            f"source must be a word or a path, got {type(source).__name__}; "
            "for an array, make a Dataset of it and split that"
        )
    path = Path(os.path.expanduser(source))
    of_table: dict[str, Any] = {
        "drop": drop, "kinds": kinds, "header": header, "missing_words": missing_words,
        "target": target,
    }  # fmt: skip
    given = [f"{name}=" for name, value in of_table.items() if value or value is False]
    with reading(source):
        is_table = path.suffix.lower() in SUFFIXES and not path.is_dir()
        is_archive = source != "digits" and path.suffix.lower() in _ARCHIVES and path.is_file()
        require(
            is_table or not given,
            f"{' and '.join(given)} is said of a {', '.join(SUFFIXES)} table, and {source} is "
            "none; leave it out",
        )
        require(
            source == "digits" or is_table or (source != "" and path.exists()),
            _not_found(str(source)),
        )
        require(
            size is None or (path.is_dir() and source != "digits"),
            f"size={size} is of a folder of images, and {source} is none; leave it out",
        )
        require(
            array is None or is_archive or (path.is_file() and not is_table),
            f"array={array!r} names an array of an .npz file, and {source} is none; leave it out",
        )
        if is_table:
            datasets = {"train": _table(path, **of_table)}
        elif source == "digits":
            datasets = {"train": _digits()}
        elif path.is_dir():
            datasets = _folder(path, size=size, pixels=pixels)
        elif path.suffix.lower() == ".npy" and path.stat().st_size > _IN_MEMORY:
            datasets = {"train": _by_rows(_mapped(path), None, path.resolve().stem, pixels=pixels)}
        elif is_archive:
            parts = read_archive(path, array=array)
            datasets = to_datasets(parts, path.resolve().stem, pixels=pixels)
        else:
            raise InputError(_not_read(path))
    return split(
        datasets["train"],
        validation=datasets.get("validation", validation),
        test=datasets.get("test", test),
        seed=seed,
    )


def _folder(path: Path, *, size: int | None, pixels: bool | None) -> dict[Part, Dataset]:
    """IDX files, `.npy` files or images."""
    name = path.resolve().name
    arrays = sorted(path.glob("*.npy"))
    kind = "nothing"
    datasets: dict[Part, Dataset] = {}
    if any(_IDX_NAME.fullmatch(entry.name) for entry in path.iterdir()):
        kind, datasets = "IDX files", to_datasets(_read_folder(path), name, pixels=pixels)
    elif arrays:
        shards = Shards([_mapped(file) for file in arrays], [str(file) for file in arrays])
        kind, datasets["train"] = "arrays", _by_rows(shards, None, name, pixels=pixels)
    elif image_files(path):
        images = Images(path, size=size)
        pixels = True if pixels is None else pixels
        x = images.read() if np.prod(images.shape) <= _IN_MEMORY else images
        return {"train": _by_rows(x, images.labels, name, pixels=pixels)}
    else:
        datasets = to_datasets(_read_folder(path), name, pixels=pixels)
    require(size is None, f"size={size} is of a folder of images, and {path} holds {kind}")
    return datasets


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path} can't be read as an array ({error}); save it anew") from None


def _by_rows(x: Any, labels: np.ndarray | None, name: str, *, pixels: bool | None) -> Dataset:
    """A data set of an array that is read by rows; of few bytes, in memory."""
    require(
        x.dtype.kind in "biuf" and len(x.shape) > 1 and len(x) > 0,
        f"{name} has to be an array of real numbers (N, ...), got {x.dtype} of shape {x.shape}",
    )
    if np.prod(x.shape) * x.dtype.itemsize <= _IN_MEMORY:
        return to_datasets({"train": Raw(x[:], labels, name)}, name, pixels=pixels)["train"]
    some = x[np.arange(min(len(x), _LOOKED_AT))]
    if x.dtype == np.uint8 and pixels is None:
        pixels = bool((some > 1).any())
    scale = 255.0 if x.dtype == np.uint8 and pixels else None
    missing = x.dtype.kind == "f" and bool(np.isnan(some).any())
    whole = Subset(x, np.arange(len(x)), scale=scale)
    return Dataset(whole, labels, name, missing=missing)


def _not_read(path: Path) -> str:
    if _IDX_NAME.fullmatch(path.name):
        return f"{path} is one file of several; name its folder, {path.parent}"
    return (
        f"cannot tell how to read {path}, of suffix {path.suffix or '(none)'!r}; what is read is "
        f"{_FILES}, a folder of images, IDX or .npy files, and the word 'digits'"
    )


def _table(
    path: Path, *, drop: Sequence[str], kinds: Mapping[str, str], target: str | None, **options: Any
) -> Dataset:
    whole = read_table(path, **options)
    try:
        frame = without_columns(whole, drop)
        if target is not None:
            frame = without_columns(frame, [target], "target=")
        labels = None if target is None else _as_labels(whole[target])
        schema = infer_schema(frame, kinds)
        x = schema.encode(frame)
        return Dataset(x, labels, path.resolve().stem, schema, missing=bool(np.isnan(x).any()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _as_labels(column: polars.Series) -> np.ndarray:
    """Numbers, if all are; else words, one of them for those that are missing."""
    import polars as pl

    if column.dtype.is_numeric() and not column.null_count():
        return column.to_numpy()
    return column.cast(pl.String).fill_null("missing").to_numpy().astype(str)


def _not_found(source: str) -> str:
    if difflib.get_close_matches(source.lower(), ["digits"]):
        return f"there is no data source {source!r}; did you mean 'digits'?"
    return (
        f"there is no file or folder {source!r}; give an existing {_FILES}, a folder of images, "
        "IDX or .npy files, or the word 'digits'"
    )


def _digits() -> Dataset:
    # Only scikit-learn's file is wanted: importing the library takes longer than all the rest.
    check_installed("sklearn")
    package = importlib.util.find_spec("sklearn")
    file = Path((package and package.origin) or "").parent / _DIGITS
    require(
        file.is_file(),
        f"the digits come with scikit-learn, which has no {_DIGITS}: install it anew, or give "
        "a file or folder",
    )
    rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return Dataset(rows[:, :-1].reshape(-1, 8, 8) / 16, rows[:, -1].astype(np.int64), "digits")


def _read_folder(folder: Path) -> dict[Part, Raw]:
    # Sorted, a plain file comes before its .gz; the first of several is taken. Archives from
    # Kaggle hold folders under the names of files, hence is_file.
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    found: dict[tuple[str, str], Path] = {}
    for name in names:
        match = _IDX_NAME.fullmatch(name)
        if match and (folder / name).is_file():
            part, kind = match.group(1, 2)
            found.setdefault(("train" if part == "train" else "test", kind), folder / name)
    require(
        ("train", "images") in found,
        _no_images(folder, names, [path.name for path in found.values()]),
    )
    parts: dict[Part, Raw] = {}
    for part in ("train", "test"):
        images, labels = found.get((part, "images")), found.get((part, "labels"))
        if images is not None:
            own = None if labels is None else read_idx(labels)
            parts[part] = Raw(read_idx(images), own, str(images))
    return parts


def _no_images(folder: Path, names: list[str], idx_names: list[str]) -> str:
    if idx_names:
        return (
            f"{folder} holds no train images, only {', '.join(idx_names)}; "
            "add train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
        )
    listed = names[:_MOST_LISTED]
    if len(names) > _MOST_LISTED:
        listed.append(f"and {len(names) - _MOST_LISTED} more")
    return (
        f"{folder} holds no IDX files, but {', '.join(listed) or 'nothing'}; "
        f"expected are images, .npy files, or {_IDX_EXPECTED}"
    )
