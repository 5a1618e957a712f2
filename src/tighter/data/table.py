"""Tables: CSV and Parquet files as data frames."""

from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._files import reading, without_panics, writing
from tighter.data.columns import AMONG_NUMBERS, MISSING
from tighter.data.schema import refuse_duplicates

if TYPE_CHECKING:
    import polars

SUFFIXES = (".csv", ".tsv", ".parquet")

_SEPARATORS = ("\t", ";", ",")
_SNIFFED = 20  # lines to tell the separator from, and rows for the header
_BLOCK = 20_000  # rows whose cells are Python objects at a time


def read_table(
    path: str | Path, *, header: bool | None = None, missing_words: Sequence[str] | None = None
) -> polars.DataFrame:
    r"""Read a CSV or Parquet file.

    Of CSV, the separator (comma, semicolon or tab) is told from the first lines, blank lines are
    passed over, cells are stripped, and a decimal comma is read where semicolons separate and the
    column has no points. Empty cells and what programs write for them (?, NA, NULL, NaN, <NA>, NaT,
    \N, #N/A, #DIV/0!, …) are missing; where all other cells of a column are numbers, so are None,
    nil, -, . and the like, which among words are words. A column is whole, floating or text by its
    cells, missing ones aside; true and false are booleans. Leading zeros of whole numbers are not
    kept.

    Args:
        path: A `.csv`, `.tsv` or `.parquet` file.
        header: Whether the first line of CSV holds the names. None to tell by its cells: it does
            if all are text (unless one occurs below in its column, and no column is of numbers),
            or if one of text stands over numbers and the others are different whole numbers or
            empty. Columns without a name are column_1, column_2, ….
        missing_words: Words that stand for missing cells, in every column of text, in place of
            those above: ["None", "-999"]. Empty cells of CSV are missing in any case.

    Returns:
        The table.

    Raises:
        InputError: If the file is not there, cannot be read, is damaged, has a line of another
            length, no rows, or a name twice.
    """
    check_installed("polars")
    import polars as pl

    path = Path(path).expanduser()
    suffix = _suffix(path)
    try:
        if suffix == ".parquet":
            require(header is None, f"header= is for CSV, and {path} is Parquet; leave it out")
            frame = _read_parquet(path)
            if missing_words:
                frame = frame.with_columns(pl.col(pl.String).replace(list(missing_words), None))
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                frame = _read_csv(
                    stream, path, header=header, tab=suffix == ".tsv", missing_words=missing_words
                )
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    require(frame.height != 0, f"{path} has no rows; a header alone is no data")
    return frame


def write_table(frame: polars.DataFrame, path: str | Path) -> None:
    """Write a CSV (or tab-separated) or Parquet file, by the suffix; whole or not at all.

    Args:
        frame: The table.
        path: A `.csv`, `.tsv` or `.parquet` file, replaced if it is there.

    Raises:
        InputError: If the suffix is another, or the file cannot be written.
    """
    import polars as pl

    path = Path(path).expanduser()
    suffix = _suffix(path)
    with writing(path) as place, place.open("wb") as stream:
        try:
            if suffix == ".parquet":
                frame.write_parquet(stream)
            else:
                frame.write_csv(stream, separator="\t" if suffix == ".tsv" else ",")
        except pl.exceptions.PolarsError as error:
            cause = str(error).splitlines()[0]
            raise InputError(f"{path} can't be written: {cause}; convert that column") from error


def separator_of(path: Path) -> str:
    """What separates the cells of a CSV file that can be read."""
    if _suffix(path) == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return _separator(stream)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    require(
        suffix in SUFFIXES,
        f"a table is a {', '.join(SUFFIXES)} file, and {path} has the suffix "
        f"{path.suffix or '(none)'!r}; rename it or convert it",
    )
    return suffix


def _read_parquet(path: Path) -> polars.DataFrame:
    import polars as pl

    no_parquet = (
        "{origin} is cut short, damaged or no Parquet file ({cause}); copy or write it again"
    )
    with reading(path, no_parquet), without_panics(), path.open("rb"):
        # The path is a path: no pattern, and no columns in the names of its folders.
        return pl.read_parquet(path, glob=False, hive_partitioning=False)


def _read_csv(
    stream: TextIO,
    path: Path,
    *,
    header: bool | None,
    tab: bool,
    missing_words: Sequence[str] | None,
) -> polars.DataFrame:
    import polars as pl

    try:
        separator = "\t" if tab else _separator(stream)
        stream.seek(0)
        # A file with a mark of its byte order has it again after seek: utf-8-sig drops it anew.
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
        first = next((row for row in reader if row), None)
        if first is None:
            raise InputError(f"{path} is empty; give a file with a row an example")
        names = [f"column_{place + 1}" for place in range(len(first))]
        blocks = [_block([], names)]
        rows: list[list[str]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(first):
                raise InputError(
                    f"{path}: line {reader.line_num} has {len(row)} cells, where the first has "
                    f"{len(first)} (separated by {separator!r}); mend that line"
                )
            rows.append(row)
            if len(rows) == _BLOCK:
                blocks.append(_block(rows, names))
                rows = []
        blocks.append(_block(rows, names))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8 ({error.reason}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file ({error}); mend its quotes") from error
    cells = pl.concat(blocks)
    typed = functools.partial(_typed, comma=separator == ";", missing_words=missing_words)
    if header is None:
        header = _is_header(first, cells, typed)
    if header:
        names = [cell.strip() or name for cell, name in zip(first, names, strict=True)]
        refuse_duplicates(names, f"{path}: ")
        cells.columns = names
    else:
        cells = pl.concat([_block([first], names), cells])
    return pl.DataFrame([typed(column) for column in cells])


def _separator(stream: TextIO) -> str:
    """The separator that makes rows of one length of the first lines, or most of the first."""
    lines = list(itertools.islice((line for line in stream if line.strip()), _SNIFFED))
    widths = {
        separator: [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        for separator in _SEPARATORS
    }
    even = [name for name, found in widths.items() if len(set(found)) == 1 and found[0] > 1]
    # The comma last where rows are even, as it is the decimal mark where semicolons separate.
    return even[0] if even else max(reversed(_SEPARATORS), key=lambda name: widths[name][:1])


def _block(rows: list[list[str]], names: list[str]) -> polars.DataFrame:
    import polars as pl

    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [pl.Series(name, cells, pl.String) for name, cells in zip(names, columns, strict=True)]
    )


def _typed(
    cells: polars.Series, *, comma: bool, missing_words: Sequence[str] | None
) -> polars.Series:
    """The cells as whole numbers, floats or booleans if all are, and as text otherwise."""
    import polars as pl

    cells = cells.str.strip_chars()
    cells = cells.set(
        cells.is_in(list(MISSING if missing_words is None else ["", *missing_words])), None
    )
    words = cells
    if missing_words is None:
        cells = cells.set(cells.str.to_lowercase().is_in(list(AMONG_NUMBERS)), None)
    readings = [cells]
    if comma and not cells.str.contains(".", literal=True).any():  # 1.234 beside 950,5 is which?
        readings.append(cells.str.replace(",", ".", literal=True))
    for read in readings:
        for dtype in (pl.Int64, pl.Float64):
            numbers = read.cast(dtype, strict=False)
            if 0 < numbers.count() == cells.count():
                return numbers
    if cells.count() and cells.drop_nulls().is_in(["true", "false"]).all():
        return cells == "true"
    return words


def _is_header(
    first: list[str], cells: polars.DataFrame, typed: Callable[[polars.Series], polars.Series]
) -> bool:
    import polars as pl

    below = [typed(column) for column in cells.head(50 * _SNIFFED)]
    over_numbers = [column.dtype.is_numeric() for column in below]
    own = [typed(pl.Series([cell])) for cell in first]
    texts = [len(cell) > 0 and cell[0] is not None and not cell.dtype.is_numeric() for cell in own]
    if all(texts):
        recurs = any(name.strip() in set(column) for name, column in zip(first, below, strict=True))
        return any(over_numbers) or not recurs
    stripped = [name.strip() for name in first]
    others = [name for name, text in zip(stripped, texts, strict=True) if not text and name]
    return (
        any(text and numeric for text, numeric in zip(texts, over_numbers, strict=True))
        and all(name.isdigit() for name in others)
        and len(set(others)) == len(others)
    )
