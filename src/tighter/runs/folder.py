"""A run's folder: its configuration and results, each file whole or absent."""

from __future__ import annotations

import dataclasses
import itertools
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
from tighter.runs.topics_configuration import TOPICS, TopicsConfiguration
from tighter.training.record import achieved_in

CONFIGURATION = "configuration.json"
VOCABULARY = "vocabulary.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder that holds a run.

    Attributes:
        path: Where it is.
        configuration: What made the run, a `Configuration` or a `TopicsConfiguration`.
        shape: Shape of one example.
        record: configuration.json, whole.
        vocabulary: The words of a run of topics.
    """

    path: Path
    configuration: Any
    shape: tuple[int, ...]
    record: dict[str, Any]
    vocabulary: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema | None:
        """The columns of a table; None for arrays."""
        return Schema.from_dict(self.record["schema"]) if self.record.get("schema") else None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run of any kind."""
    return (path / CONFIGURATION).is_file()


def open_run(path: Path, *, of_topics: bool = False) -> RunFolder:
    """Read what a run is.

    Args:
        path: Its folder.
        of_topics: Whether a run of topics is asked for, or one of any other kind.

    Raises:
        InputError: If the folder doesn't exist, is no such run, or is damaged.
    """
    if not path.exists():
        command = "tighter topics" if of_topics else "tighter train"
        raise InputError(f"{path} does not exist: name the folder of a run ({command} prints it)")
    if not is_run(path):
        raise InputError(f"{path} is no run: it holds no {CONFIGURATION}")
    file = path / CONFIGURATION
    record = read_object(file)
    if of_topics and record.get("kind") != TOPICS:
        raise InputError(f"{path} is a run of tighter train, and not one of tighter topics")
    if not of_topics and record.get("kind") == TOPICS:
        raise InputError(
            f"{path} is a run of tighter topics: take tighter topics {path} --transform TEXT, "
            "or tighter report"
        )
    with reading(file, "{origin} is damaged: {cause}"):
        stored = record["configuration"]
        if not of_topics:
            configuration = Configuration().updated(stored, where=str(file))
            shape = tuple(int(size) for size in record["shape"])
            if not all(0 < size < 2**31 for size in shape):
                raise ValueError(f"an example has shape {shape}")
            return RunFolder(path, configuration, shape, record)
        try:
            configuration = TopicsConfiguration.from_dict(stored)
        except InputError as error:
            raise ValueError(str(error)) from None
    words = read_object(path / VOCABULARY).get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{path / VOCABULARY} is damaged: it holds no list of words")
    return RunFolder(path, configuration, (len(words),), record, tuple(words))


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
        InputError: If there is one, or a file in the folder's place.
    """
    if path.is_file():
        raise InputError(
            f"the folder {path} can't be made, as a file has that name: name another "
            "(tighter train takes data by --data)"
        )
    if (path / CONFIGURATION).exists() and achieved_in(path):
        raise InputError(
            f"{path} already holds a run: add --resume to go on with it, or name another folder"
        )


def free_folder(stem: str) -> Path:
    """The first free folder runs/STEM-N."""
    places = (Path("runs") / f"{stem}-{number}" for number in itertools.count(1))
    return next(place for place in places if not place.exists())


def newest_run() -> Path:
    """The folder below runs/ that was changed last.

    Raises:
        InputError: If there is none.
    """
    found = list(Path("runs").glob(f"*/{CONFIGURATION}"))
    if not found:
        raise InputError("there is no run to resume below runs/: name its folder")
    return max(found, key=lambda file: file.stat().st_mtime).parent


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
