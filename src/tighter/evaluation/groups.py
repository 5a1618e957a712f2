"""Errors of the log of a mean of weights, from the sums of groups of them: jackknife, bootstrap."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Float, Key

# The bootstrap's resamples in memory at a time: numbers, not examples.
_NUMBERS = 4_000_000


def jackknife(groups: Float[np.ndarray, "batch groups"]) -> Float[np.ndarray, " batch"]:
    r"""The log of the mean with its bias of order 1/K removed, $G L_K - (G-1) \bar L_{K-K/G}$.

    The mean is over the logs without each of G groups in turn. No lower bound: its errors are on
    both sides.

    Args:
        groups: Mean of the weights of each group, of any scale; G of two or more of them.

    Returns:
        What has to be added to the log of the mean of all, in nats.

    References:
        Nowozin, "Debiasing evidence approximations", 2018, eq. 10 (for groups of one draw).
    """
    num = groups.shape[1]
    total = groups.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.log((total - groups) / (num - 1)) - np.log(total / num)
    return -(num - 1) * without.mean(axis=1)


def bootstrap_interval(
    groups: Float[np.ndarray, "batch groups"],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    key: Key[Array, ""],
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Percentiles of the log of the mean over groups drawn anew, as often as there are.

    Args:
        groups: Mean of the weights of each group, of any scale.
        level: How much of the distribution lies within.
        num_resamples: How many means.
        key: Random key; every example has the same resamples.

    Returns:
        Ends of the interval less the log of the mean of all, in nats.

    References:
        Efron & Tibshirani, "An introduction to the bootstrap", 1993, sec. 13.3.
    """
    num = groups.shape[1]
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    shares = generator.multinomial(num, np.full(num, 1 / num), size=num_resamples) / num
    ends = [(1 - level) / 2, (1 + level) / 2]
    block = max(1, _NUMBERS // num_resamples)
    parts = []
    for start in range(0, groups.shape[0], block):
        some = groups[start : start + block]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(shares @ some.T) - np.log(some.mean(axis=1))
        parts.append(np.quantile(logs, ends, axis=0))
    low, high = np.concatenate(parts, axis=1)
    return low, high
