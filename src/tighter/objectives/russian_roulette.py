"""SUMO: log p(x) itself, estimated by a bound of a random number of draws.

IWAE_1 + (IWAE_2 - IWAE_1) + (IWAE_3 - IWAE_2) + ... tends to log p(x). Cut after a random term,
with each term divided by the probability of getting so far, the sum keeps its expectation.
"""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import require
from tighter._derivatives import with_gradient_of
from tighter._rows import Rows, rows_of_batch
from tighter.bounds import IWAE, Bound
from tighter.distributions import stop_parameters
from tighter.gradients import Bias, Coefficients, DoublyReparameterized, Estimator
from tighter.objectives.base import AnyObjective
from tighter.objectives.log_weights import Way, check_drawn, log_weight, surrogate, way_of


class SUMO(AnyObjective):
    r"""Stochastically unbiased marginalization objective, in nats.

    $\mathrm{IWAE}_m + \sum_{k=1}^{\mathcal K} (\mathrm{IWAE}_{m+k} - \mathrm{IWAE}_{m+k-1}) /
    P(\mathcal K \ge k)$ with $P(\mathcal K \ge k) = 1/k$, cut at `max_samples` draws in all. Its
    expectation is that of IWAE with `max_samples` draws, some $10^{-3}$ nat or less below log p(x)
    where the weights have a variance; its expected cost is m + log(`max_samples`) draws. Used
    wherever an `Objective` is; what is computed are the draws needed and no more.

    The price is noise. The terms fall like 1/k, so that no distribution of $\mathcal K$ gives a
    finite variance at a finite expected cost without a cut; with one the variance grows like
    log(`max_samples`), and single values can be hundreds of nats away. That values above log p(x)
    occur is no sign of a good model, and a maximum over them means nothing. The published tail,
    .9ᵏ/80 beyond k = 80, is cheaper and its variance infinite.

    Args:
        gradient: `DoublyReparameterized`, `Reparameterized`, or another through the path.
        num_samples: m, draws that every example gets.
        max_samples: Draws of an example at most.

    Raises:
        TypeError: If the estimator is not one through the path, or follows something else.
        ValueError: If a number is below 1, or `max_samples` no more than `num_samples`.

    Warns:
        UserWarning: Always: of the variance.

    Example:
        >>> SUMO(num_samples=5).batch(model, xs, key=jax.random.key(0))  # (B,)

    References:
        Luo, Beatson, Norouzi, Zhu, Duvenaud, Adams & Chen, "SUMO: Unbiased estimation of log
        marginal probability for latent variable models", 2020, eqs. 7-8; Beatson & Adams,
        "Efficient optimization of loops and limits with randomized telescoping sums", 2019.
    """

    gradient: Estimator = DoublyReparameterized()
    num_samples: int = eqx.field(default=1, static=True)
    max_samples: int = eqx.field(default=1024, static=True)

    def __check_init__(self) -> None:
        """Refuse what can't be right, and warn of the rest."""
        if not isinstance(self.gradient, Estimator) or not self.gradient.uses_path:
            raise TypeError(
                "SUMO takes an estimator through the path (DoublyReparameterized, "
                f"Reparameterized), got {self.gradient!r}"
            )
        if self.bias:
            raise TypeError(
                f"SUMO follows log p(x), and {type(self.gradient).__name__} does not "
                f"({self.bias}): use DoublyReparameterized or Reparameterized"
            )
        require(
            1 <= self.num_samples < self.max_samples,
            "num_samples is at least 1 and max_samples above it, got "
            f"{self.num_samples} and {self.max_samples}",
        )
        warnings.warn(
            "SUMO has next to no bias and a very large variance, which no choice of its tail makes "
            "finite without the cut at max_samples: IWAE with as many draws is the safer bound",
            stacklevel=3,
        )

    @property
    def bias(self) -> Bias:
        """What the estimator says of IWAE with `max_samples` draws, whose expectation this has."""
        return self.gradient.bias(_NESTED)

    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The estimate of log p(x) for each example, whose derivative estimates its gradient.

        Args:
            model: Has `log_joint(x)` and `posterior(x)`.
            xs: Examples; a pytree of arrays with leading axis B.
            key: Random key.

        Returns:
            Estimates in nats, shape (B,).

        Raises:
            TypeError: If the posterior has no draws with a derivative.
            ValueError: If the posterior draws from experts in turn.
        """
        rows = rows_of_batch(model, xs, key=key)
        check_drawn(
            rows.example_posterior(),
            self.gradient,
            _NESTED,
            None,
            is_total_derivative=self.gradient.is_total_derivative,
        )
        counts = jax.vmap(self._count)(rows.keys)
        log_weights = _log_weights(stop_parameters(rows), counts, self.max_samples)
        bounds = jax.vmap(self._nested)(counts)
        values = jax.vmap(lambda bound, weights: bound(weights))(bounds, log_weights)
        coefficients = jax.vmap(self.gradient.coefficients)(bounds, log_weights)
        way = way_of(self.gradient, _NESTED)
        return with_gradient_of(values, _surrogate(rows, counts, log_weights, coefficients, way))

    def _count(self, key: Key[Array, ""]) -> Int[Array, ""]:
        """Draws of one example, m + 𝒦: 𝒦 ≥ k with probability 1/k."""
        uniform = jax.random.uniform(jax.random.fold_in(key, 2**32 - 2))  # a key of no draw
        most = self.max_samples - self.num_samples
        further = jnp.minimum(jnp.floor(1 / jnp.maximum(uniform, 1e-9)), most)
        return self.num_samples + further.astype(int)

    def _nested(self, count: Int[Array, ""]) -> Nested:
        """The sum as a combination of IWAE_1 … IWAE_max, for one number of draws."""
        size = jnp.arange(1, self.max_samples + 1)  # j, of IWAE_j
        further = size - self.num_samples  # k
        reached = jnp.where((further >= 1) & (size <= count), further, 0)  # 1 / P(𝒦 ≥ k)
        following = jnp.concatenate([reached[1:], jnp.zeros(1, reached.dtype)])
        return Nested((reached - following + (further == 0)).astype(float))


class Nested(Bound):
    r"""$\sum_j v_j\, \mathrm{IWAE}_j(\ell_1 \dots \ell_j)$, of draws in their order.

    Args:
        combination: v, shape (K,); adds up to one.
    """

    combination: Float[Array, " K"]

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """The combination; draws that no part of it takes may be anything but NaN."""
        used = self.combination != 0
        # Less the largest first, as the coefficients add up to one and are large.
        center = jnp.max(jnp.where(jnp.isfinite(log_weights), log_weights, -jnp.inf))
        center = jnp.where(jnp.isfinite(center), center, 0)
        means = _cumulative(log_weights - center) - jnp.log(jnp.arange(1, used.shape[0] + 1))
        finite = jnp.where(used & ~jnp.isinf(means), self.combination * means, 0)
        # Means of weights that are all zero: infinite where their coefficients don't cancel.
        zero = jnp.sum(jnp.where(means == -jnp.inf, self.combination, 0))
        value = center + jnp.sum(finite) - jnp.where(zero == 0, 0, zero * jnp.inf)
        return jnp.where(jnp.any(used & (means == jnp.inf)), jnp.inf, value)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$a_i = \sum_{j \ge i} v_j s_{ij}$ with $s_{ij} = e^{\ell_i - C_j}$."""
        return self._power_sum(log_weights, 1)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$h_i = \sum_{j \ge i} v_j (s_{ij} - s_{ij}^2)$."""
        return self._power_sum(log_weights, 1) - self._power_sum(log_weights, 2)

    def _power_sum(self, log_weights: Float[Array, " K"], power: int) -> Float[Array, " K"]:
        """The sum of v_j s_ij^power over j ≥ i, by a recursion from the last draw to the first."""
        total = _cumulative(log_weights)
        # Weights that are zero share evenly while there is no other.
        none = total == -jnp.inf
        log_weights = jnp.where(none, 0, log_weights)
        total = jnp.where(none, jnp.log(jnp.arange(1, total.shape[0] + 1)), total)
        share = jnp.exp(power * (log_weights - total))
        fall = jnp.exp(power * (total[:-1] - total[1:]))
        fall = jnp.where(none[:-1] & ~none[1:], 0, fall)
        fall = jnp.concatenate([fall, jnp.zeros(1, fall.dtype)])

        def join(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
            return later[0] * earlier[0], later[1] * earlier[0] + earlier[1]

        _, sums = jax.lax.associative_scan(join, (fall, self.combination), reverse=True)
        return share * sums


_NESTED = IWAE()  # what estimators ask of a bound, `Nested` answers as IWAE does


def _cumulative(log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """C_j, the log of the sum of the first j weights."""
    return jax.lax.cumlogsumexp(log_weights)


class _Blocks(eqx.Module):
    """The draws of all examples in one line, as many a block as there are examples."""

    ends: Int[Array, " batch"]

    @property
    def num(self) -> Int[Array, ""]:
        """How many blocks there are."""
        size = self.ends.shape[0]
        return (self.ends[-1] + size - 1) // size

    def places(self, block: Int[Array, ""]) -> tuple[Array, Array, Array]:
        """Example and draw of each row of a block, and whether there is one."""
        size = self.ends.shape[0]
        line = block * size + jnp.arange(size)
        example = jnp.searchsorted(self.ends, line, side="right")
        real = example < size
        example = jnp.minimum(example, size - 1)
        first = jnp.where(example > 0, self.ends[example - 1], 0)
        return example, jnp.where(real, line - first, 0), real


def _log_weights(rows: Rows, counts: Int[Array, " batch"], most: int) -> Float[Array, "batch most"]:
    """Log weights of the draws that there are, −∞ for the others."""
    blocks = _Blocks(jnp.cumsum(counts))

    def block(i: Int[Array, ""], held: Float[Array, "batch most"]) -> Float[Array, "batch most"]:
        example, draw, real = blocks.places(i)
        values = rows.take(example).evaluate(log_weight, draw[:, None])[:, 0]
        column = jnp.where(real, draw, most)  # beyond the end: dropped
        return held.at[example, column].set(values, mode="drop")

    held = jnp.full((counts.shape[0], most), -jnp.inf)
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, blocks.num, block, held))


def _surrogate(
    rows: Rows,
    counts: Int[Array, " batch"],
    log_weights: Float[Array, "batch most"],
    coefficients: Coefficients,
    way: Way,
) -> Float[Array, " batch"]:
    """Zeros, with the derivative of the sum of each example's terms; a loop of unknown length."""
    moving, rest = eqx.partition(rows, eqx.is_inexact_array)
    blocks = _Blocks(jnp.cumsum(counts))

    @jax.custom_vjp
    def zeros(moving: PyTree, log_weights: Array, coefficients: Coefficients) -> Array:
        return jnp.zeros(counts.shape[0])

    def forward(
        moving: PyTree, log_weights: Array, coefficients: Coefficients
    ) -> tuple[Array, PyTree]:
        return zeros(moving, log_weights, coefficients), (moving, log_weights, coefficients)

    def backward(held: PyTree, cotangent: Float[Array, " batch"]) -> PyTree:
        moving, log_weights, coefficients = held

        def block(i: Int[Array, ""], gradient: PyTree) -> PyTree:
            example, draw, real = blocks.places(i)
            scale = jnp.where(real, cotangent[example], 0)

            def total(moving: PyTree) -> Float[Array, ""]:
                taken = eqx.combine(moving, rest).take(example)
                every = jnp.stack([log_weights, *coefficients])
                zeros = way.zeros(jnp.sum(every, axis=0)[example, draw][:, None])
                drawn = taken.evaluate(way.function, draw[:, None], *zeros)
                of_block = jax.tree.map(lambda c: c[example, draw][:, None], coefficients)
                return jnp.sum(scale * surrogate(drawn, of_block)[:, 0])

            return jax.tree.map(jnp.add, gradient, jax.grad(total)(moving))

        start = jax.tree.map(jnp.zeros_like, moving)
        gradient = jax.lax.fori_loop(0, blocks.num, block, start)
        return gradient, *jax.tree.map(jnp.zeros_like, (log_weights, coefficients))

    zeros.defvjp(forward, backward)
    return zeros(moving, *jax.lax.stop_gradient((log_weights, coefficients)))
