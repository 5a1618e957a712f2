"""CSV files with cells filled in, every other byte as it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tighter._checks import require
from tighter._files import writing
from tighter.data.table import separator_of

if TYPE_CHECKING:
    import polars


def fill_csv(
    source: str | Path, table: polars.DataFrame, filled: polars.DataFrame, path: str | Path
) -> None:
    """Write a CSV file again, with the cells that were missing filled in.

    Quotes, separators, line ends, blank lines, a mark of the byte order, digits and words of all
    cells that were there stay byte for byte, and so does a file without a header. What is filled in
    is written as the column is: with a decimal comma, in quotes, or with leading zeros, where the
    column's other cells are.

    Args:
        source: The file that the table was read from.
        table: What was read, null where a cell is missing.
        filled: The same table with values in place of nulls.
        path: The file to write, replaced if it is there.

    Raises:
        InputError: If the file is no longer the one that was read, or cannot be written.
    """
    text = Path(source).expanduser().read_bytes().decode("utf-8")
    separator = separator_of(Path(source))
    rows = _rows(text, separator)
    header = len(rows) - table.height
    named = [text[slice(*cell)].strip().strip('"').strip() for cell in rows[0]] if header else []
    unnamed = [f"column_{place + 1}" for place in range(table.width)]
    names = [name or other for name, other in zip(named, unnamed, strict=False)] or unnamed
    require(
        header in (0, 1)
        and {len(row) for row in rows} == {table.width}
        and names == [name.replace('"', '""') for name in table.columns],
        f"{source} has changed while it was worked on: start again",
    )
    pieces, last = [], 0
    columns = [
        _Style([text[slice(*row[place])] for row in rows[header:]], separator)
        for place in range(table.width)
    ]
    gaps = [table[name].is_null() & filled[name].is_not_null() for name in table.columns]
    words = [_words(filled[name]) for name in table.columns]
    for number, row in enumerate(rows[header:]):
        for place, (start, end) in enumerate(row):
            if gaps[place][number]:
                pieces += [text[last:start], columns[place].written(str(words[place][number]))]
                last = end
    with writing(Path(path)) as place:
        place.write_bytes("".join([*pieces, text[last:]]).encode("utf-8"))


class _Style:
    """How a column's cells are written."""

    def __init__(self, cells: list[str], separator: str):
        inner = [cell.strip().strip('"').strip() for cell in cells]
        self.separator = separator
        self.quoted = any(cell.lstrip().startswith('"') and len(cell.strip()) > 2 for cell in cells)
        # Where the separator is a comma, a comma in a number would have been refused.
        self.comma = separator == ";" and any(re.fullmatch(r"[-+]?\d*,\d+", cell) for cell in inner)
        padded = [cell for cell in inner if re.fullmatch(r"0\d+", cell)]
        self.width = max(map(len, padded), default=0)

    def written(self, word: str) -> str:
        if self.width and word.isdigit():
            word = word.zfill(self.width)
        if self.comma:
            word = word.replace(".", ",")
        if self.quoted or any(sign in word for sign in (self.separator, '"', "\n", "\r")):
            doubled = word.replace('"', '""')
            return f'"{doubled}"'
        return word


def _rows(text: str, separator: str) -> list[list[tuple[int, int]]]:
    """Where the cells of each row are, in the text; blank lines have none."""
    # As Python's csv reads it: blanks before a quote aside, a quote begins a cell or is a letter.
    cell = re.compile(rf' *"(?:[^"]|"")*"|[^{re.escape(separator)}\r\n]*')
    rows: list[list[tuple[int, int]]] = []
    place = 1 if text.startswith("\ufeff") else 0
    while place < len(text):
        if text[place] in "\r\n":
            place += 1
            continue
        row = []
        while True:
            found = cell.match(text, place)
            assert found is not None
            place = found.end()
            row.append(found.span())
            if place == len(text) or text[place] in "\r\n":
                break
            if text[place] != separator:
                return []  # no CSV that was read
            place += 1
        rows.append(row)
    return rows


def _words(column: polars.Series) -> list[str | None]:
    import polars as pl

    return column.cast(pl.String).to_list()
