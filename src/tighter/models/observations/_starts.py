"""Where the decoder's outputs start: what several families take from the training examples."""

from __future__ import annotations

import numpy as np

LEAST_SCALE = 1e-3  # of entries that hardly change, whose density has no bound


def means(xs: np.ndarray) -> np.ndarray:
    """Mean of each entry."""
    return np.asarray(np.nanmean(xs, axis=0, dtype=np.float64))


def variances(xs: np.ndarray) -> np.ndarray:
    """Variance of each entry."""
    return np.asarray(np.nanvar(xs, axis=0, dtype=np.float64))


def scales(xs: np.ndarray) -> np.ndarray:
    """Standard deviation of each entry, `LEAST_SCALE` at least."""
    return np.maximum(np.sqrt(variances(xs)), LEAST_SCALE)


def log_or_least(values: np.ndarray) -> np.ndarray:
    """Logarithm of what is at least `LEAST_SCALE`, or else of that."""
    return np.log(np.maximum(values, LEAST_SCALE))


def some_rows(xs: np.ndarray, most: int = 2_000) -> np.ndarray:
    """Evenly chosen rows, in 64 bits: a start need not be a fit, and medians sort.

    All rows where an entry would be missing in every one that was chosen.
    """
    some = xs[:: -(-len(xs) // most)]
    if np.isnan(some).all(axis=0).any():
        some = xs
    return np.asarray(some, np.float64)
