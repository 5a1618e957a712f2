"""Progress of a run on stderr: a bar on a terminal, a line now and then without one or rich."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from tighter._progress import SECONDS_BETWEEN_LINES, has_rich

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Below it the first checkpoint, written beside a few steps, would be most of their time.
_SECONDS_OF_A_PACE = 2.0


class ProgressDisplay(contextlib.ExitStack):
    """Shows epoch, bound, validation bound, steps a second and the time left.

    Args:
        num_epochs: Epochs of the run.
        num_steps: Steps of the run.
        start_step: Steps taken before it began, after a resumption.
        show: False for silence, True for a bar or lines, None for a bar on terminals only.
    """

    def __init__(self, num_epochs: int, num_steps: int, start_step: int, *, show: bool | None):
        super().__init__()
        self._num_epochs, self._num_steps, self._start = num_epochs, num_steps, start_step
        self._terminal = sys.stderr.isatty()
        self._show = self._terminal if show is None else show
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = self._last = time.monotonic()
        self._last_step = start_step
        self._steady_steps, self._steady_seconds = 0, 0.0

    def __enter__(self) -> ProgressDisplay:
        if self._show and self._terminal and has_rich():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            epoch, text = (
                TextColumn("epoch {task.fields[epoch]}"),
                TextColumn("{task.fields[text]}"),
            )
            columns = epoch, BarColumn(), text, TimeRemainingColumn()
            self._bar = self.enter_context(Progress(*columns, console=Console(stderr=True)))
            self._task = self._bar.add_task(
                "training", total=self._num_steps, completed=self._start, epoch="…",
                text="compiling",
            )  # fmt: skip
        return self

    def update(
        self,
        step: int,
        epoch: int,
        bound: float,
        validation: float | None,
        rate: float,
        *,
        compiled: bool,
    ) -> None:
        """Show where the run is.

        Args:
            step: Steps taken.
            epoch: The epoch that they lie in, from 1.
            bound: Mean bound of this epoch so far, in nats.
            validation: The newest validation bound, in nats.
            rate: Steps a second.
            compiled: Whether something was compiled since the last update: it says nothing then of
                the time left.
        """
        now = time.monotonic()
        if not compiled:
            self._steady_steps += step - self._last_step
            self._steady_seconds += now - self._last
        self._last, self._last_step = now, step
        text = f"bound {bound:.2f}"
        text += "" if validation is None else f"  validation {validation:.2f}"
        text += f"  {rate:.3g} steps/s"
        place = f"{min(epoch, self._num_epochs)}/{self._num_epochs}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, epoch=place, text=text)
        elif self._show and (
            now - self._last_line >= SECONDS_BETWEEN_LINES or step >= self._num_steps
        ):
            self._last_line = now
            print(f"epoch {place}  {text}{self._left(step)}", file=sys.stderr, flush=True)

    def _left(self, step: int) -> str:
        """The time left at the pace so far; nothing while that is unknown."""
        if self._steady_seconds < _SECONDS_OF_A_PACE and step < self._num_steps:
            return ""
        pace = self._steady_seconds / max(self._steady_steps, 1)
        return f"  {(self._num_steps - step) * pace:.0f} s left"
