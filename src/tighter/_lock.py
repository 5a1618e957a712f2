"""One process at a time writes into a run's folder."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tighter._errors import InputError

LOCK = ".lock"
_held: set[tuple[Path, int, int]] = set()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there; within one thread it may be held again.

    The lock is the operating system's and goes with the process, however that ends: an empty file
    that is left over holds nothing. Where a file system knows no locks, nothing is held.

    Args:
        folder: The run's folder.

    Raises:
        InputError: If another process (or thread) holds it, or it can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} can't be made: {error.strerror}") from None
    ours = folder.resolve(), os.getpid(), threading.get_ident()
    if ours in _held:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / LOCK).open("ab"))
        except OSError as error:
            raise InputError(f"the folder {folder} can't be written to: {error.strerror}") from None
        _take(file, folder)
        _held.add(ours)
        stack.callback(_held.discard, ours)
        stack.callback(_remove, folder / LOCK)
        yield


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _take(file: Any, folder: Path) -> None:
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:  # Windows
        return
    taken = InputError(
        f"another process is writing to {folder}: wait until it is done, or take another folder"
    )
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise taken from None
        return
    try:
        same = os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK))
    except FileNotFoundError:
        same = False
    if not same:  # the one that held it has removed it since we opened it
        raise taken
