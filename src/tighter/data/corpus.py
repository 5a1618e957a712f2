"""A corpus: how often each word of a vocabulary occurs in each document."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.data.text import Documents


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
        for name, number in (("min_df", self.min_df), ("max_df", self.max_df)):
            low = 1 if isinstance(number, int) else 0
            require(
                not isinstance(number, bool) and number >= low and (low != 0 or number <= 1),
                f"{name} is a number of documents from 1, or a share from 0 to 1 written with "
                f"a point (0.5), got {number!r}",
            )
        require(self.ngrams >= 1, f"ngrams is at least 1, got {self.ngrams}")
        require(
            self.max_features is None or self.max_features >= 2,
            f"max_features is at least 2, got {self.max_features}",
        )
        require(
            not isinstance(self.stop_words, str) or self.stop_words == "english",
            f"stop_words is 'english', a list of words or none, got {self.stop_words!r}",
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
    check_installed("sklearn")
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer

    require(len(documents), "there are no documents: give one at least")
    stop_words = tokenizing.stop_words
    analyzer = CountVectorizer(
        stop_words=list(stop_words) if isinstance(stop_words, tuple) else stop_words,
        ngram_range=(1, tokenizing.ngrams),
        lowercase=tokenizing.lowercase,
        token_pattern=tokenizing.token_pattern,
    ).build_analyzer()
    terms = [analyzer(text) for text in documents.texts]
    require(
        any(terms),
        f"the {len(documents)} documents hold no word but stop words: give texts, or "
        "stop_words=None (--stop-words none)",
    )
    if vocabulary is None:
        vocabulary = _chosen(terms, tokenizing)
    else:
        check_vocabulary(vocabulary)
    columns = {word: column for column, word in enumerate(vocabulary)}
    sequences = [np.array([columns.get(term, -1) for term in part], np.int32) for part in terms]
    options: Any = {"analyzer": list, "vocabulary": columns, "dtype": np.int32}
    counts: Any = sparse.csr_array(CountVectorizer(**options).transform(terms))
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


def check_vocabulary(words: Sequence[str]) -> None:
    """Refuse a vocabulary that topics can't be of.

    Raises:
        InputError: If it has fewer than two words, or one twice.
    """
    require(
        len(words) >= 2,
        f"the vocabulary holds {f'the one word {words[0]!r}' if words else 'no word'}, and a topic "
        "is a distribution over several: give more text, or keep rarer words (--min-df 1, --max-df "
        "1.0)",
    )
    word, times = collections.Counter(words).most_common(1)[0]
    require(times == 1, f"the vocabulary holds {word!r} twice: each word has one column")


def _chosen(terms: list[list[str]], tokenizing: Tokenizing) -> tuple[str, ...]:
    """The vocabulary of the documents, common and rare words left out."""
    from sklearn.feature_extraction.text import CountVectorizer

    options: Any = {
        "analyzer": list,
        "min_df": tokenizing.min_df,
        "max_df": tokenizing.max_df,
        "max_features": tokenizing.max_features,
    }
    try:
        words = CountVectorizer(**options).fit(terms).get_feature_names_out()
    except ValueError:
        raise InputError(
            f"of {len(set().union(*terms))} different words none is in at least "
            f"{tokenizing.min_df} and at most {tokenizing.max_df} of {len(terms)} documents: lower "
            "min_df (--min-df) or raise max_df (--max-df)"
        ) from None
    words = tuple(str(word) for word in words)
    check_vocabulary(words)
    return words
