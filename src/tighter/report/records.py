"""A run folder's files, read and checked: the only place where the report touches the disk."""

import json
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tighter import _files
from tighter._errors import InputError

CONFIGURATION = "configuration.json"
EVALUATION, EXAMPLES = "evaluation.json", "evaluation.npz"
METRICS, PICTURES = "metrics.jsonl", "pictures.npz"

_DAMAGED = "'{origin}' can't be read: {cause}; remove the file or make it again"
_OF_TRAIN = "give the folder that `tighter train` wrote"
# Each is a file of this name.
_MEASUREMENTS = ("evaluation", "sandwich", "annealing", "diagnosis", "comparison")
# Axes that the arrays of pictures may have, and what they mean.
_IMAGES = (2, 3, 4), "(n, D), (n, H, W) or (n, H, W, C)"
_SHAPES = {
    "prior_samples": _IMAGES,
    "originals": _IMAGES,
    "reconstructions": _IMAGES,
    "encodings": ((2,), "(N, latent)"),
    "encoding_labels": ((1,), "(N,)"),
    "label_names": ((1,), "(categories,)"),
    "grid": ((3, 4, 5), "(g, g, D), (g, g, H, W) or (g, g, H, W, C)"),
}
_SETTINGS = {
    "num_samples": "K = {:,}",
    "num_times": "{:,} times",
    "num_temperatures": "{:,} temperatures",
    "num_chains": "{:,} chains",
    "num_replicates": "{:,} replicates",
    "gap_asked": "gap {:g}",
    "num_examples": "{:,} examples",
    "num_gaps": "{:,} gaps",
    "seed": "seed {}",
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

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was asked for: sections of the configuration by name."""
        return section(self.configuration, "configuration")

    @property
    def kind(self) -> str:
        """The kind of model: "topics", "diffusion" or "vae"."""
        if self.configuration.get("kind") == "topics":
            return "topics"
        return "diffusion" if section(self.settings, "model").get("kind") == "diffusion" else "vae"

    @property
    def is_table(self) -> bool:
        """Whether it is of a table with named columns."""
        return bool(section(self.configuration, "schema").get("columns"))

    def command(self, words: str) -> str:
        """A command line on this run, such as `tighter report runs/mnist`."""
        return f"{words} {shlex.quote(self.place)}"

    def remedy(self, file: str) -> str:
        """The command that makes a missing file of this run."""
        if file == METRICS:
            return portable_command(str(self.configuration.get("command") or "tighter train"))
        topics = self.kind == "topics"
        return self.command("tighter topics --resume" if topics else "tighter evaluate")


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
        raise InputError(f"there is no run folder '{directory}'; {_OF_TRAIN}")
    if not directory.is_dir():
        raise InputError(f"'{directory}' is a file, not a run folder; {_OF_TRAIN}")
    if not (directory / CONFIGURATION).exists():
        raise InputError(f"'{directory}' is no run: it has no {CONFIGURATION}; {_OF_TRAIN}")
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


class Measurement(NamedTuple):
    """A measurement's files, or why they can't be read.

    Attributes:
        record: Its JSON object; empty if it can't be read.
        arrays: The arrays beside it.
        damage: One line on what is wrong with the files, or "".
    """

    record: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    damage: str = ""

    def value(self, *names: str) -> float:
        """A number of the record, NaN if it is missing or none."""
        held = self.record
        for name in names[:-1]:
            held = section(held, name)
        return number(held.get(names[-1]))

    def array(self, name: str, rank: int = 1) -> NDArray[np.float64] | None:
        """An array of that many axes and at least one entry, or None."""
        array = self.arrays.get(name)
        if array is None or array.ndim != rank or not array.size:
            return None
        return np.asarray(array, np.float64)

    def alike(
        self, first: str, second: str, rank: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Two arrays of one shape, or None."""
        a, b = self.array(first, rank), self.array(second, rank)
        return None if a is None or b is None or a.shape != b.shape else (a, b)

    def text(self, name: str) -> str:
        """A sentence of the record, or ""."""
        value = self.record.get(name)
        return value if isinstance(value, str) else ""


def read_measurement(directory: Path, name: str) -> Measurement | None:
    """Read one measurement of a run; None if it was never made.

    A damaged one says so, and leaves the rest of the report as it is.
    """
    file = directory / f"{name}.json"
    if not file.exists():
        return None
    try:
        return Measurement(read_object(file), read_arrays(directory / f"{name}.npz"))
    except InputError as error:
        return Measurement({}, {}, str(error).replace(f"{directory}{os.sep}", ""))


class Result(NamedTuple):
    """One of several results of a measurement, with different settings.

    Attributes:
        name: Under which it is stored.
        settings: Numbers of draws, examples and so on, in words.
        record: What came out.
        shown: Whether it is the one that the report shows.
    """

    name: str
    settings: str
    record: Mapping[str, Any]
    shown: bool


def read_results(directory: Path, name: str) -> list[Result]:
    """All results of one measurement, the one that is shown first; damaged ones are passed over."""
    shown = directory / f"{name}.json"
    results: dict[str, Result] = {}
    for file in (shown, *sorted((directory / "results").glob(f"{name}-*.json"))):
        try:
            record = read_object(file) if file.exists() else {}
        except InputError:
            continue
        known = str(record.get("result") or (file.stem if record else ""))
        settings = [
            words.format(record[key])
            for key, words in _SETTINGS.items()
            if isinstance(record.get(key), int | float)
        ]
        settings += [f"{record['parameters']} parameters"] if record.get("parameters") else []
        if known:
            result = Result(known, ", ".join(settings), record, file == shown)
            results.setdefault(known, result)
    return list(results.values())


def shown_results(directory: Path) -> dict[str, str]:
    """Of each measurement that was made, the name of the result that the report shows."""
    found = {name: read_results(directory, name) for name in _MEASUREMENTS}
    return {name: results[0].name for name, results in found.items() if results}


def result_lines(directory: Path) -> list[str]:
    """A line for each measurement with several results: which one the report shows."""
    lines = []
    for name in _MEASUREMENTS:
        results = read_results(directory, name)
        if len(results) > 1:
            rest = "; ".join(result.settings for result in results[1:])
            lines.append(f"the report shows the {name} of {results[0].settings}; besides: {rest}")
    return lines


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


def numbers(mapping: Mapping[str, Any], *keys: str) -> list[float]:
    """The numbers under some keys; NaN where there is none."""
    return [number(mapping.get(key)) for key in keys]


def section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key, or an empty one if there is something else or nothing."""
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Those of a list's items that are mappings; none if it is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON file's one object.

    Raises:
        InputError: If it can't be read, or holds something else.
    """
    return _files.read_object(path, _DAMAGED)


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
        kinds, meant = ("U", "words") if name == "label_names" else ("biuf", "numbers")
        if array.dtype.kind not in kinds:
            raise _damaged(path, f"array '{name}' should hold {meant}, got dtype {array.dtype}")
    return arrays


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
            cut = position == len(lines)
            if cut:
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
    return {n: np.array([row.get(n, math.nan) for row in ordered]) for n in names}, cut


def _read_examples(path: Path) -> dict[str, NDArray[Any]]:
    arrays = read_arrays(path)
    for name, array in arrays.items():
        if array.ndim != 1:
            raise _damaged(path, f"array '{name}' should have shape (N,), got {array.shape}")
    return arrays


def _read_pictures(path: Path) -> dict[str, NDArray[Any]]:
    arrays = read_arrays(path)
    for name, (allowed, meant) in _SHAPES.items():
        if name not in arrays:
            continue
        array = arrays[name]
        channels = array.shape[-1] if array.ndim == max(allowed) and max(allowed) > 2 else 1
        if array.ndim not in allowed or channels not in (1, 3, 4):
            raise _damaged(path, f"array '{name}' should have shape {meant}, got {array.shape}")
    for a, b in (("originals", "reconstructions"), ("encodings", "encoding_labels")):
        if a in arrays and b in arrays and len(arrays[a]) != len(arrays[b]):
            got = f"{arrays[a].shape} and {arrays[b].shape}"
            raise _damaged(path, f"arrays '{a}' and '{b}' should be equally long, got {got}")
    return arrays


def _damaged(path: Path, what: str) -> InputError:
    return InputError(_DAMAGED.format(origin=path, cause=what))
