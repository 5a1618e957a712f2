"""What was measured on a run after training: each a JSON file, some with arrays beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tighter._errors import InputError
from tighter.report.records import number, read_arrays, read_object, section

# The files' name, and the command that makes them.
COMMANDS = {
    "sandwich": "tighter evaluate --method sandwich",
    "annealing": "tighter evaluate --method ais",
    "diagnosis": "tighter diagnose",
    "comparison": "tighter compare",
}


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
        return Measurement({}, {}, str(error))
