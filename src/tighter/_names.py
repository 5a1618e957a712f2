"""Looking a name up in a table of constructors, with a helpful answer when it isn't there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tighter._checks import require
from tighter._errors import InputError


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error that names what there is and the nearest name to what was asked.

    Args:
        kind: What was looked up, in the singular ("bound").
        name: What was asked for.
        known: What there is.

    Returns:
        An exception to raise.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint} (there are: {', '.join(names)})")


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Require a name to be one of those that there are.

    Raises:
        InputError: As `unknown` says it.
    """
    if name not in known:
        raise unknown(kind, name, known)


def from_name(
    kind: str, text: str, table: Mapping[str, Callable[..., Any]], size: Any, **options: Any
) -> Any:
    """What a table's constructor makes of a name and, after a colon, its one number: `mixture:10`.

    Args:
        kind: What the table holds, in the singular.
        text: A name of the table, or such a name, a colon and a number.
        table: Constructors, called with the size, the number or None, and the options.
        size: What it is made for.
        options: What else the constructors take.

    Raises:
        InputError: If there is no such name, or the number isn't one that it takes.
    """
    name, _, argument = text.strip().partition(":")
    check_known(kind, name, table)
    try:
        number = float(argument) if argument else None
    except ValueError:
        raise InputError(
            f"{kind} {text!r}: {argument!r} is no number: write {name}, or {name}:2"
        ) from None
    try:
        return table[name](size, number, **options)
    except InputError as error:
        raise InputError(f"{kind} {text!r}: {error}") from None


def plain(make: Callable[[Any], Any]) -> Callable[..., Any]:
    """A constructor of a table, of what takes a size and no number."""

    def constructor(size: Any, number: float | int | None = None, **_: Any) -> Any:
        if number is not None:
            raise InputError(f"it takes no number, got {number:g}: leave it out")
        return make(size)

    return constructor


def counted(make: Callable[..., Any], usual: int | None) -> Callable[..., Any]:
    """A constructor of a table, of what takes a size and a whole number; if left out, the usual."""

    def constructor(size: Any, number: float | int | None = None, **options: Any) -> Any:
        if number is None:
            return make(size, usual, **options)
        require(float(number).is_integer(), f"it takes a whole number, got {number:g}")
        return make(size, int(number), **options)

    return constructor
