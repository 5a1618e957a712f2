"""The order of the examples in each epoch, found without what came before it."""

from __future__ import annotations

import functools

import jax
import numpy as np
from jaxtyping import Array, Integer, Key

# Up to so many rows an epoch's order is a permutation sorted once; of more it is computed in parts.
_SORTED = 1 << 20
_ROUNDS = 6


class Order:
    """The order of the examples in each epoch, a function of the key and the epoch alone.

    Random bits, sorted here: XLA takes seven times as long to sort, and would in every chunk. Of
    very many examples it is a permutation that is computed a part at a time.

    Args:
        key: Of the permutations.
        num_examples: How many there are.
        batch_size: Examples a step; the last, incomplete batch is left out.
    """

    def __init__(self, key: Key[Array, ""], num_examples: int, batch_size: int):
        self.key, self.num_examples, self.batch_size = key, num_examples, batch_size
        self.per_epoch = num_examples // batch_size
        self._sorted = functools.lru_cache(maxsize=2)(self._whole)

    def rows(self, step: int, until: int) -> np.ndarray:
        """Which examples the steps of one epoch take, in order."""
        epoch, within = divmod(step, self.per_epoch)
        start = within * self.batch_size
        stop = start + (until - step) * self.batch_size
        if self.num_examples <= _SORTED:
            return self._sorted(epoch)[start:stop]
        seed = np.asarray(jax.random.key_data(jax.random.fold_in(self.key, epoch)))
        return epoch_order(seed, self.num_examples, start, stop)

    def _whole(self, epoch: int) -> np.ndarray:
        key = jax.random.fold_in(self.key, epoch)
        bits = np.asarray(jax.random.bits(key, (self.num_examples,), "uint32"))
        return np.argsort(bits, kind="stable").astype(np.int32)


def epoch_order(
    seed: Integer[np.ndarray, " words"], num: int, start: int, stop: int
) -> Integer[np.ndarray, " rows"]:
    """Some places of a permutation of the rows, without the rest of it.

    A Feistel network permutes the numbers below a power of four that holds `num`; a number beyond
    `num` is sent through it again until it is one within.

    Args:
        seed: Random words.
        num: How many rows there are.
        start: The first place.
        stop: One past the last.

    Returns:
        The rows at these places.

    References:
        Black & Rogaway, "Ciphers with arbitrary finite domains", 2002, sec. 3 (cycle walking) and
        5 (Feistel).
    """
    half = max(1, (int(num - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.default_rng(np.asarray(seed, np.uint32)).integers(
        1, 1 << 63, size=(_ROUNDS, 2), dtype=np.uint64
    )

    def permuted(numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> np.uint64(half), numbers & mask
        for multiplier, added in keys:
            mixed = (right + added) * (multiplier | np.uint64(1))
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        return (left << np.uint64(half)) | right

    with np.errstate(over="ignore"):
        rows = permuted(np.arange(start, stop, dtype=np.uint64))
        while (beyond := rows >= num).any():
            rows[beyond] = permuted(rows[beyond])
    return rows.astype(np.int64)
