"""Gamma, beta and Dirichlet whose draws carry right derivatives at any concentration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from tighter._errors import InputError

# Gauss-Legendre nodes on [0, 1]; the integrands below fall by e^-18 from end to end.
_NODES, _WEIGHTS = (np.asarray(a) / 2 for a in np.polynomial.legendre.leggauss(20))
_NODES = _NODES + 0.5
_DEPTH = 18.0


def log_gamma(key: Key[Array, ""], concentration: Float[Array, ...]) -> Float[Array, ...]:
    r"""Logarithms of gamma draws of rate 1, with the derivative of the concentration.

    Below 1, $\log g_\alpha = \log g_{\alpha+1} + \log(u)/\alpha$ with u uniform: each part has a
    derivative that stays finite where $g_\alpha$ itself is too small to be a number.

    Args:
        key: Random key.
        concentration: α > 0, any shape.

    Returns:
        log g, of the same shape.

    References:
        Marsaglia & Tsang, "A simple method for generating gamma variables", 2000, sec. 6.
    """
    gamma_key, uniform_key = jax.random.split(key)
    small = concentration < 1
    boosted = jnp.where(small, concentration + 1, concentration)
    log_draw = jnp.log(jax.random.gamma(gamma_key, jax.lax.stop_gradient(boosted)))
    log_draw = _moving_log_gamma(log_draw, boosted)
    exponential = jax.random.exponential(uniform_key, concentration.shape, concentration.dtype)
    return log_draw - jnp.where(small, exponential / jnp.where(small, concentration, 1), 0)


@jax.custom_jvp
def _moving_log_gamma(log_draw: Array, concentration: Array) -> Array:
    """Log of a gamma draw, at its place in the distribution as the concentration moves."""
    return log_draw


@_moving_log_gamma.defjvp
def _moving_log_gamma_jvp(primals, tangents):
    log_draw, concentration = primals
    return log_draw, _log_gamma_velocity(log_draw, concentration) * tangents[1]


def _log_gamma_velocity(log_x: Array, alpha: Array) -> Array:
    r"""$\partial \log x / \partial \alpha$ with the distribution function at x held, for α ≥ 1.

    With u = log t, it is $\int_{u < \log x} (\psi(\alpha) - u)\, e^{\alpha u - e^u} du$ over the
    density at log x. The integral over all u is zero, so that either side of log x will do: the
    one on which the integrand keeps its sign and falls.
    """
    x = jnp.exp(log_x)
    offset = jax.scipy.special.digamma(alpha) - log_x
    below = offset >= 0
    # In s, the distance from log x: exp(-slope s - x bend(s)), bend(s) = s²/2 ∓ s³/6 ...
    sign = jnp.where(below, -1.0, 1.0).astype(x.dtype)
    slope = -sign * (alpha - x)

    def depth(s: Array) -> tuple[Array, Array]:
        change = jnp.expm1(sign * s)
        return slope * s + x * (change - sign * s), slope + x * sign * change

    # Where the integrand has fallen by e^-18: of its expansion, then by Newton's method.
    end = 2 * _DEPTH / (slope + jnp.sqrt(slope**2 + 2 * _DEPTH * x))
    for _ in range(3):
        fallen, rate = depth(end)
        end = end - (fallen - _DEPTH) / rate
    total = jnp.zeros_like(x)
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        s = node * end
        total = total + weight * (jnp.abs(offset) + s) * jnp.exp(-depth(s)[0])
    return total * end


@jax.custom_jvp
def exp_above_zero(log_x: Array) -> Array:
    """exp, no smaller than the least normal number, whose derivative is its value.

    Where a draw underflows, its logarithm keeps the right derivative.
    """
    return jnp.maximum(jnp.exp(log_x), jnp.finfo(log_x.dtype).tiny)


@exp_above_zero.defjvp
def _exp_above_zero_jvp(primals, tangents):
    x = exp_above_zero(primals[0])
    return x, x * tangents[0]


@jax.custom_jvp
def sigmoid_inside(logit: Array) -> Array:
    """Logistic function, no nearer to its ends than a float can tell, with derivative x(1 − x)."""
    info = jnp.finfo(logit.dtype)
    return jnp.clip(jax.nn.sigmoid(logit), info.tiny, 1 - info.epsneg)


@sigmoid_inside.defjvp
def _sigmoid_inside_jvp(primals, tangents):
    x = sigmoid_inside(primals[0])
    return x, x * (1 - x) * tangents[0]


class Gamma(dist.Gamma):
    r"""Gamma distribution, density $\propto x^{\alpha-1} e^{-\beta x}$.

    numpyro's, with draws whose derivatives hold in single precision down to concentrations of 0.01
    and below. There most draws are too small for a float: they are the least normal number, and
    their logarithm still has the right derivative; for functions of log x that are not linear,
    take `log_rsample`.

    Args:
        concentration: α > 0.
        rate: β > 0.

    Raises:
        InputError: If a parameter is not above zero.
    """

    def __init__(self, concentration: ArrayLike, rate: ArrayLike = 1.0, *,
                 validate_args: bool = False):  # fmt: skip
        check_positive("Gamma", concentration=concentration, rate=rate)
        super().__init__(_float(concentration), _float(rate), validate_args=validate_args)

    def log_rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Logarithms of draws, with derivatives."""
        shape = sample_shape + self.batch_shape
        concentration = jnp.broadcast_to(self.concentration, shape)  # pyright: ignore[reportArgumentType]
        return log_gamma(key, concentration) - jnp.log(jnp.broadcast_to(self.rate, shape))  # pyright: ignore[reportArgumentType]

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with derivatives."""
        return exp_above_zero(self.log_rsample(key, sample_shape))


class Beta(dist.Beta):
    r"""Beta distribution, density $\propto x^{a-1} (1-x)^{b-1}$.

    numpyro's, with draws whose derivatives hold in single precision at small concentrations:
    x = sigmoid(log g − log h) of two gamma draws.

    Args:
        concentration1: a > 0.
        concentration0: b > 0.

    Raises:
        InputError: If a parameter is not above zero.
    """

    def __init__(self, concentration1: ArrayLike, concentration0: ArrayLike, *,
                 validate_args: bool = False):  # fmt: skip
        check_positive("Beta", concentration1=concentration1, concentration0=concentration0)
        super().__init__(
            _float(concentration1), _float(concentration0), validate_args=validate_args
        )

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with derivatives."""
        shape = sample_shape + self.batch_shape
        both = jnp.stack(
            [jnp.broadcast_to(c, shape) for c in (self.concentration1, self.concentration0)]  # pyright: ignore[reportArgumentType]
        )
        log_one, log_zero = log_gamma(key, both)
        return sigmoid_inside(log_one - log_zero)


class Dirichlet(dist.Dirichlet):
    r"""Dirichlet distribution, density $\propto \prod_i x_i^{\alpha_i - 1}$.

    numpyro's, with draws whose derivatives hold in single precision at small concentrations:
    the softmax of the logarithms of gamma draws.

    Args:
        concentration: α > 0, shape (…, categories).

    Raises:
        InputError: If a concentration is not above zero.
    """

    concentration: Array

    def __init__(self, concentration: ArrayLike, *, validate_args: bool = False):
        check_positive("Dirichlet", concentration=concentration)
        super().__init__(_float(concentration), validate_args=validate_args)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with derivatives."""
        shape = sample_shape + self.batch_shape + self.event_shape
        log_draws = log_gamma(key, jnp.broadcast_to(self.concentration, shape))
        return exp_above_zero(jax.nn.log_softmax(log_draws))


def _float(parameter: ArrayLike) -> Array:
    return jnp.asarray(parameter, jnp.result_type(parameter, float))


def check_positive(family: str, **parameters: ArrayLike) -> None:
    """Refuse parameters that are not above zero, where they are known."""
    for name, value in parameters.items():
        if isinstance(value, Tracer):
            continue
        values = np.asarray(value)
        if not (values > 0).all():
            raise InputError(f"{family}: {name} is above zero, got {values.min():g}")
