"""Estimates from a distribution's own draws: with their scores, or along their paths."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._derivatives import with_gradient_of
from tighter._errors import InputError
from tighter.bounds import ELBO
from tighter.distributions import (
    check_fixed_support,
    draw,
    from_uniform,
    name_of,
    num_noise,
    stop_parameters,
)
from tighter.expectations.families import base_of, scalar
from tighter.gradients import Baseline, DeltaMethod, Draws


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
        require(
            num >= needed,
            f"{type(baseline).__name__} needs num_samples of {needed} or more, got {num}",
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


def pathwise(
    f: Callable[[Any], Array], distribution: Any, draws: Draws, num: int, key: Key[Array, ""]
) -> Float[Array, ""]:
    """Mean of f over draws that move with the parameters."""
    if draws is Draws.INDEPENDENT:
        keys = jax.random.split(key, num)
        ws = jax.vmap(lambda key: distribution.rsample(key, ()))(keys)
        return jnp.mean(jax.vmap(scalar(f))(ws))
    size = num_noise(distribution) if isinstance(distribution, dist.Distribution) else 0
    require(
        size > 0 and from_uniform(distribution, jnp.full(size, 0.5)) is not None,
        f"{draws.value} draws need the noise behind a family, which is not known of "
        f"{name_of(distribution)}: use independent draws",
    )
    if draws is Draws.ANTITHETIC:
        require(num % 2 == 0, f"antithetic draws come in pairs: num_samples is even, got {num}")
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
