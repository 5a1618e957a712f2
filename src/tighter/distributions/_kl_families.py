"""KL(q‖p) of two members of families, in closed form, without a loss of digits.

What is often written as a difference of large numbers (log Γ of 10⁴ is 82,099, of which float32
keeps two decimals) is written here as a sum of terms that are themselves divergences, such
as e^t − 1 − t, with what cancels left out. `FAMILIES` is the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array

from tighter.distributions._stirling import LARGE, excess, log_ratio, stirling_series

_BERNOULLIS = (dist.BernoulliProbs, dist.BernoulliLogits)
_CATEGORICALS = (dist.CategoricalProbs, dist.CategoricalLogits)
_GEOMETRICS = (dist.GeometricProbs, dist.GeometricLogits)


def _normal(q: Any, p: Any) -> Array:
    return 0.5 * (excess(2 * log_ratio(q.scale, p.scale)) + ((q.loc - p.loc) / p.scale) ** 2)


def _half_normal(q: Any, p: Any) -> Array:
    return 0.5 * excess(2 * log_ratio(q.scale, p.scale))


def _laplace(q: Any, p: Any) -> Array:
    distance = jnp.abs(q.loc - p.loc)
    apart = (q.scale * jnp.expm1(-distance / q.scale) + distance) / p.scale
    return excess(log_ratio(q.scale, p.scale)) + apart


def _poisson(q: Any, p: Any) -> Array:
    log_of_ratio = log_ratio(p.rate, jnp.where(q.rate > 0, q.rate, 1.0))
    close = q.rate * excess(jnp.minimum(log_of_ratio, 1.0))
    return jnp.where(
        (q.rate > 0) & (log_of_ratio < 1), close, p.rate - q.rate - q.rate * log_of_ratio
    )


def _exponential(q: Any, p: Any) -> Array:
    return excess(log_ratio(p.rate, q.rate))


def _gamma(q: Any, p: Any) -> Array:
    a, b = _shape_and_rate(q)
    c, d = _shape_and_rate(p)
    log_of_ratio, rest = _log_gammas(c, a)
    of_shapes = log_ratio(c, a)
    of_means = log_ratio(d, b) - of_shapes
    return rest + c * (log_of_ratio - of_shapes) + c * excess(of_means)


def _weibull_gamma(q: Any, p: Any) -> Array:
    """With E[x] = λ Γ(1 + 1/k) and E[log x] = log λ − γ/k."""
    euler = jnp.euler_gamma
    log_mean = jnp.log(q.scale) + gammaln(1 + 1 / q.concentration)
    a, spread = p.concentration, gammaln(1 + 1 / q.concentration) + euler / q.concentration
    log_of_ratio = log_mean + jnp.log(p.rate) - jnp.log(a)
    rest = _log_gamma_rest(a) + jnp.log(q.concentration) - euler - 1
    return a * excess(log_of_ratio) + a * spread + rest


def _shape_and_rate(d: Any) -> tuple[Any, Any]:
    if isinstance(d, dist.Exponential):
        return jnp.ones_like(d.rate), d.rate
    return d.concentration, d.rate


def _beta(q: Any, p: Any) -> Array:
    pairs = ((d.concentration1, d.concentration0) for d in (q, p))
    return _of_concentrations(*(jnp.stack(jnp.broadcast_arrays(*pair), axis=-1) for pair in pairs))


def _dirichlet(q: Any, p: Any) -> Array:
    return _of_concentrations(q.concentration, p.concentration)


def _of_concentrations(a: Array, c: Array) -> Array:
    total = jnp.sum(c, axis=-1)
    of_all, rest_of_all = _log_gammas(total, jnp.sum(a, axis=-1))
    of_each, rest = _log_gammas(c, a)
    return jnp.sum(c * (of_each - of_all[..., None]) + rest, axis=-1) - rest_of_all


def _uniform(q: Any, p: Any) -> Array:
    inside = (q.low >= p.low) & (q.high <= p.high)
    return jnp.where(inside, log_ratio(p.high - p.low, q.high - q.low), jnp.inf)


def _bernoulli(q: Any, p: Any) -> Array:
    ours, theirs = (
        jnp.stack([jax.nn.log_sigmoid(d.logits), jax.nn.log_sigmoid(-d.logits)], axis=-1)
        for d in (q, p)
    )
    return _of_log_probs(ours, theirs)


def _categorical(q: Any, p: Any) -> Array:
    return _of_log_probs(jax.nn.log_softmax(q.logits), jax.nn.log_softmax(p.logits))


def _of_log_probs(ours: Array, theirs: Array) -> Array:
    """Σ p_i log(p_i / p'_i): a value that q never takes adds nothing, whatever p gives it."""
    least = jnp.finfo(ours.dtype).min / 2  # numpyro's logits of 0 are the least number, not −∞
    taken, possible = ours > least, theirs > least
    difference = jnp.where(taken & possible, ours, 0) - jnp.where(taken & possible, theirs, 0)
    return jnp.sum(jnp.where(taken & ~possible, jnp.inf, jnp.exp(ours) * difference), axis=-1)


def _geometric(q: Any, p: Any) -> Array:
    failures = jnp.exp(jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(q.logits))
    return (
        jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
        + failures * (jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits))
    )  # fmt: skip


def _log_gammas(c: Any, a: Any) -> tuple[Array, Array]:
    """Of log Γ(c) − log Γ(a) − (c − a) ψ(a) = a − c + c ℓ + rest: ℓ, and the rest.

    By Γ(x) = Γ(x + n) / [x … (x + n − 1)], n = 8, and Stirling's series of Γ(x + n): what is large
    is left to the caller, where most of it cancels; ℓ is log (c + n)/(a + n).
    """
    steps = jnp.arange(LARGE, dtype=jnp.result_type(a, float))
    below = jax.vmap(lambda step: excess(log_ratio(c + step, a + step)))(steps)
    log_of_ratio = log_ratio(c + LARGE, a + LARGE)
    series = (
        stirling_series(c + LARGE)
        - stirling_series(a + LARGE)
        - (c - a) * _stirling_slope(a + LARGE)
    )
    return log_of_ratio, (
        jnp.sum(below, axis=0) + LARGE * log_of_ratio + 0.5 * excess(log_of_ratio) + series
    )


def _stirling_slope(x: Any) -> Any:
    """Its derivative."""
    y = 1 / x**2
    return -y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))


def _log_gamma_rest(x: Any) -> Array:
    """Log Γ(x) − x log x + x."""
    large = x > LARGE
    near, far = jnp.where(large, 1.0, x), jnp.where(large, x, LARGE)
    series = 0.5 * math.log(2 * math.pi) - 0.5 * jnp.log(far) + stirling_series(far)
    return jnp.where(large, series, gammaln(near) - near * jnp.log(near) + near)


Divergence = Callable[[Any, Any], Array]

FAMILIES: list[tuple[Any, Any, Divergence]] = [
    (dist.Normal, dist.Normal, _normal),
    (_BERNOULLIS, _BERNOULLIS, _bernoulli),
    (_CATEGORICALS, _CATEGORICALS, _categorical),
    (dist.Laplace, dist.Laplace, _laplace),
    (dist.LogNormal, dist.LogNormal, _normal),  # of the logarithms
    (dist.HalfNormal, dist.HalfNormal, _half_normal),
    (dist.Poisson, dist.Poisson, _poisson),
    (dist.Exponential, dist.Exponential, _exponential),
    ((dist.Gamma, dist.Exponential), (dist.Gamma, dist.Exponential), _gamma),
    (dist.Weibull, dist.Gamma, _weibull_gamma),
    (dist.Beta, dist.Beta, _beta),
    (dist.Dirichlet, dist.Dirichlet, _dirichlet),
    (dist.Uniform, dist.Uniform, _uniform),
    (_GEOMETRICS, _GEOMETRICS, _geometric),
]
