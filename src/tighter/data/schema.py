"""What the columns of a table hold, so that a data frame becomes an array and one again."""

from __future__ import annotations

import collections
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.data._columns import (
    Column,
    check_kind,
    decode_column,
    encode_column,
    infer_column,
)
from tighter.data._refusals import listed, refuse_missing_rows

if TYPE_CHECKING:
    import polars


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
        if not self.columns:
            raise InputError("a schema has one column at least, got none; name the columns")
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
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise InputError(
                f"a table of {len(self.columns)} columns has shape (N, {len(self.columns)}), "
                f"got {values.shape}; give a row an example"
            )
        return pl.DataFrame(
            [decode_column(values[:, place], column) for place, column in enumerate(self.columns)]
        )


def infer_schema(
    frame: polars.DataFrame,
    overrides: Mapping[str, str] = {},
) -> Schema:
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
    return Schema(tuple(infer_column(frame[name], overrides.get(name)) for name in frame.columns))


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
    if set(drop) >= set(frame.columns):
        raise InputError(f"{option} leaves no column; keep one at least")
    return frame.drop(drop)


def refuse_duplicates(names: Sequence[str], where: str = "") -> None:
    """Refuse names that several columns have."""
    twice = [name for name, number in collections.Counter(names).items() if number > 1]
    if twice:
        raise InputError(
            f"{where}{listed(twice)} {'is' if len(twice) == 1 else 'are'} the name of several "
            "columns; rename them apart"
        )


def _without_missing(values: polars.Series) -> polars.Series:
    known = values.drop_nulls()
    return known.drop_nans() if known.dtype.is_float() else known


def _refuse_empty(frame: polars.DataFrame) -> None:
    if frame.height == 0 or frame.width == 0:
        raise InputError(f"the table has no rows, its shape is {frame.shape}; give one at least")


def _no_column(name: str, option: str, names: Sequence[str]) -> InputError:
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return InputError(
        f"{option} names {name!r}, and there is no such column; {hint}there are {listed(names)}"
    )
