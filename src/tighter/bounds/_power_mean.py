"""Shares and power means of K weights, from their logarithms, whatever these are.

A log weight may be infinite. What is meant is the limit in which all that are infinite go there
together: a weight of zero has no share beside one that is none, several infinite ones have equal
shares, and so have weights that are all zero. NaN stays NaN.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tighter._derivatives import with_derivative


def shares(
    log_weights: Float[Array, " K"], power: float = 1.0, kept: Bool[Array, " K"] | None = None
) -> Float[Array, " K"]:
    r"""Each power of a weight over their sum, $w_k^p / \sum_j w_j^p$.

    Args:
        log_weights: In nats.
        power: p.
        kept: Which draws there are; None for all.
    """
    kept = jnp.ones(log_weights.shape, bool) if kept is None else kept
    if power == 0:
        return jnp.where(kept, 1, 0).astype(log_weights.dtype) / jnp.sum(kept)
    # Less the largest first: power times a large number would round the differences away.
    top = jax.lax.stop_gradient(_top(log_weights, power, kept))
    return _softmax(power * (log_weights - jnp.where(jnp.isfinite(top), top, 0)), kept)


def log_power_mean(
    log_weights: Float[Array, " K"], power: float = 1.0, kept: Bool[Array, " K"] | None = None
) -> Float[Array, ""]:
    r"""$\frac1p \log \frac1K \sum_k e^{p \ell_k}$, the mean of $\ell$ at p = 0.

    Log weights are taken less the one with the largest power, so that none is lost to another
    that is tiny. Where the mean of what is left is near 1, log1p and expm1 keep the digits that
    its logarithm would lose before the division by p.
    """
    if power == 0 and kept is None:
        return jnp.mean(log_weights)
    mask = jnp.ones(log_weights.shape, bool) if kept is None else kept
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
