"""A data set in memory, and its split into train, validation and test."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter.data.columns import refuse_missing_rows
from tighter.data.schema import Schema
from tighter.data.source import Subset, is_stored

# Of a column's range: what rounding may change a number by.
_LOST = 1e-4
_SAMPLED = 64 * 2**20  # bytes
_COLUMNS = 256  # looked at together


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples of one shape, with or without labels.

    Any numeric array is accepted as `x` and stored without scaling, which belongs to the reader of
    a file, who knows what the numbers were: as float32, or as doubles where float32 can't tell the
    numbers of a column apart. An array that is read by rows stays where it is, and its rows are
    looked at when they are read.

    Args:
        x: The examples, shape (N, *shape), finite but for what is missing.
        labels: One label an example, shape (N,), of any type but Python objects; or none.
        name: What to call the data set in messages and records.
        schema: What the columns are, where the examples are rows of a table.
        missing: Whether NaN stands for values that are missing; no row is missing altogether.

    Raises:
        InputError: If the arrays are not as said above.
    """

    # Plain annotations: what is handed in may be of another type, and is checked below.
    x: Any
    labels: np.ndarray | None = None
    name: str = "data"
    schema: Schema | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        x = self.x
        if not is_stored(x):
            x = _examples(np.asarray(x), missing=self.missing)
        object.__setattr__(self, "x", x)
        if self.schema is not None and x.shape[1:] != (len(self.schema.columns),):
            raise InputError(
                f"the schema has {len(self.schema.columns)} columns, the examples have shape "
                f"{x.shape[1:]}; give the array that this schema encoded"
            )
        if self.labels is not None:
            object.__setattr__(self, "labels", _labels(np.asarray(self.labels), len(x)))

    def __len__(self) -> int:
        return self.x.shape[0]

    def __repr__(self) -> str:
        labelled = "unlabelled" if self.labels is None else "labelled"
        gaps = ", values missing" if self.missing else ""
        return (
            f"Dataset({self.name!r}: {len(self)} {labelled} examples of shape {self.shape}{gaps})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x.shape[1:]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self.x[rows])

    def sample(self) -> np.ndarray:
        """The examples; of those that are read by rows the first ones, as many as fit 64 MB."""
        if not is_stored(self.x):
            return self.x
        most = _SAMPLED // max(1, 4 * math.prod(self.shape))
        return np.asarray(self.x[np.arange(min(len(self), max(most, 100)))])

    def take(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """The data set of the named rows, in the order named.

        Args:
            indices: Row numbers (negative ones count from the end), or a boolean mask of length N.

        Returns:
            A data set of the same name and schema.

        Raises:
            InputError: If the indices are not whole numbers, are out of range, or name no row.
        """
        rows = np.asarray(indices)
        size = len(self)
        if rows.dtype == bool and rows.shape == (size,):
            rows = np.flatnonzero(rows)
        require(rows.size != 0, f"no rows were taken of {size}; name at least one")
        require(
            rows.ndim == 1 and rows.dtype.kind in "iu",
            f"rows are taken by a list of whole numbers or a mask of shape ({size},), "
            f"got {rows.dtype} of shape {rows.shape}",
        )
        require(
            rows.min() >= -size and rows.max() < size,
            f"rows {rows.min()} to {rows.max()} were asked for, but there are {size}; "
            f"the last is {size - 1}",
        )
        # Of the same precision, whatever the few rows would take.
        taken = copy.copy(self)
        some = Subset(self.x, rows % size) if is_stored(self.x) else self.x[rows]
        object.__setattr__(taken, "x", some)
        object.__setattr__(taken, "labels", None if self.labels is None else self.labels[rows])
        return taken


@dataclasses.dataclass(frozen=True)
class Splits:
    """The three parts of a data set; none is empty, their examples have one shape and schema.

    Args:
        train: What the parameters are fitted to.
        validation: What choices, such as when to stop, are made on.
        test: What is reported.

    Raises:
        InputError: If the parts hold examples of different shapes or schemas.
    """

    train: Dataset
    validation: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        for part, dataset in (("validation", self.validation), ("test", self.test)):
            shape, schema = dataset.shape, dataset.schema
            require(
                shape == self.train.shape,
                f"examples of the train set have shape {self.train.shape}, those of the "
                f"{part} set {shape}; reshape one to the other",
            )
            require(
                None in (schema, self.train.schema) or schema == self.train.schema,
                f"the {part} set has another schema than the train set; encode both with one",
            )


def split(
    dataset: Dataset,
    *,
    validation: float | Dataset = 0.1,
    test: float | Dataset = 0.1,
    seed: int = 0,
) -> Splits:
    """Split a data set at random, keeping the official parts that are handed in.

    The test rows are the first of one seeded permutation, the validation rows the next: changing
    the share of validation does not change the test set.

    Args:
        dataset: What to split; the train set is what is left of it.
        validation: The share of `dataset` to set aside, or an official validation set to keep.
        test: The same for the test set.
        seed: Same seed, same split.

    Returns:
        The three parts; those carved from `dataset` are disjoint and cover it.

    Raises:
        InputError: If a share is not in [0, 1), a part would be empty, or the seed is negative.
    """
    require(seed >= 0, f"seed must be 0 or more, got {seed}")
    size = len(dataset)
    num_test = _count("test", test, size)
    num_validation = _count("validation", validation, size)
    num_aside = num_test + num_validation
    require(
        num_aside < size,
        f"the train set would be empty: {num_validation} examples for validation and "
        f"{num_test} for test, of {size}; make the shares smaller",
    )
    rows = np.random.default_rng(seed).permutation(size)
    return Splits(
        train=dataset.take(rows[num_aside:]),
        validation=(
            validation
            if isinstance(validation, Dataset)
            else dataset.take(rows[num_test:num_aside])
        ),
        test=test if isinstance(test, Dataset) else dataset.take(rows[:num_test]),
    )


def check_fraction(part: str, fraction: float) -> None:
    """Refuse a share that no split can have.

    Args:
        part: Whose share it is, for the message.
        fraction: The share.

    Raises:
        InputError: If it is not a number in [0, 1).
    """
    number = isinstance(fraction, (int, float, np.integer, np.floating))
    require(
        number and not isinstance(fraction, bool) and 0 <= fraction < 1,
        f"the share for {part} must be in [0, 1), such as 0.1; got {fraction!r}",
    )


def _count(part: str, share: float | Dataset, size: int) -> int:
    if isinstance(share, Dataset):
        return 0
    check_fraction(part, share)
    count = round(share * size)
    if count == 0:
        raise InputError(
            f"the {part} set would be empty: a share of {share:g} of {size} examples; "
            f"make the share at least {math.ceil(1000 / size) / 1000:g}"
        )
    return count


def _examples(x: np.ndarray, *, missing: bool) -> np.ndarray:
    _refuse_objects(x, "x")
    require(
        x.dtype.kind in "biuf",
        f"x must be an array of real numbers, got {x.dtype}; encode it as numbers",
    )
    require(
        x.ndim >= 2,
        f"x must have shape (N, ...), a row an example, got {x.shape}; "
        "x.reshape(-1, 1) makes each number an example",
    )
    require(x.size != 0, f"x is empty, of shape {x.shape}; give at least one example")
    finite = np.isfinite(x)
    if missing:
        if np.isinf(x).any():
            row = int(np.argmax(np.isinf(x).reshape(len(x), -1).any(axis=1)))
            raise InputError(
                f"x has {np.count_nonzero(np.isinf(x))} infinite values, the first in row {row}; "
                "drop those rows, or make the values NaN if they are missing"
            )
        refuse_missing_rows(x)
    elif not finite.all():
        row = int(np.argmin(finite.reshape(len(x), -1).all(axis=1)))
        raise InputError(
            f"x has {np.count_nonzero(~finite)} non-finite values ({np.count_nonzero(np.isnan(x))} "
            f"of them NaN), the first in row {row}; drop those rows, fill "
            "the values in, or say missing=True where NaN is a missing value"
        )
    with np.errstate(over="ignore"):
        single = np.asarray(x, dtype=np.float32, order="C")
    if x.dtype.kind == "f" and x.dtype.itemsize > 4 and not np.isfinite(single[finite]).all():
        raise InputError(
            f"x reaches {np.abs(x[finite]).max():g}, too large for float32; rescale it, "
            "e.g. x / x.std()"
        )
    return single if x.dtype.itemsize < 4 else in_enough_precision(np.asarray(x, float), single)


def in_enough_precision(double: np.ndarray, single: np.ndarray) -> np.ndarray:
    """The single ones of two like arrays, where rounding is little beside what a column varies by.

    Args:
        double: Examples (N, ...), missing ones NaN.
        single: The same, rounded.
    """
    for start in range(0, max(1, double[0].size), _COLUMNS):
        few = double.reshape(len(double), -1)[:, start : start + _COLUMNS]
        error = np.abs(few - single.reshape(len(single), -1)[:, start : start + _COLUMNS])
        low, high = np.fmin.reduce(few, axis=0), np.fmax.reduce(few, axis=0)
        if (np.fmax.reduce(error, axis=0) > _LOST * (high - low)).any():
            return double
    return single


def _labels(labels: np.ndarray, size: int) -> np.ndarray:
    _refuse_objects(labels, "labels")
    require(
        labels.ndim == 1,
        f"labels must have shape (N,), one an example, got {labels.shape}; "
        f"give {relabeled(labels)}",
    )
    require(
        len(labels) == size, f"{len(labels)} labels for {size} examples; give one label an example"
    )
    return labels


def relabeled(labels: np.ndarray) -> str:
    """How labels of another shape become one an example: a column, or a one-hot code, undone."""
    if labels.size == len(labels):
        return "labels.reshape(-1)"
    numbers = labels.dtype.kind in "biuf" and labels.ndim == 2
    if numbers and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return "labels.argmax(axis=1), which undoes a one-hot code"
    return "one number or word an example"


def _refuse_objects(array: np.ndarray, name: str) -> None:
    require(
        not array.dtype.hasobject,
        f"{name} holds Python objects, not numbers; give one dense array of numbers "
        "(rows of unequal length, sparse matrices and tables have to be converted)",
    )
