"""The jackknifed importance-weighted estimate of log p(x)."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter.bounds._bound import Bound, Side, num_draws

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

    is_linear: ClassVar[bool] = False

    order: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Refuse what is no order."""
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order < 0:
            raise ValueError(
                f"the jackknife's order is a whole number from 0 up, got {self.order!r}"
            )

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Weighted sum of mean bounds over subsets, centered on the bound of all draws."""
        num = num_draws(log_weights, at_least=self.min_samples)
        total = jax.nn.logsumexp(log_weights)
        centered = log_weights - jnp.where(jnp.isfinite(total), total, 0)
        bound = total - jnp.log(num)
        for coefficient, kept in self._subsets(num):
            if kept.shape[0] == 1:  # all draws: the centre itself, whose coefficients add up to one
                continue
            subset_bounds = jax.nn.logsumexp(jnp.where(kept, centered, -jnp.inf), axis=1)
            size = int(kept[0].sum())
            bound = bound + coefficient * (jnp.mean(subset_bounds) - math.log(size / num))
        return bound

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The same sum of normalized weights within each subset."""
        return self._sum_over_subsets(log_weights, lambda normalized: normalized)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""The same sum of $\tilde w (1 - \tilde w)$ within each subset."""
        return self._sum_over_subsets(log_weights, lambda normalized: normalized * (1 - normalized))

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

    def _sum_over_subsets(self, log_weights, function):
        num = num_draws(log_weights, at_least=self.min_samples)
        result = jnp.zeros_like(log_weights)
        for coefficient, kept in self._subsets(num):
            normalized = jax.nn.softmax(jnp.where(kept, log_weights, -jnp.inf), axis=1)
            result = result + coefficient * jnp.mean(function(normalized), axis=0)
        return result

    def _subsets(self, num: int) -> list[tuple[float, np.ndarray]]:
        """For each j: the coefficient c_j and the masks (subsets, K) of the draws that are kept."""
        subsets = []
        for left_out in range(self.order + 1):
            rows = math.comb(num, left_out)
            if rows * num > _MOST_ENTRIES:
                raise ValueError(
                    f"a jackknife of order {self.order} over {num} draws has {rows} subsets of "
                    f"{num - left_out}: take fewer draws or a lower order"
                )
            kept = np.ones((rows, num), bool)
            for row, out in enumerate(itertools.combinations(range(num), left_out)):
                kept[row, list(out)] = False
            coefficient = (
                (-1) ** left_out
                * (num - left_out) ** self.order
                / (math.factorial(self.order - left_out) * math.factorial(left_out))
            )
            subsets.append((coefficient, kept))
        return subsets
