"""What every observation family can do: turn a decoder's output into p(x|z)."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from tighter._errors import InputError
from tighter.distributions import draw

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


class Observation(eqx.Module):
    """A family p(x | decoder output), for one example of any shape.

    A family of one number an entry has an output of x's shape; one of P numbers, of shape
    (*shape of x, P).
    """

    @abc.abstractmethod
    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the decoder's output for examples of this shape."""

    @abc.abstractmethod
    def distribution(self, output: Float[Array, ...]) -> Any:
        """p(x|z) given the decoder's output, with empty batch shape."""

    @abc.abstractmethod
    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density of x in nats: that of `distribution`, in the form that runs fastest."""

    @abc.abstractmethod
    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the observed entries alone, the others integrated out, in nats.

        `x` has values inside the support at all entries.
        """

    @abc.abstractmethod
    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The decoder's output that explains the training examples (N, *shape) without any z.

        Computed once, on the host; entries of `xs` may be missing (NaN).
        """

    @property
    @abc.abstractmethod
    def support(self) -> Support:
        """The values that the family can explain."""

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """Mean of p(x|z), in the shape of x: what pictures and imputations show."""
        return self.distribution(output).mean

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """What is averaged over z to fill in missing entries: their mean given z and the others."""
        return self.mean(output)

    def point(self, statistic: Float[Array, ...]) -> Float[Array, ...]:
        """Values of x from an average of statistics."""
        return statistic

    def complete(
        self,
        output: Float[Array, ...],
        x: Float[Array, ...],
        observed: Bool[Array, ...],
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ...]:
        """A draw of all of x given z and the observed entries."""
        return jnp.where(observed, x, draw(self.distribution(output), key=key))

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """What an encoder sees of x, entry by entry: missing entries (NaN) stay missing."""
        return x

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of `features` of examples of this shape."""
        return tuple(shape)

    @property
    def origin(self) -> Any:
        """What single precision can't tell x from, doubles in the shape of x; 0 for nothing."""
        return 0.0

    def moved(self, by: Any) -> Observation:
        """The family of x + by."""
        return self

    def initialized_from(self, xs: np.ndarray) -> Observation:
        """The same with what it takes from the training examples (locations, scales)."""
        return self

    def check(self, xs: np.ndarray, *, names: Sequence[str] = ()) -> None:
        """Refuse examples that the family can't explain.

        Args:
            xs: Examples (N, *shape), missing entries NaN.
            names: The columns' names, for messages.

        Raises:
            InputError: If an entry is outside the support; column, rows and need are named.
        """
        check_support(xs, self.support, family=type(self).__name__, names=names)


class Factorized(Observation):
    """A family whose entries are independent given the decoder's output."""

    @abc.abstractmethod
    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry, in nats, in the shape of x."""

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density of x in nats."""
        return jnp.sum(self.log_probs(output, x))

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the observed entries alone, in nats."""
        return jnp.sum(jnp.where(observed, self.log_probs(output, x), 0.0))

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(*shape, P), or the shape itself for one number an entry."""
        count = self.num_parameters
        return tuple(shape) if count == 1 else (*shape, count)

    @property
    def num_parameters(self) -> int:
        """Numbers of the decoder's output that an entry takes, P."""
        return 1


def check_support(
    xs: np.ndarray, support: Support, *, family: str, names: Sequence[str] = ()
) -> None:
    """Refuse examples with entries outside a support; column, rows and need are named."""
    if support.plain and (not xs.size or _within(xs, support)):
        return
    bad = support.outside(xs)
    if not bad.any():
        return
    flat = bad.reshape(len(xs), -1)
    column = int(flat.any(axis=0).argmax())
    rows = np.flatnonzero(flat[:, column])
    listed = ", ".join(str(row) for row in rows[:_MOST_LISTED])
    more = f" and {len(rows) - _MOST_LISTED} more" if len(rows) > _MOST_LISTED else ""
    if names:
        place = f"column {names[column]!r}"
    else:
        index = [int(i) for i in np.unravel_index(column, xs.shape[1:])]
        place = f"entry {index[0] if len(index) == 1 else tuple(index)}"
    value = xs.reshape(len(xs), -1)[rows[0], column]
    mend = "take another family, or rescale the data"
    pixels = Support(0.0, 255.0, whole=True)
    if (support.low, support.high) == (0, 1) and not pixels.outside(xs).any():
        mend = "divide pixels of 8 bits by 255, or take another family"
    raise InputError(
        f"{family} explains {support}, but {place} has {value:g} in row{'s' * (len(rows) > 1)} "
        f"{listed}{more}: {mend}"
    )


def _within(xs: np.ndarray, support: Support) -> bool:
    """Whether all is inside by the least and the largest, which is soon found."""
    low, high = np.fmin.reduce(xs, axis=None), np.fmax.reduce(xs, axis=None)
    return not support.outside(np.asarray([low, high], float)).any()
