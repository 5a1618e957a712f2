"""Counts of words that someone else made: archives of sparse matrices, and their vocabularies."""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter.data.corpus import Corpus, check_vocabulary
from tighter.data.text import read_text

COUNTS_SUFFIX = ".npz"
_TEST, _TRAIN = "test_", "train_"


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
    arrays = _archive(path)
    words = _vocabulary(path, arrays, vocabulary, words)
    check_vocabulary(words)
    num_test = 0
    if "format" in arrays:
        with _reading(path):
            counts = sparse.csr_array(sparse.load_npz(path))
        _check(counts, words, str(path))
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
    try:
        words = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
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


def _archive(path: Path) -> dict[str, np.ndarray]:
    with _reading(path), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array instead of an archive")
        with archive:
            return {name: archive[name] for name in archive.files}


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one line what numpy, scipy and zipfile say in many ways."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is no archive of counts ({error}): write it with scipy.sparse.save_npz"
        ) from error


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
        with _reading(path):
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
    from scipy import sparse

    if missing := [name for name in ("indptr", "indices", "counts") if part + name not in arrays]:
        raise InputError(
            f"{path} has no array {part + missing[0]!r}: write a sparse matrix with "
            f"scipy.sparse.save_npz; it holds {', '.join(arrays)}"
        )
    indptr, indices, values = (arrays[part + name] for name in ("indptr", "indices", "counts"))
    for name, array, kinds in (
        ("indptr", indptr, "iu"), ("indices", indices, "iu"), ("counts", values, "biuf"),
    ):  # fmt: skip
        if array.ndim != 1 or array.dtype.kind not in kinds:
            raise InputError(
                f"{path} is no archive of counts: {part}{name} is a row of numbers, got shape "
                f"{array.shape} of {array.dtype}: write it with scipy.sparse.save_npz"
            )
    if len(indices) and int(indices.max()) >= len(words):
        raise _unfit(path, len(words), int(indices.max()) + 1)
    with _reading(path):
        shape = (len(indptr) - 1, len(words))
        # Wider, lest sums overflow.
        wide = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        triple = (wide, indices.astype(np.int32), indptr)
        counts = sparse.csr_array(triple, shape=shape)
        counts.check_format()
    _check(counts, words, f"{path} ({part.rstrip('_')})")
    return counts.astype(np.int64)


def _unfit(path: object, num_words: int, num_columns: int) -> InputError:
    return InputError(
        f"the vocabulary doesn't fit the counts: {num_words} words, and {path} counts "
        f"{num_columns}: give the vocabulary that these counts were made with"
    )


def _check(counts: Any, words: tuple[str, ...], origin: str) -> None:
    if counts.shape[1] != len(words):
        raise _unfit(origin, len(words), counts.shape[1])
    if counts.dtype.kind not in "biuf":
        raise InputError(
            f"counts are whole numbers from 0, got {counts.dtype} in {origin}: give how often each "
            "word occurs"
        )
    wrong = ~np.isfinite(counts.data) | (counts.data < 0) | (counts.data != np.round(counts.data))
    if wrong.any():
        row = int(np.searchsorted(counts.indptr, np.flatnonzero(wrong)[0], side="right"))
        raise InputError(
            f"counts are whole numbers from 0, got {counts.data[wrong][0]} in row {row} of "
            f"{origin}: give how often each word occurs"
        )
    empty = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() == 0)
    if len(empty):
        raise InputError(
            f"{len(empty)} of {counts.shape[0]} documents of {origin} hold no word, row "
            f"{empty[0] + 1} first: leave them out"
        )
    if not counts.shape[0]:
        raise InputError(f"{origin} holds no document: give one at least")
