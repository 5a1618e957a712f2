"""Pareto-smoothed importance sampling: the tail's shape k̂, and weights smoothed by its fit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tighter._summary import fields_of
from tighter.evaluation.verdicts import TRUSTED

# Log weights no further apart are the same one, rounded in two ways.
_ROUNDING = 1e-5
# A count of so many draws is off by a fifth: fewer know too little of what they count.
_SEEN = 25
# The prior on the shape: as if ten excesses more had been seen, of shape one half.
_PRIOR_EXCESSES, _PRIOR_SHAPE = 10, 0.5


def tail_size(num_samples: int) -> int:
    """How many of the largest weights the Pareto fit uses: a fifth of them, at most 3√K.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", 2024, sec. 3.
    """
    return math.floor(num_samples / 5 if num_samples <= 225 else 3 * math.sqrt(num_samples))


class ParetoTail(NamedTuple):
    """The fit to the largest weights, a row an example.

    Attributes:
        shape: k̂ as `smooth_tail` has it: up to 0.7 the importance sampling estimate can be trusted.
        log_raw: Log of the sum of the weights in the tail; NaN where k̂ is.
        log_smoothed: The same with these replaced by the expected order statistics of the Pareto
            distribution fitted to them.
    """

    shape: Float[np.ndarray, " batch"]
    log_raw: Float[np.ndarray, " batch"]
    log_smoothed: Float[np.ndarray, " batch"]

    def __repr__(self) -> str:
        return fields_of(self)


class SmoothedWeights(NamedTuple):
    """Weights that add up to one, their largest replaced by what a Pareto tail expects.

    Attributes:
        log_weights: Shape (S, N), each column's weights adding up to one.
        pareto_k: k̂ of each column, shape (N,): above 0.7 it can't be trusted. Infinite where the
            tail holds draws without weight; NaN with fewer than 25 draws, or a ratio NaN or +∞.
    """

    log_weights: Float[np.ndarray, "S N"]
    pareto_k: Float[np.ndarray, " N"]

    def __repr__(self) -> str:
        return fields_of(self)


def pareto_tail(largest: Float[np.ndarray, "batch tail_and_one"]) -> ParetoTail:
    """Fit a generalized Pareto distribution to the tail of each row of log weights.

    Args:
        largest: The `tail_size(K) + 1` largest of K log weights, in any order.

    Returns:
        Shapes, and the tails' sums before and after smoothing.

    References:
        Vehtari et al., 2024, eqs. 8-10 and sec. 3.2.4.
    """
    fits = [_sums_of_tail(np.sort(row.astype(np.float64))) for row in largest]
    return ParetoTail(*(np.array(column) for column in zip(*fits, strict=True)))


def pareto_k(largest: Float[np.ndarray, "batch tail_and_one"]) -> Float[np.ndarray, " batch"]:
    """Pareto k̂ of each row from its largest log weights alone, as `pareto_tail` has it."""
    return pareto_tail(largest).shape


def smoothed_weights(log_ratios: Float[np.ndarray, "S N"]) -> SmoothedWeights:
    """Pareto-smoothed importance weights, a column at a time.

    Args:
        log_ratios: Log of target density over proposal's, up to a constant of each column, of S
            draws; −∞ for a draw without weight.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", 2024, sec. 3.
    """
    smoothed = np.empty(log_ratios.shape, np.float64)
    shapes = np.full(log_ratios.shape[1], np.nan)
    tail = tail_size(len(log_ratios))
    for column, ratios in enumerate(log_ratios.T.astype(np.float64)):
        largest = np.argsort(ratios)[-tail - 1 :]
        shapes[column], ratios[largest[1:]] = smooth_tail(ratios[largest])
        with np.errstate(invalid="ignore"):
            smoothed[:, column] = ratios - np.logaddexp.reduce(ratios)
    return SmoothedWeights(smoothed, shapes)


def smooth_tail(
    ascending: Float[np.ndarray, " tail_and_one"],
) -> tuple[float, Float[np.ndarray, " tail"]]:
    r"""k̂, and the tail replaced by the expected order statistics of the Pareto fitted to it.

    Weights that take few values, or are equal but for rounding, have no such tail: what a fit says
    of them is chance. Where a fit to the n weights in the tail isn't defined (a quarter of them
    stand at the tail's foot) or says more than 0.7, k̂ is

    - 0 where they can't be so heavy: the largest is below $n^{0.3}$ times the largest weight below
      the tail, where a tail of $k = 0.3$ gets to; or 25 draws or more have the largest weight,
      which so is known to be the largest.
    - else, where no fit is defined, $\log(w_n / w_0) / \log n$: the shape of a Pareto tail whose
      largest weight is as many times the threshold $w_0$.

    Args:
        ascending: The `tail_size(K) + 1` largest of K log weights, in ascending order: the largest
            below the tail, then the tail. -inf for draws without weight.

    Returns:
        k̂, infinite where the weights span more than 700 nats or some in the tail are zero, NaN
        where there are fewer than five in the tail or one isn't a number; and the log weights of
        the tail, smoothed where there was a fit.

    References:
        Vehtari et al., 2024, sec. 3 and appendix C.
    """
    raw = ascending[1:]
    if raw.size < 5 or ascending[-1] == -np.inf or not (ascending < np.inf).all():
        return math.nan, raw
    span = ascending[-1] - ascending[0]
    if span < _ROUNDING:
        return 0.0, raw
    fit = _fit(ascending)
    if fit is not None and fit.shape <= TRUSTED:
        return fit.shape, _smoothed(ascending, fit)
    # As equal as weights can be to which a fit doesn't apply: within a thousandth.
    known = raw.size >= _SEEN and raw[-1] - raw[-_SEEN] < 1e-3
    if known or span < 0.3 * math.log(raw.size):
        return 0.0, raw
    if fit is not None:
        return fit.shape, _smoothed(ascending, fit)
    # Weights that vanish beside the largest even in double precision are as good as none.
    vanish = ascending[-1] - ascending[1] > 700
    return math.inf if vanish else span / math.log(raw.size), raw


def _fit(ascending: Float[np.ndarray, " tail_and_one"]) -> _GeneralizedPareto | None:
    """None where a quarter of the tail's weights are the same, or all but vanish."""
    tail = ascending.size - 1
    if ascending[-1] - ascending[1] > 700:
        return None
    if ascending[1 + max(_quartile(tail), 1)] - ascending[1] < _ROUNDING:
        return None
    weights = np.exp(ascending - ascending[-1])
    with np.errstate(all="ignore"):
        fit = _fit_excesses(weights[1:] - weights[0])
    return fit if np.isfinite(fit).all() else None


def _smoothed(
    ascending: Float[np.ndarray, " tail_and_one"], fit: _GeneralizedPareto
) -> Float[np.ndarray, " tail"]:
    """Quantiles of the fit above the threshold, none larger than the largest weight."""
    weights = np.exp(ascending[0] - ascending[-1]) + fit.quantiles(ascending.size - 1)
    with np.errstate(divide="ignore"):
        return np.minimum(ascending[-1] + np.log(weights), ascending[-1])


def _sums_of_tail(ascending: Float[np.ndarray, " tail_and_one"]) -> tuple[float, float, float]:
    """Shape, log of the raw and of the smoothed tail's sum."""
    shape, smoothed = smooth_tail(ascending)
    if math.isnan(shape):
        return math.nan, math.nan, math.nan
    raw, total = np.logaddexp.reduce(ascending[1:]), np.logaddexp.reduce(smoothed)
    return shape, float(raw), float(total)


class _GeneralizedPareto(NamedTuple):
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


def _quartile(num: int) -> int:
    """Which of so many ascending excesses is the first quartile, which tells the scale."""
    return math.floor(num / 4 + 0.5) - 1


def _fit_excesses(ascending: Float[np.ndarray, " tail"]) -> _GeneralizedPareto:
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
    theta = 1 / ascending[-1] + steps / (3 * ascending[_quartile(num)])
    shape = np.log1p(-theta[:, None] * ascending).mean(axis=1)
    log_likelihood = num * (np.log(-theta / shape) - shape - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    # Of those that vanish some are far away.
    weights = np.where(weights < 10 * np.finfo(float).eps * weights.sum(), 0, weights)
    mean = float(theta @ weights / weights.sum())
    fitted = float(np.log1p(-mean * ascending).mean())
    leaning = (num * fitted + _PRIOR_EXCESSES * _PRIOR_SHAPE) / (num + _PRIOR_EXCESSES)
    return _GeneralizedPareto(leaning, -fitted / mean)
