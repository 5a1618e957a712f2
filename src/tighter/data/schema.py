"""What the columns of a table hold, so that a data frame becomes an array and one again."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.data.columns import (
    AMONG_NUMBERS,
    FLOATING,
    TEXT,
    WHOLE,
    WITH_LEVELS,
    Column,
    check_kind,
    decode_column,
    encode_column,
    levels_of,
    listed,
    refuse_infinite,
    refuse_missing_rows,
    refuse_text,
)

if TYPE_CHECKING:
    import polars

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


@dataclasses.dataclass(frozen=True)
class Schema:
    """What the columns of a table hold, so that a model's array can become a table again.

    Args:
        columns: The columns, in the order of the array.

    Raises:
        InputError: If there is no column, or two have one name.

    Example:
        >>> import polars as pl
        >>> schema = infer_schema(pl.DataFrame({"age": [31.5, 40.0], "smokes": ["no", "yes"]}))
        >>> [column.kind for column in schema.columns]
        ['real', 'binary']
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        require(self.columns, "a schema has one column at least, got none; name the columns")
        refuse_duplicates(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` makes the schema of again, ready for JSON."""
        columns = [dataclasses.asdict(column) for column in self.columns]
        return {
            "columns": [{**column, "categories": list(column["categories"])} for column in columns]
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Schema:
        """The schema that was made a mapping.

        Raises:
            InputError: If it is none that `to_dict` makes.
        """
        try:
            columns = tuple(
                Column(**{**column, "categories": tuple(column["categories"])})
                for column in content["columns"]
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"this is no record of a schema ({error}); take one that to_dict made"
            ) from error
        return Schema(columns)

    def encode(self, frame: polars.DataFrame) -> np.ndarray:
        """The table as an array: numbers, codes for levels, NaN for what is missing.

        Columns are found by name, in any order.

        Args:
            frame: A table with these columns and no others.

        Returns:
            Doubles of shape (N, D).

        Raises:
            InputError: If a column is not there or not known, a value is none that its column can
                have, or a row is missing altogether.
        """
        _refuse_empty(frame)
        absent = [name for name in self.names if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.names]
        if absent or extra:
            faults = [f"lacks {listed(absent)}"] * bool(absent)
            faults += [f"has {listed(extra)} besides"] * bool(extra)
            raise InputError(
                f"the table {' and '.join(faults)}; the columns wanted are {listed(self.names)}"
            )
        x = np.empty((frame.height, len(self.columns)))
        for place, column in enumerate(self.columns):
            x[:, place] = encode_column(frame[column.name], column)
        refuse_missing_rows(x)
        return x

    def decode(self, array: Any) -> polars.DataFrame:
        """The array as a table of the file's names, order and types.

        Whole columns and counts are rounded, whole ones held within their type; codes are rounded
        to the nearest level; float64 gets the shortest decimal that is the float32.

        Args:
            array: Numbers of shape (N, D).

        Returns:
            The table, null where the array is NaN.

        Raises:
            InputError: If the shape does not fit or a code is no level's.
        """
        check_installed("polars")
        import polars as pl

        values = np.asarray(array)
        require(
            values.ndim == 2 and values.shape[1] == len(self.columns),
            f"a table of {len(self.columns)} columns has shape (N, {len(self.columns)}), "
            f"got {values.shape}; give a row an example",
        )
        return pl.DataFrame(
            [decode_column(values[:, place], column) for place, column in enumerate(self.columns)]
        )


def infer_schema(frame: polars.DataFrame, overrides: Mapping[str, str] = {}) -> Schema:
    """What a table's columns hold, by their types.

    Text and booleans are binary with two levels and categorical with more, and two whole numbers,
    of any type, are binary. All other numbers are real: that a column is positive, in [0, 1], a
    count or a code is not guessed from its values, and said by `overrides`.

    Args:
        frame: The table.
        overrides: The kinds of some columns, by name.

    Returns:
        The schema, columns in the table's order.

    Raises:
        InputError: If a column is missing altogether or constant, has a value or a type that
            cannot be data, or has text among numbers; or if an override names no column, or a kind
            that its column cannot have.
    """
    import polars as pl

    _refuse_empty(frame)
    for name, kind in overrides.items():
        check_kind(kind)
        if name not in frame.columns:
            raise _no_column(name, "kinds=", frame.columns)
    known = {name: _without_missing(frame[name]) for name in frame.columns}
    if missing := [name for name, values in known.items() if values.is_empty()]:
        raise InputError(
            f"nothing is known of {listed(missing)}, with all values missing; "
            f"drop={missing} leaves {'it' if len(missing) == 1 else 'them'} out"
        )
    if constant := [
        name
        for name, values in known.items()
        if not isinstance(values.dtype, (pl.List, pl.Struct, pl.Array, pl.Object))
        and values.n_unique() == 1
    ]:
        raise InputError(
            f"the same value stands in every row of {listed(constant)}; drop={constant} leaves "
            f"{'it' if len(constant) == 1 else 'them'} out"
        )
    return Schema(tuple(_infer_column(frame[name], overrides.get(name)) for name in frame.columns))


def without_columns(
    frame: polars.DataFrame, drop: Sequence[str], option: str = "drop="
) -> polars.DataFrame:
    """The table without some columns, which an option named.

    Raises:
        InputError: If there is no such column, or none is left.
    """
    for name in drop:
        if name not in frame.columns:
            raise _no_column(name, option, frame.columns)
    require(not set(drop) >= set(frame.columns), f"{option} leaves no column; keep one at least")
    return frame.drop(drop)


def refuse_duplicates(names: Sequence[str], where: str = "") -> None:
    """Refuse names that several columns have."""
    twice = [name for name, number in collections.Counter(names).items() if number > 1]
    require(
        not twice,
        f"{where}{listed(twice)} {'is' if len(twice) == 1 else 'are'} the name of several "
        "columns; rename them apart",
    )


def _without_missing(values: polars.Series) -> polars.Series:
    known = values.drop_nulls()
    return known.drop_nans() if known.dtype.is_float() else known


def _refuse_empty(frame: polars.DataFrame) -> None:
    require(
        frame.height != 0 and frame.width != 0,
        f"the table has no rows, its shape is {frame.shape}; give one at least",
    )


def _no_column(name: str, option: str, names: Sequence[str]) -> InputError:
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return InputError(
        f"{option} names {name!r}, and there is no such column; {hint}there are {listed(names)}"
    )


def _infer_column(series: polars.Series, kind: str | None) -> Column:
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
    if kind is None:
        if dtype in TEXT:
            _refuse_numbers_as_text(series)
        _refuse_identifiers(series)
        kind = None if _has_levels(series, dtype) else "real"
    elif kind not in WITH_LEVELS:
        refuse_text(series, f"is to be of kind {kind}")
    if kind not in (None, *WITH_LEVELS):
        column = Column(series.name, kind, (), dtype)
        encode_column(series, column)
        return column
    if series.dtype.is_float():
        refuse_infinite(series.to_numpy(), series.name)
    categories = _categories(series)
    if kind is None:
        kind = "binary" if len(categories) == 2 else "categorical"
        odd = [level for level in categories if level.lower() in AMONG_NUMBERS]
        if odd and dtype in TEXT:
            warnings.warn(
                f"column {series.name!r} has {listed(odd)} among its words, taken for a word too; "
                f"missing_words={odd} makes it a missing cell",
                stacklevel=2,
            )
    return Column(series.name, kind, categories, dtype)


def _has_levels(series: polars.Series, dtype: str) -> bool:
    if dtype in (*WHOLE, *FLOATING):
        known = _without_missing(series)
        return known.n_unique() == 2 and bool((known % 1 == 0).all())
    return dtype in (*TEXT, "Boolean")


def _categories(series: polars.Series) -> tuple[str, ...]:
    import polars as pl

    if isinstance(series.dtype, pl.Enum):
        return tuple(series.dtype.categories)
    if series.dtype == pl.Categorical:
        series = series.cast(pl.String)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    return tuple(levels_of(series.drop_nulls().unique().sort()).unique(maintain_order=True))


def _refuse_numbers_as_text(series: polars.Series) -> None:
    """Refuse text most of which is numbers, with signs of thousands or money too, or dates."""
    import polars as pl

    cells = series.cast(pl.String).str.strip_chars()
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers.count() == series.count():
        return
    for alike, wording in (
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
            f"{alike.sum()} of its {series.count()} values are {wording} or choose "
            f"kinds={{{series.name!r}: 'categorical'}}"
        )


def _refuse_identifiers(series: polars.Series) -> None:
    """Refuse what tells rows apart, as names and keys do: it says nothing of others."""
    different, known = series.drop_nulls().n_unique(), series.count()
    text = str(series.dtype) == "String"
    if different <= max(_MOST_SINGLE, known / 2) or not (text or _are_keys(series, different)):
        return
    noun, kind = ("texts", "categorical") if text else ("numbers", "real")
    raise InputError(
        f"column {series.name!r} has {different} different {noun} in {known} rows, such as "
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
