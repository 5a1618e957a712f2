"""The evidence lower bound."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds._bound import Bound, Side, num_draws


class ELBO(Bound):
    r"""Evidence lower bound, $F = \frac1K \sum_k \ell_k$, in nats.

    Its expectation is $\log p(x) - \mathrm{KL}(q(z \mid x) \| p(z \mid x))$ for any K: more draws
    make it less noisy, not tighter.

    Example:
        >>> ELBO()(jnp.array([-1.0, -3.0]))
        Array(-2., dtype=float32)

    References:
        Jordan, Ghahramani, Jaakkola & Saul, "An introduction to variational methods for graphical
        models", 1999; Kingma & Welling, "Auto-encoding variational Bayes", 2014, eq. 2.
    """

    side: ClassVar[Side] = Side.LOWER
    is_linear: ClassVar[bool] = True

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of the log weights."""
        num_draws(log_weights)
        return jnp.mean(log_weights)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a_k = 1/K$."""
        return jnp.full_like(log_weights, 1 / num_draws(log_weights))

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_k = 0$."""
        num_draws(log_weights)
        return jnp.zeros_like(log_weights)
