"""Looking a name up in a table of constructors, with a helpful answer when it isn't there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
