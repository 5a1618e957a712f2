"""Bounds from any monotone function of the weights: a divergence's own mean."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._derivatives import with_derivative
from tighter.bounds._continuation import Continued, End, Places, ends_of, look_at
from tighter.bounds.bound import Bound, Side, num_draws


class FDivergence(Bound):
    r"""Bound whose gap is a divergence $D_f = E_q[f(p/q)]$: a mean of the weights by f, in nats.

    $F = \bar\ell + \log f^{-1}\big(\frac1K \sum_k f(e^{\ell_k - \bar\ell})\big)$. By Jensen's
    inequality it is at most the IWAE bound, for any draws, where f is concave and rising or convex
    and falling (`side` is lower), and at least that where it is convex and rising or concave and
    falling. $-\log t$ gives the ELBO, $t$ IWAE, $t^{1-\alpha}$ Rényi's bound, $t^n$ CUBO. The log
    weights are centered, so that f is asked near 1 whatever the scale of p(x); where they are so
    far apart that a weight, or f of it, is no floating-point number, f goes on by its power law.

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

    f: Callable[[Array], Array]
    bends: Side = eqx.field(static=True)
    sign: int = eqx.field(static=True)
    ends: tuple[np.dtype, tuple[End, End]] = eqx.field(static=True)

    def __init__(self, f: Callable[[Array], Array]):
        dtype = np.dtype(jnp.result_type(float))
        looked = look_at(f, dtype)
        near = looked.near
        monotone = (near.slope > 0).all() or (near.slope < 0).all()
        if not (np.isfinite(near.value).all() and monotone):
            raise ValueError(
                "f of a bound is finite and strictly monotone on (0, ∞), as -log t, t**2 or "
                f"-1/t are, got slopes from {near.slope.min():.3g} to {near.slope.max():.3g} "
                "between exp(-6) and exp(6): take another generator of the same divergence, "
                "f + c(t - 1)"
            )
        self.f, self.sign, self.ends = f, looked.sign, (dtype, ends_of(looked, dtype))
        # How f bends against its slope; a little rounding counts as none.
        lower, upper = (near.power < 1 + 1e-3).all(), (near.power > 1 - 1e-3).all()
        self.bends = Side.LOWER if lower else Side.UPPER if upper else Side.NEITHER

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of f over the draws, taken back to a log weight."""
        value, weights, _ = self._solved(log_weights)
        return with_derivative(value, weights, log_weights)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a_k = \frac1K (1 + r_k - \bar r)$, r the slopes of f by ℓ over that at the bound."""
        _, weights, hessian = self._solved(log_weights)
        return with_derivative(weights, hessian, log_weights)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The Hessian's diagonal."""
        return jnp.diagonal(self._solved(log_weights)[2])

    @property
    def side(self) -> Side:
        """Told from how f bends."""
        return self.bends

    def _solved(
        self, log_weights: Float[Array, " K"]
    ) -> tuple[Float[Array, ""], Float[Array, " K"], Float[Array, "K K"]]:
        """The bound, its weights and its Hessian."""
        num = num_draws(log_weights)
        # In single precision at least, whatever the log weights are in.
        dtype = np.dtype(jnp.promote_types(log_weights.dtype, np.float32))
        known, ends = self.ends
        ends = ends if known == dtype else ends_of(look_at(self.f, dtype), dtype)
        at = _finite(jax.lax.stop_gradient(log_weights).astype(dtype))
        top, least = jnp.max(at), jnp.min(at)
        places = Places(at - top, at - least)
        g = Continued(self.f, self.sign, *ends, -jnp.mean(places.above), -jnp.mean(places.below))
        root = _root(g, places)
        value = jnp.where(-root.below < root.above, top + root.below, least + root.above)

        log_slope, at_root = g.log_slope(places), g.log_slope(root)
        # Less the largest first, which may be more than a float over the slope at the bound.
        largest = jnp.max(log_slope)
        relative = jnp.exp(log_slope - largest)
        apart = relative - jnp.mean(relative)
        apart = jnp.where(apart == 0, 0, apart * jnp.exp(largest - at_root))
        slope, identity = jnp.exp(log_slope - at_root)[:, None], jnp.eye(num, dtype=dtype)
        of_draws, of_root = g.power(places)[:, None] * (identity - 1 / num), g.power(root) / num
        moved = slope * (of_draws - of_root * apart[None, :])
        hessian = (moved - jnp.mean(moved, axis=0, keepdims=True)) / num
        answer = _at_infinity(value, log_weights), (1 + apart) / num, hessian
        return jax.tree.map(lambda part: part.astype(log_weights.dtype), answer)


def _root(g: Continued, places: Places) -> Places:
    """Where g has its mean over the places, by halving the floats that there are between."""
    mean = jnp.mean(g.value(places).plain)
    span = jnp.max(places.above)
    integer = jnp.int64 if span.dtype == jnp.float64 else jnp.int32

    def away(bits: Array) -> Places:
        """So far from the draw that counts most."""
        x = jax.lax.bitcast_convert_type(bits, span.dtype)
        return Places(jnp.where(g.from_top, -x, x - span), jnp.where(g.from_top, span - x, x))

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = ends[0] + (ends[1] - ends[0]) // 2
        mantissa, exponent = g.value(away(middle))
        same = jnp.sign(mantissa) == jnp.sign(mean)
        # By logarithms, as either may be too small for a float.
        size = jnp.log(jnp.abs(mantissa / mean)) + exponent
        excess = jnp.where(same, jnp.sign(mean) * size, jnp.sign(mantissa) - jnp.sign(mean))
        excess = jnp.where(exponent == 0, mantissa - mean, excess)
        further = jnp.where(g.from_top, excess > 0, excess < 0)
        return jnp.where(further, middle, ends[0]), jnp.where(further, ends[1], middle)

    start = jnp.zeros((), integer), jax.lax.bitcast_convert_type(span, integer)
    _, bits = jax.lax.fori_loop(0, jnp.finfo(span.dtype).bits, halve, start)
    return away(bits)


def _finite(log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Infinite ones as far beyond the others as a float goes with room for sums."""
    low, high, far = _limits(log_weights)
    below = jnp.where(log_weights == -jnp.inf, low - far, log_weights)
    return jnp.where(log_weights == jnp.inf, high + far, below)


def _at_infinity(value: Float[Array, ""], log_weights: Float[Array, " K"]) -> Float[Array, ""]:
    """The bound again, infinite if it followed log weights that were."""
    low, high, far = _limits(log_weights)
    zero, infinite = jnp.any(log_weights == -jnp.inf), jnp.any(log_weights == jnp.inf)
    below, above = zero & (value < low - 1e-9 * far), infinite & (value > high + 1e-9 * far)
    # Between the two where both pull there is no limit.
    value = jnp.where(zero & infinite, jnp.nan, value)
    return jnp.where(below, -jnp.inf, jnp.where(above, jnp.inf, value))


def _limits(log_weights: Float[Array, " K"]) -> tuple[Array, Array, float]:
    there = jnp.isfinite(log_weights)
    low = jnp.min(log_weights, where=there, initial=jnp.inf)
    high = jnp.max(log_weights, where=there, initial=-jnp.inf)
    some = jnp.any(there)
    far = float(jnp.finfo(log_weights.dtype).max) ** 0.75
    return jnp.where(some, low, 0), jnp.where(some, high, 0), far
