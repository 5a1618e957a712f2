"""Errors and intervals of any statistic of replicates, by leaving out each group in turn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from tighter.diagnostics.replicates import NUM_GROUPS

# Of Student's t with the groups' degrees of freedom, for 95 %.
QUANTILE = float(stdtrit(NUM_GROUPS - 1, 0.975))


class Interval(NamedTuple):
    """A 95 % confidence interval, of a number or of every entry of a pytree of arrays."""

    low: Any
    high: Any


@np.errstate(invalid="ignore")  # where a statistic isn't finite, neither is its error
def jackknife_error(statistics: Float[np.ndarray, "all_and_groups ..."]) -> np.ndarray:
    """Standard error of a statistic, from it with each group left out (after its first entry)."""
    others = statistics[1:]
    apart = others - others.mean(axis=0)
    return np.asarray(np.sqrt((NUM_GROUPS - 1) / NUM_GROUPS * (apart**2).sum(axis=0)))


def jackknife_interval(statistics: Float[np.ndarray, "all_and_groups ..."]) -> Interval:
    """The statistic plus and minus the quantile times its error."""
    margin = QUANTILE * jackknife_error(statistics)
    return Interval(statistics[0] - margin, statistics[0] + margin)


@np.errstate(invalid="ignore")
def left_out(means: np.ndarray, squares: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of all replicates and, below, with each group left out, by coordinate."""
    means, squares = np.asarray(means, np.float64), np.asarray(squares, np.float64)
    num = NUM_GROUPS
    mean = means.mean(axis=0)
    apart = means - mean
    # Without group j the others' mean moves by apart_j / (J - 1), and their spread with it.
    between = (apart**2).sum(axis=0)
    total = squares.sum(axis=0) + size * between
    rest = total - squares - size * apart**2 * num / (num - 1)
    variances = np.maximum(rest, 0) / ((num - 1) * size - 1)
    return (
        np.concatenate([mean[None], mean - apart / (num - 1)]),
        np.concatenate([total[None] / (num * size - 1), variances]),
    )


def positive_interval(statistics: np.ndarray) -> Interval:
    """An interval on a logarithmic scale, by the relative error."""
    margin = np.exp(QUANTILE * ratio_of(jackknife_error(statistics), statistics[0]))
    return Interval(statistics[0] / margin, statistics[0] * margin)


def size_interval(statistics: np.ndarray) -> Interval:
    """Of the absolute value: from zero where the interval of the signed one has both signs."""
    with np.errstate(invalid="ignore"):  # infinite where there is no noise
        low, high = jackknife_interval(statistics)
    largest = np.maximum(np.abs(low), np.abs(high))
    smallest = np.where(low * high <= 0, 0, np.minimum(np.abs(low), np.abs(high)))
    known = np.isfinite(statistics).all(axis=0)
    exact = np.abs(statistics[0])
    return Interval(np.where(known, smallest, exact), np.where(known, largest, exact))


def ratio_of(numerator: Any, denominator: Any) -> np.ndarray:
    """The quotient; where both are zero, zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(numerator) == 0, 0.0, numerator / denominator)
