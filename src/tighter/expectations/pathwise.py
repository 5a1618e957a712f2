"""The reparameterized estimator of an expectation, over independent or spread-out noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter.distributions import from_uniform, name_of, num_noise
from tighter.expectations.families import scalar
from tighter.gradients import Draws


def pathwise(
    f: Callable[[Any], Array], distribution: Any, draws: Draws, num: int, key: Key[Array, ""]
) -> Float[Array, ""]:
    """Mean of f over draws that move with the parameters."""
    if draws is Draws.INDEPENDENT:
        keys = jax.random.split(key, num)
        ws = jax.vmap(lambda key: distribution.rsample(key, ()))(keys)
        return jnp.mean(jax.vmap(scalar(f))(ws))
    size = num_noise(distribution) if hasattr(distribution, "event_shape") else 0
    if size == 0 or from_uniform(distribution, jnp.full(size, 0.5)) is None:
        raise InputError(
            f"{draws.value} draws need the noise behind a family, which is not known of "
            f"{name_of(distribution)}: use independent draws"
        )
    if draws is Draws.ANTITHETIC:
        if num % 2:
            raise InputError(f"antithetic draws come in pairs: num_samples is even, got {num}")
        half = _inside(jax.random.bits(key, (num // 2, size), jnp.uint32))
        uniform = jnp.concatenate([half, 1 - half])
    else:
        # A random digital shift leaves each point uniform, so that the estimate is unbiased.
        shift = jax.random.bits(key, (size,), jnp.uint32)
        uniform = _inside(jnp.bitwise_xor(_sobol(num, size), shift[None, :]))
    return jnp.mean(jax.vmap(lambda u: scalar(f)(from_uniform(distribution, u)))(uniform))


def _inside(bits: Array) -> Array:
    """Uniform numbers in (0, 1), symmetric about a half, of random bits."""
    return ((bits >> 9).astype(jnp.result_type(float)) + 0.5) * 2.0**-23


def _sobol(num: int, size: int) -> Array:
    """The first points of the Sobol sequence, as 32 bits a coordinate."""
    from scipy.stats import qmc  # a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # any number of points is unbiased
        points = qmc.Sobol(size, scramble=False, bits=32).random_base2(math.ceil(math.log2(num)))
    return jnp.asarray((points[:num] * 2.0**32).astype(np.uint32))
