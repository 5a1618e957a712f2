"""A run folder's files, read and checked: the only place where the report touches the disk."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tighter import _files
from tighter._errors import InputError

CONFIGURATION = "configuration.json"
METRICS = "metrics.jsonl"
EVALUATION = "evaluation.json"
EXAMPLES = "evaluation.npz"
PICTURES = "pictures.npz"

_DAMAGED = "'{origin}' can't be read: {cause}; remove the file or make it again"
_MADE_BY = {
    EVALUATION: "tighter evaluate",
    EXAMPLES: "tighter evaluate",
    PICTURES: "tighter evaluate",
}


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run's folder holds. Only the configuration is sure to be there.

    Attributes:
        directory: The folder, as it was given.
        configuration: `configuration.json` as it stands: command, versions, settings and so on.
        metrics: One column a name, one row an epoch, in order of epochs; values that are missing
            or no numbers are NaN. Empty if there is no epoch yet.
        metrics_cut: Whether the last line of `metrics.jsonl` was cut short and left out.
        evaluation: `evaluation.json` as it stands, or None if there is none.
        examples: `evaluation.npz`: per-example arrays, each (N,). Empty if there is none.
        pictures: `pictures.npz`: samples, reconstructions, encodings. Empty if there is none.
    """

    directory: Path
    configuration: Mapping[str, Any]
    metrics: Mapping[str, NDArray[np.float64]]
    metrics_cut: bool
    evaluation: Mapping[str, Any] | None
    examples: Mapping[str, NDArray[Any]]
    pictures: Mapping[str, NDArray[Any]]

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.directory.resolve().name or str(self.directory)

    @property
    def place(self) -> str:
        """Where it is, without the folders of a machine."""
        return portable(str(self.directory))

    def command(self, words: str) -> str:
        """A command line on this run, such as `tighter report runs/mnist`."""
        return f"{words} {shlex.quote(self.place)}"

    def remedy(self, file: str) -> str:
        """The command that makes a missing file of this run."""
        if file in _MADE_BY:
            return self.command(_MADE_BY[file])
        return portable_command(str(self.configuration.get("command") or "tighter train"))


def read_run(directory: Path) -> RunRecord:
    """Read a run's folder.

    Args:
        directory: The folder that `tighter train` wrote.

    Returns:
        The record. Files that are absent leave their fields empty.

    Raises:
        InputError: If the folder doesn't exist, has no configuration, or a file is damaged.
    """
    directory = Path(directory)
    if not directory.exists():
        raise InputError(
            f"there is no run folder '{directory}'; give the folder that `tighter train` wrote"
        )
    if not directory.is_dir():
        raise InputError(
            f"'{directory}' is a file, not a run folder; give the folder that `tighter train` wrote"
        )
    if not (directory / CONFIGURATION).exists():
        raise InputError(
            f"'{directory}' is no run: it has no {CONFIGURATION}; "
            "give the folder that `tighter train` wrote"
        )
    metrics, cut = _read_metrics(directory / METRICS)
    evaluation = directory / EVALUATION
    return RunRecord(
        directory=directory,
        configuration=read_object(directory / CONFIGURATION),
        metrics=metrics,
        metrics_cut=cut,
        evaluation=read_object(evaluation) if evaluation.exists() else None,
        examples=_read_examples(directory / EXAMPLES),
        pictures=_read_pictures(directory / PICTURES),
    )


def portable(text: str) -> str:
    """Of an absolute path its last part; a page is made to be shown, and its machine is not."""
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return PureWindowsPath(text).name or text if absolute else text


def portable_command(command: str) -> str:
    """A command line without the folders of a machine."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    parts = [word.rpartition("=") for word in words]
    if not any(portable(last) != last for *_, last in parts):
        return command
    return shlex.join("".join((*start, portable(last))) for *start, last in parts)


def number(value: object) -> float:
    """A JSON value as a float; NaN if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key, or an empty one if there is something else or nothing."""
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON file's one object.

    Raises:
        InputError: If it can't be read, or holds something else.
    """
    return _files.read_object(path, _DAMAGED)


def _read_metrics(path: Path) -> tuple[dict[str, NDArray[np.float64]], bool]:
    if not path.exists():
        return {}, False
    with _files.reading(path, _DAMAGED):
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    rows: dict[float, dict[str, float]] = {}
    cut = False
    for position, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            # A run killed while it wrote leaves half a line, and only at the end.
            if position == len(lines):
                cut = True
                break
            raise _damaged(path, f"record {position} of {len(lines)} is not JSON") from error
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise _damaged(path, f"record {position} should be a JSON object, got {kind}")
        values = {name: number(value) for name, value in row.items()}
        epoch = values.get("epoch", math.nan)
        values["epoch"] = epoch if math.isfinite(epoch) else float(position)
        # A resumed run may write an epoch again: the later record is the one that counts.
        rows[values["epoch"]] = values
    ordered = [rows[epoch] for epoch in sorted(rows)]
    names = sorted({name for row in ordered for name in row})
    columns = {name: np.array([row.get(name, math.nan) for row in ordered]) for name in names}
    return columns, cut


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """An archive's arrays of numbers; none if there is no such file.

    Raises:
        InputError: If it is damaged, or holds anything but numbers.
    """
    if not path.exists():
        return {}
    no_archive = _DAMAGED.replace("{cause}", "not an archive of numeric arrays ({cause})")
    arrays = _files.read_archive(path, no_archive)
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise _damaged(path, f"array '{name}' should hold numbers, got dtype {array.dtype}")
    return arrays


def _read_examples(path: Path) -> dict[str, NDArray[Any]]:
    arrays = read_arrays(path)
    for name, array in arrays.items():
        if array.ndim != 1:
            raise _damaged(path, f"array '{name}' should have shape (N,), got {array.shape}")
    return arrays


def _read_pictures(path: Path) -> dict[str, NDArray[Any]]:
    arrays = read_arrays(path)
    ranks = {
        "prior_samples": ((2, 3, 4), "(n, D), (n, H, W) or (n, H, W, C)"),
        "originals": ((2, 3, 4), "(n, D), (n, H, W) or (n, H, W, C)"),
        "reconstructions": ((2, 3, 4), "(n, D), (n, H, W) or (n, H, W, C)"),
        "encodings": ((2,), "(N, latent)"),
        "encoding_labels": ((1,), "(N,)"),
        "grid": ((3, 4, 5), "(g, g, D), (g, g, H, W) or (g, g, H, W, C)"),
    }
    for name, (allowed, meant) in ranks.items():
        if name not in arrays:
            continue
        array = arrays[name]
        channels = array.shape[-1] if array.ndim == max(allowed) and max(allowed) > 2 else 1
        if array.ndim not in allowed or channels not in (1, 3, 4):
            raise _damaged(path, f"array '{name}' should have shape {meant}, got {array.shape}")
    _check_equal_lengths(path, arrays, "originals", "reconstructions")
    _check_equal_lengths(path, arrays, "encodings", "encoding_labels")
    return arrays


def _check_equal_lengths(path: Path, arrays: dict[str, NDArray[Any]], a: str, b: str) -> None:
    if a in arrays and b in arrays and len(arrays[a]) != len(arrays[b]):
        got = f"{arrays[a].shape} and {arrays[b].shape}"
        raise _damaged(path, f"arrays '{a}' and '{b}' should be equally long, got {got}")


def _damaged(path: Path, what: str) -> InputError:
    return InputError(_DAMAGED.format(origin=path, cause=what))
