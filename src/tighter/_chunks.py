"""Evaluating a function of indices a chunk at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


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
