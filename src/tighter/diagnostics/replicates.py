"""Many independent estimates of one gradient: their moments, streamed, and the time of one."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from tighter._progress import follow

# Replicates are kept in groups: what is computed with each group left out tells the errors of all.
NUM_GROUPS = 20

# What the replicates that are computed at once may take: a share of the cache.
_BYTES = 2**22

# Rounds of timing: enough for a median, and no more than a few seconds in all.
_ROUNDS, _SECONDS = (9, 40), 2.0


class Gradient:
    """The compiled estimate of the gradient of a batch's mean bound, several keys at once.

    Args:
        model: Has `log_joint(x)` and `posterior(x)`.
        x: Examples; arrays with leading axis N.
        objective: Bound and estimator.
    """

    def __init__(self, model: Any, x: PyTree, objective: Any) -> None:
        self.arrays, static = eqx.partition(model, eqx.is_inexact_array)
        self._x = jax.tree.map(jnp.asarray, x)

        def replicate(arrays: PyTree, x: PyTree, key: Array) -> tuple[Array, PyTree]:
            def mean_bound(arrays: PyTree) -> Array:
                return jnp.mean(objective.batch(eqx.combine(arrays, static), x, key=key))

            return jax.value_and_grad(mean_bound)(arrays)

        def several(arrays: PyTree, x: PyTree, keys: Array) -> tuple[Array, PyTree]:
            if keys.shape[0] == 1:  # as in training: a vmap over one is not free
                return jax.tree.map(lambda leaf: leaf[None], replicate(arrays, x, keys[0]))
            return jax.vmap(replicate, (None, None, 0))(arrays, x, keys)

        self._program = functools.cache(
            lambda shape: jax.jit(several).lower(self.arrays, self._x, shape).compile()
        )

    def __call__(self, keys: Key[Array, " replicates"]) -> tuple[Array, PyTree]:
        """Mean bounds (replicates,), and gradients with that leading axis, of the model's shape."""
        return self.program(keys)(self.arrays, self._x, keys)

    def program(self, keys: Key[Array, " replicates"]) -> Any:
        """The machine code for that many keys."""
        return self._program(jax.ShapeDtypeStruct(keys.shape, keys.dtype))


class Moments(NamedTuple):
    """Streaming moments of (mean bound, gradient): pytrees of one structure.

    Attributes:
        count: How many replicates.
        mean: Their means.
        squares: Sums of squared deviations from the means.
    """

    count: Float[Array, ""]
    mean: PyTree
    squares: PyTree


@dataclasses.dataclass(frozen=True)
class Groups:
    """Moments of each of the groups of replicates, on the host.

    Attributes:
        size: Replicates a group.
        value: Of the mean bound: means (groups,) and sums of squared deviations (groups,).
        leaves: The same of each of the model's trainable arrays, (groups, *shape).
    """

    size: int
    value: tuple[np.ndarray, np.ndarray]
    leaves: list[tuple[np.ndarray, np.ndarray]]


def replicate(
    gradient: Gradient,
    num_replicates: int,
    *,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = False,
) -> Groups:
    """Moments over replicates with keys `fold_in(key, i)`, a group after another.

    Args:
        gradient: What to replicate.
        num_replicates: How many; rounded up to a multiple of the number of groups.
        chunk_size: Replicates computed at once; None for what fits into the cache.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        The groups' moments, which don't depend on the chunk size, to rounding.
    """
    size = -(-num_replicates // NUM_GROUPS)
    chunk = _even_chunk(size, chunk_size or _chunk_that_fits(gradient, key))
    parts = []
    for group in follow(range(NUM_GROUPS), "gradient noise", show_progress=show_progress):
        moments = _nothing(gradient.arrays)
        for start in range(0, size, chunk):
            keys, counted = _keys(key, group * size, start, size, chunk)
            moments = _add(moments, gradient(keys), counted)
        parts.append(jax.device_get((moments.mean, moments.squares)))
    mean, squares = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    leaves = zip(jax.tree.leaves(mean[1]), jax.tree.leaves(squares[1]), strict=True)
    return Groups(size, (mean[0], squares[0]), list(leaves))


def interleaved_seconds(
    gradients: Sequence[Gradient], *, key: Key[Array, ""]
) -> Float[np.ndarray, "gradients rounds"]:
    """Seconds of one gradient of each, called in turn, round after round, all compiled before.

    One call at a time and not in a compiled loop, out of which what doesn't depend on the draws
    (the encoder) would be moved.
    """

    def seconds(gradient: Gradient, keys: Array) -> float:
        start = time.perf_counter()
        jax.block_until_ready(gradient(keys))
        return time.perf_counter() - start

    def keys_of(number: int) -> Key[Array, " 1"]:
        return jax.block_until_ready(_keys(key, number, 0, 1, 1)[0])

    for gradient in gradients:
        for warming in range(2):
            seconds(gradient, keys_of(warming))
    one_round = sum(seconds(gradient, keys_of(2)) for gradient in gradients)
    num_rounds = int(np.clip(_SECONDS / one_round, *_ROUNDS))
    rounds = [
        [seconds(gradient, keys_of(number)) for gradient in gradients]
        for number in range(num_rounds)
    ]
    return np.array(rounds).T


def _chunk_that_fits(gradient: Gradient, key: Key[Array, ""]) -> int:
    """How many replicates at once stay in the cache, by the program of one."""
    needed = gradient.program(key[None]).memory_analysis()
    one = needed.temp_size_in_bytes + needed.output_size_in_bytes
    return max(1, _BYTES // max(one, 1))


def _even_chunk(size: int, most: int) -> int:
    """Chunks of a group as even as can be: the last one is filled up, and masked."""
    return -(-size // -(-size // min(most, size)))


@functools.partial(jax.jit, static_argnames="chunk")
def _keys(
    key: Key[Array, ""], first: Any, start: Any, size: Any, chunk: int
) -> tuple[Key[Array, " chunk"], Bool[Array, " chunk"]]:
    """Keys of a chunk of a group that begins at `first`, and which of them the group has."""
    within = start + jnp.arange(chunk)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + within), within < size


def _nothing(arrays: PyTree) -> Moments:
    """Moments of no replicate; of new arrays each, since they are given away."""
    mean, squares = (
        (jnp.zeros(()), jax.tree.map(jnp.zeros_like, arrays)) for _ in ("mean", "squares")
    )
    return Moments(jnp.zeros(()), mean, squares)


@functools.partial(jax.jit, donate_argnums=0)
def _add(moments: Moments, replicates: PyTree, counted: Bool[Array, " chunk"]) -> Moments:
    """The moments with a chunk of replicates more (Chan, Golub & LeVeque 1979)."""
    num_more = jnp.sum(counted)
    count = moments.count + num_more

    def of_counted(leaf: Array) -> Array:
        shape = counted.shape + (1,) * (leaf.ndim - 1)
        return jnp.where(counted.reshape(shape), leaf, jnp.zeros_like(leaf))

    more_mean = jax.tree.map(lambda leaf: jnp.sum(of_counted(leaf), axis=0) / num_more, replicates)
    apart = jax.tree.map(jnp.subtract, more_mean, moments.mean)
    mean = jax.tree.map(lambda old, step: old + step * (num_more / count), moments.mean, apart)

    def squares(old: Array, leaf: Array, center: Array, step: Array) -> Array:
        within = jnp.sum(of_counted((leaf - center[None]) ** 2), axis=0)
        return old + within + step**2 * (moments.count * num_more / count)

    return Moments(
        count, mean, jax.tree.map(squares, moments.squares, replicates, more_mean, apart)
    )
