"""Examples on their way to the device: all of them at once, or a block of batches at a time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from tighter.data.source import Source
from tighter.training.order import Order

_BLOCK = 16 * 2**20  # bytes; two blocks are there at a time


class Block(NamedTuple):
    """Examples on the device, and where the steps of an epoch find theirs.

    Attributes:
        data: All examples; or, without an order, batches: arrays (steps, batch, ...).
        order: Of the examples in the epoch; None where batches are in order already.
        first: The step that the order, or the batches, begin with.
    """

    data: PyTree
    order: Int[Array, " N"] | None
    first: Int[Array, ""]


class InMemory:
    """All examples on the device, and an epoch's order.

    Args:
        xs: Arrays with one leading axis.
        order: Of the epochs.
    """

    def __init__(self, xs: PyTree, order: Order):
        self._data, self._order = jax.tree.map(jnp.asarray, xs), order
        self._block: Block | None = None
        self._end = 0

    def block(self, step: int) -> tuple[Block, int]:
        """A block that holds the examples of a step, and the step that it ends before."""
        if self._block is None or step >= self._end:
            per_epoch = self._order.per_epoch
            first = step - step % per_epoch
            self._end = first + per_epoch
            rows = self._order.rows(first, self._end).astype(np.int32)
            self._block = Block(self._data, jnp.asarray(rows), jnp.asarray(first))
        return self._block, self._end

    def close(self) -> None:
        """Nothing is kept open."""


class Streamed:
    """Blocks of batches, each read while the steps of the one before are taken.

    Args:
        source: The examples.
        order: Of the epochs.
        mesh: Over whose axis "data" batches are spread; None for one device.
    """

    def __init__(self, source: Source, order: Order, mesh: Mesh | None):
        self._source, self._order, self._mesh = source, order, mesh
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(source[np.zeros(1, int)]))
        steps = _BLOCK // max(1, size * order.batch_size)
        self._steps = int(np.clip(steps, 1, order.per_epoch))
        self._reader = ThreadPoolExecutor(1, "tighter-read")
        self._block: Block | None = None
        self._first = self._end = 0
        self._next: tuple[int, Future] | None = None

    def block(self, step: int) -> tuple[Block, int]:
        """A block that holds the batches of a step, and the step that it ends before."""
        if self._block is None or not self._first <= step < self._end:
            ahead, self._next = self._next, None
            if ahead is None or ahead[0] != step:
                ahead = step, self._reader.submit(self._read, step)
            self._block = ahead[1].result()
            self._first, self._end = step, self._until(step)
            self._next = self._end, self._reader.submit(self._read, self._end)
        return self._block, self._end

    def close(self) -> None:
        """Let the reader go."""
        self._reader.shutdown(cancel_futures=True)

    def _until(self, step: int) -> int:
        epoch_ends = (step // self._order.per_epoch + 1) * self._order.per_epoch
        return min(step + self._steps, epoch_ends)

    def _read(self, step: int) -> Block:
        until = self._until(step)
        rows = self._order.rows(step, until).reshape(until - step, -1)
        local = slice(None)
        if self._mesh is not None:
            sharding = NamedSharding(self._mesh, PartitionSpec(None, "data"))
            local = _own_part(sharding, rows.shape)
        mine = rows[:, local]
        batches = self._source[mine.reshape(-1)]

        def placed(part: np.ndarray) -> Any:
            part = part.reshape(*mine.shape, *part.shape[1:])
            if len(part) < self._steps:  # one shape, one program
                part = np.concatenate([part, np.repeat(part[:1], self._steps - len(part), axis=0)])
            if self._mesh is None:
                return jax.device_put(part)
            shape = (self._steps, self._order.batch_size, *part.shape[2:])
            start = local.start or 0

            def of_device(index: Any) -> np.ndarray:
                first, last, _ = index[1].indices(shape[1])
                return part[:, first - start : last - start]

            return jax.make_array_from_callback(shape, sharding, of_device)

        return Block(jax.tree.map(placed, batches), None, jnp.asarray(step))


def _own_part(sharding: NamedSharding, shape: tuple[int, int]) -> slice:
    """The places in a batch that the devices of this process hold."""
    held = sharding.addressable_devices_indices_map(shape).values()
    ends = [index[1].indices(shape[1]) for index in held if index is not None]
    return slice(min(start for start, _, _ in ends), max(stop for _, stop, _ in ends))
