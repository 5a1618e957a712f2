"""Checkpoints that are whole or absent, told damaged from sound by their digest."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from tighter._errors import InputError
from tighter.training.arrays import digest

_OVERHEAD = 256 * 1024  # bytes of a checkpoint beside its arrays

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        step: The step after which it was written.
        arrays: Arrays by name.
        info: The JSON object stored beside them.
        warnings: What was wrong with newer checkpoints, a line each.
    """

    step: int
    arrays: dict[str, Array]
    info: dict[str, Any]
    warnings: list[str]


class Checkpoints:
    """The two newest checkpoints of a run, written by Orbax to a folder of their own.

    Args:
        directory: Where they lie; made when the first one is written.
    """

    def __init__(self, directory: Path):
        self.directory = directory.resolve()
        # Orbax takes half a second to import: beside the compiler, until it is asked for.
        threading.Thread(target=importlib.import_module, args=("orbax.checkpoint",)).start()

    @functools.cached_property
    def _ocp(self) -> Any:
        return importlib.import_module("orbax.checkpoint")

    @functools.cached_property
    def _manager(self) -> Any:
        # What Orbax complains of reaches us as an exception as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        alone = {}
        if jax.process_count() > 1:  # the first of them writes, and waits for nobody
            alone["multiprocessing_options"] = self._ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            )
        options = self._ocp.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, create=not alone,
            cleanup_tmp_directories=True, **alone,
        )  # fmt: skip
        return self._ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """The steps of which there is a whole checkpoint, in ascending order."""
        return sorted(self._manager.all_steps()) if self.directory.is_dir() else []

    def save(self, step: int, arrays: dict[str, Array], info: dict[str, Any]) -> None:
        """Write a checkpoint, unless there is one of this step.

        Raises:
            InputError: If it can't be written, a full disk for instance.
        """
        steps = self.steps()
        if step in steps:
            return
        arrays = _as_written(arrays)
        info = {**info, "sha256": _digest(arrays, info)}
        args = self._ocp.args
        parts = args.Composite(state=args.StandardSave(arrays), info=args.JsonSave(info))
        try:
            self._reserve(arrays, info)
            self._manager.save(step, args=parts)
        except Exception as error:
            before = f"that of step {steps[-1]} is kept" if steps else "there is none before it"
            raise InputError(
                f"the checkpoint of step {step} can't be written to {self.directory}: "
                f"{_reason(error)}; {before}"
            ) from error

    def _reserve(self, arrays: dict[str, Array], info: dict[str, Any]) -> None:
        """Take the space that a checkpoint needs, and give it back.

        Raises:
            OSError: If there is none: Orbax would say so from several threads, a page each.
        """
        # Every array is written twice, and Orbax has some ten files of its own.
        size = 2 * sum(array.nbytes for array in arrays.values()) + len(json.dumps(info))
        self.directory.mkdir(parents=True, exist_ok=True)
        size += _OVERHEAD + 1024 * len(arrays)
        with tempfile.TemporaryFile(dir=self.directory) as file:
            if sys.platform not in ("darwin", "win32"):  # which can't
                os.posix_fallocate(file.fileno(), 0, size)

    def restore(self, like: dict[str, Array]) -> Restored | None:
        """The newest sound checkpoint; damaged ones are named, deleted, and passed over.

        Args:
            like: Arrays of the names, shapes and types that it has to have.

        Returns:
            What it held, or None if there is none.

        Raises:
            InputError: If there are checkpoints and none of them is sound.
        """
        warnings: list[str] = []
        args = self._ocp.args
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, _as_written(like))
        parts = args.Composite(state=args.StandardRestore(abstract), info=args.JsonRestore())
        for step in reversed(self.steps()):
            try:
                found: Any = self._manager.restore(step, args=parts)
                info = dict(found.info)
                stated = info.pop("sha256")
                if stated != _digest(found.state, info):
                    raise ValueError(
                        "it was stored by an earlier version of tighter, whose order of examples "
                        "was another"
                        if stated == digest(found.state)
                        else "its contents don't have the digest stated in it"
                    )
            except Exception as error:
                logger.debug("checkpoint of step %d", step, exc_info=True)
                reason = _reason(error)
                other = "Requested shape" in reason or "tree structures do not match" in reason
                fault = "of another model" if other else "damaged"
                warnings.append(f"the checkpoint of step {step} is {fault} ({reason})")
                continue
            for damaged in self.steps():
                if damaged > step:
                    self._manager.delete(damaged)
            return Restored(step, dict(found.state), info, warnings)
        if warnings:
            raise InputError(
                f"no checkpoint in {self.directory} can be read: {'; '.join(warnings)}; start anew "
                "in another folder"
            )
        return None

    def close(self) -> None:
        """Let Orbax go."""
        self._manager.close()


def _as_written(arrays: dict[str, Any]) -> dict[str, Any]:
    """Of several processes one writes, and what it has to itself Orbax takes from the host."""
    return arrays if jax.process_count() == 1 else jax.tree.map(np.asarray, arrays)


def _digest(arrays: dict[str, Array], info: dict[str, Any]) -> str:
    """Of all that is read: the arrays and the numbers beside them."""
    content = f"{digest(arrays)} {json.dumps(info, sort_keys=True)}"
    return hashlib.sha256(content.encode()).hexdigest()


def _reason(error: Exception) -> str:
    """What was wrong, in the first line of the error."""
    of_system = error.strerror if isinstance(error, OSError) else None  # without its number
    text = of_system or str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__
