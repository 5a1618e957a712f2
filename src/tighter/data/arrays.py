"""Arrays from files: IDX, the format of MNIST, and NumPy's; and how they become data sets.

An IDX file is a magic number (two zero bytes, a code for the type, the rank), the dimensions as
big-endian 32-bit numbers, and the values, row-major and big-endian. In an `.npz` file, examples are
told from labels by the names of the arrays.
"""

from __future__ import annotations

import contextlib
import difflib
import gzip
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile

from tighter._checks import require
from tighter._errors import InputError
from tighter._files import member, reading, refuse_more
from tighter.data.dataset import Dataset

Part = Literal["train", "validation", "test"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_NOUNS = {"x": ("x", "images", "data"), "labels": ("y", "labels", "targets")}
_SPELLINGS: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
# Every name that is understood, without its separators -> (part, "x" or "labels").
# x beside x_test is the train set, but x beside x_train is anyone's guess.
_ROLES: dict[str, tuple[Part, str]] = {}
for _part, _spellings in _SPELLINGS.items():
    for _kind, _nouns in _NOUNS.items():
        _ROLES |= dict.fromkeys(_nouns, ("train", _kind))
        for _spelling in _spellings:
            _ROLES |= {noun + _spelling: (_part, _kind) for noun in _nouns}
            _ROLES |= {_spelling + noun: (_part, _kind) for noun in _nouns}
    _ROLES |= dict.fromkeys(_spellings, (_part, "x"))
_MOST_LISTED = 16


class Raw(NamedTuple):
    """One part of a source before scaling.

    Attributes:
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
    types = ", ".join(f"{raw.origin} is {raw.x.dtype}" for raw in parts.values())
    require(
        not scaled or all(is_bytes.values()),
        f"the parts would be on different scales, as only uint8 is divided by 255: {types}; "
        "store them as one type",
    )
    missing = any(raw.x.dtype.kind == "f" and bool(np.isnan(raw.x).any()) for raw in parts.values())
    if missing and "train" in parts:
        _refuse_missing_columns(parts["train"])
    datasets: dict[Part, Dataset] = {}
    for part, raw in parts.items():
        x = raw.x.astype(np.float32) / np.float32(255) if scaled else raw.x
        try:
            datasets[part] = Dataset(x, raw.labels, name, missing=missing)
        except InputError as error:
            raise InputError(f"{raw.origin}: {error}") from error
    return datasets


def _refuse_missing_columns(raw: Raw) -> None:
    if raw.x.ndim != 2 or raw.x.dtype.kind != "f" or not len(raw.x):
        return
    columns = np.flatnonzero(np.isnan(raw.x).all(axis=0))
    listed = ", ".join(str(column) for column in columns[:5]) + ", …" * (columns.size > 5)
    require(
        not columns.size,
        f"{raw.origin}: nothing is known of {columns.size} of {raw.x.shape[1]} columns, all of "
        f"them missing: {listed} (counted from 0); drop them",
    )


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file, gzipped or not (told by its first bytes, not by its name).

    Args:
        path: The file.

    Returns:
        The array that the header describes, in the machine's byte order.

    Raises:
        InputError: If the file is not IDX, is cut short, or is longer than its header says.
        OSError: If the file cannot be opened.

    References:
        LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section on the format.
    """
    content = path.read_bytes()
    if content.startswith(_GZIP_MAGIC):
        content = _unzipped(path, content)
    size = len(content)
    require(
        size >= 4, f"{path} is cut short: {size} bytes, less than an IDX header; download it again"
    )
    code, rank = content[2], content[3]
    require(
        content[:2] == b"\0\0" and code in _DTYPES and rank > 0,
        f"{path} is not an IDX file: its magic number is {content[:4].hex()}, where 0000, a "
        "type (08, 09, 0b to 0e) and a rank were expected, as in 00000803; download it again",
    )
    dtype, start = np.dtype(_DTYPES[code]), 4 + 4 * rank
    require(
        size >= start,
        f"{path} is cut short: {size} bytes, where its header of rank {rank} alone has {start}; "
        "download it again",
    )
    # Python integers: a damaged header must not overflow into a size that fits.
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4))
    expected, got = math.prod(shape) * dtype.itemsize, size - start
    fault = "is cut short" if got < expected else "is longer than its header says"
    require(
        got == expected,
        f"{path} {fault}: shape {shape} of {dtype.name} takes {expected} bytes, got {got}; "
        "download it again",
    )
    with reading(path, "{origin} is no IDX file that can be read ({cause}); download it again"):
        values = np.frombuffer(content, dtype, offset=start).reshape(shape)
        return values.astype(dtype.newbyteorder("="))


def _unzipped(path: Path, content: bytes) -> bytes:
    with reading(path, "{origin} is a damaged gzip file ({cause}); download it again"):
        try:
            return gzip.decompress(content)
        except EOFError as error:
            raise InputError(
                f"{path} is cut short: its gzip stream ends early; download it again"
            ) from error


def read_archive(path: Path, *, array: str | None = None) -> dict[Part, Raw]:
    """Read a `.npy` or `.npz` file, never a pickle.

    In an `.npz`, names such as x and y, images and labels, x_train, y_train and x_test,
    train_images and train_labels, or train, valid and test are understood, whatever their case
    and separators. Other arrays beside them are left alone. An array that stands alone is taken
    under any name.

    Args:
        path: The file.
        array: The one array of an `.npz` to take, without labels; none to go by the names.

    Returns:
        The parts that the file tells apart; "train" alone where it tells none.

    Raises:
        InputError: If the file is damaged or holds objects, or if it cannot be told what to take.
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        with _reading(str(path)):
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, NpzFile):
                refuse_more(stream)
        if not isinstance(content, NpzFile):
            require(array is None, f"{path} is a single array; leave array={array!r} out")
            return {"train": Raw(content, None, str(path))}
        if array is not None:
            _check_key(path, content, array)
            return {"train": Raw(_member(path, content, array), None, _origin(path, array))}
        return {
            part: Raw(
                _member(path, content, key),
                None if label_key is None else _member(path, content, label_key),
                _origin(path, key),
            )
            for part, (key, label_key) in _choose(path, content).items()
        }


def _choose(path: Path, content: NpzFile) -> dict[Part, tuple[str, str | None]]:
    """The examples' and the labels' array of each part."""
    found: dict[tuple[Part, str], list[str]] = defaultdict(list)
    for key in content.files:
        role = _ROLES.get(re.sub(r"[^a-z0-9]", "", key.lower()))
        if role is not None:
            found[role].append(key)
    parts: dict[Part, tuple[str, str | None]] = {}
    for part in _SPELLINGS:
        keys, label_keys = found[(part, "x")], found[(part, "labels")]
        if len(keys) > 1 or (keys and len(label_keys) > 1):
            raise _cannot_tell(path, content)
        if keys:
            parts[part] = (keys[0], label_keys[0] if label_keys else None)
    if "train" not in parts and len(content.files) == 1:
        return {"train": (content.files[0], None)}
    if "train" not in parts:
        raise _cannot_tell(path, content)
    return parts


def _cannot_tell(path: Path, content: NpzFile) -> InputError:
    if not content.files:
        return InputError(f"{path} holds no array; save one with np.savez(path, x=...)")
    listed = [_described(path, content, key) for key in content.files[:_MOST_LISTED]]
    if len(content.files) > _MOST_LISTED:
        listed.append(f"and {len(content.files) - _MOST_LISTED} more")
    return InputError(
        f"{path} does not say which array holds the examples; name it with array= "
        f"(on the command line, --set data.array=KEY); it holds {', '.join(listed)}"
    )


def _described(path: Path, content: NpzFile, key: str) -> str:
    try:
        return f"{key} {_member(path, content, key).shape}"
    except InputError:
        return f"{key} (unreadable)"


def _check_key(path: Path, content: NpzFile, array: str) -> None:
    nearest = difflib.get_close_matches(array, content.files, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    listed = ", ".join(content.files[:_MOST_LISTED]) or "nothing"
    require(array in content.files, f"{path} has no array {array!r}; {hint}it holds {listed}")


def _member(path: Path, content: NpzFile, key: str) -> np.ndarray:
    with _reading(_origin(path, key)):
        return member(content, key)


def _origin(path: Path, key: str) -> str:
    return f"{path}[{key!r}]"


@contextlib.contextmanager
def _reading(origin: str) -> Iterator[None]:
    """Say what numpy says of pickles in our words."""
    with reading(origin):
        try:
            yield
        except ValueError as error:
            if "Object arrays" in str(error):
                raise InputError(
                    f"{origin} holds Python objects, which would have to be unpickled: refused, as "
                    "a pickle can run code; save one dense array of numbers"
                ) from error
            if "pickle" in str(error):
                raise InputError(
                    f"{origin} is not a numpy file (a pickle is refused, as it can run code); "
                    "save it again with np.save or np.savez"
                ) from error
            raise
