"""What several commands take, and the requirements on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Run = Annotated[Path, typer.Argument(help="Folder of the run")]
Seed = Annotated[int | None, typer.Option(help="Seed of the draws [the run's]")]
Last = Annotated[bool, typer.Option("--last", help="Take the last parameters instead of the best")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON")]

TABLES = (".csv", ".tsv", ".parquet")


def placed(given: Mapping[str, Any], places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The options that were given, by section and key of the configuration.

    Args:
        given: Values by option; None where one wasn't given.
        places: Section and key by option.
    """
    sections: dict[str, dict[str, Any]] = {}
    for option, (section, key) in places.items():
        if given[option] is not None:
            sections.setdefault(section, {})[key] = given[option]
    return sections


def check_least(**numbers: int | None) -> None:
    """Require numbers of at least 1, where they were given.

    Raises:
        InputError: With the option of the first that isn't.
    """
    from tighter._checks import require

    for name, number in numbers.items():
        option = "--" + name.replace("_", "-")
        require(number is None or number >= 1, f"{option} is at least 1, got {number}")


def check_table(path: Path, *, others: tuple[str, ...] = ()) -> None:
    """Require a place for a table.

    Raises:
        InputError: If it has another suffix, or its folder doesn't exist.
    """
    from tighter._checks import require

    *most, last = suffixes = (*TABLES, *others)
    known = path.suffix.lower() in suffixes
    require(known, f"--out is a {', '.join(most)} or {last} file, got {path}")
    require(path.parent.is_dir(), f"--out is in a folder that exists, got {path}")
