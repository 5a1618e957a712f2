"""Errors of the log of a mean of weights, from the sums of groups of them: jackknife, bootstrap.

Groups are independent of each other and alike but for their size: of whole turns, where draws are
of several experts in turn.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

# The bootstrap's resamples in memory at a time: numbers, not examples.
_NUMBERS = 4_000_000


def jackknife(
    sums: Float[np.ndarray, "batch groups"],
    sizes: Int[np.ndarray, "batch groups"] | None = None,
) -> Float[np.ndarray, " batch"]:
    r"""The log of the mean with its bias of order 1/K removed.

    $G L_K - \sum_g (1 - K_g / K) L_{K - K_g}$, the bounds without each of G groups in turn. No
    lower bound: its errors are on both sides.

    Args:
        sums: Of the weights of each group, of any scale; G of two or more of them.
        sizes: $K_g$, the draws of each; None for as many of all.

    Returns:
        What has to be added to the log of the mean of all, in nats.

    References:
        Nowozin, "Debiasing evidence approximations", 2018, eq. 10 (for groups of one draw); Busing,
        Meijer & van der Leeden, "Delete-m jackknife for unequal m", 1999, eq. 7.
    """
    sizes = np.ones_like(sums) if sizes is None else sizes
    total, num = (part.sum(axis=1, keepdims=True) for part in (sums, sizes))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.log((total - sums) / (num - sizes)) - np.log(total / num)
    return -((1 - sizes / num) * without).sum(axis=1)


def bootstrap_interval(
    sums: Float[np.ndarray, "batch groups"],
    sizes: Int[np.ndarray, "batch groups"] | None = None,
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    key: Key[Array, ""],
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Percentiles of the log of the mean over groups drawn anew, one less than there are.

    So many, as their mean then varies as that of all groups does; as many would vary too little.

    Args:
        sums: Of the weights of each group, of any scale; two or more of them.
        sizes: The draws of each; None for as many of all.
        level: How much of the distribution lies within.
        num_resamples: How many means.
        key: Random key; every example has the same resamples.

    Returns:
        Ends of the interval less the log of the mean of all, in nats.

    References:
        Efron & Tibshirani, "An introduction to the bootstrap", 1993, sec. 13.3; Rao & Wu,
        "Resampling inference with complex survey data", 1988, sec. 2 (one less).
    """
    num, sizes = sums.shape[1], np.ones_like(sums) if sizes is None else sizes
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    counts = generator.multinomial(num - 1, np.full(num, 1 / num), size=num_resamples)
    ends = [(1 - level) / 2, (1 + level) / 2]
    block = max(1, _NUMBERS // num_resamples)
    parts = []
    for start in range(0, sums.shape[0], block):
        some = slice(start, start + block)
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = np.log(sums[some].sum(axis=1) / sizes[some].sum(axis=1))
            logs = np.log((counts @ sums[some].T) / (counts @ sizes[some].T)) - whole
        parts.append(np.quantile(logs, ends, axis=0))
    low, high = np.concatenate(parts, axis=1)
    return low, high
