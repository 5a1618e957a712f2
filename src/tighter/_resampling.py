"""Which terms of a sum to keep, so that few stand for all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def systematic(
    magnitudes: Float[Array, " K"], num: int, *, key: Key[Array, ""]
) -> tuple[Int[Array, " m"], Float[Array, " m"]]:
    """Systematic resampling: `num` indices, and one over each one's expected count.

    A sum over the picked terms, times the second result, has the expectation of the whole sum.
    Infinite magnitudes leave nothing to others; with one that is NaN so are the results.
    """
    num_draws, dtype = magnitudes.shape[0], magnitudes.dtype
    # In single precision at least, lest what is small never be picked.
    magnitudes = magnitudes.astype(jnp.promote_types(dtype, jnp.float32))
    largest = jnp.max(magnitudes)
    relative = jnp.where(magnitudes == largest, 1, magnitudes / largest)
    probabilities = relative / jnp.sum(relative)
    cumulative = jnp.cumsum(probabilities)
    points = (jnp.arange(num) + jax.random.uniform(key, dtype=cumulative.dtype)) / num
    picked = jnp.searchsorted(
        cumulative, points * cumulative[-1], side="right", method="compare_all"
    )
    picked = jnp.minimum(picked, num_draws - 1)
    expected = num * probabilities[picked]
    factor = jnp.where(expected == 0, 0, 1 / jnp.where(expected == 0, 1, expected))
    return picked, factor.astype(dtype)
