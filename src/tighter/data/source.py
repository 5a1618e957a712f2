"""Examples by their rows: whatever has a length and gives the rows that it is asked for."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Integer, PyTree

from tighter._checks import require
from tighter._errors import InputError

# Whose arrays and columns are in memory, and mean other things by their rows.
_IN_MEMORY = ("pandas", "polars", "torch")


@runtime_checkable
class Source(Protocol):
    """Examples that need not be in memory: read by rows, of the types that they are stored in."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, rows: Any) -> PyTree:
        """The examples of an int array of rows: a pytree of arrays with that leading axis."""
        ...


@runtime_checkable
class ArrayLike(Protocol):
    """An array, in memory or not: of a shape and a type, and read by rows."""

    @property
    def shape(self) -> Any:
        """Its axes."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of its numbers."""
        ...

    def __getitem__(self, rows: Any) -> Any:
        """Some of its rows."""
        ...


@runtime_checkable
class _Sparse(Protocol):
    """A sparse matrix or array of scipy."""

    def tocsr(self) -> Any: ...


@runtime_checkable
class _Orthogonal(Protocol):
    """An array of zarr, whose rows are asked for apart from its columns."""

    @property
    def oindex(self) -> Any: ...


@runtime_checkable
class _Several(Protocol):
    """A data set of torch that gives several examples at once."""

    def __getitems__(self, rows: list[int]) -> Any: ...


@runtime_checkable
class _Convertible(Protocol):
    """What NumPy makes an array of: a table in memory."""

    def __array__(self) -> np.ndarray: ...


@runtime_checkable
class _Tensor(Protocol):
    """An array of torch."""

    def numpy(self) -> np.ndarray: ...


class Arrays:
    """Arrays that are read by rows: memory maps, HDF5, zarr, sparse matrices, or a tree of these.

    Sparse rows are made dense a batch at a time. Memory does not grow with what was read of a map.

    Args:
        tree: Arrays with the same leading axis.
        name: What messages call it.

    Raises:
        InputError: If the leading axes differ.
    """

    def __init__(self, tree: PyTree, name: str = "data"):
        parts, self._structure = jax.tree.flatten_with_path(tree, is_leaf=is_array_like)
        self._parts = [_by_position(part) for _, part in parts]
        scalars = [name + jax.tree_util.keystr(path) for path, part in parts if not part.shape]
        require(not scalars, f"{' and '.join(scalars)} is a number: give arrays (N, ...)")
        sizes = {name + jax.tree_util.keystr(path): part.shape[0] for path, part in parts}
        listed = ", ".join(f"{place} has {size}" for place, size in sizes.items())
        require(
            len(set(sizes.values())) == 1,
            f"the parts of examples have the same leading axis, but {listed}",
        )
        self._size = next(iter(sizes.values()))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, rows: Integer[np.ndarray, " rows"]) -> PyTree:
        return jax.tree.unflatten(self._structure, [part(rows) for part in self._parts])


class OneByOne:
    """A data set that gives one example at a time: of torch, grain, or your own.

    Args:
        examples: Has a length, and gives the example of a whole number: arrays, numbers, or a tree.
        workers: Threads that read at the same time: decoding an image leaves Python to others.
    """

    def __init__(self, examples: Any, *, workers: int = 4):
        self._examples, self._workers = examples, workers

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, rows: Integer[np.ndarray, " rows"]) -> PyTree:
        indices = [int(row) for row in rows]
        if isinstance(self._examples, _Several):
            examples = self._examples.__getitems__(indices)
        elif self._workers > 1 and len(indices) > 1:
            examples = list(threads(self._workers).map(self._examples.__getitem__, indices))
        else:
            examples = [self._examples[index] for index in indices]
        return stacked(examples)


class Subset:
    """Some rows of an array that is read by rows.

    Args:
        array: The whole; has a shape.
        rows: Which, in order.
        scale: What numbers are divided by on the way, into float32; None to leave them.
    """

    def __init__(
        self, array: Any, rows: Integer[np.ndarray, " rows"], *, scale: float | None = None
    ):
        self._array, self._rows, self._scale = array, rows, scale
        self._read = array.__getitem__ if isinstance(array, Subset) else _by_position(array)
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype if scale is None else np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        values = self._read(self._rows[rows])
        return values if self._scale is None else values / np.float32(self._scale)


class Shards:
    """Arrays one after the other, as one.

    Args:
        arrays: Of one shape but for their rows.
        names: What messages call them.

    Raises:
        InputError: If their shapes differ.
    """

    def __init__(self, arrays: Sequence[Any], names: Sequence[str]):
        for array, name in zip(arrays, names, strict=True):
            require(
                array.shape[1:] == arrays[0].shape[1:] and array.dtype == arrays[0].dtype,
                f"{name} holds examples of {array.dtype}{array.shape[1:]}, {names[0]} of "
                f"{arrays[0].dtype}{arrays[0].shape[1:]}: shards are of one shape and type",
            )
        self._readers = [_by_position(array) for array in arrays]
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape, self.dtype = (int(self._ends[-1]), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of_shard = np.searchsorted(self._ends, rows, side="right")
        for shard in np.unique(of_shard):
            here = of_shard == shard
            first = self._ends[shard - 1] if shard else 0
            taken[here] = self._readers[shard](rows[here] - first)
        return taken


def as_source(data: Any, name: str = "data") -> Source | None:
    """What is read by rows, as a source; None for arrays in memory, which need not be.

    Args:
        data: Arrays, a tree of arrays, or anything with a length that gives rows or examples.
        name: What messages call it.

    Raises:
        InputError: If it has no length, or gives no examples.
    """
    if isinstance(data, Arrays | OneByOne | Subset | Shards):
        return data
    if isinstance(data, Iterable) and not isinstance(data, Sized):
        raise InputError(
            f"{name} is a stream of no known length, got {type(data).__name__}: give what has a "
            "length and rows, as an array, a memory map, a data set, or np.stack(list(examples))"
        )
    leaves = jax.tree.leaves(data, is_leaf=is_array_like)
    if leaves and all(map(is_array_like, leaves)):
        return Arrays(data, name) if any(map(is_stored, leaves)) else None
    in_memory = isinstance(data, list | tuple | dict | _Convertible)
    if in_memory or not isinstance(data, Source):
        return None
    return _of_rows(data, name)


def is_array_like(leaf: Any) -> bool:
    """Whether something is an `ArrayLike`."""
    return isinstance(leaf, ArrayLike)


def is_stored(leaf: Any) -> bool:
    """Whether something is an array that is not in memory, or not dense."""
    in_memory = isinstance(leaf, np.ndarray | np.generic | jax.Array)
    in_memory |= type(leaf).__module__.startswith(_IN_MEMORY)
    return is_array_like(leaf) and (isinstance(leaf, np.memmap) or not in_memory)


def _of_rows(data: Any, name: str) -> Source:
    """A data set as it is, if it takes rows; else one that is asked for one example at a time."""
    require(len(data) > 0, f"{name} is empty: give at least one example")
    probe = np.asarray([0, len(data) - 1])
    try:
        sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data[probe])}
        return data if sizes == {(2,)} else OneByOne(data)
    except Exception:
        return OneByOne(data)


def stacked(examples: Sequence[PyTree]) -> PyTree:
    """Examples as arrays with a leading axis.

    Raises:
        InputError: If their shapes differ.
    """
    try:
        return jax.tree.map(lambda *parts: np.stack([_host(part) for part in parts]), *examples)
    except ValueError as error:
        raise InputError(f"the examples differ in shape or in their parts: {error}") from None


def _host(part: Any) -> np.ndarray:
    return part.numpy() if isinstance(part, _Tensor) else np.asarray(part)


def _by_position(array: Any) -> Callable[[Integer[np.ndarray, " rows"]], np.ndarray]:
    """Rows in any order and more than once, of whatever kind of array."""
    if isinstance(array, _Sparse):
        by_rows = array.tocsr()
        return lambda rows: np.asarray(by_rows[rows].toarray())
    if isinstance(array, np.memmap):
        return _Mapped(array)
    if isinstance(array, np.ndarray | jax.Array):
        return lambda rows: np.asarray(array[rows])
    if type(array).__module__.startswith("tighter."):
        return array.__getitem__

    def ascending(rows: Integer[np.ndarray, " rows"]) -> np.ndarray:
        # HDF5 takes rows that ascend, each once; zarr is quicker so.
        unique, place = np.unique(rows, return_inverse=True)
        reader = array.oindex if isinstance(array, _Orthogonal) else array
        return np.asarray(reader[unique])[place]

    return ascending


class _Mapped:
    """Rows of a memory map, read from its file: of a map the system keeps what lies about a row.

    Args:
        array: The map, or a part of one.
    """

    def __init__(self, array: np.memmap):
        self._array, self._file = array, None
        width = array.strides[0]
        is_whole = width > 0 and width == array[:1].nbytes and array[:1].flags.c_contiguous
        mapped, name = array._mmap, array.filename  # type: ignore[attr-defined]
        in_file = name is not None and array.mode != "c"  # a copy may have been changed since
        if not (is_whole and mapped is not None and in_file and sys.platform != "win32"):
            return
        base = np.frombuffer(mapped, np.uint8).ctypes.data
        began = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        self._start, self._width = began + array.ctypes.data - base, width
        self._file = Path(str(name)).open("rb", buffering=0)  # noqa: SIM115 as long as the map

    def __call__(self, rows: Integer[np.ndarray, " rows"]) -> np.ndarray:
        if self._file is None:
            return np.array(self._array[rows])
        descriptor, width = self._file.fileno(), self._width
        places = (rows.astype(np.int64) * width + self._start).tolist()
        read = b"".join([os.pread(descriptor, width, place) for place in places])
        if len(read) != len(rows) * width:
            raise InputError(f"{self._array.filename} was cut short while it was read")
        return np.frombuffer(read, self._array.dtype).reshape(len(rows), *self._array.shape[1:])


_pools: dict[int, Any] = {}


def threads(workers: int) -> Any:
    """A pool of so many threads, kept."""
    from concurrent.futures import ThreadPoolExecutor  # late: few need it

    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers, "tighter-read")
    return _pools[workers]
