"""Counts of words: by hand, against scikit-learn, and what can't be counted."""

import json

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from tighter._errors import InputError
from tighter.data.corpus import Tokenizing, check_vocabulary, count_words
from tighter.data.counts import read_counts, read_vocabulary
from tighter.data.text import Documents

TEXTS = ("The cat sat; the cat purred.", "A dog sat.", "The and of.", "Dogs, a dog, a cat!")
ALL = Tokenizing(min_df=1, max_df=1.0)


def documents(*texts):
    return Documents(texts, tuple(f"text {number}" for number in range(1, len(texts) + 1)))


def test_counts_by_hand():
    corpus = count_words(documents(*TEXTS), ALL)
    assert corpus.vocabulary == ("cat", "dog", "dogs", "purred", "sat")
    np.testing.assert_array_equal(
        corpus.dense(), [[2, 0, 0, 1, 1], [0, 1, 0, 0, 1], [1, 1, 1, 0, 0]]
    )
    # The third text is stop words alone.
    assert corpus.places == ("text 1", "text 2", "text 4")
    assert corpus.left_out == ("text 3",)
    assert [part.tolist() for part in corpus.sequences] == [[0, 4, 0, 3], [1, 4], [2, 1, 0]]
    assert (corpus.num_words, corpus.num_unknown) == (9, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"min_df": 2, "max_df": 0.9, "stop_words": None},
        {"min_df": 1, "max_df": 1.0, "stop_words": ("cat",), "ngrams": 2},
        {"min_df": 1, "max_df": 1.0, "max_features": 3, "lowercase": False},
    ],
)
def test_options_are_those_of_scikit_learn(options):
    corpus = count_words(documents(*TEXTS), Tokenizing(**options))
    stop_words = options.get("stop_words", "english")
    theirs = CountVectorizer(
        **{name: options[name] for name in ("min_df", "max_df")},
        max_features=options.get("max_features"),
        stop_words=list(stop_words) if isinstance(stop_words, tuple) else stop_words,
        ngram_range=(1, options.get("ngrams", 1)),
        lowercase=options.get("lowercase", True),
    )
    expected = theirs.fit_transform(TEXTS).toarray()
    assert corpus.vocabulary == tuple(theirs.get_feature_names_out())
    np.testing.assert_array_equal(corpus.dense(), expected[expected.sum(axis=1) > 0])


def test_unknown_words_of_a_given_vocabulary_are_counted():
    corpus = count_words(documents("cat bird dog bird", "bird"), ALL, vocabulary=("cat", "dog"))
    np.testing.assert_array_equal(corpus.dense(), [[1, 1]])
    assert corpus.num_unknown == 3
    assert corpus.left_out == ("text 2",)
    assert corpus.sequences[0].tolist() == [0, -1, 1, -1]


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (("cat cat", "cat"), {}, "the one word 'cat'"),
        (("the of", "and"), {}, "no word but stop words"),
        (("cat", "dog"), {"min_df": 2}, "of 2 different words none is in at least 2"),
        (("cat", "dog"), {"min_df": 2, "max_df": 0.1}, "lower min_df"),
        ((), {}, "there are no documents"),
    ],
)
def test_texts_without_topics(texts, options, said):
    with pytest.raises(InputError, match=said):
        count_words(documents(*texts), Tokenizing(**{"min_df": 1, "max_df": 1.0} | options))


@pytest.mark.parametrize(
    "options",
    [
        {"min_df": 0},
        {"max_df": 1.5},
        {"min_df": -0.1},
        {"ngrams": 0},
        {"max_features": 1},
        {"stop_words": "french"},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Tokenizing(**options)


def test_counts_from_scipy_with_a_vocabulary(tmp_path):
    counts = np.array([[1, 0, 2], [0, 3, 0]])
    sparse.save_npz(tmp_path / "counts.npz", sparse.coo_array(counts))
    words = ["a", "b", "c"]
    (tmp_path / "words.txt").write_text("a\nb\n\nc\n")
    (tmp_path / "words.json").write_text(json.dumps(words))
    (tmp_path / "columns.json").write_text(json.dumps({"c": 2, "a": 0, "b": 1}))
    for file in ("words.txt", "words.json", "columns.json"):
        corpus = read_counts(tmp_path / "counts.npz", tmp_path / file)
        assert corpus.vocabulary == ("a", "b", "c")
        np.testing.assert_array_equal(corpus.dense(), counts)
        assert corpus.sequences is None
    assert read_counts(tmp_path / "counts.npz", words=words).vocabulary == ("a", "b", "c")
    with pytest.raises(InputError, match="holds no vocabulary"):
        read_counts(tmp_path / "counts.npz")
    (tmp_path / "words.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"doesn't fit the counts: 2 words, and .* counts 3"):
        read_counts(tmp_path / "counts.npz", tmp_path / "words.txt")
    with pytest.raises(InputError, match="doesn't fit"):
        read_counts(tmp_path / "counts.npz", tmp_path / "words.json", words=("c", "b", "a"))
    (tmp_path / "columns.json").write_text(json.dumps({"c": 7, "a": 0}))
    with pytest.raises(InputError, match="is no vocabulary"):
        read_vocabulary(tmp_path / "columns.json")


def test_counts_with_an_official_test_set(tmp_path):
    arrays = {
        "train_indptr": [0, 2, 3], "train_indices": [0, 2, 1], "train_counts": [1, 2, 3],
        "test_indptr": [0, 1], "test_indices": [1], "test_counts": [200],
    }  # fmt: skip
    arrays = {name: np.array(part, np.uint16) for name, part in arrays.items()}
    np.savez(tmp_path / "news.npz", **arrays, vocab=np.array(["a", "b", "c"]))
    corpus = read_counts(tmp_path / "news.npz")
    np.testing.assert_array_equal(corpus.dense(), [[1, 0, 2], [0, 3, 0], [0, 200, 0]])
    assert corpus.num_test == 1
    np.savez(tmp_path / "news.npz", **arrays, vocab=np.array(["a", "b"]))
    with pytest.raises(InputError, match=r"2 words, and .* counts 3"):
        read_counts(tmp_path / "news.npz")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([[1, 1], [0, 0], [1, 0]], "1 of 3 documents .* hold no word, row 2 first"),
        ([[1, 1], [1, -1]], "whole numbers from 0, got -1 in row 2"),
        ([[1, 1], [1, 0.5]], "whole numbers from 0, got 0.5 in row 2"),
        ([[1, 1], [1, np.inf]], "whole numbers from 0, got inf in row 2"),
        ([[1, 1], [1, 1j]], "whole numbers from 0, got complex128"),
    ],
)
def test_counts_that_are_none(tmp_path, counts, said):
    sparse.save_npz(tmp_path / "counts.npz", sparse.csr_array(np.array(counts)))
    with pytest.raises(InputError, match=said):
        read_counts(tmp_path / "counts.npz", words=("a", "b"))


def test_files_that_are_no_counts(tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "objects.npz", vocab=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", x=np.zeros(3), vocab=np.array(["a", "b"]))
    for name, said in {
        "cut": "no archive of counts",
        "objects": "no archive of counts",
        "other": "no array 'train_indptr'",
        "nowhere": "cannot read",
    }.items():
        with pytest.raises(InputError, match=said):
            read_counts(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="'a' twice"):
        check_vocabulary(["a", "b", "a"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_counts": [1.0, 2.5, 3.0]}, "got 2.5 in row 1"),
        ({"train_counts": [1.0, 2.0, np.inf]}, "got inf in row 2"),
        ({"train_counts": [1j, 2, 3]}, "whole numbers from 0, got complex128"),
        ({"train_indices": ["a", "b", "c"]}, "train_indices is a row of numbers"),
        ({"train_indices": 0}, r"train_indices is a row of numbers, got shape \(\)"),
        ({"train_indptr": 3}, "train_indptr is a row of numbers"),
        ({"vocab": "a"}, r"no list of words but shape \(\)"),
        ({"vocab": [1, 2, 3]}, "no list of words but .* int"),
    ],
)
def test_arrays_that_are_no_counts(tmp_path, changed, said):
    arrays = {
        "train_indptr": [0, 2, 3], "train_indices": [0, 2, 1], "train_counts": [1.0, 2.0, 3.0],
        "vocab": ["a", "b", "c"],
    }  # fmt: skip
    np.savez(tmp_path / "sound.npz", **arrays)
    np.testing.assert_array_equal(
        read_counts(tmp_path / "sound.npz").dense(), [[1, 0, 2], [0, 3, 0]]
    )
    np.savez(tmp_path / "counts.npz", **(arrays | changed))
    with pytest.raises(InputError, match=said):
        read_counts(tmp_path / "counts.npz")


@pytest.mark.parametrize("columns", [{"a": 0, "b": "1"}, {"a": None, "b": 1}, {"a": 0.0, "b": [1]}])
def test_a_vocabulary_whose_columns_are_no_whole_numbers(tmp_path, columns):
    (tmp_path / "words.json").write_text(json.dumps(columns))
    with pytest.raises(InputError, match="an object word -> column from 0"):
        read_vocabulary(tmp_path / "words.json")
