"""Draws as functions of uniform noise, where the noise behind a family is known."""

# numpyro tells of parameters that they may be tuples.
# pyright: reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from tighter.distributions.gaussian import low_rank_factor


def from_uniform(distribution: Any, uniform: Float[Array, " D"]) -> Array | None:
    """A draw made of D uniform numbers, differentiable in the parameters; None if not known how.

    Args:
        distribution: A numpyro distribution with empty batch shape and D numbers in its event.
        uniform: Numbers in (0, 1).

    Returns:
        A value of the event shape, distributed as the distribution where the noise is uniform.
    """
    shape = tuple(distribution.batch_shape) + tuple(distribution.event_shape)
    if isinstance(distribution, dist.Independent):
        return from_uniform(distribution.base_dist, uniform)
    if isinstance(distribution, dist.ExpandedDistribution):
        return _quantile(distribution.base_dist, uniform.reshape(shape))
    if isinstance(distribution, dist.MultivariateNormal):
        return distribution.loc + distribution.scale_tril @ ndtri(uniform)
    if isinstance(distribution, dist.LowRankMultivariateNormal):
        factor = low_rank_factor(distribution)
        return distribution.loc + factor @ ndtri(uniform)
    if isinstance(distribution, dist.TransformedDistribution):
        z = from_uniform(distribution.base_dist, uniform)
        for transform in distribution.transforms if z is not None else ():
            z = transform(z)
        return z
    return _quantile(distribution, uniform.reshape(shape))


def num_noise(distribution: Any) -> int:
    """How many uniform numbers a draw is made of."""
    return math.prod((*distribution.batch_shape, *distribution.event_shape))


def _quantile(distribution: Any, uniform: Array) -> Array | None:
    for family, quantile in _QUANTILES.items():
        if isinstance(distribution, family):
            return quantile(distribution, uniform)
    return None


def _laplace(d: Any, u: Array) -> Array:
    centered = u - 0.5
    return d.loc - d.scale * jnp.sign(centered) * jnp.log1p(-2 * jnp.abs(centered))


def _kumaraswamy(d: Any, u: Array) -> Array:
    return (-jnp.expm1(jnp.log1p(-u) / d.concentration0)) ** (1 / d.concentration1)


_QUANTILES: dict[type, Callable[[Any, Array], Array]] = {
    dist.Normal: lambda d, u: d.loc + d.scale * ndtri(u),
    dist.Uniform: lambda d, u: d.low + (d.high - d.low) * u,
    dist.Exponential: lambda d, u: -jnp.log1p(-u) / d.rate,
    dist.Laplace: _laplace,
    dist.Gumbel: lambda d, u: d.loc - d.scale * jnp.log(-jnp.log(u)),
    dist.Kumaraswamy: _kumaraswamy,
    dist.Logistic: lambda d, u: d.loc + d.scale * (jnp.log(u) - jnp.log1p(-u)),
}
