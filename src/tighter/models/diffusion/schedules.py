"""Noise schedules: the logarithm of the signal-to-noise ratio, falling in time."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Key

from tighter._checks import check_counts, require
from tighter._errors import InputError
from tighter._names import unknown
from tighter.distributions import stop_parameters

Example = Float[Array, "..."]
Scalar = Float[Array, ""]

LARGEST, SMALLEST = 13.3, -5.0
_CHECKED_TIMES = 1001


class Schedule(eqx.Module):
    r"""$\lambda(t) = \log \mathrm{SNR}(t)$, falling from t = 0 (data) to t = 1 (noise).

    Variance is preserved: $z_t = \alpha x + \sigma \varepsilon$ with $\alpha^2 =
    \operatorname{sigmoid}(\lambda)$ and $\sigma^2 = \operatorname{sigmoid}(-\lambda)$.
    """

    @abc.abstractmethod
    def log_snr(self, time: Scalar) -> Scalar:
        """λ at one time, which is not checked."""

    def parts(self) -> tuple[Schedule, Schedule | None]:
        """The schedule as the bound trains it, and as the variance of the bound's estimate does.

        The bound in continuous time depends on the ends of a schedule alone: what is between them
        can serve to make its estimate less noisy. None where nothing does.
        """
        return self, None

    def with_slope(self, time: Scalar) -> tuple[Scalar, Scalar]:
        """λ and dλ/dt at one time, which is not checked."""
        return jax.jvp(self.log_snr, (time,), (jnp.ones_like(time),))

    def __call__(self, time: ArrayLike) -> Float[Array, ...]:
        """λ at some times.

        Raises:
            InputError: If a time is outside [0, 1].
        """
        times = jnp.asarray(check_times(time), float)
        return jax.vmap(self.log_snr)(times.reshape(-1)).reshape(times.shape)


class _Between(Schedule):
    """A curve between two ends."""

    largest: float = eqx.field(default=LARGEST, static=True, converter=float)
    smallest: float = eqx.field(default=SMALLEST, static=True, converter=float)

    def __check_init__(self) -> None:
        """Refuse ends between which nothing falls."""
        _check_ends(self.largest, self.smallest)


class LinearSchedule(_Between):
    """A straight line.

    Args:
        largest: λ(0), above `smallest`.
        smallest: λ(1).

    Raises:
        InputError: If the ends are no numbers, or λ doesn't fall.
    """

    def log_snr(self, time: Scalar) -> Scalar:
        """The line at one time."""
        return self.largest + (self.smallest - self.largest) * time


class CosineSchedule(_Between):
    r"""$\alpha = \cos\varphi$, with the angle $\varphi$ linear in t: $\lambda = -2\log\tan\varphi$.

    Good levels for drawing samples. As a schedule of training its bound is noisy: λ falls so fast
    near t = 0 that few times bear most of it.

    Args:
        largest: λ(0), above `smallest`.
        smallest: λ(1).

    Raises:
        InputError: If the ends are no numbers, or λ doesn't fall.

    References:
        Nichol & Dhariwal, "Improved denoising diffusion probabilistic models", 2021, eq. 17.
    """

    def log_snr(self, time: Scalar) -> Scalar:
        """The curve at one time."""
        first, last = (math.atan(math.exp(-end / 2)) for end in (self.largest, self.smallest))
        return -2 * jnp.log(jnp.tan(first + (last - first) * time))


class LearnedSchedule(Schedule):
    r"""A monotone network between two ends, made to lower the variance of the bound's estimate.

    $\lambda(t) = \lambda_0 - (\lambda_0 - \lambda_1) \frac{f(t) - f(0)}{f(1) - f(0)}$ with $f(t) =
    t + \sum_j v_j \operatorname{sigmoid}(w_j t - b_j)$ and positive v, w. In continuous time the
    network follows the variance of the bound's estimate, and the ends, where they are trained, the
    bound. With a finite number of steps all follow the bound, which then depends on all.

    Attributes:
        largest: λ(0).
        smallest: λ(1).
        log_heights: log v, shape (units,).
        log_slopes: log w, shape (units,).
        offsets: b, shape (units,).
        trained_ends: Whether λ(0) and λ(1) are trained.

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021, app. H and I.2.
    """

    largest: Scalar
    smallest: Scalar
    log_heights: Float[Array, " units"]
    log_slopes: Float[Array, " units"]
    offsets: Float[Array, " units"]
    trained_ends: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(
        cls,
        largest: float = LARGEST,
        smallest: float = SMALLEST,
        *,
        num_units: int = 32,
        trained_ends: bool = False,
        key: Key[Array, ""],
    ) -> LearnedSchedule:
        """One that starts near the straight line.

        Args:
            largest: λ(0), above `smallest`.
            smallest: λ(1).
            num_units: Units of the network.
            trained_ends: Whether the bound trains λ(0) and λ(1).
            key: Random key.

        Raises:
            InputError: If the ends are no numbers, λ doesn't fall, or there is no unit.
        """
        _check_ends(largest, smallest)
        check_counts(num_units=num_units)
        slopes = jnp.full(num_units, 10.0)
        return cls(
            jnp.asarray(largest, float),
            jnp.asarray(smallest, float),
            jnp.full(num_units, -math.log(num_units)),
            jnp.log(slopes),
            slopes * jax.random.uniform(key, (num_units,)),
            trained_ends=trained_ends,
        )

    def log_snr(self, time: Scalar) -> Scalar:
        """The network between the ends at one time."""
        largest, smallest = self.largest, self.smallest
        if not self.trained_ends:
            largest, smallest = jax.lax.stop_gradient((largest, smallest))
        first, last = self._rise(jnp.zeros_like(time)), self._rise(jnp.ones_like(time))
        share = (self._rise(time) - first) / (last - first)
        return largest + (smallest - largest) * share

    @property
    def untrained(self) -> tuple[str, ...]:
        """The ends, where they are fixed."""
        return () if self.trained_ends else ("largest", "smallest")

    def parts(self) -> tuple[Schedule, Schedule | None]:
        """The ends for the bound, the network for its variance."""

        def ends(schedule: LearnedSchedule) -> Any:
            return schedule.largest, schedule.smallest

        of_variance = eqx.tree_at(ends, self, stop_parameters(ends(self)))
        return eqx.tree_at(ends, stop_parameters(self), ends(self)), of_variance

    def _rise(self, time: Scalar) -> Scalar:
        units = jax.nn.sigmoid(jnp.exp(self.log_slopes) * time - self.offsets)
        return time + jnp.sum(jnp.exp(self.log_heights) * units)


class CustomSchedule(Schedule):
    """A function of one's own, with the parameters that it may have.

    Args:
        function: A time -> λ, falling.

    Raises:
        InputError: If λ is not finite or does not fall: where.
    """

    function: Callable[[Array], Array]

    def __check_init__(self) -> None:
        """Refuse a function that is no schedule, and say where."""
        check_falling(self)

    def log_snr(self, time: Scalar) -> Scalar:
        """The function at one time."""
        return jnp.asarray(self.function(time))


def check_falling(schedule: Schedule) -> Schedule:
    """The schedule, refused where it is none; ties, as rounding makes them, are none of that.

    Raises:
        InputError: If λ is no number, not finite, or rises: where.
    """
    times = np.linspace(0, 1, _CHECKED_TIMES)
    try:
        with jax.ensure_compile_time_eval():
            values = jax.vmap(schedule.log_snr)(jnp.asarray(times, float))
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "a schedule is a function of one time to one logarithm of the signal-to-noise ratio, "
            f"and this one fails with {type(error).__name__}: write it with jax.numpy"
        ) from error
    if isinstance(values, Tracer):  # parameters that are not known yet
        return schedule
    require(
        values.shape == times.shape,
        "a schedule is a function of one time to one logarithm of the signal-to-noise "
        f"ratio, got shape {values.shape[1:]} for one time",
    )
    values = np.asarray(values)
    first = np.argmin(np.isfinite(values))
    require(
        np.isfinite(values[first]),
        f"a schedule's log signal-to-noise ratio is finite, got {values[first]} at t = "
        f"{times[first]:g}: keep it between, say, {SMALLEST:g} and {LARGEST:g}",
    )
    rounding = 4 * np.finfo(np.float32).eps * np.abs(values).max()
    level = values[0] <= values[-1]
    rising = np.flatnonzero(np.diff(values) >= (0 if level else rounding))
    if rising.size:
        last = rising[rising == rising[0] + np.arange(rising.size)][-1]
        raise InputError(
            "a schedule's log signal-to-noise ratio falls from t = 0 to t = 1, and this one "
            f"does not from t = {times[rising[0]]:g} to {times[last + 1]:g} "
            f"({values[rising[0]]:g} to {values[last + 1]:g}): give a falling function"
        )
    return schedule


def signal_and_noise(log_snr: Example) -> tuple[Example, Example]:
    """α and σ, with α² + σ² = 1."""
    return jnp.exp(0.5 * jax.nn.log_sigmoid(log_snr)), jnp.exp(0.5 * jax.nn.log_sigmoid(-log_snr))


def log_snrs_of(schedule: Schedule, num_steps: int) -> Float[Array, " levels"]:
    """Log SNR at t = 0, 1/T, …, 1."""
    return jax.vmap(schedule.log_snr)(jnp.linspace(0.0, 1.0, num_steps + 1))


def check_levels(log_snrs: Float[Array, " levels"]) -> Float[Array, " levels"]:
    """The levels of a chain, where they are known before the program runs.

    Raises:
        InputError: If two are the same, between which there is no step.
    """
    if not isinstance(log_snrs, Tracer):
        values = np.asarray(log_snrs)
        for same in np.flatnonzero(~(np.diff(values) < 0)):
            raise InputError(
                f"a chain's log signal-to-noise ratio falls at every step, and step {same + 1} "
                f"of {values.size - 1} leaves it at {values[same]:g}: take fewer steps, or a "
                "schedule that falls there"
            )
    return log_snrs


def check_times(time: Any) -> Any:
    """The times, where they are known before the program runs, refused outside [0, 1].

    Raises:
        InputError: If one is.
    """
    if not isinstance(time, Tracer):
        times = np.asarray(time)
        for outside in times[~((times >= 0) & (times <= 1))]:
            raise InputError(
                f"a time of the diffusion is between 0 (data) and 1 (noise), got {outside:g}"
            )
    return time


def as_schedule(
    schedule: Any,
    *,
    largest: float = LARGEST,
    smallest: float = SMALLEST,
    key: Key[Array, ""] | None = None,
) -> Schedule:
    """A schedule from its name in `SCHEDULES`, from a function, or itself.

    Raises:
        InputError: If the name is unknown, or the schedule does not fall.
    """
    if isinstance(schedule, Schedule):
        # Those of a class of one's own, or with arrays that anything may have made.
        known = type(schedule) in (LinearSchedule, CosineSchedule, CustomSchedule)
        return schedule if known else check_falling(schedule)
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise unknown("noise schedule", schedule, SCHEDULES)
        key = jax.random.key(0) if key is None else key
        return SCHEDULES[schedule](largest, smallest, key)
    if callable(schedule):
        return CustomSchedule(schedule)  # pyright: ignore[reportArgumentType]
    raise InputError(
        f"a noise schedule is a name ({', '.join(SCHEDULES)}) or a function of the time, got "
        f"{schedule!r}"
    )


def _check_ends(largest: float, smallest: float) -> None:
    require(
        math.isfinite(largest) and math.isfinite(smallest) and largest > smallest,
        "a schedule's log signal-to-noise ratio falls from t = 0 to t = 1, got "
        f"{largest:g} at t = 0 and {smallest:g} at t = 1: exchange or mend the ends",
    )


# Called with the ends and a key. Adding one here enrolls it in the tests.
SCHEDULES: dict[str, Callable[[float, float, Array], Schedule]] = {
    "linear": lambda largest, smallest, key: LinearSchedule(largest, smallest),
    "cosine": lambda largest, smallest, key: CosineSchedule(largest, smallest),
    "learned": lambda largest, smallest, key: LearnedSchedule.create(largest, smallest, key=key),
}
