"""One column of a table: its kind, and its values as numbers and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import unknown

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

WHOLE = ("Int8", "Int16", "Int32", "Int64", "Int128", "UInt8", "UInt16", "UInt32", "UInt64")
FLOATING = ("Float16", "Float32", "Float64")
TEXT = ("String", "Categorical", "Enum")
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
        column, number = f"column {self.name!r}", len(self.categories)
        has_levels = self.kind in WITH_LEVELS
        require(
            self.dtype in (*WHOLE, *FLOATING, *TEXT, "Boolean") or _DECIMAL.fullmatch(self.dtype),
            f"{column} cannot be of type {self.dtype!r}; "
            "drop it, or make it whole or floating numbers, decimals, text or booleans",
        )
        require(
            len(set(self.categories)) == number, f"{column} has a category twice; name each once"
        )
        require(
            has_levels or self.dtype not in (*TEXT, "Boolean"),
            f"{column} of type {self.dtype} cannot be of kind {self.kind}; "
            f"choose {' or '.join(WITH_LEVELS)}",
        )
        require(
            self.kind != "binary" or number == 2,
            f"{column} has {number} levels ({listed(self.categories)}), and binary has two; "
            "choose categorical",
        )
        require(
            self.kind != "categorical" or number >= 2,
            f"{column} has {number} level(s), and categorical has two or more; drop the column",
        )
        require(
            has_levels or not number, f"{column} of kind {self.kind} has categories; leave them out"
        )


def check_kind(kind: str) -> None:
    """Refuse a kind that no column can have.

    Raises:
        InputError: If it is none of `KINDS`.
    """
    if kind not in KINDS:
        raise unknown("kind", str(kind), KINDS)


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
        levels = levels_of(series)
        known = levels.cast(pl.Enum(column.categories), strict=False)
        codes = known.to_physical().cast(pl.Float32)
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
    if column.kind == "real":
        return values
    outside, wanted = {
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


def levels_of(series: polars.Series) -> polars.Series:
    """Each value as text; whole numbers alike, whatever their type."""
    import polars as pl

    if not series.dtype.is_numeric() or series.dtype.is_integer():
        return series.cast(pl.String)
    # Adding 0 makes 0 of -0.
    numbers = series.cast(pl.Float64) if series.dtype.is_decimal() else series
    refuse_infinite(numbers.to_numpy(), series.name)
    return (numbers.fill_nan(None) + 0.0).cast(pl.String).str.replace(r"\.0$", "")


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
    return vars(pl)[column.dtype]


def refuse_missing_rows(x: np.ndarray) -> None:
    """Refuse rows of which nothing is known.

    Args:
        x: Numbers of shape (N, ...), NaN where missing.

    Raises:
        InputError: If all of a row is NaN.
    """
    rows = np.flatnonzero(np.isnan(x).reshape(len(x), -1).all(axis=1))
    listed = ", ".join(str(row) for row in rows[:5]) + ", …" * (rows.size > 5)
    require(
        not rows.size,
        f"nothing is known of {rows.size} of {len(x)} rows, all of them missing: "
        f"{listed} (counted from 0); drop them",
    )


def refuse_infinite(values: np.ndarray, name: str) -> None:
    """Refuse a column with an infinite value."""
    refuse_first(
        np.isinf(values),
        values,
        f"column {name!r} has the infinite value {{value}} in {{row}}; "
        "mend it, or leave the cell empty",
    )


def refuse_text(series: polars.Series, what: str) -> None:
    """Refuse a column with a text that is no number; `what` says why there are none."""
    import polars as pl

    if series.dtype == pl.Null or series.dtype.is_numeric():
        return
    levels = series.cast(pl.String)
    refuse_first(
        (levels.is_not_null() & levels.cast(pl.Float64, strict=False).is_null()).to_numpy(),
        levels,
        f"column {series.name!r} {what}, but has {{value!r}} in {{row}}; "
        "mend it, or leave the cell empty",
    )


def refuse_first(bad: np.ndarray, values: Any, message: str) -> None:
    """Say `message` of the first of the bad values, if there is one."""
    if not bad.any():
        return  # else there is no value to say
    row, number = int(np.argmax(bad)), int(np.count_nonzero(bad))
    others = f" and {number - 1} more" if number > 1 else ""
    raise InputError(message.format(value=values[row], row=f"row {row}{others} (counted from 0)"))


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, in quotes."""
    text = ", ".join(repr(name) for name in names[:most])
    return f"{text} and {len(names) - most} more" if len(names) > most else text
