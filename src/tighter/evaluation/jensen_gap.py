"""The law of the gap: K (log p(x) − L_K) tends to half the χ² of the posterior from q."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from tighter._summary import mean_of, quantity, summary


class JensenGap(NamedTuple):
    r"""The fit of $L_K = \log p(x) - \frac{\chi^2}{2K} + \frac{c}{K^2}$ to bounds of several K.

    Attributes:
        log_likelihood: log p(x) extrapolated to K = ∞, in nats, a row an example.
        log_likelihood_standard_error: Its Monte Carlo error.
        half_chi_square: ½χ²(p(z|x)‖q): the gap of IWAE_K is this over K. Of experts that are
            drawn in turn it is what the gap is, less than that: without the part of the χ² that
            lies between them.
        half_chi_square_standard_error: Its Monte Carlo error.
    """

    log_likelihood: Float[np.ndarray, " batch"]
    log_likelihood_standard_error: Float[np.ndarray, " batch"]
    half_chi_square: Float[np.ndarray, " batch"]
    half_chi_square_standard_error: Float[np.ndarray, " batch"]

    def __repr__(self) -> str:
        mean = mean_of(self.log_likelihood, self.log_likelihood_standard_error)
        return summary(self, mean, f"median ½χ² {quantity(np.median(self.half_chi_square))}")


def fit_jensen_gap(
    log_weights: Sequence[Float[np.ndarray, "groups _"]], *, turn: int = 1
) -> JensenGap:
    """Fit the law to each example's log weights.

    L_K is the mean over disjoint blocks of K draws, for K = n, n/2, n/4, n/8, n the draws of a
    group; the errors are the jackknife's over groups, which share no draw.

    Args:
        log_weights: Of each example, in groups; numbers of draws may differ between examples.
        turn: Draws that each of them is the mean weight of: of several experts in turn.

    Returns:
        Extrapolated log-likelihoods and half χ², a row an example.

    References:
        Domke & Sheldon, "Importance weighting and variational inference", 2018, theorem 3;
        Nowozin, "Debiasing evidence approximations", 2018, prop. 1.
    """
    fits = [_fit(np.asarray(rows, float), turn) for rows in log_weights]
    return JensenGap(*(np.array(column) for column in zip(*fits, strict=True)))


def _fit(
    log_weights: Float[np.ndarray, "groups draws"], turn: int
) -> tuple[float, float, float, float]:
    num, draws = log_weights.shape
    if not np.isfinite(log_weights).any(axis=1).all():
        return np.nan, np.nan, np.nan, np.nan
    sizes = _sizes(draws)
    by_group = np.stack([_bounds_of(log_weights, size) for size in sizes], axis=1)
    counts = turn * sizes
    design = np.stack([np.ones(len(sizes)), -1 / counts, 1 / counts**2], axis=1)
    # Least squares without weights: L_K of a smaller K has more blocks, and so as little noise.
    solve = np.linalg.pinv(design)[:2]
    whole = solve @ by_group.mean(axis=0)
    without = (by_group.sum(axis=0) - by_group) / (num - 1) @ solve.T
    error = np.sqrt((num - 1) * without.var(axis=0))
    return whole[0], error[0], whole[1], error[1]


def _sizes(draws: int) -> np.ndarray:
    """All draws of a group, half of them, and so on."""
    halvings = min(3, draws.bit_length() - 1)
    return np.array([draws // 2**i for i in range(halvings, -1, -1)], float)


def _bounds_of(log_weights: Float[np.ndarray, "groups draws"], size: float) -> np.ndarray:
    """IWAE of blocks of so many draws, averaged within each group."""
    num = int(size)
    blocks = log_weights[:, : log_weights.shape[1] // num * num]
    blocks = blocks.reshape(log_weights.shape[0], -1, num)
    with np.errstate(divide="ignore"):
        return (logsumexp(blocks, axis=2) - np.log(num)).mean(axis=1)
