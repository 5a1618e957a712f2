"""Files: what is read may be damaged, what is written is whole or absent; faults are a line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from tighter._errors import InputError

_DAMAGED = "{origin} is cut short or damaged ({cause}); copy or save it again"
_SEAL = "sha256"
_LONGEST = 200  # letters of a cause


@contextlib.contextmanager
def reading(origin: object, otherwise: str = _DAMAGED) -> Iterator[None]:
    """Say in one line what readers say in many ways.

    A damaged file can make its reader raise anything, panics of other languages and the end of the
    stack included: no list of exceptions is long enough.

    Args:
        origin: What is read.
        otherwise: The line for a file whose content is at fault, with {origin} and {cause}.

    Raises:
        InputError: If anything is raised within, but for what stops a program.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError as error:
        raise InputError(f"{origin} does not fit in memory; save fewer examples") from error
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(
                f"cannot read {origin}: {error.strerror or error}; check the path and its "
                "permissions"
            ) from error
        raise InputError(otherwise.format(origin=origin, cause=_cause(error))) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A place to write a file at, from where it is moved to its own when it is whole.

    Args:
        path: The file.

    Raises:
        InputError: If it can't be written: a full disk, or a folder that is read only.
    """
    place = Path(os.path.realpath(path))  # what a link points to, and not the link
    temporary = place.with_name(f".{os.getpid()}-{threading.get_ident()}.partial")
    try:
        if place.exists() and not place.is_file():  # a pipe, say
            yield place
        else:
            yield temporary
            temporary.replace(place)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> InputError:
    """The line for a file that can't be written, which the system's own error may not name."""
    return InputError(
        f"{path} can't be written: {error.strerror or error}; free some space, or take a folder "
        "that can be written to"
    )


def read_object(path: Path, otherwise: str = "{origin} is damaged: {cause}") -> dict[str, Any]:
    """A JSON file's one object.

    Args:
        path: The file.
        otherwise: As of `reading`.

    Raises:
        InputError: If it can't be read, or holds something else.
    """
    with reading(path, otherwise):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got {type(content).__name__}")
        stated = content.pop(_SEAL, None)
        if stated is not None and sealed(content)[_SEAL] != stated:
            raise ValueError("its contents don't have the digest stated in it")
    return content


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with a digest of itself, which `read_object` compares."""
    text = json.dumps(record, sort_keys=True)
    return record | {_SEAL: hashlib.sha256(text.encode()).hexdigest()}


def read_archive(path: Path, otherwise: str = _DAMAGED) -> dict[str, np.ndarray]:
    """Every array of an .npz file, which is never unpickled.

    Args:
        path: The file.
        otherwise: As of `reading`.

    Raises:
        InputError: If it can't be read, or holds something else.
    """
    with reading(path, otherwise), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("one array instead of an archive")
        with archive:
            return {name: member(archive, name) for name in archive.files}


def member(archive: NpzFile, name: str) -> np.ndarray:
    """An array of an open archive, read to the end of its bytes, where its checksum is looked at.

    Raises:
        ValueError: If there is anything but the one array of numbers or texts, among other errors.
    """
    opened: Any = archive.zip
    file = f"{name}.npy" if f"{name}.npy" in opened.namelist() else name
    with opened.open(file) as stream:
        if not stream.peek(6).startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError("it is not an array")
        array = np.lib.format.read_array(stream, allow_pickle=False)
        refuse_more(stream)
    return array


def refuse_more(stream: Any) -> None:
    """Raise a ValueError if something follows: the header told too small a shape."""
    if stream.read(1):
        raise ValueError("it is longer than its header says")


@contextlib.contextmanager
def without_panics() -> Iterator[None]:
    """Nothing is written to the process's standard error: Rust prints its panics there itself."""
    with contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        yield


def _cause(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start})"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at line {error.lineno}"
    lines = str(error).split("\n")
    reason = " ".join(lines[0].split()) or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"it has no {reason}"
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…"
