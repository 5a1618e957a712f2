"""A corpus: how often each word of a vocabulary occurs in each document."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter.data.text import Documents, read_text

COUNTS_SUFFIX = ".npz"
_TEST, _TRAIN = "test_", "train_"


@dataclasses.dataclass(frozen=True)
class Tokenizing:
    """How texts become words: the options of scikit-learn's `CountVectorizer`, under its names.

    Attributes:
        min_df: Fewest documents that a word of the vocabulary occurs in, a number or a share.
        max_df: Most documents, a number or a share.
        max_features: Most words in the vocabulary, the commonest; None for all.
        stop_words: "english", a list of words, or None for none.
        ngrams: Most words in a term.
        lowercase: Whether capitals are made small.
        token_pattern: What a word is, a regular expression.
    """

    min_df: int | float = 2
    max_df: int | float = 0.5
    max_features: int | None = 5000
    stop_words: str | tuple[str, ...] | None = "english"
    ngrams: int = 1
    lowercase: bool = True
    token_pattern: str = r"(?u)\b\w\w+\b"

    def __post_init__(self) -> None:
        for name in ("min_df", "max_df"):
            number = getattr(self, name)
            low = 1 if isinstance(number, int) else 0
            if isinstance(number, bool) or number < low or (low == 0 and number > 1):
                raise InputError(
                    f"{name} is a number of documents from 1, or a share from 0 to 1 written with "
                    f"a point (0.5), got {number!r}"
                )
        if self.ngrams < 1:
            raise InputError(f"ngrams is at least 1, got {self.ngrams}")
        if self.max_features is not None and self.max_features < 2:
            raise InputError(f"max_features is at least 2, got {self.max_features}")
        if isinstance(self.stop_words, str) and self.stop_words != "english":
            raise InputError(
                f"stop_words is 'english', a list of words or none, got {self.stop_words!r}"
            )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Counts of words in documents, none of which is empty.

    Attributes:
        counts: Sparse, shape (N, V): how often word v occurs in document n.
        vocabulary: The V words.
        places: Where each document is from.
        sequences: Each document's words in order, as their columns, −1 for words that are not in
            the vocabulary; None where the order is not known.
        num_test: The last so many documents are the source's own test set.
        left_out: Documents without a word of the vocabulary, which are not among the N.
        num_unknown: Words of all documents that are not in the vocabulary, stop words aside.
    """

    counts: Any
    vocabulary: tuple[str, ...]
    places: tuple[str, ...]
    sequences: tuple[np.ndarray, ...] | None = None
    num_test: int = 0
    left_out: tuple[str, ...] = ()
    num_unknown: int = 0

    def __len__(self) -> int:
        return self.counts.shape[0]

    def __repr__(self) -> str:
        return (
            f"Corpus({len(self)} documents, {self.num_words} words in all, "
            f"{len(self.vocabulary)} different ones)"
        )

    @property
    def num_words(self) -> int:
        """Words of the vocabulary in all documents together."""
        return int(self.counts.sum())

    def dense(self, rows: Any = slice(None)) -> np.ndarray:
        """Counts of some documents as float32, shape (n, V)."""
        return self.counts[rows].toarray().astype(np.float32)


def count_words(
    documents: Documents,
    tokenizing: Tokenizing = Tokenizing(),
    *,
    vocabulary: Sequence[str] | None = None,
) -> Corpus:
    """Count the words of documents.

    Args:
        documents: The texts.
        tokenizing: What a word is, and which are kept.
        vocabulary: The words to count; None to take those of the documents.

    Returns:
        The corpus. Documents in which no word of the vocabulary occurs are left out of it.

    Raises:
        InputError: If there is no document, no word, or only one.

    Example:
        >>> corpus = count_words(read_documents(["python"]))
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if not len(documents):
        raise InputError("there are no documents: give one at least")
    stop_words = tokenizing.stop_words
    analyzer = CountVectorizer(
        stop_words=list(stop_words) if isinstance(stop_words, tuple) else stop_words,
        ngram_range=(1, tokenizing.ngrams),
        lowercase=tokenizing.lowercase,
        token_pattern=tokenizing.token_pattern,
    ).build_analyzer()
    terms = [analyzer(text) for text in documents.texts]
    if not any(terms):
        raise InputError(
            f"the {len(documents)} documents hold no word but stop words: give texts, or "
            "stop_words=None (--stop-words none)"
        )
    if vocabulary is None:
        vocabulary = _chosen(terms, tokenizing)
    else:
        check_vocabulary(vocabulary)
    columns = {word: column for column, word in enumerate(vocabulary)}
    sequences = [np.array([columns.get(term, -1) for term in part], np.int32) for part in terms]
    counts: Any = _tabulated(sequences, len(columns))
    there = np.asarray(counts.sum(axis=1)).ravel() > 0
    kept = np.flatnonzero(there)
    return Corpus(
        counts[kept],
        tuple(vocabulary),
        tuple(documents.places[row] for row in kept),
        # Terms of two words have no one place in a row of words.
        tuple(sequences[row] for row in kept) if tokenizing.ngrams == 1 else None,
        left_out=tuple(documents.places[row] for row in np.flatnonzero(~there)),
        num_unknown=int(sum((part < 0).sum() for part in sequences)),
    )


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
    if isinstance(words, Mapping) and sorted(words.values()) == list(range(len(words))):
        return tuple(sorted(words, key=words.__getitem__))
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    raise InputError(
        f"{path} is no vocabulary: give a list of words, or an object word -> column from 0"
    )


def check_vocabulary(words: Sequence[str]) -> None:
    """Refuse a vocabulary that topics can't be of.

    Raises:
        InputError: If it has fewer than two words, or one twice.
    """
    if len(words) < 2:
        told = f"the one word {words[0]!r}" if words else "no word"
        raise InputError(
            f"the vocabulary holds {told}, and a topic is a distribution over several: give more "
            "text, or keep rarer words (--min-df 1, --max-df 1.0)"
        )
    word, times = collections.Counter(words).most_common(1)[0]
    if times > 1:
        raise InputError(f"the vocabulary holds {word!r} twice: each word has one column")


def _chosen(terms: list[list[str]], tokenizing: Tokenizing) -> tuple[str, ...]:
    """The vocabulary of the documents, common and rare words left out."""
    from sklearn.feature_extraction.text import CountVectorizer

    options: Any = {
        "min_df": tokenizing.min_df,
        "max_df": tokenizing.max_df,
        "max_features": tokenizing.max_features,
    }
    vectorizer = CountVectorizer(analyzer=_itself, **options)  # type: ignore[arg-type]
    try:
        words = vectorizer.fit(terms).get_feature_names_out()
    except ValueError:
        raise InputError(
            f"of {len(set().union(*terms))} different words none is in at least "
            f"{tokenizing.min_df} and at most {tokenizing.max_df} of {len(terms)} documents: lower "
            "min_df (--min-df) or raise max_df (--max-df)"
        ) from None
    words = tuple(str(word) for word in words)
    check_vocabulary(words)
    return words


def _itself(terms: list[str]) -> list[str]:
    return terms


def _tabulated(sequences: list[np.ndarray], num_columns: int) -> Any:
    from scipy import sparse

    known = [part[part >= 0] for part in sequences]
    indptr = np.cumsum([0, *(len(part) for part in known)])
    indices = np.concatenate(known) if known else np.zeros(0, np.int32)
    ones = np.ones(len(indices), np.int32)
    counts = sparse.csr_array((ones, indices, indptr), shape=(len(known), num_columns))
    counts.sum_duplicates()
    return counts


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
    if len(indices) and int(indices.max()) >= len(words):
        raise _unfit(path, len(words), int(indices.max()) + 1)
    with _reading(path):
        shape = (len(indptr) - 1, len(words))
        # Wider, lest sums overflow.
        triple = (values.astype(np.int64), indices.astype(np.int32), indptr)
        counts = sparse.csr_array(triple, shape=shape)
        counts.check_format()
    _check(counts, words, f"{path} ({part.rstrip('_')})")
    return counts


def _unfit(path: object, num_words: int, num_columns: int) -> InputError:
    return InputError(
        f"the vocabulary doesn't fit the counts: {num_words} words, and {path} counts "
        f"{num_columns}: give the vocabulary that these counts were made with"
    )


def _check(counts: Any, words: tuple[str, ...], origin: str) -> None:
    if counts.shape[1] != len(words):
        raise _unfit(origin, len(words), counts.shape[1])
    wrong = (counts.data < 0) | (counts.data != np.round(counts.data))
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
