"""What a run keeps: rows of numbers, checkpoints and parameters, in its folder if it has one."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from tighter._errors import InputError
from tighter._files import cannot_write, writing
from tighter.training.arrays import named_arrays, save_parameters, with_arrays
from tighter.training.checkpoints import Checkpoints
from tighter.training.fingerprint import differences
from tighter.training.steps import State


class Best(NamedTuple):
    """The arrays after the epoch with the largest bound so far.

    Attributes:
        arrays: The model's trainable arrays.
        bound: Their bound, in nats.
        epoch: The epoch, from 1; 0 if none was finished.
    """

    arrays: PyTree
    bound: float = -math.inf
    epoch: int = 0


class Metrics:
    """What a run measured, an epoch a row: in memory, and in metrics.jsonl if it has a folder.

    Args:
        path: The file to append to; None for memory alone.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Take up the rows that a checkpoint held, and write the file anew, whatever it was."""
        self.rows = list(rows)
        if self.path is not None:
            with writing(self.path) as place:
                place.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; what is not finite becomes null.

        Raises:
            InputError: If it can't be written.
        """
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self.rows.append(row)
        if self.path is not None:
            try:
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError as error:
                raise cannot_write(self.path, error) from error


class RunRecord:
    """A run's rows, and its checkpoints and parameters where it has a folder.

    Args:
        directory: The folder; None to keep nothing but the rows.
        fingerprint: What the run is made of; another one's checkpoints are not gone on from.
        resume: Whether to go on from what the folder holds.

    Raises:
        InputError: If there is no folder to resume from, or it holds a run and isn't to be resumed.
    """

    def __init__(self, directory: Path | None, fingerprint: dict[str, Any], *, resume: bool):
        self.directory, self.fingerprint, self.resume = directory, fingerprint, resume
        self._began, self._saved = time.monotonic(), time.monotonic()
        if directory is None and resume:
            raise InputError("resume=True needs the directory of the run that it is to resume")
        if directory is not None and not resume and achieved_in(directory):
            raise InputError(
                f"{directory} already holds a run: resume it (--resume, resume=True), or take "
                "another folder"
            )
        self.metrics = Metrics(None if directory is None else directory / "metrics.jsonl")
        self.checkpoints = None if directory is None else Checkpoints(directory / "checkpoints")

    @property
    def seconds(self) -> float:
        """Seconds of the whole run, those before it was resumed among them."""
        return time.monotonic() - self._began

    @property
    def newest_validation(self) -> float | None:
        """The validation bound of the last row, in nats; None where there is none."""
        return self.metrics.rows[-1].get("validation_bound") if self.metrics.rows else None

    def restore(self, state: State, best: Best) -> tuple[State, Best]:
        """The state and the best arrays to go on from: a checkpoint's, or those given.

        Raises:
            InputError: If the folder's run was another one, or none of its checkpoints is sound.
        """
        held = {"state": state, "best": best.arrays}
        if not self.resume or self.checkpoints is None:
            return state, best
        restored = self.checkpoints.restore(named_arrays(held))
        if restored is None:
            self.metrics.restore([])
            return state, best
        for warning in restored.warnings:
            warnings.warn(f"{warning}: going on from that of step {restored.step}", stacklevel=3)
        differing = differences(restored.info["fingerprint"], self.fingerprint)
        if differing:
            raise InputError(f"the run in {self.directory} was another one: {'; '.join(differing)}")
        held = with_arrays(held, restored.arrays)
        self.metrics.restore(restored.info["history"])
        self._began -= restored.info["seconds"]
        bound = restored.info["best_bound"]
        best = Best(
            held["best"], -math.inf if bound is None else bound, restored.info["best_epoch"]
        )
        return held["state"], best

    def is_due(self, seconds: float) -> bool:
        """Whether the last checkpoint is so many seconds old."""
        return self.checkpoints is not None and time.monotonic() - self._saved >= seconds

    def save(self, state: State, best: Best) -> None:
        """Write a checkpoint."""
        if self.checkpoints is None:
            return
        info = {
            "fingerprint": self.fingerprint,
            "best_bound": best.bound if math.isfinite(best.bound) else None,
            "best_epoch": best.epoch,
            "seconds": self.seconds,
            "history": self.metrics.rows,
        }
        arrays = named_arrays({"state": state, "best": best.arrays})
        self.checkpoints.save(int(state.step), arrays, info)
        self._saved = time.monotonic()

    def save_models(self, *, last: Any, best: Any) -> None:
        """Write the parameters of two models."""
        if self.directory is not None:
            save_parameters(self.directory / "last.safetensors", last)
            save_parameters(self.directory / "best.safetensors", best)

    def kept(self, step: int) -> str:
        """What is left of a run that came to a step, in words."""
        if self.directory is None:
            return "nothing was stored, for want of a directory"
        if not step:
            return "nothing was stored, as no step was taken"
        return f"the state after step {step} is stored in {self.directory}"


def achieved_in(directory: Path) -> bool:
    """Whether a run's folder holds anything that training came to."""
    found = [directory / "metrics.jsonl", directory / "best.safetensors"]
    found += directory.glob("checkpoints/[0-9]*")
    return any(file.exists() and file.stat().st_size > 0 for file in found)
