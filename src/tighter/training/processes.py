"""Several processes that train one model: what they have to agree on, and who writes."""

from __future__ import annotations

import atexit
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from tighter._checks import require
from tighter._errors import InputError, PeerError

T = TypeVar("T")

# Until a process that doesn't answer is given up.
_SILENT_SECONDS = 20
_ENDED = (
    "error: this process was ended, as another is gone or can't be reached: go on from the newest "
    "checkpoint of the run with --resume (resume=True)"
)
_watches: list[subprocess.Popen] = []
# Reads until it hears that all is well, or nothing.
_WATCH = "import sys; sys.stdin.buffer.read() or print(sys.argv[1], file=sys.stderr)"


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 60.0,
) -> None:
    """Join the processes of a job; the first of them is the coordinator.

    Under SLURM, Open MPI and Kubernetes JAX finds all by itself.

    Args:
        coordinator: "HOST:PORT" of process 0.
        num_processes: How many there are.
        process_id: Which of them this one is, from 0.
        timeout: Seconds to wait for the others.

    Raises:
        InputError: If the coordinator can't be reached in time, or it isn't known who takes part.

    Example:
        >>> tt.training.initialize("10.0.0.1:1234", 2, 0)  # doctest: +SKIP
    """
    given = (coordinator, num_processes, process_id)
    require(
        all(part is None for part in given) or all(part is not None for part in given),
        "of a coordinator, the number of processes and this one's number give all or none, got "
        f"{coordinator}, {num_processes} and {process_id}",
    )
    if coordinator is not None and num_processes is not None and process_id is not None:
        host, _, port = coordinator.rpartition(":")
        require(
            bool(host) and port.isdecimal(),
            f"a coordinator is HOST:PORT, such as 10.0.0.1:1234, got {coordinator!r}",
        )
        require(
            0 <= process_id < num_processes,
            f"of {num_processes} processes each has a number from 0, got {process_id}",
        )
        if process_id:
            _wait_for(host, int(port), timeout)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=int(timeout),
            heartbeat_timeout_seconds=_SILENT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes did not find each other ({str(error).splitlines()[0]}): start each "
            "with --coordinator HOST:PORT, --num-processes and --process-id, or under SLURM, Open "
            "MPI or Kubernetes"
        ) from None
    _watch()


def _wait_for(host: str, port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise InputError(
                    f"the coordinator {host}:{port} can't be reached within {seconds:g} s "
                    f"({error.strerror or error}): is process 0 running there?"
                ) from None
        time.sleep(0.2)


@contextlib.contextmanager
def peers_that_go(folder: Path | None) -> Iterator[None]:
    """Within, what JAX says when another process is gone becomes a line with what is left.

    Args:
        folder: Of the run; None where nothing is kept.

    Raises:
        PeerError: If another process is gone.
    """
    if jax.process_count() == 1:
        yield
        return
    kept = "nothing was stored"
    if folder is not None:
        kept = f"go on from the checkpoint with:  tighter train --resume {folder}  (resume=True)"
    place = f"process {jax.process_index()} of {jax.process_count()}"
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise PeerError(
            f"{place} stops, as another is gone or can't be reached "
            f"({str(error).splitlines()[0][:120]}); {kept}"
        ) from error


def _watch() -> None:
    """Have a line printed if this process is ended: JAX aborts one that has no coordinator."""
    command = [sys.executable, "-S", "-c", _WATCH, _ENDED]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    _watches.append(watch)
    atexit.register(all_is_well)


def all_is_well() -> None:
    """What ends this process from here on is its own affair, and has been said."""
    while _watches:
        _watches.pop().communicate(b"alive")


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def agreed(*numbers: int) -> list[int]:
    """Whole numbers as the first process has them, but 1 in the last place if any has it there."""
    if jax.process_count() == 1:
        return list(numbers)
    every = np.asarray(multihost_utils.process_allgather(np.asarray(numbers, np.int32)))
    return [*map(int, every[0, :-1]), int(every[:, -1].max())]


def by_first(function: Callable[[], T]) -> T | None:
    """What a function gives in the first process alone; None elsewhere.

    Raises:
        InputError: In all of them, if it is raised there.
    """
    if jax.process_count() == 1:
        return function()
    value, message = None, ""
    if is_first():
        try:
            value = function()
        except InputError as error:
            message = str(error) or type(error).__name__
    message = told_by_first(message)
    if message:
        raise InputError(message)
    return value


def told_by_first(content: Any) -> Any:
    """What the first process has, anything that JSON holds."""
    if jax.process_count() == 1:
        return content
    written = np.frombuffer(json.dumps(content).encode(), np.uint8) if is_first() else None
    size = int(_from_first(np.asarray(0 if written is None else written.size)))
    return json.loads(bytes(_from_first(np.zeros(size, np.uint8) if written is None else written)))


def arrays_of_first(tree: PyTree) -> PyTree:
    """Arrays as the first process has them."""
    return tree if jax.process_count() == 1 else jax.tree.map(_from_first, tree)


def _from_first(array: Any) -> np.ndarray:
    return np.asarray(multihost_utils.broadcast_one_to_all(np.asarray(array)))


def on_host(tree: PyTree) -> PyTree:
    """Arrays that are spread over processes, whole in each of them; others as they are."""
    if jax.process_count() == 1:
        return tree

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return jax.numpy.asarray(np.asarray(leaf.addressable_data(0)))
        return jax.numpy.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, tree)
