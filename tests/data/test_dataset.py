import dataclasses

import numpy as np
import pytest

from tighter._errors import InputError
from tighter.data import Column, Dataset, Schema, Splits, split


def numbered(size: int, name: str = "numbered") -> Dataset:
    """A data set whose rows and labels tell their own number."""
    rows = np.arange(size)
    return Dataset(np.repeat(rows[:, None], 3, axis=1).astype(np.float32), rows, name)


def test_dataset_stores_float32_and_knows_its_size():
    data = Dataset(np.arange(24, dtype=np.int16).reshape(4, 2, 3), np.array(list("abcd")), "d")
    assert data.x.dtype == np.float32
    assert len(data) == 4
    assert data.shape == (2, 3)
    np.testing.assert_array_equal(data.x.ravel(), np.arange(24))
    assert repr(data) == "Dataset('d': 4 labelled examples of shape (2, 3))"


def test_dataset_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbered(3).name = "other"  # pyright: ignore


def test_float32_is_not_copied():
    x = np.ones((2, 2), np.float32)
    assert Dataset(x).x is x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(5), ["(N, ...)", "(5,)", "reshape"]),
        (np.zeros(()), ["(N, ...)", "()"]),
        (np.zeros((0, 3)), ["empty", "(0, 3)"]),
        (np.zeros((3, 0)), ["empty", "(3, 0)"]),
        (np.array([["a", "b"]]), ["real numbers", "<U1"]),
        (np.zeros((2, 2), complex), ["real numbers", "complex128"]),
        (np.zeros((2, 2), "M8[s]"), ["real numbers", "datetime64"]),
        (np.array([[1, None]], dtype=object), ["Python objects", "dense"]),
        (np.array([[0, 1], [2, 3], [np.nan, np.inf]]), ["2 non-finite", "1 of them NaN", "row 2"]),
        (np.array([[1e300, 0.0]]), ["1e+300", "too large for float32"]),
    ],
)
def test_an_array_that_cannot_be_data_is_refused(x, words):
    with pytest.raises(InputError) as caught:
        Dataset(x)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(3), ["3 labels for 4 examples"]),
        (np.eye(4), ["shape (N,)", "(4, 4)", "argmax"]),
        (np.array([1, "a", None, 2], dtype=object), ["labels holds Python objects"]),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, words):
    with pytest.raises(InputError) as caught:
        Dataset(np.zeros((4, 2)), labels)
    for word in words:
        assert word in str(caught.value)


def test_take_follows_the_order_and_the_labels():
    taken = numbered(10).take([7, 2, -1])
    np.testing.assert_array_equal(taken.x[:, 0], [7, 2, 9])
    np.testing.assert_array_equal(taken.labels, [7, 2, 9])
    assert taken.name == "numbered"


def test_take_accepts_a_mask():
    taken = numbered(4).take(np.array([True, False, False, True]))
    np.testing.assert_array_equal(taken.labels, [0, 3])


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([], ["no rows", "4"]),
        (np.zeros(4, bool), ["no rows"]),
        ([0, 4], ["0 to 4", "the last is 3"]),
        ([-5], ["-5", "the last is 3"]),
        (np.array([0.5]), ["whole numbers", "float64"]),
        (np.array([True, False]), ["mask of shape (4,)", "(2,)"]),
        (np.array([[0, 1]]), ["(1, 2)"]),
    ],
)
def test_take_refuses_rows_that_are_not_there(indices, words):
    with pytest.raises(InputError) as caught:
        numbered(4).take(indices)
    for word in words:
        assert word in str(caught.value)


def test_split_is_disjoint_and_covers():
    splits = split(numbered(103), validation=0.2, test=0.1, seed=3)
    parts = [splits.train.labels, splits.validation.labels, splits.test.labels]
    assert [len(part) for part in parts] == [72, 21, 10]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(103))
    np.testing.assert_array_equal(splits.train.x[:, 0], splits.train.labels)


def test_split_repeats_for_a_seed_and_differs_between_seeds():
    first, again, other = (split(numbered(100), seed=seed) for seed in (0, 0, 1))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part).x, getattr(again, part).x)
    assert set(first.test.labels) != set(other.test.labels)


def test_the_test_set_does_not_depend_on_the_share_of_validation():
    small, large = (split(numbered(50), validation=share) for share in (0.1, 0.5))
    np.testing.assert_array_equal(small.test.labels, large.test.labels)


def test_official_parts_are_kept():
    official = numbered(7, "official")
    splits = split(numbered(20), test=official, validation=0.25)
    assert splits.test is official
    assert (len(splits.train), len(splits.validation)) == (15, 5)
    both = split(numbered(20), test=official, validation=official)
    assert both.validation is official
    assert len(both.train) == 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation": 1.0}, ["validation", "[0, 1)", "1.0"]),
        ({"test": -0.1}, ["test", "[0, 1)", "-0.1"]),
        ({"test": float("nan")}, ["test", "nan"]),
        ({"validation": 0.0}, ["validation set would be empty", "of 10 examples", "at least 0.1"]),
        ({"test": 0.01}, ["test set would be empty", "0.01 of 10"]),
        ({"validation": 0.5, "test": 0.5}, ["train set would be empty", "smaller"]),
        ({"seed": -1}, ["seed", "-1"]),
    ],
)
def test_a_split_that_cannot_be_is_refused(options, words):
    with pytest.raises(InputError) as caught:
        split(numbered(10), **options)
    for word in words:
        assert word in str(caught.value)


def test_splits_of_different_shapes_are_refused():
    train, test = Dataset(np.zeros((5, 2, 2))), Dataset(np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"\(2, 2\).*test set \(4,\)"):
        Splits(train, train, test)


SCHEMA = Schema((Column("a", "real"), Column("b", "binary", ("no", "yes"), "String")))


def test_gaps_and_schema_are_kept():
    x = np.array([[0.5, np.nan], [np.nan, 1], [2, 0]])
    data = Dataset(x, schema=SCHEMA, missing=True)
    np.testing.assert_array_equal(data.x, x.astype(np.float32))
    assert repr(data) == "Dataset('data': 3 unlabelled examples of shape (2,), values missing)"
    taken = data.take([2, 0])
    assert taken.missing
    assert taken.schema == SCHEMA
    parts = split(Dataset(np.tile(x, (5, 1)), schema=SCHEMA, missing=True))
    assert all(part.missing for part in (parts.train, parts.validation, parts.test))
    assert parts.test.schema == SCHEMA


def test_missing_may_be_said_where_nothing_is():
    assert Dataset(np.ones((2, 2), int), missing=True).missing
    assert not numbered(3).missing


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([[0, np.nan], [np.inf, 1], [np.nan, -np.inf]], ["2 infinite", "row 1"]),
        ([[0, 1], [np.nan, np.nan]], ["1 of 2 rows", "missing: 1 (counted from 0)"]),
        ([[1e300, np.nan]], ["1e+300", "too large for float32"]),
    ],
)
def test_gaps_that_cannot_be(x, words):
    with pytest.raises(InputError) as caught:
        Dataset(np.array(x), missing=True)
    for word in words:
        assert word in str(caught.value)


def test_gaps_are_refused_unless_they_are_said():
    with pytest.raises(InputError, match=r"1 non-finite.*missing=True"):
        Dataset(np.array([[0, np.nan]]))


def test_a_schema_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"2 columns.*\(3,\)"):
        Dataset(np.zeros((4, 3)), schema=SCHEMA)
    with pytest.raises(InputError, match=r"2 columns.*\(2, 1\)"):
        Dataset(np.zeros((4, 2, 1)), schema=SCHEMA)


def test_splits_of_different_schemas_are_refused():
    other = Schema((Column("a", "real"), Column("b", "binary", ("yes", "no"), "String")))
    train, test = (Dataset(np.zeros((3, 2)), schema=schema) for schema in (SCHEMA, other))
    with pytest.raises(InputError, match="test set has another schema"):
        Splits(train, train, test)
