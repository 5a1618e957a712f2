"""A rising function of a log weight, beyond what floating-point numbers hold.

f of a weight is asked for where weights and f are numbers of a fair size. Further out it goes on
by its power law, g(u) = f(e^u) with log g' a straight line: so does every sum of powers and
logarithms of the weight, as nearly as can be told there.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Sizes of f and of its slope that leave room for sums, in either precision.
_LARGEST = {np.dtype("float32"): 1e30, np.dtype("float64"): 1e280}
# How far f is known to be sound, in nats, and the steps in which it is looked at.
_KNOWN, _STEP = 6.0, 0.25


class Places(NamedTuple):
    """Log weights by their distances from the least and the largest, which lose no digits.

    Attributes:
        below: u less the largest u, in nats.
        above: u less the least u.
    """

    below: Float[Array, ...]
    above: Float[Array, ...]


class Number(NamedTuple):
    """A mantissa, times e to the power of an exponent."""

    mantissa: Float[Array, ...]
    exponent: Float[Array, ...]

    @property
    def plain(self) -> Float[Array, ...]:
        """What it is, or 0 where that is too small for a float."""
        return self.mantissa * jnp.exp(self.exponent)


class End(NamedTuple):
    """How a rising function goes on outward from a place, by a slope e^(log_slope + power x).

    Attributes:
        at: The place, in nats outward from 0.
        value: The function there.
        log_slope: Log of its slope there.
        power: How fast the log slope rises, a nat outward.
    """

    at: float
    value: float
    log_slope: float
    power: float

    def mantissa(self, x: Array) -> Array:
        """The function x ≥ 0 nats outward, over e^(power x) where that grows."""
        slope = float(np.exp(self.log_slope))
        if self.power == 0:
            return self.value + slope * x
        grown = -jnp.expm1(-abs(self.power) * x) / abs(self.power)
        if self.power < 0:
            return self.value + slope * grown
        return self.value * jnp.exp(-self.power * x) + slope * grown

    def largest_exponent(self, outermost: Array) -> Array:
        """What has been taken out of the mantissa at the outermost draw."""
        return max(self.power, 0) * jnp.maximum(outermost - self.at, 0)

    def largest_log_slope(self, outermost: Array) -> Array:
        """Log of the slope at the outermost draw, if it is out there; else 0."""
        x = outermost - self.at
        return jnp.where(x > 0, self.log_slope + self.power * x, 0)


class Continued(NamedTuple):
    """g(u) = ±f(e^u), rising, for draws between two places, relative to the largest of them.

    Attributes:
        f: The function of a weight.
        sign: What makes it rise.
        lower: How −g(−u) goes on.
        upper: How g(u) goes on.
        least: u of the least draw.
        largest: u of the largest.
    """

    f: Callable[[Array], Array]
    sign: int
    lower: End
    upper: End
    least: Float[Array, ""]
    largest: Float[Array, ""]

    @property
    def from_top(self) -> Array:
        """Whether the largest draw counts most, and not the least one."""
        return self._exponents[0] >= self._exponents[1]

    def value(self, places: Places) -> Number:
        """g, over one and the same power of e for all places."""
        place = self._place(places)
        upper, lower = self._exponents
        common = jnp.maximum(upper, lower)
        return self._parts(
            place,
            Number(
                self.upper.mantissa(jnp.maximum(place - self.upper.at, 0)),
                max(self.upper.power, 0) * places.below + (upper - common),
            ),
            Number(self.sign * jnp.vectorize(self.f)(self._weight(place)), -common),
            Number(
                -self.lower.mantissa(jnp.maximum(-place - self.lower.at, 0)),
                -max(self.lower.power, 0) * places.above + (lower - common),
            ),
        )

    def log_slope(self, places: Places) -> Array:
        """Log g', less one and the same number for all places."""
        place = self._place(places)
        weight = self._weight(place)
        upper = self.upper.largest_log_slope(self.largest)
        lower = self.lower.largest_log_slope(-self.least)
        common = jnp.where(self.from_top, upper, lower)
        slope = self.sign * jnp.vectorize(jax.grad(self.f))(weight) * weight
        return self._parts(
            place,
            self.upper.power * places.below + (upper - common),
            jnp.log(slope) - common,
            -self.lower.power * places.above + (lower - common),
        )

    def power(self, places: Places) -> Array:
        """The derivative of log g'."""
        place = self._place(places)
        weight = self._weight(place)
        slope = jnp.vectorize(jax.grad(self.f))(weight)
        bend = jnp.vectorize(jax.grad(jax.grad(self.f)))(weight)
        return self._parts(place, self.upper.power, 1 + weight * bend / slope, -self.lower.power)

    @property
    def _exponents(self) -> tuple[Array, Array]:
        upper = self.upper.largest_exponent(self.largest)
        return upper, self.lower.largest_exponent(-self.least)

    def _place(self, places: Places) -> Array:
        return jnp.where(self.from_top, self.largest + places.below, self.least + places.above)

    def _weight(self, place: Array) -> Array:
        return jnp.exp(jnp.clip(place, -self.lower.at, self.upper.at))

    def _parts(self, place: Array, upper: Any, inside: Any, lower: Any) -> Any:
        def choose(upper: Any, inside: Any, lower: Any) -> Array:
            inward = jnp.where(place < -self.lower.at, lower, inside)
            return jnp.where(place > self.upper.at, upper, inward)

        return jax.tree.map(choose, upper, inside, lower)


class Looked(NamedTuple):
    """What f is at some places, as told by its values and two derivatives.

    Attributes:
        places: Log weights u, rising and symmetric about 0.
        value: f.
        slope: f'.
        log_slope: Log of the slope of ±f(e^u) by u; NaN where f doesn't go as it does at 0.
        power: The derivative of that.
    """

    places: Float[np.ndarray, " places"]
    value: Float[np.ndarray, " places"]
    slope: Float[np.ndarray, " places"]
    log_slope: Float[np.ndarray, " places"]
    power: Float[np.ndarray, " places"]

    @property
    def near(self) -> Looked:
        """The places where f has to be sound."""
        known = np.abs(self.places) <= _KNOWN
        return Looked(*(column[known] for column in self))

    @property
    def sign(self) -> int:
        """What makes f rise."""
        return 1 if self.slope[self.slope.size // 2] > 0 else -1


def look_at(f: Callable[[Array], Array], dtype: np.dtype) -> Looked:
    """Value and two derivatives of f, for weights over most of the range of a float."""
    places = np.arange(0, np.log(_LARGEST[dtype]), _STEP)
    places = np.concatenate([-places[:0:-1], places])

    def of_one(t: Array) -> tuple[Array, Array, Array]:
        return f(t), jax.grad(f)(t), jax.grad(jax.grad(f))(t)

    with jax.ensure_compile_time_eval():
        t = jnp.exp(jnp.asarray(places, dtype))
        t, value, slope, bend = (
            np.asarray(column, np.float64) for column in (t, *jax.jit(jax.vmap(of_one))(t))
        )
    with np.errstate(all="ignore"):
        log_slope = np.log(np.sign(slope[slope.size // 2]) * slope * t)
        return Looked(places, value, slope, log_slope, 1 + t * bend / slope)


def ends_of(looked: Looked, dtype: np.dtype) -> tuple[End, End]:
    """How −g(−u) and g(u) go on where f, its slope or its bend are no numbers of a fair size.

    Args:
        looked: Of a function that is sound where it has to be.
        dtype: The precision in which it was looked at.
    """
    largest, power = _LARGEST[dtype], looked.power
    with np.errstate(all="ignore"):
        fair = (np.abs(looked.value) < largest) & (np.abs(looked.log_slope) < np.log(largest))
        # Where slope and bend contradict one another they are rounding.
        expected = 0.5 * (power[1:] + power[:-1]) * _STEP
        change = np.abs(np.diff(looked.log_slope) - expected)
        agree = change < 0.02 * (np.abs(expected) + 0.05)
    middle = looked.places.size // 2

    def end(outward: int) -> End:
        steps = agree[middle:] if outward > 0 else agree[:middle][::-1]
        sound = fair[middle::outward][1:] & steps
        num = sound.size if sound.all() else int(sound.argmin())
        # Back from where it ends, for what begins to go wrong there.
        num = max(int(_KNOWN / _STEP), num - int(4 / _STEP))
        at = middle + outward * num
        return End(
            num * _STEP,
            outward * looked.sign * float(looked.value[at]),
            float(looked.log_slope[at]),
            outward * _snapped(float(power[at]), dtype),
        )

    return end(-1), end(1)


def _snapped(power: float, dtype: np.dtype) -> float:
    """The simple fraction that it is but for rounding, if any."""
    simple = float(Fraction(power).limit_denominator(100))
    rounding = 16 * float(np.finfo(dtype).eps) * (1 + abs(power))
    return simple if abs(power - simple) < rounding else power
