"""KL(q‖p) of two distributions: closed forms, and Monte Carlo where it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution
from numpyro.distributions.util import sum_rightmost

from tighter._errors import InputError
from tighter.distributions._checks import name_of
from tighter.distributions._kl_families import FAMILIES
from tighter.distributions.gaussian import gaussian_kl_of_factors, low_rank_factor
from tighter.distributions.posterior import draw
from tighter.distributions.support import mass_beyond

_GAUSSIANS = (dist.Normal, dist.MultivariateNormal, dist.LowRankMultivariateNormal)


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
        Array(0.1931472, dtype=float32, weak_type=True)
    """
    _check(q, p)
    _check_finite(q, p)
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


def entropy(q: Any) -> Float[Array, ...]:
    """H(q), in nats, of the batch shape.

    Of gamma, beta and Dirichlet it is a divergence, from the exponential of the same mean or from
    the flat one: numpyro's differences of log Γ lose all digits at large concentrations.

    Raises:
        NotImplementedError: If there is no closed form, or an AttributeError.
    """
    if isinstance(q, dist.Independent):
        return sum_rightmost(entropy(q.base_dist), q.reinterpreted_batch_ndims)
    d: Any = q
    if isinstance(q, dist.Gamma):
        log_rate = jnp.log(d.rate) - jnp.log(d.concentration)
        return 1 - log_rate - kl(q, dist.Exponential(jnp.exp(log_rate), validate_args=False))
    if isinstance(q, dist.InverseGamma):
        of_inverse = dist.Gamma(d.concentration, d.rate, validate_args=False)
        return entropy(of_inverse) - 2 * (digamma(d.concentration) - jnp.log(d.rate))
    if isinstance(q, dist.Beta):
        one = jnp.ones_like(d.concentration1)
        return -kl(q, dist.Beta(one, one, validate_args=False))
    if isinstance(q, dist.Dirichlet):
        ones = jnp.ones_like(d.concentration)
        log_flat = math.lgamma(q.event_shape[0])
        return -kl(q, dist.Dirichlet(ones, validate_args=False)) - log_flat
    return q.entropy()


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether `kl(q, p)` is exact, rather than an average over draws."""
    _check(q, p)
    return _closed_form(q, p) is not None


def _closed_form(q: Any, p: Any) -> Callable[[], Array] | None:
    """The computation, of the common batch shape, where there is one."""
    within = _within(q, p)
    if within is None:
        return None
    shape = jnp.broadcast_shapes(q.batch_shape, p.batch_shape)
    return lambda: jnp.broadcast_to(within(), shape)


def _within(q: Any, p: Any) -> Callable[[], Array] | None:
    """The same, of a shape that the batch shapes' may be broadcast from."""
    q_base, p_base = _base(q), _base(p)
    if isinstance(q, dist.Delta):
        point = isinstance(p_base, dist.Delta) or p.is_discrete
        return (lambda: q.log_density - p.log_prob(q.v)) if point else None
    if isinstance(q, dist.ExpandedDistribution):
        return _closed_form(q.base_dist, p)
    if isinstance(p, dist.ExpandedDistribution):
        return _closed_form(q, p.base_dist)
    if isinstance(q, dist.MaskedDistribution) and isinstance(p, dist.MaskedDistribution):
        # Where one mask alone is on, what is left is an entropy, or a cross-entropy.
        divergence = _closed_form(q.base_dist, p.base_dist)
        if divergence is None or not _same(q._mask, p._mask):
            return None
        return lambda: jnp.where(q._mask, divergence(), 0.0)
    normals = isinstance(q_base, dist.Normal) and isinstance(p_base, dist.Normal)
    if isinstance(q_base, _GAUSSIANS) and isinstance(p_base, _GAUSSIANS) and not normals:
        return lambda: sum_rightmost(
            gaussian_kl_of_factors(*_factor(q), *_factor(p)), len(q.event_shape) - 1
        )
    if isinstance(q, dist.Independent) and isinstance(p, dist.Independent):
        shared = min(q.reinterpreted_batch_ndims, p.reinterpreted_batch_ndims)
        divergence = _closed_form(_without_events(q, shared), _without_events(p, shared))
        return divergence and (lambda: sum_rightmost(divergence(), shared))
    for q_family, p_family, function in FAMILIES:
        if isinstance(q, q_family) and isinstance(p, p_family):
            return lambda: function(q, p)
    if isinstance(q, dist.Kumaraswamy) and isinstance(p, dist.Beta):
        return None  # numpyro has ten terms of a series, which may be off by nats
    try:
        divergence = dist.kl_divergence(q, p)
    except NotImplementedError:
        return None
    return lambda: divergence


def _base(d: Any) -> Any:
    """The distribution under `to_event` and `expand`."""
    while isinstance(d, dist.Independent | dist.ExpandedDistribution):
        d = d.base_dist
    return d


def _without_events(d: Any, num: int) -> Any:
    """The distribution with so many of its event axes back in the batch."""
    left = d.reinterpreted_batch_ndims - num
    return d.base_dist.to_event(left) if left else d.base_dist


def _same(one: Any, other: Any) -> bool:
    """Whether two masks are known to be the same."""
    if one is other or isinstance(one, Tracer) or isinstance(other, Tracer):
        return one is other
    return np.array_equal(one, other)


def _check(q: Distribution, p: Distribution) -> None:
    if q.event_shape != p.event_shape:
        raise InputError(
            f"KL(q‖p) is of distributions over the same space, got event shapes {q.event_shape} "
            f"of {name_of(q)} and {p.event_shape} of {name_of(p)}"
        )
    beyond = "" if isinstance(_base(q), dist.Delta) else mass_beyond(q, p)
    if beyond:
        raise InputError(
            f"KL({name_of(q)}‖{name_of(p)}) is infinite: q has mass at {beyond}, where p has none; "
            "take a p whose support holds q's, or transform one of them"
        )


def _check_finite(q: Any, p: Any) -> None:
    point = isinstance(_base(q), dist.Delta)
    if point and not isinstance(_base(p), dist.Delta) and not p.is_discrete:
        raise InputError(
            f"KL({name_of(q)}‖{name_of(p)}) is infinite: q is a point, where p has a density and "
            "no mass; take a q with a density, or -p.log_prob(point) for a mode"
        )


def _factor(d: Any) -> tuple[Any, Any]:
    """Mean and Cholesky factor, of the distribution's whole shape."""
    base, shape = _base(d), d.batch_shape + d.event_shape
    factor: Any
    loc, size = jnp.broadcast_to(base.loc, shape), shape[-1]
    if isinstance(base, dist.MultivariateNormal):
        factor = base.scale_tril
    elif isinstance(base, dist.LowRankMultivariateNormal):
        factor = low_rank_factor(base)
    else:
        scale = jnp.broadcast_to(base.scale, shape)[..., None]
        factor = scale * jnp.broadcast_to(jnp.eye(size, dtype=scale.dtype), (*shape, size))
    return loc, jnp.broadcast_to(factor, (*shape, size))
