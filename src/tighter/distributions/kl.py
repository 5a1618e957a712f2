"""KL(q‖p) of two distributions: closed forms, and Monte Carlo where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution
from numpyro.distributions.util import sum_rightmost

from tighter._errors import InputError
from tighter.distributions._checks import name_of
from tighter.distributions.gaussian import gaussian_kl_of_factors
from tighter.distributions.posterior import draw
from tighter.distributions.support import mass_beyond

_GAUSSIANS = (dist.Normal, dist.MultivariateNormal, dist.LowRankMultivariateNormal)
_BERNOULLIS = (dist.BernoulliProbs, dist.BernoulliLogits)
_CATEGORICALS = (dist.CategoricalProbs, dist.CategoricalLogits)


def kl(
    q: Distribution,
    p: Distribution,
    *,
    num_samples: int | None = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, ...]:
    r"""$\mathrm{KL}(q \| p) = E_q[\log q - \log p]$, in nats.

    In closed form where there is one. Where there is none it is an error, unless `num_samples` and
    `key` ask for the mean of so many draws of $\log q - \log p$; `has_closed_form(q, p)` says
    which it is.

    Args:
        q: A numpyro distribution.
        p: Another of the same event shape.
        num_samples: Draws, where there is no closed form.
        key: Random key for them.

    Returns:
        The divergence, of the batch shape.

    Raises:
        InputError: If event shapes differ, q has mass where p has none, or there is no closed form
            and no draws were asked for.

    Example:
        >>> kl(dist.Laplace(0.0, 1.0), dist.Laplace(0.0, 2.0))
        Array(0.1931472, dtype=float32)
    """
    _check(q, p)
    closed = _closed_form(q, p)
    if closed is not None:
        return closed()
    if num_samples is None or key is None:
        raise InputError(
            f"KL({name_of(q)}‖{name_of(p)}) has no closed form here: give num_samples and key for "
            "a Monte Carlo estimate"
        )

    def log_ratio(key: Key[Array, ""]) -> Array:
        z = draw(q, key=key)  # pyright: ignore[reportArgumentType]
        return jnp.subtract(q.log_prob(z), p.log_prob(z))

    return jnp.mean(jax.vmap(log_ratio)(jax.random.split(key, num_samples)), axis=0)


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether `kl(q, p)` is exact, rather than an average over draws."""
    _check(q, p)
    return _closed_form(q, p) is not None


def _closed_form(q: Distribution, p: Distribution) -> Callable[[], Array] | None:
    """The computation, where there is one."""
    q, p = _flat(q), _flat(p)
    q_base, q_events = _unwrapped(q)
    p_base, p_events = _unwrapped(p)
    if isinstance(q_base, _GAUSSIANS) and isinstance(p_base, _GAUSSIANS):
        if isinstance(q_base, dist.Normal) and isinstance(p_base, dist.Normal):
            return lambda: sum_rightmost(_normal(q_base, p_base), q_events)
        return lambda: gaussian_kl_of_factors(*_factor(q), *_factor(p))
    if q_events != p_events:
        return None
    for q_family, p_family, function in _PAIRS:
        if isinstance(q_base, q_family) and isinstance(p_base, p_family):
            return lambda: sum_rightmost(function(q_base, p_base), q_events)
    try:
        divergence = dist.kl_divergence(q, p)
    except NotImplementedError:
        return None
    return lambda: divergence


def _flat(d: Any) -> Any:
    """A distribution without `expand` around it."""
    if isinstance(d, dist.ExpandedDistribution):
        batch, base = d.batch_shape, d.base_dist
        grown = {
            name: jnp.broadcast_to(value, batch + jnp.shape(value)[len(base.batch_shape) :])
            for name, value in base.__dict__.items()
            if name in base.arg_constraints
        }
        return type(base)(**grown)
    if isinstance(d, dist.Independent):
        base = _flat(d.base_dist)
        return base.to_event(d.reinterpreted_batch_ndims) if base is not d.base_dist else d
    return d


def _unwrapped(d: Distribution) -> tuple[Distribution, int]:
    """The distribution under `to_event`, and how many axes that takes up."""
    events = 0
    while isinstance(d, dist.Independent):
        events += d.reinterpreted_batch_ndims
        d = d.base_dist
    return d, events


def _check(q: Distribution, p: Distribution) -> None:
    if q.event_shape != p.event_shape:
        raise InputError(
            f"KL(q‖p) is of distributions over the same space, got event shapes {q.event_shape} "
            f"of {name_of(q)} and {p.event_shape} of {name_of(p)}"
        )
    beyond = mass_beyond(q, p)
    if beyond:
        raise InputError(
            f"KL({name_of(q)}‖{name_of(p)}) is infinite: q has mass at {beyond}, where p has none; "
            "take a p whose support holds q's, or transform one of them"
        )


def _factor(d: Any) -> tuple[Any, Any]:
    """Mean and Cholesky factor."""
    base: Any = _unwrapped(d)[0]
    if isinstance(base, dist.MultivariateNormal):
        return base.loc, base.scale_tril
    if isinstance(base, dist.LowRankMultivariateNormal):
        return base.loc, jnp.linalg.cholesky(base.covariance_matrix)
    loc, scale = jnp.broadcast_arrays(base.loc, base.scale)
    return loc, scale[..., None] * jnp.eye(scale.shape[-1], dtype=scale.dtype)


def _normal(q: Any, p: Any) -> Array:
    ratio = (q.scale / p.scale) ** 2
    return 0.5 * (ratio + ((q.loc - p.loc) / p.scale) ** 2 - 1 - jnp.log(ratio))


def _bernoulli(q: Any, p: Any) -> Array:
    on = jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
    off = jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits)
    return jax.nn.sigmoid(q.logits) * on + jax.nn.sigmoid(-q.logits) * off


def _categorical(q: Any, p: Any) -> Array:
    ours, theirs = jax.nn.log_softmax(q.logits), jax.nn.log_softmax(p.logits)
    # A value that q never takes adds nothing, whatever p gives it.
    taken = ours > -jnp.inf
    difference = jnp.where(taken, ours, 0) - jnp.where(taken, theirs, 0)
    return jnp.sum(jnp.exp(ours) * difference, axis=-1)


def _laplace(q: Any, p: Any) -> Array:
    distance = jnp.abs(q.loc - p.loc)
    spread = (q.scale * jnp.exp(-distance / q.scale) + distance) / p.scale
    return jnp.log(p.scale) - jnp.log(q.scale) + spread - 1


def _poisson(q: Any, p: Any) -> Array:
    return q.rate * (jnp.log(q.rate) - jnp.log(p.rate)) - q.rate + p.rate


def _exponential(q: Any, p: Any) -> Array:
    return jnp.log(q.rate) - jnp.log(p.rate) + p.rate / q.rate - 1


def _gamma(q: Any, p: Any) -> Array:
    a, b = _shape_and_rate(q)
    c, d = _shape_and_rate(p)
    return (
        (a - c) * digamma(a) - gammaln(a) + gammaln(c) + c * (jnp.log(b) - jnp.log(d))
        + a * (d - b) / b
    )  # fmt: skip


def _shape_and_rate(d: Any) -> tuple[Any, Any]:
    if isinstance(d, dist.Exponential):
        return jnp.ones_like(d.rate), d.rate
    return d.concentration, d.rate


def _beta(q: Any, p: Any) -> Array:
    a, b, c, d = q.concentration1, q.concentration0, p.concentration1, p.concentration0
    return (
        betaln(c, d) - betaln(a, b) + (a - c) * digamma(a) + (b - d) * digamma(b)
        + (c + d - a - b) * digamma(a + b)
    )  # fmt: skip


def _dirichlet(q: Any, p: Any) -> Array:
    a, c = q.concentration, p.concentration
    total = jnp.sum(a, axis=-1)
    terms = gammaln(c) - gammaln(a) + (a - c) * (digamma(a) - digamma(total)[..., None])
    return gammaln(total) - gammaln(jnp.sum(c, axis=-1)) + jnp.sum(terms, axis=-1)


def _uniform(q: Any, p: Any) -> Array:
    inside = (q.low >= p.low) & (q.high <= p.high)
    ratio = jnp.log(p.high - p.low) - jnp.log(q.high - q.low)
    return jnp.where(inside, ratio, jnp.inf)


def _geometric(q: Any, p: Any) -> Array:
    failures = jnp.exp(jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(q.logits))
    return (
        jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
        + failures * (jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits))
    )  # fmt: skip


def _half_normal(q: Any, p: Any) -> Array:
    ratio = (q.scale / p.scale) ** 2
    return 0.5 * (ratio - 1 - jnp.log(ratio))


_PAIRS: list[tuple[Any, Any, Callable[[Any, Any], Array]]] = [
    (_BERNOULLIS, _BERNOULLIS, _bernoulli),
    (_CATEGORICALS, _CATEGORICALS, _categorical),
    (dist.Laplace, dist.Laplace, _laplace),
    (dist.LogNormal, dist.LogNormal, _normal),  # of the logarithms
    (dist.HalfNormal, dist.HalfNormal, _half_normal),
    (dist.Poisson, dist.Poisson, _poisson),
    (dist.Exponential, dist.Exponential, _exponential),
    ((dist.Gamma, dist.Exponential), (dist.Gamma, dist.Exponential), _gamma),
    (dist.Beta, dist.Beta, _beta),
    (dist.Dirichlet, dist.Dirichlet, _dirichlet),
    (dist.Uniform, dist.Uniform, _uniform),
    ((dist.GeometricProbs, dist.GeometricLogits), (dist.GeometricProbs, dist.GeometricLogits),
     _geometric),
]  # fmt: skip
