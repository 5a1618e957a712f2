"""Documents from files: a file of a folder, a row of a table's column, a paragraph of a text."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tighter._checks import require
from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.data.table import SUFFIXES, read_table

if TYPE_CHECKING:
    import polars

PYTHON_REFERENCE = "python"
_TEXTS = (".txt", ".text", ".md", ".rst")
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n\s*")


@dataclasses.dataclass(frozen=True)
class Documents:
    """Texts, and where each is from.

    Attributes:
        texts: The documents.
        places: A place each, for messages: "notes/monday.txt", "corpus.csv, row 3".
    """

    texts: tuple[str, ...]
    places: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def read_documents(
    sources: Sequence[str | Path], *, column: str | None = None, empty: bool = False
) -> Documents:
    """Read documents from files and folders, all in UTF-8.

    Args:
        sources: Any of

            - a folder, each of whose text files (.txt, .text, .md, .rst; all files, if there are
              none of these) is a document, in folders below it too;
            - a .csv, .tsv or .parquet table, of which each row is one: "corpus.csv:text" for the
              column "text";
            - any other file, of which each paragraph is one: paragraphs are a blank line apart;
            - the word "python", the language reference that comes with the interpreter, cut into
              paragraphs (a file of that name is "./python").
        column: The tables' column of texts, where the sources don't name it; none to take the only
            one that holds text.
        empty: Whether documents may be empty.

    Raises:
        InputError: If a source can't be found or read, is not text, or a document is empty.
    """
    require(sources, f"there is nothing to read: name files, folders, or {PYTHON_REFERENCE!r}")
    parts = [_read(source, column) for source in sources]
    for texts, places in [] if empty else [(part.texts, part.places) for part in parts]:
        blank = [place for text, place in zip(texts, places, strict=True) if not text.strip()]
        require(
            not blank,
            f"{len(blank)} of {len(texts)} documents {'is' if len(blank) == 1 else 'are'} empty, "
            f"{''.join(blank[:1])} first: leave them out",
        )
    require(
        column is None or any(_as_table(source) for source in sources),
        f"the column {column!r} is one of a {', '.join(SUFFIXES)} table, and none is given: "
        "leave it out",
    )
    return Documents(
        tuple(text for part in parts for text in part.texts),
        tuple(place for part in parts for place in part.places),
    )


def read_text(path: Path) -> str:
    """A file's text, in UTF-8.

    Raises:
        InputError: If it can't be read or is not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    require(
        b"\0" not in content,
        f"{path} is a binary file (it holds a zero byte at {content.find(0)}), not text: "
        "leave it out, or save its text in UTF-8",
    )
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error


def paragraphs(text: str) -> list[str]:
    """The parts of a text between blank lines."""
    return [part.strip() for part in _PARAGRAPHS.split(text) if part.strip()]


def _read(source: str | Path, column: str | None) -> Documents:
    require(
        str(source).strip(), f"a source is empty: name a file, a folder, or {PYTHON_REFERENCE!r}"
    )
    if source == PYTHON_REFERENCE:
        return _python_reference()
    path = Path(source).expanduser()
    if table := _as_table(source):
        return _column(table[0], table[1] or column)
    if path.is_dir():
        return _folder(path)
    require(
        path.exists(),
        f"there is no file or folder {str(source)!r}; name texts, a table (corpus.csv:column), "
        f"a folder, or the word {PYTHON_REFERENCE!r}",
    )
    found = paragraphs(read_text(path))
    require(found, f"{path} is empty: give a file with a text in it")
    return Documents(tuple(found), _numbered(path, "paragraph", len(found)))


def _python_reference() -> Documents:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    # Chapters repeat their sections: a paragraph counts once.
    unique = dict.fromkeys(part for text in topics.values() for part in paragraphs(text))
    return Documents(tuple(unique), _numbered("Python reference", "paragraph", len(unique)))


def _folder(folder: Path) -> Documents:
    try:
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not path.relative_to(folder).as_posix().startswith(".")
        )
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    files = [path for path in files if path.suffix.lower() in _TEXTS] or files
    require(files, f"{folder} holds no file: give a folder of texts")
    texts = [read_text(path) for path in files]
    return Documents(tuple(texts), tuple(str(path) for path in files))


def _as_table(source: str | Path) -> tuple[Path, str | None] | None:
    """The table and the column that a source names; none if it is no table."""
    path = Path(source).expanduser()
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return path, None
    file, colon, column = str(source).rpartition(":")
    named = Path(file).expanduser()
    if colon and not path.exists() and named.suffix.lower() in SUFFIXES:
        return named, column
    return None


def _column(path: Path, column: str | None) -> Documents:
    check_installed("polars")
    import polars as pl

    frame = read_table(path)
    name = column or _only_text(frame, path)
    require(
        name in frame.columns, f"{path} has no column {name!r}: its columns are {_listed(frame)}"
    )
    require(
        frame.schema[name] == pl.String,
        f"the column {name!r} of {path} holds no text but {frame.schema[name]}: name another",
    )
    texts = [text or "" for text in frame[name]]
    return Documents(tuple(texts), _numbered(path, "row", len(texts)))


def _only_text(frame: polars.DataFrame, path: Path) -> str:
    import polars as pl

    texts = frame.select(pl.col(pl.String)).columns
    require(
        len(texts) == 1,
        f"{path} has {len(texts) or 'no'} columns of text: name one, as in {path}:COLUMN; its "
        f"columns are {_listed(frame)}",
    )
    return texts[0]


def _numbered(origin: object, noun: str, size: int) -> tuple[str, ...]:
    return tuple(f"{origin}, {noun} {number}" for number in range(1, size + 1))


def _listed(frame: polars.DataFrame) -> str:
    return ", ".join(repr(name) for name in frame.columns[:12])
