"""Requirements on what a user gives, each said in one line where it enters."""

from __future__ import annotations

import operator
from typing import Any

from tighter._errors import InputError


def require(holds: Any, message: str) -> None:
    """Refuse input of which something doesn't hold.

    Raises:
        InputError: With the message: what was wrong, what was got, how to mend it.
    """
    if not holds:
        raise InputError(message)


def check_counts(*, least: int = 1, **counts: Any) -> None:
    """Require whole numbers of at least `least`; None stands for a default.

    Raises:
        InputError: With the name of the first that is none.
    """
    for name, count in counts.items():
        if count is None:
            continue
        try:
            whole = not isinstance(count, bool) and operator.index(count) >= least
        except TypeError:
            whole = False
        require(whole, f"{name} is a whole number of at least {least}, got {count!r}")


def check_above(least: float | int, **numbers: Any) -> None:
    """Require finite numbers above `least`.

    Raises:
        InputError: With the name of the first that isn't.
    """
    for name, number in numbers.items():
        try:
            above = not isinstance(number, bool | str) and least < float(number) < float("inf")
        except (TypeError, ValueError):
            above = False
        require(above, f"{name} is a finite number above {least:g}, got {number!r}")
