"""Bounds from power means of the weights: ELBO, IWAE, Rényi's and CUBO are one formula.

F = (1/p) log (1/K) sum_k e^(p l_k), whose first derivatives are the powers' shares:

    ELBO          p -> 0        mean of the log weights
    IWAE          p = 1         log of the mean weight
    Renyi(alpha)  p = 1 - alpha
    CUBO(n)       p = n         from above

A log weight may be infinite. What is meant is the limit in which all that are infinite go there
together: a weight of zero has no share beside one that is none, several infinite ones have equal
shares, and so have weights that are all zero. NaN stays NaN.
"""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tighter._derivatives import with_derivative
from tighter.bounds.bound import Bound, Side, num_draws


class PowerMean(Bound):
    r"""Log of a power mean of the weights, $F = \frac1p \log \frac1K \sum_k e^{p \ell_k}$."""

    @property
    @abc.abstractmethod
    def power(self) -> float:
        """The power p; 0 for the limit, the mean of the log weights."""

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Log of a power mean of the weights."""
        return log_power_mean(log_weights, self.power)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a = \mathrm{softmax}(p\,\ell)$."""
        return shares(log_weights, self.power)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_k = p\, a_k (1 - a_k)$."""
        weights = self.weights(log_weights)
        # A factor of one would change how the compiler rounds.
        scaled = weights if self.power == 1 else self.power * weights
        return scaled * (1 - weights)

    @property
    def side(self) -> Side:
        """Lower up to the mean weight itself, p ≤ 1."""
        return Side.LOWER if self.power <= 1 else Side.NEITHER

    @property
    def is_linear(self) -> bool:
        """In the limit p = 0."""
        return self.power == 0


class ELBO(PowerMean):
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

    power: ClassVar[float] = 0.0


class IWAE(PowerMean):
    r"""Importance-weighted lower bound, $F = \log \frac1K \sum_k e^{\ell_k}$, in nats.

    Never looser with more draws, and tends to $\log p(x)$ as K grows, with a gap of about
    $\mathrm{Var}(w) / (2 K p(x)^2)$. Its first derivatives are the normalized weights $\tilde w$.

    Example:
        >>> IWAE()(jnp.log(jnp.array([1.0, 3.0])))  # log 2
        Array(0.6931472, dtype=float32)

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, eq. 8.
    """

    power: ClassVar[float] = 1.0


class Renyi(PowerMean):
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

    @property
    def power(self) -> float:
        r"""$1 - \alpha$."""
        return 1 - self.alpha


class CUBO(PowerMean):
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

    order: float = eqx.field(static=True, converter=float, default=2.0)

    def __check_init__(self) -> None:
        """Refuse orders that bound nothing from above."""
        if not (math.isfinite(self.order) and self.order >= 1):
            raise ValueError(f"the order of CUBO is a number from 1 up, got {self.order}")

    @property
    def power(self) -> float:
        """The order."""
        return self.order


def shares(
    log_weights: Float[Array, " K"], power: float = 1.0, kept: Bool[Array, " K"] | None = None
) -> Float[Array, " K"]:
    r"""Each power of a weight over their sum, $w_k^p / \sum_j w_j^p$.

    Args:
        log_weights: In nats.
        power: p; at 0 the shares are equal.
        kept: Which draws there are, for a power other than 0; None for all.
    """
    num = num_draws(log_weights)
    if power == 0:
        return jnp.full_like(log_weights, 1 / num)
    kept = jnp.ones(num, bool) if kept is None else kept
    # Less the largest first: power times a large number would round the differences away.
    top = jax.lax.stop_gradient(_top(log_weights, power, kept))
    return _softmax(power * (log_weights - jnp.where(jnp.isfinite(top), top, 0)), kept)


def log_power_mean(
    log_weights: Float[Array, " K"], power: float = 1.0, kept: Bool[Array, " K"] | None = None
) -> Float[Array, ""]:
    r"""$\frac1p \log \frac1K \sum_k e^{p \ell_k}$, the mean of $\ell$ at p = 0.

    Log weights are taken less the one with the largest power, so that none is lost to another
    that is tiny. Where the mean of what is left is near 1, log1p and expm1 keep the digits that
    its logarithm would lose before the division by p. Arguments as in `shares`.
    """
    num = num_draws(log_weights)
    if power == 0:
        return jnp.mean(log_weights)
    mask = jnp.ones(num, bool) if kept is None else kept
    top = _top(log_weights, power, mask)
    scaled = jnp.where(log_weights == top, 0, power * (log_weights - top))
    mean = jnp.mean(jnp.exp(scaled), where=mask)
    by_series = jnp.log1p(jnp.mean(jnp.expm1(scaled), where=mask))
    value = top + jnp.where(mean > 0.5, by_series, jnp.log(mean)) / power
    return with_derivative(value, shares(log_weights, power, kept), log_weights)


def _top(log_weights: Array, power: float, kept: Array) -> Array:
    """The log weight whose power is largest."""
    if power < 0:
        return jnp.min(log_weights, where=kept, initial=jnp.inf)
    return jnp.max(log_weights, where=kept, initial=-jnp.inf)


@jax.custom_jvp
def _softmax(scaled: Float[Array, " K"], kept: Bool[Array, " K"]) -> Float[Array, " K"]:
    top = jnp.max(scaled, where=kept, initial=-jnp.inf)
    weights = jnp.where(kept, jnp.exp(jnp.where(scaled == top, 0, scaled - top)), 0)
    return weights / jnp.sum(weights)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    weights = _softmax(*primals)
    return weights, weights * (tangents[0] - jnp.sum(weights * tangents[0]))
