"""Bounds from any monotone function of the weights: a divergence's own mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter.bounds._bound import Bound, Side, diagonal_derivative, num_draws

_GRID = np.linspace(-6.0, 6.0, 241)


class FDivergence(Bound):
    r"""Bound whose gap is a divergence $D_f = E_q[f(p/q)]$: a mean of the weights by f, in nats.

    $F = \bar\ell + \log f^{-1}\big(\frac1K \sum_k f(e^{\ell_k - \bar\ell})\big)$. By Jensen's
    inequality it is at most the IWAE bound, for any draws, where f is concave and rising or convex
    and falling (`side` is lower), and at least that where it is convex and rising or concave and
    falling. $-\log t$ gives the ELBO, $t$ IWAE, $t^{1-\alpha}$ Rényi's bound, $t^n$ CUBO. The log
    weights are centered, so that f is asked near 1 whatever the scale of p(x).

    Args:
        f: A strictly monotone, twice differentiable function of a weight in (0, ∞), of jax.numpy.

    Raises:
        ValueError: If f is not strictly monotone, or not finite, near 1.

    Example:
        >>> FDivergence(lambda t: -1 / jnp.sqrt(t))(jnp.log(jnp.array([1.0, 4.0])))  # log(16/9)
        Array(0.5753641, dtype=float32)

    References:
        Wan, Li, Lyu & Hovakimyan, "f-divergence variational inference", 2020, sec. 3.
    """

    is_linear: ClassVar[bool] = False

    f: Callable[[Array], Array]
    bends: Side = eqx.field(static=True)
    rising: bool = eqx.field(static=True)

    def __init__(self, f: Callable[[Array], Array]):
        with jax.ensure_compile_time_eval():
            t = jnp.exp(jnp.asarray(_GRID))
            value, slope, bend = (
                np.asarray(jax.vmap(g)(t), np.float64)
                for g in (f, jax.grad(f), jax.grad(jax.grad(f)))
            )
        if not (np.isfinite(value).all() and ((slope > 0).all() or (slope < 0).all())):
            raise ValueError(
                "f of a bound is finite and strictly monotone on (0, ∞), as -log t, t**2 or "
                f"-1/t are, got slopes from {slope.min():.3g} to {slope.max():.3g} between "
                "exp(-6) and exp(6): take another generator of the same divergence, f + c(t - 1)"
            )
        self.f, self.rising = f, bool(slope[0] > 0)
        # How f bends against its slope; a little rounding counts as none.
        turn = bend * t * np.sign(slope[0]) / np.abs(slope)
        lower, upper = (turn < 1e-3).all(), (turn > -1e-3).all()
        self.bends = Side.LOWER if lower else Side.UPPER if upper else Side.NEITHER

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of f over the draws, taken back to a log weight."""
        num_draws(log_weights)
        center = jnp.mean(log_weights)
        centered = log_weights - center
        mean = jnp.mean(jax.vmap(self._of_log)(centered))
        held = jax.lax.stop_gradient(centered)
        return center + _root(self._of_log, mean, jnp.min(held), jnp.max(held))

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The gradient, by automatic differentiation."""
        return jax.grad(self)(log_weights)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The Hessian's diagonal, one derivative a draw."""
        return diagonal_derivative(self.weights, log_weights)

    @property
    def side(self) -> Side:
        """Told from how f bends."""
        return self.bends

    def _of_log(self, log_weight: Float[Array, ""]) -> Float[Array, ""]:
        value = self.f(jnp.exp(log_weight))
        return value if self.rising else -value


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(function: Callable, value: Array, low: Array, high: Array) -> Array:
    """Where a rising function takes a value, between two points, by bisection."""

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        below = function(middle) < value
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    num = 60 if value.dtype == jnp.float64 else 32
    low, high = jax.lax.fori_loop(0, num, halve, (low, high))
    return 0.5 * (low + high)


@_root.defjvp
def _root_jvp(function, primals, tangents):
    at = _root(function, *primals)
    return at, tangents[0] / jax.grad(function)(at)
