"""What no column of a table may hold: each refusal in one line, with how to mend the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._errors import InputError

if TYPE_CHECKING:
    import polars

WHOLE = ("Int8", "Int16", "Int32", "Int64", "Int128", "UInt8", "UInt16", "UInt32", "UInt64")
_MOST_LISTED = 5
# Numbers as people write them: 1,234.50, 1.234,5, 1 234, $11.50, 45 %, (12), and not 1st or A11.
_WRITTEN_NUMBER = (
    r"^\(?[-+−]?\s?[$€£¥₹]?\s?[-+−]?(\d+|\d{1,3}([,.'’ \x{a0}\x{202f}]\d{3})+)([.,]\d+)?"
    r"\s?[%‰€£¥₹$]?\)?$"
)
# 31/12/2023, 2023-12-31T23:59:59Z, 31 Dec 2023, Dec 31, 2023 and 23:59.
_WRITTEN_DATE = (
    r"^(\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
    r"|\d{1,2}[-/. ]\p{L}{3,9}[-/., ]+\d{2,4}|\p{L}{3,9}\.? \d{1,2},? \d{4})"
    r"([T ,]+\d{1,2}:\d{2}.*)?$|^\d{1,2}:\d{2}(:\d{2}.*)?$"
)
# How columns of whole numbers that tell rows apart are named, by people and by data frames.
_KEY = re.compile(
    r"(?i:(^|[ _.-])(id|index|key|row|rownames))$|[a-z](Id|ID)$|^Unnamed: 0$|^__index_level_\d__$"
)
# As many texts that occur once are levels; more, in most of the rows, are names of rows.
_MOST_SINGLE = 20


def refuse_missing_rows(x: np.ndarray) -> None:
    """Refuse rows of which nothing is known.

    Args:
        x: Numbers of shape (N, ...), NaN where missing.

    Raises:
        InputError: If all of a row is NaN.
    """
    rows = np.flatnonzero(np.isnan(x).reshape(len(x), -1).all(axis=1))
    if rows.size:
        # Rows are counted from 0, as by `take`.
        listed = ", ".join(str(row) for row in rows[:_MOST_LISTED])
        more = ", …" if rows.size > _MOST_LISTED else ""
        raise InputError(
            f"nothing is known of {rows.size} of {len(x)} rows, all of them missing: "
            f"{listed}{more} (counted from 0); drop them"
        )


def refuse_infinite(values: np.ndarray, name: str) -> None:
    refuse_first(
        np.isinf(values),
        values,
        f"column {name!r} has the infinite value {{value}} in {{row}}; "
        "mend it, or leave the cell empty",
    )


def refuse_text(series: polars.Series, what: str) -> None:
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


def refuse_numbers_as_text(series: polars.Series) -> None:
    """Refuse text most of which is numbers, with signs of thousands or money too, or dates."""
    import polars as pl

    cells = series.cast(pl.String).str.strip_chars()
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers.count() == series.count():
        return
    for alike, told in (
        (
            cells.str.contains(_WRITTEN_NUMBER) | numbers.is_not_null(),
            "numbers; write them all as plain numbers (1234.5, without signs of thousands, money "
            "or percent), leave the cell empty where there is none,",
        ),
        (
            cells.str.contains(_WRITTEN_DATE),
            "dates or times; write them as numbers (days since one of them), "
            f"drop=[{series.name!r}] leaves them out,",
        ),
    ):
        if 2 * (alike.sum() or 0) < series.count():
            continue
        row = int(np.argmax((series.is_not_null() & numbers.is_null()).to_numpy()))
        raise InputError(
            f"column {series.name!r} has {series[row]!r} in row {row} (counted from 0), and "
            f"{alike.sum()} of its {series.count()} values are {told} or choose "
            f"kinds={{{series.name!r}: 'categorical'}}"
        )


def refuse_identifiers(series: polars.Series) -> None:
    """Refuse what tells rows apart, as names and keys do: it says nothing of others."""
    different, known = series.drop_nulls().n_unique(), series.count()
    text = str(series.dtype) == "String"
    if different <= max(_MOST_SINGLE, known / 2) or not (text or _are_keys(series, different)):
        return
    told, kind = ("texts", "categorical") if text else ("numbers", "real")
    raise InputError(
        f"column {series.name!r} has {different} different {told} in {known} rows, such as "
        f"{series.drop_nulls()[0]!r}: it tells rows apart and says nothing of others; "
        f"drop=[{series.name!r}] leaves it out, kinds={{{series.name!r}: {kind!r}}} keeps it"
    )


def _are_keys(series: polars.Series, different: int) -> bool:
    """Whether these are whole numbers, all different, of rows or by their name of something."""
    if str(series.dtype) not in WHOLE or different < len(series):
        return False
    low, high = int(series.min()), int(series.max())  # type: ignore[arg-type]
    counted = series.name == "column_1" and high - low + 1 == different
    return counted or bool(_KEY.search(series.name))


def refuse_first(bad: np.ndarray, values: Any, message: str) -> None:
    """Say `message` of the first of the bad values, if there is one."""
    if not bad.any():
        return
    row, number = int(np.argmax(bad)), int(np.count_nonzero(bad))
    others = f" and {number - 1} more" if number > 1 else ""
    raise InputError(message.format(value=values[row], row=f"row {row}{others} (counted from 0)"))


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, in quotes."""
    listed = ", ".join(repr(name) for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
