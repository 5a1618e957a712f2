"""The shape of the importance weights' tail: Pareto k̂."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


def tail_size(num_samples: int) -> int:
    """How many of the largest weights the Pareto fit uses: a fifth of them, at most 3√K.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", 2024, sec. 3.
    """
    return math.floor(num_samples / 5 if num_samples <= 225 else 3 * math.sqrt(num_samples))


class ParetoTail(NamedTuple):
    """The fit to the largest weights, a row an example.

    Attributes:
        shape: k̂: up to 0.7 the importance sampling estimate can be trusted. 0 where the weights in
            the tail are all the same, or a narrow tail has several at its foot; infinite where they
            span more than 700 nats, NaN where there are fewer than five or one is not finite.
        log_raw: Log of the sum of the weights in the tail; NaN where k̂ is.
        log_smoothed: The same with these replaced by the expected order statistics of the Pareto
            distribution fitted to them.
    """

    shape: Float[np.ndarray, " batch"]
    log_raw: Float[np.ndarray, " batch"]
    log_smoothed: Float[np.ndarray, " batch"]


def pareto_tail(largest: Float[np.ndarray, "batch tail_and_one"]) -> ParetoTail:
    """Fit a generalized Pareto distribution to the tail of each row of log weights.

    Args:
        largest: The `tail_size(K) + 1` largest of K log weights, in any order.

    Returns:
        Shapes, and the tails' sums before and after smoothing.

    References:
        Vehtari et al., 2024, eqs. 8-10 and sec. 3.2.4.
    """
    fits = [_one(np.sort(row.astype(np.float64))) for row in largest]
    return ParetoTail(*(np.array(column) for column in zip(*fits, strict=True)))


def pareto_k(largest: Float[np.ndarray, "batch tail_and_one"]) -> Float[np.ndarray, " batch"]:
    """Pareto k̂ of each row from its largest log weights alone, as `pareto_tail` has it."""
    return pareto_tail(largest).shape


def _one(ascending: Float[np.ndarray, " tail_and_one"]) -> tuple[float, float, float]:
    """Shape, log of the raw and of the smoothed tail's sum."""
    tail = ascending.size - 1
    if tail < 5 or not np.isfinite(ascending[1:]).all():
        return math.nan, math.nan, math.nan
    raw = float(np.logaddexp.reduce(ascending[1:]))
    if not np.isfinite(ascending[0]):
        ascending = np.maximum(ascending, ascending[1] - 700)
    if ascending[-1] - ascending[1] < 1e-5 or _narrow_with_ties(ascending):
        return 0.0, raw, raw
    if ascending[-1] - ascending[1] > 700:
        return math.inf, raw, raw  # weights that vanish beside the largest even in double precision
    # The fit looks at the tail and at the largest weight below it, so that the others can be any
    # smaller ones. Of n log weights with an efficiency r, n r <= 225, psislw takes n/5 as the
    # tail. It computes on minus its argument, and returns log weights that add up to one: those
    # below the tail tell by how much they were moved.
    padded = np.concatenate([np.full(4 * tail - 1, ascending[0] - 1), ascending])
    # Imported late: it brings scipy.stats, two seconds that training need not wait for.
    from arviz_stats.base import array_stats  # pyright: ignore[reportPrivateImportUsage]

    efficiency = 200 / padded.size
    with np.errstate(all="ignore"):
        smoothed, shape = array_stats.psislw(-padded, r_eff=efficiency)  # pyright: ignore[reportArgumentType]
        # Weights of which many are the same (a discrete latent) leave no tail to smooth.
        total = float(np.logaddexp.reduce(smoothed[-tail:] - smoothed[0] + padded[0]))
    return float(shape), raw, total if math.isfinite(total) else raw


def _narrow_with_ties(ascending: Float[np.ndarray, " tail_and_one"]) -> bool:
    """Whether the tail is that of bounded weights, many of which are at its foot.

    There the fit takes the smallest excesses for its scale and all others for a heavy tail, of any
    k̂. But n weights of shape k span about k log n nats: these span less than k = 0.3 would.
    """
    span = ascending[-1] - ascending[0]
    if not span < 0.3 * math.log(ascending.size - 1):
        return False
    excess = np.expm1(ascending[1:] - ascending[0])
    return bool(np.mean(excess < 1e-4 * excess[-1]) > 0.05)
