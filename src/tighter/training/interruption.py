"""Ctrl-C, SIGTERM and a closed terminal as a wish to stop soon, rather than at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from types import FrameType

# One wish may come as several signals: `timeout` and `uv run` both pass theirs on.
_SECONDS_OF_ONE_WISH = 0.5
_SIGNALS = [number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGHUP")]


class Interruption(contextlib.ExitStack):
    """While open, a first SIGINT, SIGTERM or SIGHUP only sets `requested`; a later one interrupts.

    Outside the main thread signals stay as they are, as does a SIGHUP that is ignored (`nohup`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = False
        self._since = 0.0

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                ignored = signal.getsignal(number) is signal.SIG_IGN
                if not (ignored and number.name == "SIGHUP"):
                    self.callback(signal.signal, number, signal.signal(number, self._note))
            self.callback(self._settle)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
        elif now - self._since >= _SECONDS_OF_ONE_WISH:
            raise KeyboardInterrupt

    def _settle(self) -> None:
        if self.requested:  # the wish's other signals are not to meet what is stored now
            time.sleep(max(0.0, self._since + _SECONDS_OF_ONE_WISH / 2 - time.monotonic()))
