"""The values that an observation family can explain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tighter._errors import InputError

_MOST_LISTED = 3


@dataclasses.dataclass(frozen=True)
class Support:
    """The values that a family can explain.

    Attributes:
        low: The least value.
        high: The largest.
        whole: Whether they are whole numbers.
        ends: Whether the two ends are values as well (infinite ones never are).
        step: Distance of neighboring values on a grid that starts at `low`; 0 for no grid.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    ends: bool = True
    step: float = 0.0

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "numbers"
        if math.isinf(self.low) and math.isinf(self.high):
            return kind
        if math.isinf(self.high):
            return f"{kind} {'from' if self.ends else 'above'} {self.low:g}{' up' * self.ends}"
        if not self.ends:
            return f"{kind} above {self.low:g} and below {self.high:g}"
        grid = f" in steps of {self.step:g}" if self.step and not self.whole else ""
        return f"{kind} from {self.low:g} to {self.high:g}{grid}"

    @property
    def plain(self) -> bool:
        """Whether it is all numbers between its ends."""
        return not (self.whole or self.step)

    @property
    def inside(self) -> float:
        """Some value of the support, to stand where one is missing."""
        if math.isinf(self.low):
            return 0.0 if math.isinf(self.high) else min(0.0, self.high - 1)
        if math.isinf(self.high):
            return self.low + 1
        if self.whole or self.step:
            return self.low
        return (self.low + self.high) / 2

    def outside(self, xs: np.ndarray) -> np.ndarray:
        """Which entries are outside; missing ones (NaN) are not."""
        below = xs < self.low if self.ends else xs <= self.low
        above = xs > self.high if self.ends else xs >= self.high
        bad = below | above
        if self.whole:
            bad |= np.isfinite(xs) & (xs != np.round(xs))
        elif self.step:
            places = (xs - self.low) / self.step
            bad |= np.isfinite(xs) & (np.abs(places - np.round(places)) > 1e-3)
        return bad


def check_support(
    xs: np.ndarray, support: Support, *, family: str, names: Sequence[str] = ()
) -> None:
    """Refuse examples with entries outside a support; column, rows and need are named."""
    if not xs.size:
        return
    least, largest = np.fmin.reduce(xs, axis=None), np.fmax.reduce(xs, axis=None)  # soon found
    if support.plain and not support.outside(np.asarray([least, largest], float)).any():
        return
    bad = support.outside(xs)
    if not bad.any():
        return
    flat = bad.reshape(len(xs), -1)
    column = int(flat.any(axis=0).argmax())
    rows = np.flatnonzero(flat[:, column])
    listed = ", ".join(str(row) for row in rows[:_MOST_LISTED])
    more = f" and {len(rows) - _MOST_LISTED} more" if len(rows) > _MOST_LISTED else ""
    index = [int(i) for i in np.unravel_index(column, xs.shape[1:])]
    place = f"entry {index[0] if len(index) == 1 else tuple(index)}"
    if names:
        place = f"column {names[column]!r}"
    value = xs.reshape(len(xs), -1)[rows[0], column]
    mend = "take another family, or rescale the data"
    pixels = Support(0.0, 255.0, whole=True)
    if (support.low, support.high) == (0, 1) and not pixels.outside(xs).any():
        mend = "divide pixels of 8 bits by 255, or take another family"
    raise InputError(
        f"{family} explains {support}, but {place} has {value:g} in row{'s' * (len(rows) > 1)} "
        f"{listed}{more}: {mend}"
    )
