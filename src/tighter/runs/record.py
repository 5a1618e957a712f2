"""An experiment's folder: record.json with what came out, arrays.npz with what is drawn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter.runs.folder import versions, write_arrays, write_json

RECORD, ARRAYS = "record.json", "arrays.npz"


class Recorder:
    """Takes an experiment's results and writes them into its folder, whole or not at all.

    Args:
        path: The folder, new or empty.
        experiment: The experiment's name.
        seed: Of everything random.

    Raises:
        InputError: If the folder holds a record already, or can't be made.
    """

    def __init__(self, path: Path, experiment: str, *, seed: int):
        if (path / RECORD).exists():
            raise InputError(f"{path} already holds an experiment: name another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {path} can't be made: {error.strerror}") from None
        self.path, self.experiment, self.seed = path, experiment, seed
        self._began = time.monotonic()

    def store(
        self, results: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, Any]:
        """Write the record, with the seed, the seconds and all versions, and the arrays.

        Args:
            results: Plain numbers, words, lists and dictionaries.
            arrays: What is too large for JSON.

        Returns:
            The record as written.
        """
        if arrays:
            write_arrays(self.path / ARRAYS, arrays)
        record = {
            "experiment": self.experiment,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._began, 1),
            **results,
            "versions": versions(),
        }
        write_json(self.path / RECORD, record)
        return record
