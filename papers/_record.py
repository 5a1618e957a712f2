"""What the papers share: record.json and arrays.npz of a folder, and one look of pictures."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

import tighter as tt

RECORD, ARRAYS = "record.json", "arrays.npz"
PARTS = ("tighter", "jax", "jaxlib", "equinox", "numpyro", "optax", "numpy")
STYLE = Path(__file__).with_name("papers.mplstyle")
# Okabe and Ito's, which stay apart under color blindness.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
# Black is for exact answers; what is said in a picture is dark or gray, on a white that is none.
EXACT = INK = "#1d2733"
MUTED, AXIS, SURFACE = "#5c6874", "#b9c2cb", "#fefefe"

# Told what is going on, a line at a time.
Announce = Callable[[str], None]


def silent(line: str) -> None:
    """Announce nothing."""


class Recorder:
    """Takes a paper's results and writes them into its folder, whole or not at all.

    Args:
        path: The folder, new or empty.
        experiment: The paper's name on the command line.
        seed: Of everything random.

    Raises:
        InputError: If the folder holds a record already, or can't be made.
    """

    def __init__(self, path: Path, experiment: str, *, seed: int):
        if (path / RECORD).exists():
            raise tt.InputError(f"{path} already holds an experiment: name another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise tt.InputError(f"the folder {path} can't be made: {error.strerror}") from None
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
        record = {
            "experiment": self.experiment,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._began, 1),
            **results,
            "versions": {"python": platform.python_version()}
            | {part: metadata.version(part) for part in PARTS},
        }
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        partial = self.path / ".partial"
        try:
            if arrays:
                with partial.open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, **arrays)
                os.replace(partial, self.path / ARRAYS)
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, self.path / RECORD)
        except OSError as error:
            raise tt.InputError(f"{self.path} can't be written to: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
        return record


def read_record(path: Path) -> dict[str, Any]:
    """What was found, from a folder's record.json.

    Raises:
        InputError: If the folder holds none that can be read.
    """
    try:
        return json.loads((path / RECORD).read_text(encoding="utf-8"))
    except OSError:
        raise tt.InputError(f"{path} holds no {RECORD} of an experiment: name its folder") from None
    except ValueError as error:
        raise tt.InputError(f"{path / RECORD} is damaged: {error}") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays beside the record.

    Raises:
        InputError: If there are none that can be read.
    """
    try:
        with np.load(path / ARRAYS, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # a damaged archive may raise anything
        raise tt.InputError(f"{path / ARRAYS} is missing or damaged: {error}") from None


def pictures(
    paints: Mapping[str, tuple[tuple[float, float], Callable[..., None]]], *, arrays: bool = False
) -> Callable[[Path], list[Path]]:
    """The function that draws a paper's pictures into its folder, from the files there alone.

    Args:
        paints: For each picture's name its width and height in inches, at 120 dots an inch, and
            what paints the record into an empty figure.
        arrays: Whether it paints from the arrays too, its third argument.
    """

    def draw(path: Path) -> list[Path]:
        found: list[Any] = [read_record(path), *([read_arrays(path)] if arrays else [])]
        files = [path / f"{name}.png" for name in paints]
        with matplotlib.style.context(["default", STYLE]):
            for file, (size, paint) in zip(files, paints.values(), strict=True):
                figure = Figure(figsize=size, layout="constrained")
                paint(figure, *found)
                figure.savefig(file, dpi=120)
        return files

    return draw
