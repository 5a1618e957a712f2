"""What was measured on a run: each a JSON file, some with arrays; others like it in results/."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tighter._errors import InputError
from tighter.report.records import number, read_arrays, read_object, section
from tighter.report.words import decimals, signed

# Each is a file of this name.
_MEASUREMENTS = ("evaluation", "sandwich", "annealing", "diagnosis", "comparison")


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
        held: Mapping[str, Any] = self.record
        for name in names[:-1]:
            held = section(held, name)
        return number(held.get(names[-1]))

    def array(self, name: str, rank: int = 1) -> NDArray[np.float64] | None:
        """An array of that many axes and at least one entry, or None."""
        array = self.arrays.get(name)
        if array is None or array.ndim != rank or not array.size:
            return None
        return np.asarray(array, np.float64)

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
    """A result in words, one of several that were measured with different settings.

    Attributes:
        name: Under which it is stored.
        settings: Numbers of draws, examples and so on.
        value: The number, with its error; "" if it has none of its own.
        level: Its verdict's.
        shown: Whether it is the one that the report shows.
    """

    name: str
    settings: str
    value: str
    level: str
    shown: bool


def read_results(directory: Path, name: str) -> list[Result]:
    """All results of one measurement, the one that is shown first; damaged ones are passed over."""
    shown = directory / f"{name}.json"
    files = [shown, *sorted((directory / "results").glob(f"{name}-*.json"))]
    results: list[Result] = []
    for file in files:
        try:
            record = read_object(file) if file.exists() else {}
        except InputError:
            continue
        known = str(record.get("result") or (file.stem if record else ""))
        if known and known not in [result.name for result in results]:
            results.append(_result(record, known, shown=file == shown))
    return results


def shown_results(directory: Path) -> dict[str, str]:
    """Of each measurement that was made, the name of the result that the report shows."""
    found = {name: read_results(directory, name) for name in _MEASUREMENTS}
    return {name: results[0].name for name, results in found.items() if results}


def told_results(directory: Path) -> list[str]:
    """A line for each measurement with several results: which one the report shows."""
    lines = []
    for name in _MEASUREMENTS:
        results = read_results(directory, name)
        if len(results) > 1:
            rest = "; ".join(result.settings for result in results[1:])
            lines.append(f"the report shows the {name} of {results[0].settings}; besides: {rest}")
    return lines


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


def _result(record: Mapping[str, Any], name: str, *, shown: bool) -> Result:
    told = [
        words.format(record[key])
        for key, words in _SETTINGS.items()
        if isinstance(record.get(key), int | float)
    ]
    told += [f"{record['parameters']} parameters"] if record.get("parameters") else []
    value = number(record.get("perplexity", record.get("log_likelihood", record.get("bound"))))
    error = number(record.get("perplexity_standard_error", record.get("standard_error")))
    places = decimals(error)
    said = signed(value, places) if value == value else ""
    if "lower" in record and "upper" in record:
        said = " to ".join(signed(number(record[end]), places) for end in ("lower", "upper"))
    said += f" ± {signed(error, places)}" if said and error >= 0 else ""
    return Result(name, ", ".join(told), said, str(record.get("verdict_level") or ""), shown)
