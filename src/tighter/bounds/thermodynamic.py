"""The thermodynamic integral of log p(x), by Riemann sums over the path from q to the posterior."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._derivatives import with_derivative
from tighter.bounds.bound import Bound, Side
from tighter.bounds.power_means import shares


class Thermodynamic(Bound):
    r"""Riemann sum of $\log p(x) = \int_0^1 E_{\pi_\beta}[\ell]\, d\beta$, in nats.

    $F = \sum_i (\beta_{i+1} - \beta_i) \sum_k \mathrm{softmax}(\beta \ell)_k\, \ell_k$ with
    $\pi_\beta \propto q^{1-\beta} p^\beta$, at the left ends $\beta = \beta_i$ or the right ones
    $\beta_{i+1}$. The integrand rises with β: the left sum is at most the IWAE bound, for any
    draws, the right sum at least. One left step is the ELBO. The right sum is an upper bound as K
    grows, and not to be maximized.

    Args:
        betas: Ends of the steps, rising from 0 to 1 (0 and 1 may be left out), or how many equal
            steps to take.
        right: Whether to take the right ends.

    Raises:
        ValueError: If the betas don't rise within [0, 1], or there is no step.

    Example:
        >>> Thermodynamic([0, 0.1, 1])(jnp.array([-1.0, -3.0]))
        Array(-1.9102988, dtype=float32)

    References:
        Masrani, Le & Wood, "The thermodynamic variational objective", 2019, eqs. 7-10.
    """

    betas: tuple[float, ...] = eqx.field(static=True)
    right: bool = eqx.field(static=True)

    def __init__(
        self, betas: Sequence[float | int] | np.ndarray | Array | int, *, right: bool = False
    ):
        if isinstance(betas, int):
            betas = [i / betas for i in range(betas + 1)] if betas > 0 else []
        ends = [float(beta) for beta in np.ravel(np.asarray(betas, float))]
        if not ends:
            raise ValueError(f"a Riemann sum takes one step or more, got betas {betas!r}")
        ends = ([0.0] if ends[0] > 0 else []) + ends + ([1.0] if ends[-1] < 1 else [])
        if ends[0] != 0 or ends[-1] != 1 or any(np.diff(ends) <= 0):
            raise ValueError(f"betas rise from 0 to 1, got {betas!r}")
        self.betas, self.right = tuple(ends), right

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Sum over the steps of the tempered mean of the log weights."""
        value = self._sum(lambda beta: _tempered(log_weights, beta)[0])
        return with_derivative(value, self.weights(log_weights), log_weights)

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$\sum_i \Delta_i\, s_k (1 + \beta (\ell_k - m))$, s the softmax and m the mean."""

        def term(beta: float) -> Array:
            _, share, excess = _tempered(log_weights, beta)
            return share * (1 + beta * excess)

        return self._sum(term)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""$\sum_i \Delta_i\, \beta s_k [(1 - s_k)(1 + \beta(\ell_k - m)) + 1 - a_k]$."""

        def term(beta: float) -> Array:
            _, share, excess = _tempered(log_weights, beta)
            tilt = 1 + beta * excess
            return beta * share * ((1 - share) * tilt + 1 - share * tilt)

        return self._sum(term)

    @property
    def side(self) -> Side:
        """Lower for the left sum, upper for the right."""
        return Side.UPPER if self.right else Side.LOWER

    def _sum(self, term) -> Array:
        ends = self.betas[1:] if self.right else self.betas[:-1]
        steps = zip(np.diff(self.betas).tolist(), ends, strict=True)
        terms = [step * term(beta) for step, beta in steps]
        return jnp.sum(jnp.stack(terms), axis=0)


def _tempered(log_weights: Array, beta: float) -> tuple[Array, Array, Array]:
    """Mean m of ℓ under the shares of w^β; the shares; and ℓ − m, 0 where a share is."""
    share = shares(log_weights, beta)
    if beta == 0:
        return jnp.mean(log_weights), share, jnp.zeros_like(log_weights)
    top = jax.lax.stop_gradient(jnp.max(log_weights))
    # A weight of zero counts for nothing: w^β log w tends to 0.
    counts = (share > 0) & (jnp.isfinite(top) | jnp.isnan(top))
    excess = jnp.where(counts, log_weights - top, 0)
    mean = jnp.sum(share * excess)
    return top + mean, share, excess - mean
