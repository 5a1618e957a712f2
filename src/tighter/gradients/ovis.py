"""Score-function estimators with the control variate of least variance: OVIS."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds import Bound, as_bound
from tighter.gradients._estimator import UNBIASED_EVERYWHERE, Bias, Coefficients, Estimator
from tighter.gradients.score_function import finite_or_none


class OVIS(Estimator):
    r"""Score function with its best control variate: model a, score $F - a_k - c_k$, path 0.

    $c_k$ estimates $E[F - a_k]$ over $z_k$ from the other draws, so that the noise of the score
    that comes with the common part of all draws is gone: with IWAE the posterior's
    signal-to-noise ratio grows as $K^{1/2}$, with no path. In its asymptotic form
    $c_k = \log \frac{1}{K - \gamma} \sum_{j \ne k} w_j$; in its Monte Carlo form the mean of
    $F - a_k$ with each of the other log weights in the place of $\ell_k$ (K − 1 evaluations of the
    bound a draw, no more of the model). Unbiased for every bound.

    Args:
        gamma: γ in [0, 1]: 0 is best where the weights are even, 1 where one has it all.
        monte_carlo: Whether to take the Monte Carlo form, which suits any bound and has no γ.

    Raises:
        ValueError: If γ is not in [0, 1].

    References:
        Liévin, Dittadi, Christensen & Winther, "Optimal variance control of the score-function
        gradient estimator for importance-weighted bounds", 2020, sec. 4.
    """

    uses_score: ClassVar[bool] = True
    uses_path: ClassVar[bool] = False

    gamma: float = eqx.field(static=True, default=0.0, converter=float)
    monte_carlo: bool = eqx.field(static=True, default=False, kw_only=True)

    def __check_init__(self) -> None:
        """Refuse what is no γ."""
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is in [0, 1], got {self.gamma}")

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, F − a − c, 0)."""
        bound = as_bound(bound)
        num = log_weights.shape[0]
        if num < 2:
            raise ValueError("OVIS needs 2 draws or more, got 1: raise num_samples")
        weights = bound.weights(log_weights)
        control = (
            _from_the_others(bound, log_weights)
            if self.monte_carlo
            else _of_the_others(log_weights) - jnp.log(num - self.gamma)
        )
        score = bound(log_weights) - weights - finite_or_none(control)
        return Coefficients(model=weights, score=score, path=jnp.zeros_like(weights))

    def bias(self, bound: Bound) -> Bias:
        """Unbiased."""
        return UNBIASED_EVERYWHERE

    def min_samples(self, bound: Bound) -> int:
        """Two at least: the control variate is made of the other draws."""
        return max(2, bound.min_samples)


def _of_the_others(log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Log of the sum of the other draws' weights."""
    same = jnp.eye(log_weights.shape[0], dtype=bool)
    return jax.nn.logsumexp(jnp.where(same, -jnp.inf, log_weights[None, :]), axis=1)


def _from_the_others(bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Mean over j ≠ k of F − a_k with ℓ_j in the place of ℓ_k."""
    num = log_weights.shape[0]

    def with_other(k: Array, j: Array) -> Array:
        replaced = log_weights.at[k].set(log_weights[j])
        return bound(replaced) - bound.weights(replaced)[k]

    index = jnp.arange(num)
    values = jax.vmap(lambda k: jax.vmap(lambda j: with_other(k, j))(index))(index)
    return jnp.sum(jnp.where(jnp.eye(num, dtype=bool), 0, values), axis=1) / (num - 1)
