"""Von Mises whose draws carry the derivative of the concentration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import i0e, i1e
from jax.typing import ArrayLike
from jaxtyping import Array, Key

_NODES, _WEIGHTS = (np.asarray(a) / 2 for a in np.polynomial.legendre.leggauss(24))
_NODES = _NODES + 0.5
_DEPTH = 18.0
_SERIES = 50.0


class VonMises(dist.VonMises):
    r"""Von Mises distribution on the circle, density $\propto e^{\kappa \cos(x - \mu)}$.

    numpyro's, with draws that carry the derivatives of μ and κ.

    Args:
        loc: μ, in radians.
        concentration: κ > 0.

    References:
        Figurnov, Mohamed & Mnih, "Implicit reparameterization gradients", 2018, sec. 4.
    """

    loc: Array
    concentration: Array
    has_rsample = True  # pyright: ignore[reportAssignmentType]

    def __init__(self, loc: ArrayLike, concentration: ArrayLike, *,
                 validate_args: bool = False):  # fmt: skip
        kind = jnp.result_type(loc, concentration, float)
        super().__init__(
            jnp.asarray(loc, kind), jnp.asarray(concentration, kind), validate_args=validate_args
        )

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws in [−π, π), with derivatives."""
        loc, concentration = jax.lax.stop_gradient((self.loc, self.concentration))
        shape = sample_shape + self.batch_shape
        angle = dist.VonMises(jnp.zeros_like(concentration), concentration).sample(
            key, sample_shape
        )
        angle = jnp.mod(angle + loc + jnp.pi, 2 * jnp.pi) - jnp.pi
        parameters = (jnp.broadcast_to(p, shape) for p in (self.loc, self.concentration))
        return _moving_angle(jnp.broadcast_to(angle, shape).astype(self.loc.dtype), *parameters)


@jax.custom_jvp
def _moving_angle(angle: Array, loc: Array, concentration: Array) -> Array:
    """An angle, at its place in the distribution on [−π, π) as the parameters move.

    The distribution function starts at −π, so that the derivative holds for functions of the angle
    that are not periodic too.
    """
    return angle


@_moving_angle.defjvp
def _moving_angle_jvp(primals, tangents):
    angle, loc, concentration = primals
    _, loc_dot, concentration_dot = tangents
    centered, start = (_wrapped(x - loc) for x in (angle, -jnp.pi * jnp.ones_like(loc)))
    # The density at -π over that at the angle.
    ratio = jnp.exp(concentration * (jnp.cos(start) - jnp.cos(centered)))
    turned = _velocity(centered, concentration) - ratio * _velocity(start, concentration)
    return angle, (1 - ratio) * loc_dot + turned * concentration_dot


def _wrapped(angle: Array) -> Array:
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


def _velocity(angle: Array, kappa: Array) -> Array:
    r"""$-\int_0^x (\cos t - A)\, e^{\kappa (\cos t - \cos x)} dt$, with $A = I_1/I_0$.

    Over [0, π] the integral is zero, so that beyond the sign change of the integrand the rest of
    the circle is taken.
    """
    x = jnp.abs(angle)
    # cos x − A = (1 − A) − 2 sin²(x/2): of a large κ both are small, and 1 − A by its series.
    y = 1 / jnp.maximum(kappa, _SERIES)
    series = y * (1 / 2 + y * (1 / 8 + y * (1 / 8 + y * (25 / 128 + y * 13 / 32))))
    rest = jnp.where(kappa > _SERIES, series, 1 - i1e(kappa) / i0e(kappa))
    offset = rest - 2 * jnp.sin(0.5 * x) ** 2
    inner = offset > 0
    # Beyond x the integrand falls as exp(-κ (cos x - cos t)): to e^-18 at `end`.
    lowest = jnp.maximum(jnp.cos(x) - _DEPTH / kappa, -1.0)
    end = jnp.where(inner, 0.0, jnp.arccos(lowest))
    total = jnp.zeros_like(x)
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        t = x + node * (end - x)
        # cos t - cos x without the difference of two numbers close to one.
        change = -2 * jnp.sin(0.5 * (t + x)) * jnp.sin(0.5 * (t - x))
        total = total + weight * (change + offset) * jnp.exp(kappa * change)
    # From x to 0 or to the end: both are minus the integral from 0 to x.
    return jnp.sign(angle) * total * (end - x)
