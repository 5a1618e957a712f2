"""Topics judged and told apart: coherence, diversity, relevant words, distances between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from tighter._checks import require

# Words to a window, Röder et al. (2015), and windows in memory at a time.
WINDOW = 110
_BLOCK = 8192
_EPSILON = 1e-12

TopWords = Integer[np.ndarray, "topics top"]


class _Cooccurrence(NamedTuple):
    """In how many documents, or windows, the top words of each topic occur together.

    Attributes:
        pairs: For each topic, counts of word i with word j; on the diagonal, of word i.
        total: Of how many documents or windows.
    """

    pairs: Float[np.ndarray, "topics top top"]
    total: int

    @property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each two words together, and the products of their own."""
        shares = self.pairs / self.total
        own = np.diagonal(shares, axis1=1, axis2=2)
        return shares, own[:, :, None] * own[:, None, :]


def top_words(topics: Float[np.ndarray, "topics words"], num_words: int = 10) -> TopWords:
    """The columns of each topic's most probable words, the most probable first.

    Raises:
        InputError: If there are not so many words.
    """
    require(
        1 <= num_words <= topics.shape[1],
        f"num_words is from 1 to the {topics.shape[1]} of the vocabulary, got {num_words}",
    )
    return np.argsort(-topics, axis=1, kind="stable")[:, :num_words]


def npmi(words: TopWords, counts: Any) -> Float[np.ndarray, " topics"]:
    r"""Mean normalized pointwise mutual information of each topic's top words.

    $\frac{2}{T(T-1)} \sum_{i<j} \frac{\log p_{ij} / (p_i p_j)}{-\log p_{ij}}$, the shares being of
    documents that a word, or both words, occur in. Between −1, where no two words ever occur
    together, over 0, where they are independent, to 1, where they never occur apart. A pair that
    never occurs together counts −1, and one that is in every document 0.

    Args:
        words: Columns of each topic's T top words; customarily T = 10.
        counts: Counts of the reference documents, shape (N, V), sparse or not.

    Raises:
        InputError: If there are fewer than two top words, or a column is not there.

    References:
        Bouma, "Normalized (pointwise) mutual information in collocation extraction", 2009; Lau,
        Newman & Baldwin, "Machine reading tea leaves", 2014, sec. 3.
    """
    joint = _in_documents(words, counts)
    shares, both = joint.shares
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(shares / both) / -np.log(shares)
    values = np.where(shares == 0, -1.0, np.where(shares == 1, 0.0, values))
    upper = np.triu_indices(words.shape[1], 1)
    return values[:, *upper].mean(axis=1)


def c_v(
    words: TopWords, counts: Any, sequences: Sequence[np.ndarray] | None = None
) -> Float[np.ndarray, " topics"]:
    r"""The coherence $C_V$ of each topic's top words.

    Each word has a vector of its NPMI with all T words, $v_i$; the coherence is the mean cosine
    between $v_i$ and $\sum_j v_j$. Shares are of windows of 110 words that slide over the texts a
    word at a time (a shorter text is one window), NPMI is
    $\log \frac{p_{ij} + 10^{-12}}{p_i p_j} / -\log (p_{ij} + 10^{-12})$, and 1 of a word with
    itself. Where the order of words is not known, a document is one window.

    Args:
        words: Columns of each topic's T top words.
        counts: Counts of the reference documents, shape (N, V); used where `sequences` is None.
        sequences: The reference documents as columns in order, −1 for words not in the vocabulary.

    Raises:
        InputError: If there are fewer than two top words, or a column is not there.

    References:
        Röder, Both & Hinneburg, "Exploring the space of topic coherence measures", 2015, sec. 3.
    """
    joint = _in_documents(words, counts) if sequences is None else _in_windows(words, sequences)
    shares, both = joint.shares
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors = np.log((shares + _EPSILON) / both) / -np.log(shares + _EPSILON)
    vectors = np.where(both == 0, -1.0, np.where(shares == 1, 0.0, vectors))
    diagonal = np.arange(words.shape[1])
    vectors[:, diagonal, diagonal] = 1.0
    whole = vectors.sum(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=2) * np.linalg.norm(whole, axis=2)
    cosines = (vectors * whole).sum(axis=2) / np.where(lengths > 0, lengths, 1)
    return cosines.mean(axis=1)


def topic_diversity(words: TopWords) -> float:
    """Share of different words among the top words of all topics; 1 where no topic shares one.

    Args:
        words: Columns of each topic's top words; customarily 25 of each.

    References:
        Dieng, Ruiz & Blei, "Topic modeling in embedding spaces", 2020, sec. 6.
    """
    return len(np.unique(words)) / words.size


def num_distinct(words: TopWords) -> int:
    """Topics, taken in order, that share at most half of their top words with each one counted.

    Args:
        words: Columns of each topic's top words; customarily 10 of each.
    """
    counted: list[np.ndarray] = []
    for row in words:
        if all(2 * len(np.intersect1d(row, other)) <= len(row) for other in counted):
            counted.append(row)
    return len(counted)


def relevance(
    topics: Float[np.ndarray, "topics words"],
    shares: Float[np.ndarray, " words"],
    weight: float | int = 0.6,
) -> Float[np.ndarray, "topics words"]:
    r"""Relevance of words to topics, $\lambda \log \phi_{kw} + (1 - \lambda) \log \phi_{kw}/p_w$.

    At λ = 1 it ranks words by their probability, at 0 by how much likelier the topic makes them.

    Args:
        topics: Each topic's probabilities of words, φ.
        shares: Probabilities of the words in the whole corpus, p.
        weight: λ, from 0 to 1.

    Raises:
        InputError: If λ is outside [0, 1].

    References:
        Sievert & Shirley, "LDAvis: a method for visualizing and interpreting topics", 2014, eq. 1.
    """
    require(0 <= weight <= 1, f"the weight λ is from 0 to 1, got {weight}")
    tiny = np.finfo(np.float64).tiny
    log_topics = np.log(np.maximum(np.asarray(topics, np.float64), tiny))
    return log_topics - (1 - weight) * np.log(np.maximum(np.asarray(shares, np.float64), tiny))


def topic_distances(
    topics: Float[np.ndarray, "topics words"],
) -> Float[np.ndarray, "topics topics"]:
    r"""Jensen–Shannon distances of topics, in √nat.

    $\sqrt{H(\frac{\phi_k + \phi_l}{2}) - \frac{H(\phi_k) + H(\phi_l)}{2}}$: a metric, at most
    √log 2.

    References:
        Endres & Schindelin, "A new metric for probability distributions", 2003.
    """
    topics = np.asarray(topics, np.float64)
    own = _entropy(topics)
    divergences = np.stack(
        [_entropy((topics + row) / 2) - (own + entropy) / 2
         for row, entropy in zip(topics, own, strict=True)]
    )  # fmt: skip
    return np.sqrt(np.maximum(divergences, 0))


def layout(distances: Float[np.ndarray, "topics topics"]) -> Float[np.ndarray, "topics 2"]:
    """Points in the plane whose distances come near those given: classical scaling.

    References:
        Torgerson, "Multidimensional scaling: I. Theory and method", 1952.
    """
    squares = -0.5 * distances**2
    gram = squares - squares.mean(0) - squares.mean(1, keepdims=True) + squares.mean()
    values, vectors = np.linalg.eigh(gram)
    points = np.zeros((len(distances), 2))
    held = min(2, len(distances))
    points[:, :held] = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :held]
    # An axis' sign is arbitrary: let its farthest point be positive.
    farthest = points[np.abs(points).argmax(axis=0), [0, 1]]
    return points * np.where(farthest < 0, -1, 1)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    safe = np.where(probabilities > 0, probabilities, 1)
    return -(probabilities * np.log(safe)).sum(axis=-1)


def _columns_of(
    words: np.ndarray, num_documents: int, num_columns: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The columns among the top words, and which of them each top word is.

    Raises:
        InputError: If there are fewer than two top words, no documents, or a column is not there.
    """
    require(words.shape[1] >= 2, f"coherence is of two words or more, got {words.shape[1]} a topic")
    require(
        num_columns is None or words.max() < num_columns,
        f"the vocabulary doesn't fit the counts: top words reach column {words.max(initial=0)}, "
        f"and the counts have {num_columns}",
    )
    require(num_documents, "coherence is of words in documents, and there are none: give some")
    columns, places = np.unique(words, return_inverse=True)
    return columns, places.reshape(words.shape)


def _in_documents(words: np.ndarray, counts: Any) -> _Cooccurrence:
    from scipy import sparse

    columns, places = _columns_of(words, *counts.shape)
    there = sparse.csr_array(sparse.csc_array(counts)[:, columns] > 0).astype(np.float64)
    together = (there.T @ there).toarray()
    return _Cooccurrence(together[places[:, :, None], places[:, None, :]], counts.shape[0])


def _in_windows(words: np.ndarray, sequences: Sequence[np.ndarray]) -> _Cooccurrence:
    """The same of windows, all windows of all texts in one row and a block of them at a time."""
    columns, places = _columns_of(words, len(sequences))
    lengths = np.array([len(part) for part in sequences])
    num_windows = np.maximum(lengths - WINDOW + 1, 1)
    offsets = np.cumsum(num_windows) - num_windows
    tokens = np.concatenate([*sequences, np.zeros(0, np.int32)])
    text = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    known = np.isin(tokens, columns)
    column, text, position = np.searchsorted(columns, tokens[known]), text[known], position[known]
    # The windows, first and last, that a word at this place is in.
    first = offsets[text] + np.minimum(np.maximum(position - WINDOW + 1, 0), num_windows[text] - 1)
    last = offsets[text] + np.minimum(position, num_windows[text] - 1)
    total, width = int(num_windows.sum()), words.shape[1]
    pairs = np.zeros((len(words), width, width))
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        # `first` rises, and no span is longer than a window.
        low, high = np.searchsorted(first, [start - WINDOW, stop])
        some = slice(low, high)
        inside = last[some] >= start
        rows = np.maximum(first[some][inside], start) - start
        ends = np.minimum(last[some][inside], stop - 1) - start + 1
        steps = np.zeros((stop - start + 1, len(columns)), np.int32)
        np.add.at(steps, (rows, column[some][inside]), 1)
        np.add.at(steps, (ends, column[some][inside]), -1)
        there = (np.cumsum(steps[:-1], axis=0) > 0).astype(np.float32)
        by_topic = there.T[places]
        pairs += by_topic @ by_topic.transpose(0, 2, 1)
    return _Cooccurrence(pairs, total)
