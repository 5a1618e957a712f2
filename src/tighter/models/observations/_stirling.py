"""What Stirling's formula leaves of log Γ: sums and differences of log Γ without cancellation."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

_LARGE = 8.0


def stirling_rest(
    y: Float[Array, "*shape"], log_y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""$\delta(y) = \log \Gamma(y) - (y - 1/2) \log y + y - \log(2\pi) / 2$, for y > 0.

    Between 0 and 1/(12y): a log Γ of large numbers is written by it, so that what is large can be
    canceled on paper. The series' first term left out is 3e-10 at most.

    Args:
        y: Numbers above zero.
        log_y: Their logarithms.
    """
    is_large = y > _LARGE
    small, log_small = jnp.where(is_large, 1.0, y), jnp.where(is_large, 0.0, log_y)
    direct = gammaln(small) - (small - 0.5) * log_small + small - 0.5 * math.log(2 * math.pi)
    inverse = 1 / jnp.where(is_large, y, _LARGE)
    square = inverse**2
    return jnp.where(is_large, inverse * (1 / 12 - square * (1 / 360 - square / 1260)), direct)
