"""Counts of words that someone else made: archives of sparse matrices, and their vocabularies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._files import read_archive, reading
from tighter.data.corpus import Corpus, check_vocabulary
from tighter.data.text import read_text

COUNTS_SUFFIX = ".npz"
_TEST, _TRAIN = "test_", "train_"
_NO_COUNTS = "{origin} is no archive of counts ({cause}): write it with scipy.sparse.save_npz"
_MOST = 2**53  # what float64 can count to


def read_counts(
    path: str | Path, vocabulary: str | Path | None = None, *, words: Sequence[str] | None = None
) -> Corpus:
    """Read counts from an .npz file, which is never unpickled.

    Args:
        path: A sparse matrix (N, V) as `scipy.sparse.save_npz` writes it; or an archive with
            compressed rows train_indptr, train_indices, train_counts and, where there is an
            official test set, test_indptr, test_indices, test_counts.
        vocabulary: A file with the V words: a line each, a JSON list, or a JSON object word ->
            column. None if the archive has them as `vocab` or `vocabulary`.
        words: The words that they have to be, where they are known: a file need not have them then.

    Raises:
        InputError: If a file can't be read, the vocabulary doesn't fit the counts, a count is
            negative or no whole number, or a document is empty.
    """
    from scipy import sparse

    path = Path(path).expanduser()
    arrays = read_archive(path, _NO_COUNTS)
    words = _vocabulary(path, arrays, vocabulary, words)
    check_vocabulary(words)
    num_test = 0
    if "format" in arrays:
        with reading(path, _NO_COUNTS):
            entries = _entries(arrays)
        counts: Any = _counted(*entries, words, str(path))
    else:
        counts = _compressed(arrays, _TRAIN, words, path)
        if _TEST + "indptr" in arrays:
            test = _compressed(arrays, _TEST, words, path)
            counts, num_test = sparse.csr_array(sparse.vstack([counts, test])), test.shape[0]
    places = tuple(f"{path}, row {row}" for row in range(1, counts.shape[0] + 1))
    return Corpus(counts, words, places, num_test=num_test)


def read_vocabulary(path: str | Path) -> tuple[str, ...]:
    """The words of a file: a line each, a JSON list, or a JSON object word -> column.

    Raises:
        InputError: If it can't be read, or is nothing of the kind.
    """
    path = Path(path).expanduser()
    text = read_text(path)
    if path.suffix.lower() != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    with reading(path, "{origin} is not JSON: {cause}"):
        words = json.loads(text)
    if (
        isinstance(words, Mapping)
        and all(type(column) is int for column in words.values())
        and sorted(words.values()) == list(range(len(words)))
    ):
        return tuple(sorted(words, key=words.__getitem__))
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    raise InputError(
        f"{path} is no vocabulary: give a list of words, or an object word -> column from 0"
    )


def _vocabulary(
    path: Path, arrays: dict[str, np.ndarray], file: str | Path | None, wanted: Sequence[str] | None
) -> tuple[str, ...]:
    if file is not None:
        found: Sequence[str] | None = read_vocabulary(file)
    else:
        found = _stored_words(path, arrays)
    words = tuple(str(word) for word in (wanted or () if found is None else found))
    require(
        found is not None or wanted is not None,
        f"{path} holds no vocabulary: name a file of words (--vocabulary)",
    )
    require(
        wanted is None or words == tuple(wanted),
        f"the vocabulary doesn't fit: {path} counts {len(words)} words that are not the "
        f"{len(wanted or ())} of the run in their order: count the run's (vocabulary.json)",
    )
    return words


def _stored_words(path: Path, arrays: dict[str, np.ndarray]) -> Any:
    words = next((arrays[name] for name in ("vocab", "vocabulary") if name in arrays), None)
    if words is None:
        return None
    require(
        words.ndim == 1 and words.dtype.kind in "US",
        f"the vocabulary in {path} is no list of words but shape {words.shape} of {words.dtype}: "
        "give a row of strings, or name a file of words (--vocabulary)",
    )
    with reading(path, _NO_COUNTS):
        return np.char.decode(words, "utf-8") if words.dtype.kind == "S" else words


def _compressed(
    arrays: dict[str, np.ndarray], part: str, words: tuple[str, ...], path: Path
) -> Any:
    for name in ("indptr", "indices", "counts"):
        require(
            part + name in arrays,
            f"{path} has no array {part + name!r}: write a sparse matrix with "
            f"scipy.sparse.save_npz; it holds {', '.join(arrays)}",
        )
    with reading(path, _NO_COUNTS):
        indptr, indices = (_whole(arrays, part + name) for name in ("indptr", "indices"))
        if len(indices) and int(indices.max()) >= len(words):
            raise _unfit(path, len(words), int(indices.max()) + 1)
        shape = (len(indptr) - 1, len(words))
        entries = *_spread(indptr, indices, _row(arrays, part + "counts"), shape[0]), shape
        _check_places(*entries)
    return _counted(*entries, words, f"{path} ({part.rstrip('_')})")


def _entries(
    arrays: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows, columns and values of what `scipy.sparse.save_npz` stored, and the matrix's shape.

    SciPy looks at none of these numbers before it reads and writes memory by them.

    Raises:
        ValueError: If they are of no matrix.
    """
    kind = arrays["format"].item()
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    shape = tuple(_whole(arrays, "shape").tolist())
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"a matrix has rows and columns, got shape {shape}")
    if kind in ("csr", "csc"):
        across = kind == "csc"
        indptr, minor = _whole(arrays, "indptr"), _whole(arrays, "indices")
        major, minor, values = _spread(indptr, minor, _row(arrays, "data"), shape[across])
        rows, columns = (minor, major) if across else (major, minor)
    elif kind == "bsr":
        blocks = arrays["data"]
        if blocks.ndim != 3 or any(
            n < 1 or size % n for size, n in zip(shape, blocks.shape[1:], strict=True)
        ):
            raise ValueError(f"blocks of shape {blocks.shape} do not fill a matrix of {shape}")
        indptr, minor = _whole(arrays, "indptr"), _whole(arrays, "indices")
        major, minor, blocks = _spread(indptr, minor, blocks, shape[0] // blocks.shape[1])
        block, row, column = np.nonzero(blocks)
        values = blocks[block, row, column]
        rows = major[block] * blocks.shape[1] + row
        columns = minor[block] * blocks.shape[2] + column
    elif kind == "coo":
        coords = arrays.get("coords")
        pair = {"row": coords[0], "col": coords[1]} if coords is not None else arrays
        rows, columns, values = _whole(pair, "row"), _whole(pair, "col"), _row(arrays, "data")
        _check_lengths(rows, columns)
        _check_lengths(rows, values)
    elif kind == "dia":
        diagonals, offsets = arrays["data"], _whole(arrays, "offsets")
        if diagonals.ndim != 2 or len(set(offsets.tolist())) < len(offsets):
            raise ValueError("diagonals are rows, each with an offset of its own")
        _check_lengths(offsets, diagonals)
        which, columns = np.nonzero(diagonals)
        rows, values = columns - offsets[which], diagonals[which, columns]
        inside = (rows >= 0) & (rows < shape[0]) & (columns < shape[1])  # the rest is padding
        rows, columns, values = rows[inside], columns[inside], values[inside]
    else:
        raise ValueError(f"the format {kind!r} is none of csr, csc, coo, bsr and dia")
    _check_places(rows, columns, values, shape)
    return rows, columns, values, shape


def _row(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    array = arrays[name]
    if array.ndim != 1 or array.dtype.kind not in "biufc":
        raise ValueError(f"{name} is a row of numbers, got shape {array.shape} of {array.dtype}")
    return array


def _whole(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    array = _row(arrays, name)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} is a row of numbers without a point, got {array.dtype}")
    return array.astype(np.int64)


def _spread(
    indptr: np.ndarray, places: np.ndarray, values: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The row (or column) of each entry, its place there, and its value."""
    _check_lengths(places, values)
    num = len(places)
    if len(indptr) != size + 1 or indptr[0] != 0 or indptr[-1] > num or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr does not rise from 0 to {num} or less in {size} steps")
    stored = slice(int(indptr[-1]))
    return np.repeat(np.arange(size), np.diff(indptr)), places[stored], values[stored]


def _check_lengths(places: np.ndarray, values: np.ndarray) -> None:
    if len(places) != len(values):
        raise ValueError(
            f"as many places as values are needed, got {len(places)} and {len(values)}"
        )


def _check_places(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> None:
    outside = (rows < 0) | (rows >= shape[0]) | (columns < 0) | (columns >= shape[1])
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(
            f"{values[first]} stands in row {rows[first]}, column {columns[first]} (counted from "
            f"0) of {shape[0]} rows and {shape[1]} columns"
        )


def _unfit(path: object, num_words: int, num_columns: int) -> InputError:
    return InputError(
        f"the vocabulary doesn't fit the counts: {num_words} words, and {path} counts "
        f"{num_columns}: give the vocabulary that these counts were made with"
    )


def _counted(
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    words: tuple[str, ...],
    origin: str,
) -> Any:
    """The counts, shape (N, V), once they are known to be some."""
    from scipy import sparse

    if shape[1] != len(words):
        raise _unfit(origin, len(words), shape[1])
    require(
        values.dtype.kind in "biuf",
        f"counts are whole numbers from 0, got {values.dtype} in {origin}: give how often each "
        "word occurs",
    )
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.round(values)) | (values > _MOST)
    for place in np.flatnonzero(wrong):
        raise InputError(
            f"counts are whole numbers from 0, got {values[place]} in row "
            f"{rows[place] + 1} of {origin}: give how often each word occurs"
        )
    # Only what is there is gone through: a file may claim any number of rows.
    full = np.unique(rows[values > 0])
    if len(full) < shape[0]:
        first = int(np.argmax(np.append(full, shape[0]) != np.arange(len(full) + 1)))
        raise InputError(
            f"{shape[0] - len(full)} of {shape[0]} documents of {origin} hold no word, row "
            f"{first + 1} first: leave them out"
        )
    require(shape[0], f"{origin} holds no document: give one at least")
    counts = sparse.coo_array((values.astype(np.int64), (rows, columns)), shape=shape)
    return sparse.csr_array(counts)
