"""Where a posterior may start: at the nearest peak, or moved to where its ELBO is largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg
from jaxtyping import Array, Bool, Float

LogDensity = Callable[[Array], Array]
Vector = Float[Array, " free"]
Matrix = Float[Array, "free free"]

# What a damped step is multiplied by after a failure and after a success, and where it begins.
_HARDER, _EASIER, _FIRST, _SMALLEST = 4.0, 0.25, 1e-2, 1e-6
# The gain in nats that the next step promises where the climb is done.
_DONE = 1e-2
# Draws, and as many a free number; the same in every step, so that the ELBO is a function.
_DRAWS, _DRAWS_EACH, _STEPS = 128, 4, 100
# Draws for the distance, and evaluated at a time.
_WEIGHED, _AT_ONCE = 2048, 64
_FEW, _OFF = 10, 0.5


class Peak(NamedTuple):
    """Where a climb ended.

    Attributes:
        location: The point.
        precision: Minus the second derivatives there.
        found: Whether it is a peak: the next step promises nothing, and all curvatures are down.
    """

    location: Vector
    precision: Matrix
    found: Bool[Array, ""]


class _Climb(NamedTuple):
    point: Array
    value: Array
    damping: Array
    promise: Array
    step: Array


def climb(log_density: LogDensity, start: Vector, *, num_steps: int) -> Peak:
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


def factor_of_inverse(precision: Matrix) -> Matrix:
    """The lower triangle L with LLᵀ the inverse of a positive definite matrix."""
    units = _units(precision)
    sizes, axes = jnp.linalg.eigh(precision / _outer(units))
    half = axes / jnp.sqrt(jnp.maximum(sizes, _SMALLEST))[None]
    # Of A Aᵀ, by the triangle of Aᵀ: no square, which would lose half of the digits.
    triangle = jnp.linalg.qr(half.T, mode="r").T
    signs = jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0)
    return triangle * signs[None] / units[:, None]


def _units(precision: Matrix) -> Vector:
    """Roots of the diagonal, 1 where there is none."""
    diagonal = jnp.abs(jnp.diagonal(precision))
    return jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0))


def _outer(units: Vector) -> Matrix:
    return units[:, None] * units[None]


class _State(NamedTuple):
    location: Array
    precision: Array
    factor: Array
    elbo: Array
    length: Array


def settle(
    log_density: LogDensity, location: Vector, factor: Matrix, *, diagonal: bool
) -> tuple[Vector, Matrix]:
    """Mean and factor of the covariance after steps along the natural gradient, only ever upward.

    Args:
        log_density: Point -> nats.
        location: The first mean.
        factor: The first factor, lower triangular.
        diagonal: Whether the covariance stays diagonal.

    References:
        Opper & Archambeau, "The variational Gaussian approximation revisited", 2009, eqs. 3-6;
        Khan & Rue, "The Bayesian learning rule", 2023, sec. 1.4.
    """
    size = location.size
    unit = _unit_draws(_DRAWS + _DRAWS_EACH * size, size)

    def elbo(location: Array, factor: Array) -> Array:
        values = _of_each(log_density, location[None] + unit @ factor.T)
        return jnp.mean(values) + jnp.sum(jnp.log(jnp.abs(jnp.diagonal(factor))))

    def step(_: Array, state: _State) -> _State:
        points = state.location[None] + unit @ state.factor.T
        slopes = _of_each(jax.grad(log_density), points)
        # Minus the mean second derivatives, by Stein's identity.
        curved = -linalg.solve_triangular(
            state.factor, unit.T @ slopes / len(unit), lower=True, trans=1
        )
        curved = jnp.diag(jnp.diagonal(curved)) if diagonal else 0.5 * (curved + curved.T)
        precision = state.precision + state.length * (curved - state.precision)
        factor = factor_of_inverse(precision)
        location = state.location + state.length * factor @ (factor.T @ jnp.mean(slopes, axis=0))
        value = elbo(location, factor)
        definite = jnp.all(jnp.linalg.eigvalsh(precision) > 0)
        better = definite & jnp.isfinite(value) & (value >= state.elbo)
        moved = _State(location, precision, factor, value, jnp.minimum(2 * state.length, 1.0))
        stayed = state._replace(length=0.5 * state.length)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), moved, stayed)

    inverse = linalg.solve_triangular(factor, jnp.eye(size, dtype=factor.dtype), lower=True)
    first = _State(location, inverse.T @ inverse, factor, elbo(location, factor), jnp.asarray(1.0))
    last = jax.lax.fori_loop(0, _STEPS, step, first)
    return last.location, last.factor


class Distance(NamedTuple):
    """What importance weights say of a Gaussian.

    Attributes:
        shift: By how many of its standard deviations they move a mean.
        ess: How many of 2,048 draws are effective.
    """

    shift: Float[Array, ""]
    ess: Float[Array, ""]

    @property
    def is_large(self) -> bool:
        """Whether a mean is off by half a standard deviation, noise apart, or nothing is near."""
        return not (self.ess >= _FEW and self.shift - 3 / self.ess**0.5 <= _OFF)


def distance(log_density: LogDensity, location: Vector, factor: Matrix) -> Distance:
    """How far a Gaussian is from the density, as far as its own draws tell."""
    unit = _unit_draws(_WEIGHED, location.size)
    moved = unit @ factor.T
    values = _of_each(log_density, location[None] + moved)
    weights = jax.nn.softmax(values + 0.5 * jnp.sum(unit**2, axis=1))
    shifts = jnp.abs(weights @ moved) / jnp.sqrt(jnp.sum(factor**2, axis=1))
    return Distance(jnp.max(shifts), 1 / jnp.sum(weights**2))


def _of_each(function: LogDensity, points: Float[Array, "draws free"]) -> Array:
    return jax.lax.map(function, points, batch_size=_AT_ONCE)


def _unit_draws(num: int, size: int) -> Float[Array, "draws free"]:
    """Standard normal draws in pairs of opposite ones, with the covariance exactly one."""
    half = jax.random.normal(jax.random.key(0), (max(num // 2, 2 * size), size))
    covariance = half.T @ half / len(half)
    half = linalg.solve_triangular(jnp.linalg.cholesky(covariance), half.T, lower=True).T
    return jnp.concatenate([half, -half])
