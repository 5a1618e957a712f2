"""The generalized Pareto distribution that fits the excesses of the largest weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The prior on the shape: as if ten excesses more had been seen, of shape one half.
_PRIOR_EXCESSES, _PRIOR_SHAPE = 10, 0.5


class GeneralizedPareto(NamedTuple):
    r"""Density $(1 + k x / \sigma)^{-1/k - 1} / \sigma$ at an excess $x > 0$.

    Attributes:
        shape: k: the 1/k-th moment is the first that is infinite; below zero x is bounded.
        scale: σ, in units of the excesses.
    """

    shape: float
    scale: float

    def quantiles(self, num: int) -> Float[np.ndarray, " num"]:
        r"""About the expected order statistics of as many draws: quantiles of $(i - 1/2) / n$."""
        log_survival = np.log1p(-(np.arange(num) + 0.5) / num)
        if self.shape == 0:
            return -self.scale * log_survival
        return self.scale * np.expm1(-self.shape * log_survival) / self.shape


def quartile(num: int) -> int:
    """Which of so many ascending excesses is the first quartile, which tells the scale."""
    return math.floor(num / 4 + 0.5) - 1


def fit_excesses(ascending: Float[np.ndarray, " tail"]) -> GeneralizedPareto:
    r"""Empirical Bayes, then a prior that leans towards k = ½ where excesses are few.

    The likelihood is that of $\theta = -k / \sigma$ alone, at the best k for it,
    $k(\theta) = \mathrm{mean} \log(1 - \theta x)$: the posterior mean of θ is a sum over a grid.

    Args:
        ascending: Excesses in ascending order; the first quartile is above zero.

    References:
        Zhang & Stephens, "A new and efficient estimation method for the generalized Pareto
        distribution", 2009; Vehtari et al., "Pareto smoothed importance sampling", 2024,
        appendix C.
    """
    num = ascending.size
    size = 30 + math.isqrt(num)
    steps = 1 - np.sqrt(size / (np.arange(size) + 0.5))
    theta = 1 / ascending[-1] + steps / (3 * ascending[quartile(num)])
    shape = np.log1p(-theta[:, None] * ascending).mean(axis=1)
    log_likelihood = num * (np.log(-theta / shape) - shape - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    # Of those that vanish some are far away.
    weights = np.where(weights < 10 * np.finfo(float).eps * weights.sum(), 0, weights)
    mean = float(theta @ weights / weights.sum())
    fitted = float(np.log1p(-mean * ascending).mean())
    leaning = (num * fitted + _PRIOR_EXCESSES * _PRIOR_SHAPE) / (num + _PRIOR_EXCESSES)
    return GeneralizedPareto(leaning, -fitted / mean)
