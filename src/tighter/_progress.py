"""Bars of what takes long, on stderr; lines where rich isn't installed."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Step = TypeVar("Step")

SECONDS_BETWEEN_LINES = 10.0


def has_rich() -> bool:
    """Whether bars can be drawn."""
    return importlib.util.find_spec("rich") is not None


def follow(
    steps: Sequence[Step], description: str, *, show_progress: bool | None
) -> Iterator[Step]:
    """The steps, with a bar while they are taken.

    Args:
        steps: What is gone through.
        description: What stands before the bar.
        show_progress: True or False; None for a bar on terminals.
    """
    with progress_bar(len(steps), description, show_progress=show_progress) as advance:
        for step in steps:
            yield step
            advance(1)


@contextlib.contextmanager
def progress_bar(
    total: int, description: str, *, show_progress: bool | None
) -> Iterator[Callable[[float], None]]:
    """A bar, advanced by the number that what is yielded is called with.

    Args:
        total: What these numbers add up to.
        description: What stands before the bar.
        show_progress: True or False; None for a bar on terminals.
    """
    if not (sys.stderr.isatty() if show_progress is None else show_progress):
        yield lambda _: None
    elif has_rich():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield functools.partial(progress.advance, task)
    else:
        yield _Lines(total, description)


class _Lines:
    def __init__(self, total: float, description: str):
        self._total, self._description = total, description
        self._done, self._last_line = 0.0, time.monotonic()

    def __call__(self, steps: float) -> None:
        self._done += steps
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            line = f"{self._description}  {self._done:g}/{self._total:g}"
            print(line, file=sys.stderr, flush=True)
