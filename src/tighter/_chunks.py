"""Functions of indices, a chunk or a block at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from tighter._progress import follow


def map_chunks(
    function: Callable[[Int[Array, " chunk"]], PyTree], num: int, chunk_size: int | None
) -> PyTree:
    """`function(arange(num))`, computed `chunk_size` indices at a time.

    Args:
        function: Takes indices (chunk,), returns arrays with the same leading axis, each row
            depending on its own index alone. To bound the memory of its derivative as well, wrap
            it in `jax.checkpoint`.
        num: How many indices there are.
        chunk_size: Indices at a time; None for all. Need not divide `num`.

    Returns:
        What `function` returns, with leading axis `num`.
    """
    if chunk_size is None or chunk_size >= num:
        return function(jnp.arange(num))
    full = num // chunk_size
    # In a function of its own, as what a loop outside of any leaves behind would never go.
    mapped = jax.jit(lambda indices: jax.lax.map(function, indices), inline=True)
    in_chunks = mapped(jnp.arange(full * chunk_size).reshape(full, chunk_size))
    result = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), in_chunks)
    if full * chunk_size == num:
        return result
    rest = function(jnp.arange(full * chunk_size, num))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), result, rest)


def fold_chunks(
    add: Callable[[PyTree, Int[Array, ""], int], PyTree], state: PyTree, num: int, chunk_size: int
) -> PyTree:
    """What a state becomes as `num` indices are added to it, so many at a time, in one program.

    Args:
        add: (state, first index, how many) -> state.
        state: Before the first.
        num: How many indices there are.
        chunk_size: Indices at a time, at most `num`; need not divide it.
    """
    full = num // chunk_size
    state = jax.lax.fori_loop(0, full, lambda i, held: add(held, i * chunk_size, chunk_size), state)
    rest = num - full * chunk_size
    return add(state, jnp.asarray(full * chunk_size), rest) if rest else state


def map_blocks(
    function: Callable[[Int[Array, " block"]], PyTree],
    num: int,
    block_size: int,
    description: str,
    *,
    show_progress: bool | None = False,
) -> PyTree:
    """A function of indices below `num`, a block of them at a time, gathered on the host.

    The last block is filled up with the last index, so that one program serves all.

    Args:
        function: Takes indices (block,), returns arrays with that leading axis.
        num: How many indices there are.
        block_size: Indices at a time.
        description: What stands before the bar.
        show_progress: None for a bar on terminals; True or False.
    """
    parts = []
    for start in follow(range(0, num, block_size), description, show_progress=show_progress):
        taken = np.minimum(np.arange(start, start + block_size), num - 1)
        parts.append(jax.device_get(function(jnp.asarray(taken))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num], *parts)
