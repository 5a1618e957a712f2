"""Documents as counts of words: what they must be, and where topics may start."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from tighter._checks import require
from tighter._errors import InputError

_SHOWN, _BLOCK = 5, 512
_ROUNDS, _CLUSTERED = 8, 3000
# Words of the whole corpus that each topic starts with beside its documents', for smoothing.
_SMOOTHING = 0.1


def checked_documents(
    counts: Any, vocabulary_size: int, *, least: int = 1, parts: bool = False
) -> Float[np.ndarray, "documents vocab"]:
    """Counts as an array of floats.

    Args:
        counts: Shape (documents, vocab), sparse or not.
        vocabulary_size: Words that the model knows.
        least: Words that a document has at least.
        parts: Whether words may count in part.

    Raises:
        InputError: If the shape doesn't fit, a count is no (whole) number from 0 up, a document has
            too few words, or the corpus has but one word.
    """
    counts = counts.toarray() if sparse.issparse(counts) else counts
    try:
        counts = np.asarray(counts)
    except ValueError:
        raise InputError(
            "documents are a table of counts, a row a document and a column a word, got rows of "
            "different lengths: count the words of one vocabulary"
        ) from None
    require(
        counts.ndim == 2 and len(counts) and counts.dtype.kind in "biuf",
        "documents are a table of counts, a row a document and a column a word, got shape "
        f"{counts.shape} of {counts.dtype}",
    )
    if counts.shape[1] != vocabulary_size:
        raise InputError(
            f"the vocabulary doesn't fit: got counts of {counts.shape[1]} words, the model has "
            f"{vocabulary_size}: count the words of the model's vocabulary"
        )
    # A block of rows at a time, so that no second table of that size is made.
    for start in range(0, len(counts), _BLOCK):
        block = counts[start : start + _BLOCK]
        wrong = ~np.isfinite(block) | (block < 0)
        if not parts:
            wrong |= block != np.floor(block)
        if wrong.any():
            row, word = np.argwhere(wrong)[0]
            raise InputError(
                f"counts are {'' if parts else 'whole '}numbers from 0 up, got "
                f"{block[row, word]:g} in document {start + row}, word {word}: give how often "
                "each word occurs"
            )
    lengths = counts.sum(axis=1)
    short = np.flatnonzero(lengths <= 0 if parts else lengths < least)
    if short.size:
        what = "no words" if least == 1 else f"fewer than {least} words"
        shown = ", ".join(map(str, short[:_SHOWN])) + (", ..." if short.size > _SHOWN else "")
        raise InputError(
            f"{short.size} of {len(counts)} documents have {what} of the vocabulary (rows {shown}):"
            " leave them out"
        )
    return np.asarray(counts, np.float32)


def check_corpus(counts: Float[np.ndarray, "documents vocab"]) -> None:
    """Refuse a corpus in which there is nothing to tell apart.

    Raises:
        InputError: If all documents are of one and the same word.
    """
    used = int((counts.sum(axis=0) > 0).sum())
    if used < 2:
        raise InputError(
            f"topics are told apart by their words, and this corpus has {used} of the "
            f"vocabulary's {counts.shape[1]}: add documents, or mend the vocabulary"
        )


def started_topics(
    counts: Float[np.ndarray, "documents vocab"], num_topics: int, *, seed: int
) -> tuple[Float[np.ndarray, "topics vocab"], Float[np.ndarray, " vocab"]]:
    """Log topics that documents alike share, and the log of each word's share of the corpus.

    Documents are clustered by the angle of the square roots of their counts, weighed by how few
    documents a word is in; a topic starts with the words of its cluster.

    Args:
        counts: Documents.
        num_topics: Topics.
        seed: Of the documents that clusters start from.
    """
    frequency = counts.sum(axis=0) + 0.5
    share = frequency / frequency.sum()
    random = np.random.default_rng(seed)
    # A part of a large corpus is enough to start from.
    counts = counts[random.permutation(len(counts))[:_CLUSTERED]]
    inverse = np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0)))
    vectors = np.sqrt(counts) * np.maximum(inverse, 0.01)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    centers = vectors[random.choice(len(counts), num_topics, replace=len(counts) < num_topics)]
    for _ in range(_ROUNDS):
        nearest = np.argmax(vectors @ centers.T, axis=1)
        member = np.zeros((len(counts), num_topics), np.float32)
        member[np.arange(len(counts)), nearest] = 1
        centers = member.T @ vectors
        empty = np.flatnonzero(member.sum(axis=0) == 0)
        centers[empty] = vectors[random.choice(len(counts), empty.size)]
        centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    words = member.T @ counts
    words /= np.maximum(words.sum(axis=1, keepdims=True), 1)
    topics = (1 - _SMOOTHING) * words + _SMOOTHING * share
    return (
        np.log(topics / topics.sum(axis=1, keepdims=True)).astype(np.float32),
        np.log(share).astype(np.float32),
    )
