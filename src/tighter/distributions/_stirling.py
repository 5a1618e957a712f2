"""What Stirling's formula leaves of log Γ: sums and differences of log Γ without cancellation."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

# Where Stirling's series of log Γ is good to a double's digits but the last few.
LARGE = 8


def excess(t: Any) -> Array:
    """e^t − 1 − t, which is KL of two exponential distributions; near zero by its series."""
    small = jnp.abs(t) < 0.5
    near, far = jnp.where(small, t, 0.0), jnp.where(small, 1.0, t)
    series = jnp.zeros_like(near)
    for order in range(13, 1, -1):
        series = series * near + 1 / math.factorial(order)
    return jnp.where(small, series * near**2, jnp.expm1(far) - far)


def log_ratio(x: Any, y: Any) -> Array:
    """Log x/y, where neither the ratio overflows nor close numbers lose their difference."""
    close = jnp.abs(x - y) < 0.5 * y
    apart = jnp.where(close, (x - y) / y, 0.0)
    return jnp.where(close, jnp.log1p(apart), jnp.log(x) - jnp.log(y))


def stirling_series(x: Any) -> Any:
    """Log Γ(x) − (x − ½) log x + x − ½ log 2π, for x of 8 or more."""
    y = 1 / x**2
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x


def stirling_rest(
    y: Float[Array, "*shape"], log_y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""$\delta(y) = \log \Gamma(y) - (y - 1/2) \log y + y - \log(2\pi) / 2$, for y > 0.

    Between 0 and 1/(12y): a log Γ of large numbers is written by it, so that what is large can be
    canceled on paper.

    Args:
        y: Numbers above zero.
        log_y: Their logarithms.
    """
    is_large = y > LARGE
    small, log_small = jnp.where(is_large, 1.0, y), jnp.where(is_large, 0.0, log_y)
    direct = gammaln(small) - (small - 0.5) * log_small + small - 0.5 * math.log(2 * math.pi)
    return jnp.where(is_large, stirling_series(jnp.where(is_large, y, LARGE)), direct)


def poisson_log_prob(
    x: Float[Array, "*shape"], log_rate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""$x l - e^l - \log x!$ for whole x of any size.

    Of large x it is $-x (e^t - 1 - t) - \log(2\pi x) / 2 - \delta(x)$ with $t = l - \log x$: terms
    of the result's own size.

    Args:
        x: Counts.
        log_rate: l.
    """
    is_large = x > LARGE
    small, large = jnp.where(is_large, 0.0, x), jnp.where(is_large, x, LARGE + 1.0)
    log_large = jnp.log(large)
    far = -large * excess(log_rate - log_large) - 0.5 * (math.log(2 * math.pi) + log_large)
    near = small * log_rate - jnp.exp(log_rate) - gammaln(small + 1)
    return jnp.where(is_large, far - stirling_series(large), near)
