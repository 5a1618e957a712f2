"""The jackknifed importance-weighted estimate of log p(x)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._derivatives import with_derivative
from tighter.bounds.bound import Bound, Side, num_draws
from tighter.bounds.power_means import log_power_mean, shares

# The subsets are enumerated; this many entries take a second and half a gigabyte.
_MOST_ENTRIES = 2**26


class Jackknife(Bound):
    r"""Jackknife variational inference of order m: IWAE without its bias to order $K^{-m}$.

    $F = \sum_{j=0}^m c_j \bar L_{K-j}$ with $c_j = (-1)^j (K-j)^m / ((m-j)!\,j!)$ and
    $\bar L_{K-j}$ the mean of the IWAE bound over all subsets of K − j draws. Order 0 is the IWAE
    bound. An estimate rather than a bound: its expectation may lie on either side of
    $\log p(x)$, at a distance of order $K^{-(m+1)}$. All subsets are enumerated, so the cost
    grows as $K^{m+1}$.

    Args:
        order: The order m, 0 or more. Needs more than m draws.

    Raises:
        ValueError: If `order` is no whole number from 0 up, or (when called) if there are not more
            draws than that, or too many subsets to enumerate.

    References:
        Nowozin, "Debiasing evidence approximations: on importance-weighted autoencoders and
        jackknife variational inference", 2018, eqs. 12-14.
    """

    order: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Refuse what is no order."""
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order < 0:
            raise ValueError(
                f"the jackknife's order is a whole number from 0 up, got {self.order!r}"
            )

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Weighted sum of mean bounds over subsets, each less the bound of all draws."""
        num = num_draws(log_weights, at_least=self.min_samples)
        whole, share = log_power_mean(log_weights), shares(log_weights)
        value = jnp.where(jnp.isinf(whole), 0, whole)
        # What the coefficients of bounds that are infinite add up to.
        above, below = jnp.where(whole == jnp.inf, 1, 0), jnp.where(whole == -jnp.inf, 1, 0)
        for coefficient, kept in self._subsets(num):
            bounds = jax.vmap(lambda row: log_power_mean(log_weights, kept=row))(jnp.asarray(kept))
            lost = _lost(share, kept)
            # log(1 + lost), whose mean over subsets is that of lost, and so 0: without it the
            # terms are small, and coefficients of order K^m do not take their digits.
            near = jnp.log1p(jnp.maximum(lost, -0.5))
            beyond = jnp.isinf(bounds) | jnp.isinf(whole)
            far = jnp.where(beyond, 0, bounds - whole)
            change = jnp.where(lost > -0.5, near, far) - lost
            value = value + coefficient * jnp.mean(jnp.where(beyond, 0, change))
            above = above + coefficient * (jnp.mean(bounds == jnp.inf) - (whole == jnp.inf))
            below = below + coefficient * (jnp.mean(bounds == -jnp.inf) - (whole == -jnp.inf))
        value = value + _times_infinity(above) - _times_infinity(below)
        value = value.astype(log_weights.dtype)
        return with_derivative(value, self.weights(log_weights), log_weights)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The same sum of normalized weights within each subset."""
        num = num_draws(log_weights, at_least=self.min_samples)
        share = result = shares(log_weights)
        for coefficient, kept in self._subsets(num):
            # Within a subset a share grows by 1 / (1 + lost), over its mean growth.
            lost = _lost(share, kept)[:, None]
            even = jnp.where(kept, share[None] * (num / int(kept[0].sum())), 0)
            near = -even * lost / jnp.maximum(1 + lost, 0.5)
            change = jnp.where(lost > -0.5, near, _within(log_weights, kept) - even)
            result = result + coefficient * jnp.mean(change, axis=0)
        return result

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""The same sum of $\tilde w (1 - \tilde w)$ within each subset."""
        num = num_draws(log_weights, at_least=self.min_samples)
        squares = num**self.order / math.factorial(self.order) * shares(log_weights) ** 2
        for coefficient, kept in self._subsets(num):
            within = _within(log_weights, kept)
            squares = squares + coefficient * jnp.mean(within**2, axis=0)
        return self.weights(log_weights) - squares

    @property
    def side(self) -> Side:
        """Neither, but for order 0, which is the IWAE bound."""
        return Side.LOWER if self.order == 0 else Side.NEITHER

    @property
    def min_samples(self) -> int:
        """One more than the order."""
        return self.order + 1

    def kept_together(self, num: int) -> int:
        """None, but for order 0: each is left out by itself."""
        return num if self.order == 0 else 1

    def _subsets(self, num: int) -> Iterator[tuple[float, np.ndarray]]:
        """For j from 1 up: the coefficient c_j and the masks (subsets, K) of the draws kept."""
        for left_out in range(1, self.order + 1):
            rows = math.comb(num, left_out)
            if rows * num > _MOST_ENTRIES:
                raise ValueError(
                    f"a jackknife of order {self.order} over {num} draws has {rows} subsets of "
                    f"{num - left_out}: take fewer draws or a lower order"
                )
            kept = np.ones((rows, num), bool)
            dropped = np.array(list(itertools.combinations(range(num), left_out)))
            np.put_along_axis(kept, dropped, values=False, axis=1)
            coefficient = (
                (-1) ** left_out
                * (num - left_out) ** self.order
                / (math.factorial(self.order - left_out) * math.factorial(left_out))
            )
            yield coefficient, kept


def _within(log_weights: Array, kept: np.ndarray) -> Array:
    """The normalized weights within each subset."""
    return jax.vmap(lambda row: shares(log_weights, kept=row))(jnp.asarray(kept))


def _lost(share: Array, kept: np.ndarray) -> Array:
    """By how much each subset's mean weight is off that of all, over that; by what is left out."""
    num, size = kept.shape[1], int(kept[0].sum())
    return jnp.sum(jnp.where(kept, 0, 1 / num - share[None]), axis=1) * (num / size)


def _times_infinity(number: Array) -> Array:
    """Infinite with the number's sign, 0 for 0."""
    return jnp.where(number == 0, 0, number * jnp.inf)
