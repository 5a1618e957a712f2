"""One process at a time writes into a run's folder."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tighter._errors import InputError

LOCK = ".lock"
_held: set[tuple[Path, int, int]] = set()


@contextlib.contextmanager
def alone_in(folder: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder, made if it is not there; within one thread it may be held again.

    The lock is the operating system's and goes with the process, however that ends: an empty file
    that is left over holds nothing. Where a file system knows no locks, nothing is held.

    Args:
        folder: The run's folder.
        seconds: How long to wait for it.

    Raises:
        InputError: If another process (or thread) holds it, or it can't be made or written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} can't be made: {error.strerror}") from None
    ours = folder.resolve(), os.getpid(), threading.get_ident()
    if ours in _held:
        yield
        return
    until = time.monotonic() + seconds
    while (file := _taken(folder)) is None:
        if time.monotonic() >= until:
            raise InputError(
                f"another process is writing to {folder}: wait until it is done, or take another "
                "folder"
            )
        time.sleep(0.05)
    _held.add(ours)
    try:
        yield
    finally:
        _held.discard(ours)
        with file, contextlib.suppress(OSError):
            (folder / LOCK).unlink()
            if made:
                folder.rmdir()  # which does nothing but to an empty one


def _taken(folder: Path) -> Any:
    """The locked file, or None where another holds it."""
    try:
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise InputError(f"the folder {folder} can't be written to: {error.strerror}") from None
    try:
        fcntl: Any = importlib.import_module("fcntl")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may have removed it since we opened it.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK)):
            return file
    except ImportError:  # Windows
        return file
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.ENOENT):
            return file
    file.close()
    return None
