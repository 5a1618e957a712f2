"""Ctrl-C and SIGTERM as a wish to stop soon, rather than at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

# One wish may come as several signals: `timeout` and `uv run` both pass theirs on.
_SECONDS_OF_ONE_WISH = 0.5


class Interruption:
    """While open, the first SIGINT or SIGTERM only sets `requested`; a later one interrupts.

    Outside the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
        elif now - self._since >= _SECONDS_OF_ONE_WISH:
            raise KeyboardInterrupt
