"""Bounds from power means of the weights: Rényi's (either side) and CUBO (upper)."""

from __future__ import annotations

import math
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from tighter.bounds._bound import Bound, Side, num_draws
from tighter.bounds._power_mean import log_power_mean, shares


class Renyi(Bound):
    r"""Variational Rényi bound, $F = \frac{1}{1-\alpha} \log \frac1K \sum_k e^{(1-\alpha)\ell_k}$.

    Non-increasing in $\alpha$: $\alpha = 0$ is the importance-weighted bound, $\alpha \to 1$ the
    ELBO (taken as a limit, with no division by zero). For $0 \le \alpha$ it is a lower bound; for
    $\alpha < 0$ it tends to an upper bound as K grows, and lies on neither side for finite K.

    Args:
        alpha: Order of the divergence, any finite number.

    Example:
        >>> Renyi(0.5)(jnp.log(jnp.array([1.0, 9.0])))  # 2 log 2
        Array(1.3862944, dtype=float32)

    Raises:
        ValueError: If `alpha` is not finite.

    References:
        Li & Turner, "Rényi divergence variational inference", 2016, eqs. 5 and 11.
    """

    alpha: float = eqx.field(static=True, converter=float)

    def __check_init__(self) -> None:
        """Refuse orders that give no number."""
        if not math.isfinite(self.alpha):
            raise ValueError(f"the order of a Rényi bound is a finite number, got {self.alpha}")

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Log of a power mean of the weights."""
        num_draws(log_weights)
        return log_power_mean(log_weights, 1 - self.alpha)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a = \mathrm{softmax}((1-\alpha)\,\ell)$."""
        num_draws(log_weights)
        return shares(log_weights, 1 - self.alpha)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_k = (1-\alpha)\, a_k (1 - a_k)$."""
        weights = self.weights(log_weights)
        return (1 - self.alpha) * weights * (1 - weights)

    @property
    def side(self) -> Side:
        """Lower for orders from 0 up."""
        return Side.LOWER if self.alpha >= 0 else Side.NEITHER

    @property
    def is_linear(self) -> bool:
        """Only of order 1, where it is the ELBO."""
        return self.alpha == 1


class CUBO(Bound):
    r"""Chi upper bound, $F = \frac1n \log \frac1K \sum_k e^{n \ell_k}$, in nats.

    An upper bound on $\log p(x)$ as K grows. For finite K the expectation of this estimate is
    below its limit (the logarithm is concave) and can fall under $\log p(x)$: use many draws, and
    look at their effective sample size. Not to be maximized.

    Args:
        order: The order n of the chi divergence, 1 or more; 2 is usual.

    Raises:
        ValueError: If `order` is below 1 or not finite.

    References:
        Dieng, Tran, Ranganath, Paisley & Blei, "Variational inference via chi upper bound
        minimization", 2017, eq. 3.
    """

    side: ClassVar[Side] = Side.UPPER
    is_linear: ClassVar[bool] = False

    order: float = eqx.field(static=True, converter=float, default=2.0)

    def __check_init__(self) -> None:
        """Refuse orders that bound nothing from above."""
        if not (math.isfinite(self.order) and self.order >= 1):
            raise ValueError(f"the order of CUBO is a number from 1 up, got {self.order}")

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Log of a power mean of the weights."""
        num_draws(log_weights)
        return log_power_mean(log_weights, self.order)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a = \mathrm{softmax}(n \ell)$."""
        num_draws(log_weights)
        return shares(log_weights, self.order)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_k = n\, a_k (1 - a_k)$."""
        weights = self.weights(log_weights)
        return self.order * weights * (1 - weights)
