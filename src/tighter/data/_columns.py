"""One column of a table: its kind, and its values as numbers and back."""

from __future__ import annotations

import dataclasses
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._errors import InputError
from tighter._names import unknown
from tighter.data._refusals import (
    WHOLE,
    listed,
    refuse_first,
    refuse_identifiers,
    refuse_infinite,
    refuse_numbers_as_text,
    refuse_text,
)

if TYPE_CHECKING:
    import polars

KINDS = ("real", "positive", "unit", "count", "binary", "categorical")
WITH_LEVELS = ("binary", "categorical")

# What programs write for a missing cell, and no one for a category.
MISSING = (
    "", "?", "NA", "N/A", "n/a", "<NA>", "nan", "NaN", "-nan", "-NaN", "NaT", "null", "NULL",
    "Null", r"\N", "#N/A", "#N/A N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?",
    "#NULL!", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip
# What may be a category, and is missing in small or large letters where all else is a number.
AMONG_NUMBERS = (
    *(word.lower() for word in MISSING), "none", "nil", "n.a.", "nd", "n/d", "missing", "unknown",
    "(null)", "[null]", ".", "..", "...", "-", "--", "---", "–", "—",
)  # fmt: skip

_FLOATING = ("Float16", "Float32", "Float64")
_TEXT = ("String", "Categorical", "Enum")
_DECIMAL = re.compile(r"Decimal\(precision=(\d+), scale=(\d+)\)")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column of a table holds.

    Args:
        name: Its name.
        kind: "real", "positive" (above 0), "unit" (in [0, 1]), "count" (0, 1, 2, …), "binary"
            (two levels) or "categorical".
        categories: For binary and categorical, the text of each level, in the order of the codes
            0, 1, 2, …; empty otherwise.
        dtype: The polars type that the values have in the file ("Int64", "String", …), which they
            get back. Only whole types, counts and levels are rounded on the way back.

    Raises:
        InputError: If there is no such kind or type, or the categories do not suit the kind.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    dtype: str = "Float64"

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.dtype not in (*WHOLE, *_FLOATING, *_TEXT, "Boolean") and not _DECIMAL.fullmatch(
            self.dtype
        ):
            raise InputError(
                f"column {self.name!r} cannot be of type {self.dtype!r}; "
                "drop it, or make it whole or floating numbers, decimals, text or booleans"
            )
        if len(set(self.categories)) != len(self.categories):
            raise InputError(f"column {self.name!r} has a category twice; name each once")
        if self.kind not in WITH_LEVELS and self.dtype in (*_TEXT, "Boolean"):
            raise InputError(
                f"column {self.name!r} of type {self.dtype} cannot be of kind {self.kind}; "
                f"choose {' or '.join(WITH_LEVELS)}"
            )
        number = len(self.categories)
        if self.kind == "binary" and number != 2:
            raise InputError(
                f"column {self.name!r} has {number} levels ({listed(self.categories)}), and "
                "binary has two; choose categorical"
            )
        if self.kind == "categorical" and number < 2:
            raise InputError(
                f"column {self.name!r} has {number} level(s), and categorical has two or more; "
                "drop the column"
            )
        if self.kind not in WITH_LEVELS and self.categories:
            raise InputError(
                f"column {self.name!r} of kind {self.kind} has categories; leave them out"
            )


def check_kind(kind: str) -> None:
    """Refuse a kind that no column can have.

    Raises:
        InputError: If it is none of `KINDS`.
    """
    if kind not in KINDS:
        raise unknown("kind", str(kind), KINDS)


def infer_column(series: polars.Series, kind: str | None) -> Column:
    """The column that a series of polars is, of the kind asked for or the one its type suggests.

    Args:
        series: The values, two different ones at least.
        kind: The kind; none to go by the type.

    Returns:
        The column.

    Raises:
        InputError: If the type cannot be data, or the values cannot be of that kind.
    """
    dtype = "Enum" if str(series.dtype).startswith("Enum") else str(series.dtype)
    if kind in ("real", "positive", "unit", "count"):
        refuse_text(series, f"is to be of kind {kind}")
        column = Column(series.name, kind, (), dtype)
        encode_column(series, column)
        return column
    if kind is None and dtype in _TEXT:
        refuse_numbers_as_text(series)
    if kind is None:
        refuse_identifiers(series)
    if kind is None and not _has_levels(series, dtype):
        column = Column(series.name, "real", (), dtype)
        encode_column(series, column)
        return column
    if series.dtype.is_float():
        refuse_infinite(series.to_numpy(), series.name)
    categories = _categories(series)
    if kind is None:
        kind = "binary" if len(categories) == 2 else "categorical"
        odd = [level for level in categories if level.lower() in AMONG_NUMBERS]
        if odd and dtype in _TEXT:
            warnings.warn(
                f"column {series.name!r} has {listed(odd)} among its words, taken for a word too; "
                f"missing_words={odd} makes it a missing cell",
                stacklevel=2,
            )
    return Column(series.name, kind, categories, dtype)


def encode_column(series: polars.Series, column: Column) -> np.ndarray:
    """The values as numbers, codes for levels, NaN for what is missing.

    Args:
        series: Values of a table's column, of the column's type or one that reads as it.
        column: What the column holds.

    Returns:
        Doubles of shape (N,), none too large for float32.

    Raises:
        InputError: If a value is none that the column can have; it is named with its row.
    """
    import polars as pl

    if column.kind in WITH_LEVELS:
        levels = _levels(series)
        codes = levels.replace_strict(
            list(column.categories),
            [float(code) for code in range(len(column.categories))],
            default=None,
            return_dtype=pl.Float32,
        )
        refuse_first(
            (codes.is_null() & levels.is_not_null()).to_numpy(),
            levels,
            f"column {column.name!r} has the category {{value!r}} in {{row}}, which is none of "
            f"{listed(column.categories)}; mend it, or leave the cell empty",
        )
        return codes.to_numpy()
    refuse_text(series, "holds numbers")
    values = series.cast(pl.Float64).to_numpy()
    refuse_infinite(values, column.name)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    refuse_first(
        np.isinf(single),
        values,
        f"column {column.name!r} has {{value:g}} in {{row}}, too large for float32; "
        "rescale the column",
    )
    outside, wanted = {
        "real": (np.zeros(len(values), bool), ""),
        "positive": (single <= 0, "values above 0"),
        "unit": ((values < 0) | (values > 1), "values in [0, 1]"),
        "count": ((values < 0) | (values % 1 > 0), "whole numbers from 0"),
    }[column.kind]
    refuse_first(
        outside,
        values,
        f"column {column.name!r} of kind {column.kind} needs {wanted}, but has {{value:g}} in "
        "{row}; mend it, or choose another kind",
    )
    return values


def decode_column(values: np.ndarray, column: Column) -> polars.Series:
    """The numbers of an encoded column in the type of the file, null for NaN.

    Args:
        values: Numbers of shape (N,), codes for levels.
        column: What the column holds.

    Returns:
        The series, under the column's name.

    Raises:
        InputError: If a code is no level's.
    """
    import polars as pl

    dtype = _polars_type(column)
    if column.kind in WITH_LEVELS:
        # The codes of NaN are looked at by no one: polars takes null for them.
        codes = np.rint(values)
        refuse_first(
            (codes < 0) | (codes >= len(column.categories)),
            values,
            f"column {column.name!r} has the code {{value:g}} in {{row}}, and its levels have 0 to "
            f"{len(column.categories) - 1}",
        )
        places = pl.Series(codes.astype(np.float64), nan_to_null=True).cast(pl.UInt32)
        levels = pl.Series(column.name, column.categories, dtype=pl.String).gather(places)
        return levels == "true" if column.dtype == "Boolean" else levels.cast(dtype)
    if column.dtype in WHOLE:
        return pl.Series(column.name, _whole(values, column), nan_to_null=True).cast(dtype)
    if column.kind == "count":
        values = np.rint(values)
    rounded = values.astype(np.float32)
    single = pl.Series(column.name, rounded, nan_to_null=True)
    if column.dtype in ("Float16", "Float32"):
        return single.cast(dtype)
    # The shortest decimal that is this float32: 0.1 comes back as 0.1, not 0.10000000149.
    shortest = single.cast(pl.String).cast(pl.Float64)
    double = pl.Series(column.name, values.astype(np.float64), nan_to_null=True)
    return shortest.zip_with(pl.Series(rounded == values), double).cast(dtype)


def _has_levels(series: polars.Series, dtype: str) -> bool:
    if dtype in (*WHOLE, *_FLOATING):
        known = series.drop_nulls()
        known = known.drop_nans() if dtype in _FLOATING else known
        return known.n_unique() == 2 and bool((known % 1 == 0).all())
    return dtype in (*_TEXT, "Boolean")


def _levels(series: polars.Series) -> polars.Series:
    """Each value as text; whole numbers alike, whatever their type."""
    import polars as pl

    if not series.dtype.is_numeric() or series.dtype.is_integer():
        return series.cast(pl.String)
    # Adding 0 makes 0 of -0.
    numbers = series.cast(pl.Float64) if series.dtype.is_decimal() else series
    refuse_infinite(numbers.to_numpy(), series.name)
    return (numbers.fill_nan(None) + 0.0).cast(pl.String).str.replace(r"\.0$", "")


def _categories(series: polars.Series) -> tuple[str, ...]:
    import polars as pl

    if isinstance(series.dtype, pl.Enum):
        return tuple(series.dtype.categories)
    if series.dtype == pl.Categorical:
        series = series.cast(pl.String)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    return tuple(_levels(series.drop_nulls().unique().sort()).unique(maintain_order=True))


def _whole(values: np.ndarray, column: Column) -> np.ndarray:
    # float64 has no 2⁶³ − 1, and what a model fills in may be outside of the type.
    unsigned, bits = column.dtype.startswith("U"), min(int(column.dtype.lstrip("UInt")), 64)
    high = np.nextafter(2.0**bits if unsigned else 2.0 ** (bits - 1), 0.0)
    low = 0.0 if unsigned or column.kind == "count" else -(2.0 ** (bits - 1))
    return np.clip(np.rint(values.astype(np.float64)), low, np.floor(high))


def _polars_type(column: Column) -> Any:
    import polars as pl

    if column.dtype == "Enum":
        return pl.Enum(column.categories)
    if decimal := _DECIMAL.fullmatch(column.dtype):
        return pl.Decimal(int(decimal[1]), int(decimal[2]))
    return getattr(pl, column.dtype)
