"""Counts of words that someone else made: archives of sparse matrices, and their vocabularies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter._files import read_archive, reading
from tighter.data.corpus import Corpus, check_vocabulary
from tighter.data.text import read_text

COUNTS_SUFFIX = ".npz"
_TEST, _TRAIN = "test_", "train_"
_NO_COUNTS = "{origin} is no archive of counts ({cause}): write it with scipy.sparse.save_npz"
_MOST = 2**53  # what float64 can count to


def read_counts(
    path: str | Path,
    vocabulary: str | Path | None = None,
    *,
    words: Sequence[str] | None = None,
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
        counts = _counted(*entries, words, str(path))
    else:
        train = _compressed(arrays, _TRAIN, words, path)
        test: Any = _compressed(arrays, _TEST, words, path) if _TEST + "indptr" in arrays else None
        counts: Any = train if test is None else sparse.csr_array(sparse.vstack([train, test]))
        num_test = 0 if test is None else test.shape[0]
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
    path: Path,
    arrays: dict[str, np.ndarray],
    file: str | Path | None,
    wanted: Sequence[str] | None,
) -> tuple[str, ...]:
    held = next((arrays[name] for name in ("vocab", "vocabulary") if name in arrays), None)
    if file is None and held is not None and (held.ndim != 1 or held.dtype.kind not in "US"):
        raise InputError(
            f"the vocabulary in {path} is no list of words but shape {held.shape} of {held.dtype}: "
            "give a row of strings, or name a file of words (--vocabulary)"
        )
    if held is not None and held.dtype.kind == "S":
        with reading(path, _NO_COUNTS):
            held = np.char.decode(held, "utf-8")
    found = read_vocabulary(file) if file is not None else held
    if found is None and wanted is None:
        raise InputError(f"{path} holds no vocabulary: name a file of words (--vocabulary)")
    words = tuple(str(word) for word in (wanted or () if found is None else found))
    if wanted is not None and words != tuple(wanted):
        raise InputError(
            f"the vocabulary doesn't fit: {path} counts {len(words)} words that are not the "
            f"{len(wanted)} of the run in their order: count the run's (vocabulary.json)"
        )
    return words


def _compressed(
    arrays: dict[str, np.ndarray], part: str, words: tuple[str, ...], path: Path
) -> Any:
    if missing := [name for name in ("indptr", "indices", "counts") if part + name not in arrays]:
        raise InputError(
            f"{path} has no array {part + missing[0]!r}: write a sparse matrix with "
            f"scipy.sparse.save_npz; it holds {', '.join(arrays)}"
        )
    with reading(path, _NO_COUNTS):
        indptr, indices = (_whole(arrays, part + name) for name in ("indptr", "indices"))
        if len(indices) and int(indices.max()) >= len(words):
            raise _unfit(path, len(words), int(indices.max()) + 1)
        rows, stored = _spread(indptr, len(indptr) - 1, len(indices))
        values = _row(arrays, part + "counts")
        _check_lengths(indices, values)
        entries = rows, indices[stored], values[stored], (len(indptr) - 1, len(words))
        _check_places(*entries)
    return _counted(*entries, words, f"{path} ({part.rstrip('_')})")


Entries = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]


def _entries(arrays: Mapping[str, np.ndarray]) -> Entries:
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
        values, minor = _row(arrays, "data"), _whole(arrays, "indices")
        _check_lengths(minor, values)
        across = kind == "csc"
        major, stored = _spread(_whole(arrays, "indptr"), shape[across], len(minor))
        minor, values = minor[stored], values[stored]
        rows, columns = (minor, major) if across else (major, minor)
    elif kind == "bsr":
        blocks, places = arrays["data"], _whole(arrays, "indices")
        if blocks.ndim != 3 or any(
            n < 1 or size % n for size, n in zip(shape, blocks.shape[1:], strict=True)
        ):
            raise ValueError(f"blocks of shape {blocks.shape} do not fill a matrix of {shape}")
        _check_lengths(places, blocks)
        major, stored = _spread(_whole(arrays, "indptr"), shape[0] // blocks.shape[1], len(places))
        block, row, column = np.nonzero(blocks[stored])
        values = blocks[stored][block, row, column]
        rows = major[block] * blocks.shape[1] + row
        columns = places[stored][block] * blocks.shape[2] + column
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


def _spread(indptr: np.ndarray, size: int, num: int) -> tuple[np.ndarray, slice]:
    """The row (or column) that each entry is in, and which of `num` entries are in one."""
    if len(indptr) != size + 1 or indptr[0] != 0 or indptr[-1] > num or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr does not rise from 0 to {num} or less in {size} steps")
    return np.repeat(np.arange(size), np.diff(indptr)), slice(int(indptr[-1]))


def _check_lengths(one: np.ndarray, other: np.ndarray) -> None:
    if len(one) != len(other):
        raise ValueError(f"as many places as values are needed, got {len(one)} and {len(other)}")


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
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"counts are whole numbers from 0, got {values.dtype} in {origin}: give how often each "
            "word occurs"
        )
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.round(values)) | (values > _MOST)
    if wrong.any():
        raise InputError(
            f"counts are whole numbers from 0, got {values[wrong][0]} in row "
            f"{rows[wrong][0] + 1} of {origin}: give how often each word occurs"
        )
    # Only what is there is gone through: a file may claim any number of rows.
    full = np.unique(rows[values > 0])
    if len(full) < shape[0]:
        first = int(np.argmax(np.append(full, shape[0]) != np.arange(len(full) + 1)))
        raise InputError(
            f"{shape[0] - len(full)} of {shape[0]} documents of {origin} hold no word, row "
            f"{first + 1} first: leave them out"
        )
    if not shape[0]:
        raise InputError(f"{origin} holds no document: give one at least")
    counts = sparse.coo_array((values.astype(np.int64), (rows, columns)), shape=shape)
    return sparse.csr_array(counts)
