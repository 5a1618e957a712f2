"""Importance weights smoothed by the Pareto distribution that fits their tail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class SmoothedWeights(NamedTuple):
    """Weights that add up to one, their largest replaced by what a Pareto tail expects.

    Attributes:
        log_weights: Shape (S, N), each column's weights adding up to one.
        pareto_k: k̂ of each column, shape (N,): above 0.7 it can't be trusted. NaN with fewer than
            25 draws.
    """

    log_weights: Float[np.ndarray, "S N"]
    pareto_k: Float[np.ndarray, " N"]


def smoothed_weights(log_ratios: Float[np.ndarray, "S N"]) -> SmoothedWeights:
    """Pareto-smoothed importance weights, a column at a time.

    Args:
        log_ratios: Log of target density over proposal's, up to a constant of each column, of S
            draws.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", 2024, sec. 3.
    """
    # Imported late: it brings scipy.stats, two seconds that training need not wait for.
    from arviz_stats.base import array_stats  # pyright: ignore[reportPrivateImportUsage]

    smoothed = np.empty(log_ratios.shape, np.float64)
    shapes = np.full(log_ratios.shape[1], np.nan)
    for column, ratios in enumerate(log_ratios.T.astype(np.float64)):
        plain = ratios - np.logaddexp.reduce(ratios)
        spread = np.ptp(ratios[np.isfinite(ratios)]) if np.isfinite(ratios).any() else np.nan
        if len(ratios) < 25 or not np.isfinite(ratios).all():
            smoothed[:, column] = plain
        elif spread < 1e-5:
            smoothed[:, column], shapes[column] = plain, 0.0
        else:
            with np.errstate(all="ignore"):
                # It computes on minus its argument.
                weights, shape = array_stats.psislw(-ratios)
            shapes[column] = np.inf if np.isnan(shape) else float(shape)
            smoothed[:, column] = weights if np.isfinite(weights).all() else plain
    return SmoothedWeights(smoothed, shapes)
