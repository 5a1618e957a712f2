"""Importance weights smoothed by the Pareto distribution that fits their tail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tighter.evaluation.psis import tail_size


class SmoothedWeights(NamedTuple):
    """Weights that add up to one, their largest replaced by what a Pareto tail expects.

    Attributes:
        log_weights: Shape (S, N), each column's weights adding up to one.
        pareto_k: k̂ of each column, shape (N,): above 0.7 it can't be trusted. Infinite where
            the tail holds draws without weight; NaN with fewer than 25 draws, or a ratio NaN or +∞.
    """

    log_weights: Float[np.ndarray, "S N"]
    pareto_k: Float[np.ndarray, " N"]


def smoothed_weights(log_ratios: Float[np.ndarray, "S N"]) -> SmoothedWeights:
    """Pareto-smoothed importance weights, a column at a time.

    Args:
        log_ratios: Log of target density over proposal's, up to a constant of each column, of S
            draws; −∞ for a draw without weight.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", 2024, sec. 3.
    """
    # Imported late: it brings scipy.stats, two seconds that training need not wait for.
    from arviz_stats.base import array_stats  # pyright: ignore[reportPrivateImportUsage]

    smoothed = np.empty(log_ratios.shape, np.float64)
    shapes = np.full(log_ratios.shape[1], np.nan)
    for column, ratios in enumerate(log_ratios.T.astype(np.float64)):
        with np.errstate(invalid="ignore"):
            plain = ratios - np.logaddexp.reduce(ratios)
        there = np.isfinite(ratios)
        if len(ratios) < 25 or not there.any() or not (there | (ratios == -np.inf)).all():
            smoothed[:, column] = plain
        elif np.ptp(ratios[there]) < 1e-5 and there.sum() > tail_size(len(ratios)):
            smoothed[:, column], shapes[column] = plain, 0.0
        else:
            # Zero weights count in the tail's size alone, as ones that vanish beside the others.
            ratios = np.where(there, ratios, ratios[there].min() - 800)
            with np.errstate(all="ignore"):
                # It computes on minus its argument.
                weights, shape = array_stats.psislw(-ratios)
            # A tail that zeros are part of is not fitted.
            fitted = there.sum() > tail_size(len(ratios)) and not np.isnan(shape)
            shapes[column] = float(shape) if fitted else np.inf
            weights = weights if np.isfinite(weights).all() else plain
            smoothed[:, column] = np.where(there, weights, -np.inf)
    return SmoothedWeights(smoothed, shapes)
