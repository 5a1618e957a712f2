"""The terms of a diffusion model's bound over many examples, each with its error."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from tighter._checks import check_counts
from tighter._chunks import map_chunks
from tighter._examples import check_finite
from tighter._programs import compiled
from tighter._summary import quantity, summary
from tighter.models.diffusion.bound import closed_terms, diffusion_losses
from tighter.models.diffusion.model import DiffusionModel

_ROWS = 512


class Mean(NamedTuple):
    """A mean over examples and its standard error; NaN where there is one example."""

    mean: float
    standard_error: float


class DiffusionTerms(NamedTuple):
    """The bound and its parts, means a datum with standard errors over the examples.

    The errors hold the noise of the times and that of the examples, as each example has times of
    its own.

    Attributes:
        prior_kl: KL(q(z_1|x)‖p(z_1)), in nats.
        reconstruction: E_q[log p(x|z_0)], in nats.
        diffusion: The KL of the steps between, in nats.
        bound: reconstruction − prior KL − diffusion, in nats; larger is better.
        bits_per_dimension: −bound in bits an entry, of examples in [0, 1] that are whole numbers in
            levels and noise from [0, 1) over the number of levels; smaller is better.
    """

    prior_kl: Mean
    reconstruction: Mean
    diffusion: Mean
    bound: Mean
    bits_per_dimension: Mean

    def __repr__(self) -> str:
        terms = (f"{name} {quantity(*term)}" for name, term in self._asdict().items())
        return summary(self, ", ".join(terms))


def diffusion_terms(
    model: DiffusionModel,
    xs: ArrayLike,
    *,
    num_times: int = 16,
    levels: int = 256,
    key: Key[Array, ""],
) -> DiffusionTerms:
    """Measure the bound's terms, each apart, in bounded memory.

    Args:
        model: The model.
        xs: Examples (N, *shape).
        num_times: Times an example, at equal distances from a start of its own.
        levels: How many levels of a dequantized entry there are between 0 and 1; 1 for densities
            that were no levels.
        key: Random key.

    Raises:
        InputError: If a number is below 1, there are no examples, they don't fit the model,
            or hold entries that are not finite.

    Example:
        >>> diffusion_terms(model, xs, key=jax.random.key(0)).bits_per_dimension.mean
    """
    check_counts(num_times=num_times, levels=levels)
    xs = jnp.asarray(xs, float)
    model.check_examples(xs)
    check_finite(xs, "xs", missing=False)
    prior_kl, reconstruction, diffusion = (
        np.asarray(part, np.float64) for part in _measured(model, xs, num_times, key)
    )
    bound = reconstruction - prior_kl - diffusion
    bits = -bound / (xs[0].size * math.log(2)) + math.log2(levels)
    return DiffusionTerms(*map(_mean, (prior_kl, reconstruction, diffusion, bound, bits)))


@compiled
def _measured(
    model: DiffusionModel, xs: Float[Array, "batch ..."], num_times: int, key: Key[Array, ""]
) -> tuple[Array, Array, Array]:
    num = xs.shape[0]
    us = jax.vmap(model.standardized)(xs)
    start_key, noise_key = jax.random.split(key)
    starts = jax.random.uniform(start_key, (num,))

    def losses(rows: Int[Array, " chunk"]) -> Float[Array, " chunk"]:
        example, index = rows // num_times, rows % num_times
        times = (starts[example] + index / num_times) % 1.0
        keys = jax.vmap(jax.random.fold_in, (None, 0))(noise_key, rows)
        noise = jax.vmap(lambda key: jax.random.normal(key, us.shape[1:], us.dtype))(keys)
        return diffusion_losses(model, us[example], times[:, None], noise[:, None])[:, 0]

    diffusion = map_chunks(losses, num * num_times, _ROWS).reshape(num, num_times)
    return *closed_terms(model, us), jnp.mean(diffusion, axis=1)


def _mean(values: np.ndarray) -> Mean:
    num = values.size
    error = values.std(ddof=1) / math.sqrt(num) if num > 1 else math.nan
    return Mean(float(values.mean()), float(error))
