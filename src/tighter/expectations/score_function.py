"""The score-function estimator of an expectation's gradient, with its control variates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key

from tighter._derivatives import with_gradient_of
from tighter._errors import InputError
from tighter.bounds import ELBO
from tighter.distributions import check_fixed_support, draw, name_of, stop_parameters
from tighter.expectations.families import base_of, scalar
from tighter.gradients import Baseline, DeltaMethod


def score_function(
    f: Callable[[Any], Array],
    distribution: Any,
    baseline: Baseline | None,
    num: int,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Mean of f; derivative of the mean of f with w held, plus (f − b) times the score of each."""
    check_fixed_support(distribution, "ScoreFunction")
    held = stop_parameters(distribution)
    ws = jax.vmap(lambda key: draw(held, key=key))(jax.random.split(key, num))
    ws = jax.lax.stop_gradient(ws)
    values = jax.vmap(scalar(f))(ws)
    signal, expected = jax.lax.stop_gradient(values), 0.0
    if isinstance(baseline, DeltaMethod):
        control, expected = _expansion(f, distribution)
        signal = signal - jax.lax.stop_gradient(jax.vmap(control)(ws))
    elif baseline is not None:
        needed = baseline.min_samples(ELBO())
        if num < needed:
            raise InputError(
                f"{type(baseline).__name__} needs num_samples of {needed} or more, got {num}"
            )
        signal = signal - jax.lax.stop_gradient(baseline(ELBO(), signal))
    scores = jax.vmap(distribution.log_prob)(ws)
    surrogate = jnp.mean(values + signal * scores) + expected
    return with_gradient_of(jnp.mean(values), surrogate)


def _expansion(
    f: Callable[[Any], Array], distribution: Any
) -> tuple[Callable[[Any], Array], Float[Array, ""]]:
    """The second-order expansion of f at the mean, and its expectation with its derivative."""
    base = base_of(distribution)
    if isinstance(base, dist.Normal):
        mean = jnp.broadcast_to(base.loc, distribution.event_shape)  # pyright: ignore[reportArgumentType]
        variance = jnp.broadcast_to(base.scale, distribution.event_shape) ** 2  # pyright: ignore[reportArgumentType]
        covariance = jnp.diag(variance.reshape(-1))
    elif isinstance(base, dist.MultivariateNormal):
        mean, covariance = base.loc, base.covariance_matrix
    else:
        raise InputError(
            f"the delta method knows the moments of Normal and MultivariateNormal, got "
            f"{name_of(distribution)}: use LeaveOneOut()"
        )
    center = jax.lax.stop_gradient(mean)
    size = center.size

    def flat(w: Array) -> Array:
        return scalar(f)(w.reshape(center.shape))

    value = jax.lax.stop_gradient(flat(center.reshape(-1)))  # pyright: ignore[reportArgumentType]
    slope = jax.lax.stop_gradient(jax.grad(flat)(center.reshape(-1)))
    # Backward twice: what has a backward rule of its own need not have a forward one.
    hessian = jax.lax.stop_gradient(jax.jacrev(jax.grad(flat))(center.reshape(-1)))

    def control(w: Array) -> Array:
        shift = (w - center).reshape(-1)
        return value + slope @ shift + 0.5 * shift @ hessian @ shift

    # Its derivative in γ is exact; its value is not added, for f's own mean is returned.
    moved = (mean - center).reshape(size)
    expected = slope @ moved + 0.5 * jnp.sum(hessian * covariance) + 0.5 * moved @ hessian @ moved
    return control, expected
