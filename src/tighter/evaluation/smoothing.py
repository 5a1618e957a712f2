"""Importance weights smoothed by the Pareto distribution that fits their tail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tighter._summary import fields_of
from tighter.evaluation.psis import smooth_tail, tail_size


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
