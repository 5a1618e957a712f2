"""A run's folder: its configuration and results, each file whole or absent."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter._files import read_object, reading, writing
from tighter._lock import alone_in
from tighter.data import Schema
from tighter.runs.configuration import Configuration
from tighter.training.checkpoints import achieved_in

CONFIGURATION = "configuration.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder that holds a run.

    Attributes:
        path: Where it is.
        configuration: What made the run.
        shape: Shape of one example.
        record: configuration.json, whole.
    """

    path: Path
    configuration: Configuration
    shape: tuple[int, ...]
    record: dict[str, Any]

    @property
    def schema(self) -> Schema | None:
        """The columns of a table; None for arrays."""
        return Schema.from_dict(self.record["schema"]) if self.record.get("schema") else None


def open_run(path: Path) -> RunFolder:
    """Read what a run is.

    Raises:
        InputError: If the folder doesn't exist, is no run, or its configuration is damaged.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist: name the folder of a run (tighter train prints it)"
        )
    file = path / CONFIGURATION
    if not file.is_file():
        raise InputError(f"{path} is no run: it holds no {CONFIGURATION}")
    record = read_object(file)
    if record.get("kind") == "topics":
        raise InputError(
            f"{path} is a run of tighter topics: take tighter topics {path} --transform TEXT, "
            "or tighter report"
        )
    with reading(file, "{origin} is damaged: {cause}"):
        configuration = Configuration().updated(record["configuration"], where=str(file))
        shape = tuple(int(size) for size in record["shape"])
        if not all(0 < size < 2**31 for size in shape):
            raise ValueError(f"an example has shape {shape}")
        return RunFolder(path, configuration, shape, record)


def check_writable(path: Path) -> None:
    """Refuse what is to be stored in a run later, before it is computed.

    Raises:
        InputError: If the folder can't be written to, or a process is training in it.
    """
    with alone_in(path, seconds=5.0):
        pass


def check_new(path: Path) -> None:
    """Refuse to start where there is a run, unless it came to nothing.

    Raises:
        InputError: If there is one.
    """
    if (path / CONFIGURATION).exists() and achieved_in(path):
        raise InputError(
            f"{path} already holds a run: add --resume to go on with it, or name another folder"
        )


def new_run_path(configuration: Configuration) -> Path:
    """The first free folder runs/NAME-BOUND-N."""
    data = configuration.data
    name = Path(data.source).expanduser().resolve().stem if data.source != "digits" else "digits"
    diffusion = configuration.model.kind == "diffusion"
    bound = "diffusion" if diffusion else configuration.objective.bound
    stem = f"{name}-{bound}".replace(":", "")
    number = 1
    while (Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return Path("runs") / f"{stem}-{number}"


def newest_run() -> Path:
    """The folder below runs/ that was changed last.

    Raises:
        InputError: If there is none.
    """
    found = sorted(Path("runs").glob(f"*/{CONFIGURATION}"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise InputError("there is no run to resume below runs/: name its folder")
    return found[-1].parent


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with writing(path) as place:
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        place.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz, whole or not at all."""
    with writing(path) as place, place.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def versions() -> dict[str, str]:
    """Of tighter, Python, and the parts that numbers depend on."""
    parts = ("tighter", "jax", "jaxlib", "equinox", "numpyro", "optax", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in parts}
