"""The importance-weighted bound."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Array, Float

from tighter.bounds._bound import Bound, Side, num_draws
from tighter.bounds._power_mean import log_power_mean, shares


class IWAE(Bound):
    r"""Importance-weighted lower bound, $F = \log \frac1K \sum_k e^{\ell_k}$, in nats.

    Never looser with more draws, and tends to $\log p(x)$ as K grows, with a gap of about
    $\mathrm{Var}(w) / (2 K p(x)^2)$.

    Example:
        >>> IWAE()(jnp.log(jnp.array([1.0, 3.0])))  # log 2
        Array(0.6931472, dtype=float32)

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, eq. 8.
    """

    side: ClassVar[Side] = Side.LOWER
    is_linear: ClassVar[bool] = False

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Log of the mean weight."""
        num_draws(log_weights)
        return log_power_mean(log_weights)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""The normalized weights, $a_k = \tilde w_k$."""
        num_draws(log_weights)
        return shares(log_weights)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_k = \tilde w_k (1 - \tilde w_k)$."""
        normalized_weights = self.weights(log_weights)
        return normalized_weights * (1 - normalized_weights)
