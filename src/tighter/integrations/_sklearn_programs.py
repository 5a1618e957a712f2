"""Functions of a model and a table, row by row: a row's numbers depend on that row alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._programs import compiled
from tighter.distributions import draw
from tighter.models import VAE
from tighter.objectives.objective import Objective

# One program for each of these serves tables of any length; the last block is filled up.
_ROWS, _SCORED_ROWS, _DRAWS = 256, 16, 256


def encodings(model: VAE, xs: np.ndarray, *, num_samples: int, key: Key[Array, ""]) -> np.ndarray:
    """Mean of q(z|x) of each row, flattened; of so many draws where it has no closed form."""
    return in_blocks(lambda block: _encode(model, block, num_samples, key), xs, _ROWS)


def decodings(model: VAE, zs: np.ndarray) -> np.ndarray:
    """Mean of p(x|z) of each row."""
    return in_blocks(lambda block: _decode(model, block), zs, _ROWS)


def log_likelihoods(
    model: VAE, xs: np.ndarray, objective: Objective, *, key: Key[Array, ""]
) -> np.ndarray:
    """The objective's bound of each row, in nats: with IWAE of many draws its log-likelihood."""
    return in_blocks(lambda block: _bounds(model, block, objective, key), xs, _SCORED_ROWS)


def scoring(bound: Any, gradient: Any, num_samples: int) -> Objective:
    """The objective for `log_likelihoods`, in bounded memory."""
    chunk_size = min(num_samples, _DRAWS)
    return Objective(bound, gradient, num_samples=num_samples, chunk_size=chunk_size)


@compiled
def draws(model: VAE, num: int, key: Key[Array, ""]) -> Array:
    """So many draws of x."""
    return model.sample(key, num)


def in_blocks(function: Callable[[Array], Array], rows: np.ndarray, size: int) -> np.ndarray:
    """A function of blocks of rows, of always the same size, for all rows."""
    parts = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        filled = np.concatenate([block, np.repeat(block[:1], size - len(block), axis=0)])
        parts.append(np.asarray(function(jnp.asarray(filled)))[: len(block)])
    return np.concatenate(parts)


@compiled
def _encode(
    model: VAE, xs: Float[Array, "rows columns"], num_samples: int, key: Key[Array, ""]
) -> Float[Array, "rows latent"]:
    def one(x: Array) -> Array:
        posterior = model.posterior(x)
        if _has_mean(posterior):
            return posterior.mean.reshape(-1)  # pyright: ignore[reportAttributeAccessIssue]
        keys = jax.random.split(key_of(x, key), num_samples)
        drawn = jax.vmap(lambda key: draw(posterior, key=key))(keys)
        return jnp.mean(drawn, axis=0, dtype=float).reshape(-1)

    return jax.vmap(one)(xs)


@compiled
def _decode(model: VAE, zs: Float[Array, "rows latent"]) -> Float[Array, "rows columns"]:
    shape = model.family.latent_shape(model.num_latent)
    return jax.vmap(lambda z: model.likelihood_mean(z.reshape(shape)))(zs)


@compiled
def _bounds(
    model: VAE, xs: Float[Array, "rows columns"], objective: Objective, key: Key[Array, ""]
) -> Float[Array, " rows"]:
    def one(x: Array) -> Array:
        return objective(model.log_joint(x), model.posterior(x), key=key_of(x, key))

    return jax.vmap(one)(xs)


def key_of(x: Float[Array, " columns"], key: Key[Array, ""]) -> Key[Array, ""]:
    """A key for a row from its numbers: the same wherever in a table it stands."""
    of_digest, of_row = jax.random.split(key)
    alike = jnp.where(jnp.isnan(x), jnp.nan, x + 0.0).astype(jnp.float32)  # one NaN, one zero
    bits = jax.lax.bitcast_convert_type(alike, jnp.uint32)
    factors = jax.random.bits(of_digest, x.shape, jnp.uint32) | jnp.uint32(1)
    return jax.random.fold_in(of_row, jnp.sum(bits * factors, dtype=jnp.uint32))


def _has_mean(posterior: Any) -> bool:
    """Whether it has a mean in closed form."""
    try:
        return isinstance(posterior.mean, jax.Array)
    except (AttributeError, NotImplementedError):
        return False
