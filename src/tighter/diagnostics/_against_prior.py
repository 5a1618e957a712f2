"""How a sample differs from the prior, unit by unit: Kolmogorov–Smirnov, and quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from tighter._programs import compiled
from tighter.diagnostics._posteriors import units_of

# Draws of the prior where its distribution function isn't known.
_PRIOR_DRAWS = 50_000
_LEVELS = (np.arange(99) + 0.5) / 99


class AgainstPrior(NamedTuple):
    """Of each unit, as in `AggregatedPosterior`."""

    statistic: Float[np.ndarray, " latent"]
    p_value: Float[np.ndarray, " latent"]
    theoretical_quantiles: Float[np.ndarray, "latent levels"]
    sample_quantiles: Float[np.ndarray, "latent levels"]
    compared_with: str


def against_prior(
    prior: Any, z: Float[Array, "examples latent"], *, key: Key[Array, ""]
) -> tuple[Float[Array, "examples latent"], AgainstPrior]:
    """Compare a sample with the prior; the sample comes back whitened where the prior is."""
    units, compared_with = units_of(prior), "distribution function"
    if isinstance(prior, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        factor = jnp.linalg.cholesky(prior.covariance_matrix)
        z = jax.scipy.linalg.solve_triangular(factor, (z - prior.loc[None]).T, lower=True).T
        prior = units = dist.Normal(jnp.zeros(z.shape[1]), 1.0)
        compared_with = "whitened normal"
    prior_draws = _flat_draws(prior, key)
    if _has_distribution_function(units, prior_draws):
        statistic, p_value = _from_function(z, _function_of(units))
        theoretical = _quantiles(_function_of(units), prior_draws)
    else:
        statistic, p_value = _from_draws(z, prior_draws)
        theoretical = np.quantile(np.asarray(prior_draws, np.float64), _LEVELS, axis=0).T
        compared_with = "draws"
    quantiles = np.quantile(np.asarray(z, np.float64), _LEVELS, axis=0).T
    return z, AgainstPrior(statistic, p_value, theoretical, quantiles, compared_with)


@compiled
def _flat_draws(prior: Any, key: Key[Array, ""]) -> Float[Array, "draws latent"]:
    keys = jax.random.split(key, _PRIOR_DRAWS)
    return jax.vmap(lambda key: ravel_pytree(prior.sample(key))[0].astype(float))(keys)


def _function_of(units: Any) -> Callable[[Array], Array]:
    """The distribution functions of all units, of values (latent,)."""
    base = units
    while isinstance(base, dist.ExpandedDistribution):  # which has none, unlike what it expands
        base = base.base_dist
    return lambda z: jnp.ravel(base.cdf(z.reshape(units.batch_shape)))


def _has_distribution_function(units: Any, prior_draws: Float[Array, "draws latent"]) -> bool:
    if units is None or units.is_discrete:
        return False
    try:
        _function_of(units)(prior_draws[0])
    except (NotImplementedError, ImportError):
        return False
    return True


def _from_function(
    z: Float[Array, "examples latent"], function: Callable[[Array], Array]
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics and p-values."""
    from scipy.stats import kstwo  # two seconds to import, so that it is done late

    num = z.shape[0]
    below = np.asarray(jax.jit(jax.vmap(function))(jnp.sort(z, axis=0)), np.float64)
    ranks = np.arange(num)[:, None] / num
    statistic = np.maximum(below - ranks, ranks + 1 / num - below).max(axis=0)
    return statistic, kstwo.sf(statistic, num)


def _from_draws(
    z: Float[Array, "examples latent"], prior_draws: Float[Array, "draws latent"]
) -> tuple[np.ndarray, np.ndarray]:
    """The same, where draws stand for the prior."""
    from scipy.stats import ks_2samp

    columns = zip(np.asarray(z, np.float64).T, np.asarray(prior_draws, np.float64).T, strict=True)
    tests: list[Any] = [ks_2samp(*pair, method="asymp") for pair in columns]
    return np.array([test.statistic for test in tests]), np.array([test.pvalue for test in tests])


def _quantiles(
    function: Callable[[Array], Array], prior_draws: Float[Array, "draws latent"]
) -> Float[np.ndarray, "latent levels"]:
    """Where the distribution functions reach each level, by halving what draws span.

    Inverses in closed form are known for few families.
    """
    functions = jax.vmap(function)
    levels = jnp.asarray(_LEVELS, prior_draws.dtype)[:, None]

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        above = functions(middle) > levels
        return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

    shape = levels.size, prior_draws.shape[1]
    low = jnp.broadcast_to(prior_draws.min(axis=0)[None], shape)
    high = jnp.broadcast_to(prior_draws.max(axis=0)[None], shape)
    low, high = jax.lax.fori_loop(0, 40, halve, (low, high))
    return np.asarray(0.5 * (low + high), np.float64).T
