"""Which bound and estimator to train with, from what was measured, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tighter.bounds import Side
from tighter.diagnostics.gradient_noise import PooledNoise
from tighter.diagnostics.jackknife import QUANTILE, jackknife_error, jackknife_interval
from tighter.diagnostics.measurements import Row

_SYMBOLS = {"phi": "φ", "theta": "θ"}


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A row to train with, and why.

    Attributes:
        row: The row; None where none of the bounds can be trained with.
        text: One sentence with its reasons.
    """

    row: Row | None
    text: str

    def __str__(self) -> str:
        return self.text


def recommend(rows: Sequence[Row]) -> Recommendation:
    r"""The tightest lower bound, with the unbiased estimator that makes most of a second.

    SNR² per second compares estimators of one bound with one K: they differ in variance and time
    alone. Another bound is another objective, and a looser one with less noise no better, so the
    bound is chosen by its value: the highest lower bound and, of those that can't be told from it,
    the one with the fewest draws. Of its unbiased estimators (of the biased ones, if there are no
    others) the least variance times seconds is taken, for θ and φ together by the geometric mean.

    Args:
        rows: What was measured, with the same keys for all, so that groups of replicates match.

    Returns:
        The row and the reasons; what can't be told apart is said to be so.
    """
    lower = [row for row in rows if row.objective.bound.side is Side.LOWER]
    trainable = lower or [row for row in rows if row.objective.bound.side is not Side.UPPER]
    if not trainable:
        return Recommendation(
            None,
            "None: every bound here lies above log p(x), and maximizing an upper bound trains "
            "nothing.",
        )
    chosen, tightness = _tightest(trainable)
    of_bound = [row for row in rows if row.shares_bound(chosen)]
    unbiased = [row for row in of_bound if not row.bias]
    candidates = unbiased or of_bound
    parts = [role for role in ("phi", "theta") if all(row.pools[role] for row in candidates)]
    best = min(candidates, key=lambda row: _cost(row, parts)[0] + np.log(row.seconds))
    others = [row for row in candidates if row is not best]
    kind = "unbiased estimators" if unbiased else "estimators, none of them unbiased,"
    reasons = [_against_others(best, others, parts, kind), *tightness]
    reasons += [*_of_backward(best, others, parts), *_falling(rows, best)]
    if unbiased and len(unbiased) < len(of_bound):
        biased = dict.fromkeys(row.gradient for row in of_bound if row.bias)
        reasons.append(f"biased for this bound, and so not considered: {', '.join(biased)}")
    return Recommendation(best, f"{name_of(best)}: {'; '.join(reasons)}.")


def name_of(row: Row, *, in_full: bool = True) -> str:
    """What a row is of, in words; not in full, the estimator alone."""
    estimator = row.gradient
    if row.num_backward is not None:
        estimator += f" with num_backward = {row.num_backward}"
    return f"{row.bound}, K = {row.num_samples}, {estimator}" if in_full else estimator


class Ratio(NamedTuple):
    """How many times the SNR² per second of one row another has, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether one of the two is better for sure."""
        return self.low > 1 or self.high < 1

    def __str__(self) -> str:
        low, value, high = (_times(number) for number in (self.low, self.value, self.high))
        return f"{value} times, 95 % interval {low} to {high}"


def ratio(row: Row, other: Row, parts: Sequence[str]) -> Ratio:
    """SNR² per second of a row over that of another estimator of the same bound.

    Their signal is the same, so that this is the inverse ratio of variance times seconds. Draws of
    both had the same keys and times were taken in turn: both are compared pair by pair.

    Args:
        row: One row.
        other: A row of the same bound and K.
        parts: "phi", "theta" or both, for the geometric mean.
    """
    noise = _cost(other, parts) - _cost(row, parts)
    times = np.log(other.timings) - np.log(row.timings)
    spread = np.median(np.abs(times - np.median(times)))
    # Standard error of a median, by the median absolute deviation of a normal.
    time_error = 1.2533 * 1.4826 * spread / np.sqrt(times.size)
    middle = float(noise[0] + np.log(other.seconds / row.seconds))
    margin = QUANTILE * float(np.hypot(jackknife_error(noise), time_error))
    with np.errstate(over="ignore"):
        return Ratio(*(float(np.exp(end)) for end in (middle, middle - margin, middle + margin)))


def _cost(row: Row, parts: Sequence[str]) -> Float[np.ndarray, " all_and_groups"]:
    """Mean logarithm of the parts' variances; no noise at all counts as the least of floats."""
    least = float(np.finfo(np.float32).tiny)
    pools = [pool for role in parts if (pool := row.pools[role]) is not None]
    return np.mean([np.log(np.maximum(pool.variances, least)) for pool in pools], axis=0)


def _tightest(rows: Sequence[Row]) -> tuple[Row, list[str]]:
    """A row of the tightest bound, and what there is to say of the others."""
    bounds: list[Row] = []
    for row in rows:
        if not any(row.shares_bound(other) for other in bounds):
            bounds.append(row)
    highest = max(bounds, key=lambda row: row.value)
    if len(bounds) == 1:
        return highest, []
    tied = [row for row in bounds if jackknife_interval(highest.values - row.values).low <= 0]
    tied = tied or [highest]
    chosen = min(tied, key=lambda row: (row.num_samples, -row.value))
    value = f"{chosen.value:.2f} ± {chosen.value_error:.2f} nats"
    if chosen is not highest:
        return chosen, [
            f"at {value} it can't be told from the tightest, {highest.bound} with "
            f"K = {highest.num_samples} ({highest.value:.2f}), and takes fewer draws: more "
            "replicates may tell them apart"
        ]
    next_one = max((row for row in bounds if row is not chosen), key=lambda row: row.value)
    return chosen, [
        f"at {value} it is the tightest of {len(bounds)} bounds ({next_one.bound} with "
        f"K = {next_one.num_samples} is next, {chosen.value - next_one.value:.2f} lower)"
    ]


def _against_others(best: Row, others: list[Row], parts: list[str], kind: str) -> str:
    """How much more it makes of a second than the next one, for φ and for θ."""
    if not parts:
        return f"of this bound's {kind} it is the fastest, and there are no parameters"
    if not others:
        return "the only estimator of this bound that was measured"
    most, ties, instead = [], [], []
    for part in parts:
        symbol = _SYMBOLS[part]
        rival = max(others, key=lambda row: ratio(row, best, [part]).value)
        gain = ratio(best, rival, [part])
        name = name_of(rival, in_full=rival.num_samples != best.num_samples)
        if not gain.is_certain:
            ties.append(f"for {symbol} it can't be told apart from {name} ({gain})")
        elif gain.value > 1:
            most.append(
                f"for {symbol} ({_times(gain.value)} times the next, {name}; {_ends(gain)})"
            )
        else:
            loss = ratio(rival, best, [part])
            instead.append(f"for {symbol} alone {name} gets more ({loss})")
    reasons = []
    if most:
        reasons.append(
            f"of this bound's {kind} it gets the most SNR² per second {' and '.join(most)}"
        )
    if ties:
        reasons.append(" and ".join(ties) + ": more replicates may tell")
    if instead:
        reasons.append(" and ".join(instead) + ", so that the geometric mean of φ and θ decides")
    return "; ".join(reasons)


def _of_backward(best: Row, others: list[Row], parts: list[str]) -> list[str]:
    """What backpropagating fewer draws costs and saves."""
    same = (best.gradient, best.num_samples)
    full = [
        row
        for row in others
        if (row.gradient, row.num_samples) == same and row.num_backward is None
    ]
    if best.num_backward is None or not full:
        return []
    time = best.seconds / full[0].seconds
    costs = [
        f"{np.exp(_cost(best, [part]) - _cost(full[0], [part]))[0]:.3f} ({_SYMBOLS[part]})"
        for part in parts
    ]
    return [
        f"{best.num_backward} of {best.num_samples} draws backward take {time:.2f} of the time "
        f"for {' and '.join(costs)} times the variance"
    ]


def _falling(rows: Sequence[Row], best: Row) -> list[str]:
    """Estimators of this bound whose signal for φ drowns as K grows."""
    measured: dict[str, list[tuple[int, PooledNoise]]] = {}
    for row in rows:
        own = (
            bool(row.objective.bound == best.objective.bound) or row.num_samples == 1
        )  # with one draw all are the ELBO
        if own and row.phi is not None and row.num_backward is None and not row.bias:
            measured.setdefault(row.gradient, []).append((row.num_samples, row.phi))
    falling = []
    for gradient, pools in measured.items():
        (few, first), (many, last) = (pick(pools, key=lambda pool: pool[0]) for pick in (min, max))
        if last.snr_interval.high < first.snr_interval.low:
            falling.append(
                f"{gradient} ({first.snr:.2g} at K = {few}, {last.snr:.2g} at K = {many})"
            )
    return [f"the SNR of φ falls with K for {' and '.join(falling)}"] if falling else []


def _ends(ratio: Ratio) -> str:
    return f"95 % interval {_times(ratio.low)} to {_times(ratio.high)}"


def _times(number: float) -> str:
    if number > 10_000:
        return "over 10,000"
    return f"{number:.2f}" if number < 10 else f"{number:,.0f}"
