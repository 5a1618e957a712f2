import numpy as np
import pytest

from tighter._errors import InputError
from tighter.data.arrays import Raw, to_datasets


def converted(x: np.ndarray) -> np.ndarray:
    return to_datasets({"train": Raw(x, None, "file")}, "name")["train"].x


def test_bytes_above_one_are_divided_by_255():
    np.testing.assert_array_equal(
        converted(np.array([[0, 51, 255]], np.uint8)), np.array([[0, 0.2, 1]], np.float32)
    )


@pytest.mark.parametrize(
    "x",
    [
        np.array([[0, 1]], np.uint8),
        np.array([[True, False]]),
        np.array([[0, 200]], np.int32),
        np.array([[0, 200]], np.uint16),
        np.array([[-3, 100]], np.int8),
        np.array([[0.25, 200.0]]),
    ],
)
def test_other_numbers_stay(x):
    read = converted(x)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, x)


def test_bytes_that_are_counts_are_said_to_be():
    counts = np.array([[0, 7, 255]], np.uint8)
    datasets = to_datasets({"train": Raw(counts, None, "file")}, "name", pixels=False)
    np.testing.assert_array_equal(datasets["train"].x, counts)


def test_parts_are_scaled_together():
    parts = {
        "train": Raw(np.array([[0, 255]], np.uint8), np.array([4]), "a"),
        "test": Raw(np.array([[0, 1]], np.uint8), None, "b"),
    }
    datasets = to_datasets(parts, "name")
    np.testing.assert_array_equal(datasets["test"].x, np.array([[0, 1 / 255]], np.float32))
    np.testing.assert_array_equal(datasets["train"].labels, [4])
    assert datasets["test"].name == "name"


def test_parts_on_different_scales_are_refused():
    parts = {
        "train": Raw(np.array([[0, 255]], np.uint8), None, "a"),
        "test": Raw(np.array([[0.0, 1.0]]), None, "b"),
    }
    with pytest.raises(InputError, match=r"a is uint8, b is float64; store them as one type"):
        to_datasets(parts, "name")


def test_an_error_names_where_the_array_came_from():
    with pytest.raises(InputError, match=r"^file: x is empty"):
        converted(np.zeros((0, 2)))
