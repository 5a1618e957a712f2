"""What was measured on a run, side by side: nothing is replaced but by the same measured again.

The result that a report shows has the measurement's own name (`evaluation.json` and `.npz`); the
others lie in `results/`, each under the name of its settings.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tighter._files import writing
from tighter._lock import alone_in
from tighter.runs.folder import write_arrays, write_json

RESULTS = "results"


def store_result(
    run: Path,
    measurement: str,
    record: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    settings: Mapping[str, Any],
    effort: float | int,
) -> dict[str, Any]:
    """Store a result beside those with other settings.

    The report shows it if it has more draws than the one shown so far, was measured with the same
    settings, or that one is of parameters which the run no longer has; the last parameters never
    take the place of the best.

    Args:
        run: The run's folder.
        measurement: Its name, such as "evaluation".
        record: What came out, with "parameters" ("best" or "last").
        arrays: What is too large for JSON.
        settings: What makes it another measurement, short names first.
        effort: Draws in all.

    Returns:
        The record as stored: with its name among results, its effort and the parameters' digest.
    """
    parameters = record.get("parameters", "best")
    words = [measurement, *(f"{name}{value}" for name, value in settings.items()), parameters]
    name = re.sub(r"[^\w.+-]", "_", "-".join(words))
    stored = {
        **record,
        "result": name,
        "effort": effort,
        "parameters_digest": _digest(run, parameters),
    }
    with alone_in(run, seconds=30.0):
        before = shown_result(run, measurement)
        if before is None or _replaces(run, stored, before):
            if before is not None and before.get("result") != name:
                _put_aside(run, measurement, before)
            _write(run / measurement, stored, arrays)
            for suffix in (".json", ".npz"):
                (run / RESULTS / f"{name}{suffix}").unlink(missing_ok=True)
        else:
            (run / RESULTS).mkdir(exist_ok=True)
            _write(run / RESULTS / name, stored, arrays)
    return stored


def shown_result(run: Path, measurement: str) -> dict[str, Any] | None:
    """The result that the report shows; None if there is none that can be read."""
    try:
        record = json.loads((run / f"{measurement}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _replaces(run: Path, new: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    """Whether the new result is to be shown in the place of the one that is."""
    if new["result"] == shown.get("result"):
        return True
    theirs = shown.get("parameters", "best")
    if shown.get("parameters_digest") != _digest(run, str(theirs)):
        return True
    if new.get("parameters", "best") != theirs:
        return theirs == "last"
    effort = shown.get("effort")
    return not isinstance(effort, int | float) or new["effort"] > effort


def _put_aside(run: Path, measurement: str, record: Mapping[str, Any]) -> None:
    """Copy the result that was shown to the others."""
    name = str(record.get("result"))
    if not re.fullmatch(r"[\w+-][\w.+-]*", name):
        name = f"{measurement}-earlier"
    (run / RESULTS).mkdir(exist_ok=True)
    for suffix in (".npz", ".json"):
        if (run / f"{measurement}{suffix}").exists():
            with writing(run / RESULTS / f"{name}{suffix}") as place:
                shutil.copyfile(run / f"{measurement}{suffix}", place)


def _write(path: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    if arrays:
        write_arrays(path.with_name(f"{path.name}.npz"), arrays)
    write_json(path.with_name(f"{path.name}.json"), record)


def _digest(run: Path, parameters: str) -> str | None:
    """Of the parameters' file, so that results of a run that went on are told apart."""
    if parameters not in ("best", "last"):
        return None
    try:
        return hashlib.sha256((run / f"{parameters}.safetensors").read_bytes()).hexdigest()[:16]
    except OSError:
        return None
