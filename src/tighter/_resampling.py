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
    """
    total = jnp.sum(magnitudes)
    num_draws = magnitudes.shape[0]
    probabilities = jnp.where(total > 0, magnitudes / jnp.where(total > 0, total, 1), 1 / num_draws)
    cumulative = jnp.cumsum(probabilities)
    points = (jnp.arange(num) + jax.random.uniform(key, dtype=cumulative.dtype)) / num
    picked = jnp.searchsorted(
        cumulative, points * cumulative[-1], side="right", method="compare_all"
    )
    picked = jnp.minimum(picked, num_draws - 1)
    expected = num * probabilities[picked]
    return picked, jnp.where(expected > 0, 1 / jnp.where(expected > 0, expected, 1), 0)
