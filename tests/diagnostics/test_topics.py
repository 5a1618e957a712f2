"""Coherence, diversity, relevance and the map of topics against numbers by hand."""

import numpy as np
import pytest
from scipy import sparse

from tighter._errors import InputError
from tighter.diagnostics import topics as judged

# Four documents of four words.
COUNTS = np.array([[2, 1, 0, 0], [1, 3, 1, 0], [0, 0, 1, 0], [0, 1, 0, 5]])


def words(*rows):
    return np.array(rows)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_npmi_by_hand(kind):
    # Shares of documents: word 0 in 2/4, 1 in 3/4, 2 in 2/4, 3 in 1/4; 0 with 1 in 2/4.
    half = np.log(0.5 / (0.5 * 0.75)) / -np.log(0.5)
    quarter = np.log(0.25 / (0.5 * 0.75)) / -np.log(0.25)  # 1 with 2
    independent = 0.0  # 0 with 2: 1/4 = 1/2 · 1/2
    made = judged.npmi(words([0, 1, 2], [1, 0, 2], [0, 2, 3]), kind(COUNTS))
    expected = (half + quarter + independent) / 3
    np.testing.assert_allclose(made, [expected, expected, (0 - 1 - 1) / 3], rtol=1e-12)


def test_npmi_at_its_ends():
    always = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(judged.npmi(words([0, 1]), always), [1])
    np.testing.assert_allclose(judged.npmi(words([0, 2]), always), [-1])
    everywhere = np.ones((3, 2), int)
    np.testing.assert_allclose(judged.npmi(words([0, 1]), everywhere), [0])


def test_c_v_of_documents_by_hand():
    # Two words, together in 1 of 4 documents, each in 2: independent, and so at right angles.
    counts = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    np.testing.assert_allclose(judged.c_v(words([0, 1]), counts), [np.sqrt(0.5)], atol=1e-6)
    # A NPMI of r: vectors (1, r) and (r, 1) with their sum, cos = (1 + r) / √2 √(1 + r²).
    counts = np.array([[1, 1], [1, 1], [1, 0], [0, 0]])
    r = np.log(0.5 / (0.75 * 0.5)) / -np.log(0.5)
    expected = (1 + r) / np.sqrt(2 * (1 + r**2))
    np.testing.assert_allclose(judged.c_v(words([0, 1]), counts), [expected], atol=1e-6)


def test_windows_slide_over_texts(monkeypatch):
    """Against windows written out one by one."""
    monkeypatch.setattr(judged, "WINDOW", 5)
    monkeypatch.setattr(judged, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    texts = [rng.integers(-1, 6, size=size).astype(np.int32) for size in (1, 3, 5, 6, 30, 17)]
    windows = [text[start : start + 5] for text in texts for start in range(max(1, len(text) - 4))]
    there = np.array([[word in window for word in range(6)] for window in windows]).astype(int)
    top = words([0, 3, 5], [2, 1, 3])
    joint = judged._in_windows(top, texts)
    assert joint.total == len(windows)
    expected = there.T @ there
    for made, row in zip(joint.pairs, top, strict=True):
        np.testing.assert_array_equal(made, expected[np.ix_(row, row)])
    np.testing.assert_allclose(judged.c_v(top, there), judged.c_v(top, there, texts))


def test_coherence_of_what_does_not_fit():
    with pytest.raises(InputError, match="reach column 4, and the counts have 4"):
        judged.npmi(words([0, 4]), COUNTS)
    with pytest.raises(InputError, match="two words or more"):
        judged.c_v(words([0]), COUNTS)
    for coherence in (judged.npmi, judged.c_v, lambda top, counts: judged.c_v(top, counts, [])):
        with pytest.raises(InputError, match="in documents, and there are none"):
            coherence(words([0, 1]), COUNTS[:0])


def test_diversity_and_distinct_topics():
    top = words([0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 5, 6])
    assert judged.topic_diversity(top) == 7 / 12
    # The second shares three of four with the first, the third two of four with it.
    assert judged.num_distinct(top) == 2


def test_relevance_and_top_words():
    topics = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    shares = np.array([0.4, 0.1, 0.5])
    made = judged.relevance(topics, shares, 0.25)
    assert np.isclose(made[0, 1], 0.25 * np.log(0.3) + 0.75 * np.log(0.3 / 0.1))
    np.testing.assert_allclose(judged.relevance(topics, shares, 1), np.log(topics))
    np.testing.assert_array_equal(judged.top_words(topics, 2), [[0, 1], [2, 1]])
    np.testing.assert_array_equal(judged.top_words(made, 1), [[1], [1]])
    for refused in (
        lambda: judged.relevance(topics, shares, 2),
        lambda: judged.top_words(topics, 4),
    ):
        with pytest.raises(InputError):
            refused()


def test_distances_and_the_map():
    topics = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]])
    distances = judged.topic_distances(topics)
    assert np.isclose(distances[0, 1], np.sqrt(np.log(2)))
    # H(3/4, 1/4) − H(1/2, 1/2) / 2
    mixed = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) - np.log(2) / 2
    assert np.isclose(distances[0, 2] ** 2, mixed)
    assert distances[0, 3] == 0
    corners = np.array([[0, 0], [3, 0], [3, 4], [0, 4.0]])
    given = np.linalg.norm(corners[:, None] - corners, axis=-1)
    points = judged.layout(given)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), given)
    assert judged.layout(np.zeros((1, 1))).shape == (1, 2)
