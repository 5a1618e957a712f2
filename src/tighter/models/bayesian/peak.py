"""The nearest peak of a log density and its curvature there: where a posterior may start."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# What a damped step is multiplied by after a failure and after a success, and where it begins.
_HARDER, _EASIER, _FIRST, _SMALLEST = 4.0, 0.25, 1e-2, 1e-6
# The gain in nats that the next step promises where the climb is done.
_DONE = 1e-2


class Peak(NamedTuple):
    """Where a climb ended.

    Attributes:
        location: The point.
        precision: Minus the second derivatives there.
        found: Whether it is a peak: the next step promises nothing, and all curvatures are down.
    """

    location: Float[Array, " free"]
    precision: Float[Array, "free free"]
    found: Bool[Array, ""]


class _Climb(NamedTuple):
    point: Array
    value: Array
    damping: Array
    promise: Array
    step: Array


def climb(
    log_density: Callable[[Array], Array], start: Float[Array, " free"], *, num_steps: int
) -> Peak:
    """Damped Newton steps, each in units of the curvature's diagonal, and only ever upward.

    Where the log density curves upward the step goes along the gradient, as far as the size of the
    curvature says.

    Args:
        log_density: Point -> nats.
        start: The first point.
        num_steps: How many steps at most.

    References:
        Dauphin et al., "Identifying and attacking the saddle point problem in high-dimensional
        non-convex optimization", 2014, sec. 6; Marquardt, 1963.
    """
    curvature = jax.hessian(log_density)

    def step(climb: _Climb) -> _Climb:
        gradient, second = jax.grad(log_density)(climb.point), -curvature(climb.point)
        units = _units(second)
        sizes, axes = jnp.linalg.eigh(second / _outer(units))
        sizes = jnp.maximum(jnp.abs(sizes), _SMALLEST)
        along = axes.T @ (gradient / units)
        promise = 0.5 * jnp.sum(along**2 / sizes)
        point = climb.point + (axes @ (along / (sizes + climb.damping))) / units
        value = log_density(point)
        better = jnp.isfinite(value) & (value >= climb.value)
        damping = climb.damping * jnp.where(better, _EASIER, _HARDER)
        return _Climb(
            jnp.where(better, point, climb.point),
            jnp.where(better, value, climb.value),
            jnp.maximum(damping, _SMALLEST),
            promise,
            climb.step + 1,
        )

    def going(climb: _Climb) -> Array:
        return (climb.step < num_steps) & (climb.promise > _DONE) & (climb.damping < 1e8)

    value = log_density(start)
    begin = _Climb(start, value, jnp.asarray(_FIRST), jnp.full_like(value, jnp.inf), jnp.asarray(0))
    ended = jax.lax.while_loop(going, step, begin)
    precision = -curvature(ended.point)
    units = _units(precision)
    down = jnp.min(jnp.linalg.eigvalsh(precision / _outer(units))) > _SMALLEST
    return Peak(ended.point, precision, (ended.promise <= _DONE) & down)


def factor_of_inverse(precision: Float[Array, "free free"]) -> Float[Array, "free free"]:
    """The lower triangle L with LLᵀ the inverse of a positive definite matrix."""
    units = _units(precision)
    sizes, axes = jnp.linalg.eigh(precision / _outer(units))
    half = axes / jnp.sqrt(jnp.maximum(sizes, _SMALLEST))[None]
    # Of A Aᵀ, by the triangle of Aᵀ: no square, which would lose half of the digits.
    triangle = jnp.linalg.qr(half.T, mode="r").T
    signs = jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0)
    return triangle * signs[None] / units[:, None]


def _units(precision: Float[Array, "free free"]) -> Float[Array, " free"]:
    """Roots of the diagonal, 1 where there is none."""
    diagonal = jnp.abs(jnp.diagonal(precision))
    return jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0))


def _outer(units: Float[Array, " free"]) -> Float[Array, "free free"]:
    return units[:, None] * units[None]
