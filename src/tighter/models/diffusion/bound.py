"""The bound of a diffusion model, two of its three terms in closed form, the third from few times.

    log p(x) >= E_q[log p(x | z_0)] - KL(q(z_1 | x) || p(z_1)) - diffusion

    T steps:          diffusion = T/2 E[(SNR(s) - SNR(t)) |x - x^|^2],  t = i/T, s = t - 1/T
    continuous time:  diffusion =  1/2 E[-SNR'(t) |x - x^|^2]

In terms of the noise: T/2 (exp(log SNR(s) - log SNR(t)) - 1) |e - e^|^2 and -1/2 (log SNR)'(t)
|e - e^|^2, where nothing cancels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._checks import check_counts, require
from tighter._derivatives import with_second_path
from tighter.distributions import stop_parameters
from tighter.gradients import Bias
from tighter.models.diffusion.model import DiffusionModel
from tighter.models.diffusion.schedules import Scalar, Schedule, signal_and_noise

Batch = Float[Array, "batch ..."]
PerExample = Float[Array, " batch"]
Times = Float[Array, "batch times"]


class Terms(NamedTuple):
    """The terms of examples' bounds, in nats: reconstruction − prior KL − diffusion.

    Attributes:
        prior_kl: KL(q(z_1|x)‖p(z_1)), exact.
        reconstruction: E_q[log p(x|z_0)], exact, in x's own units.
        diffusion: An unbiased estimate of the KL of all steps between.
    """

    prior_kl: PerExample
    reconstruction: PerExample
    diffusion: PerExample

    @property
    def bound(self) -> PerExample:
        """The bound on log p(x)."""
        return self.reconstruction - self.prior_kl - self.diffusion


class Level(NamedTuple):
    """A level of noise: its log SNR, and what ‖ε − ε̂‖² weighs there, in nats."""

    log_snr: Scalar
    weight: Scalar


class DiffusionBound(eqx.Module):
    """The ELBO of a diffusion model, unbiased, with one or a few times an example.

    Trains as any other objective does: `tt.fit(model, xs, DiffusionBound(), …)`. It is the bound of
    the model's number of steps, or in continuous time of their limit; the ELBO on the whole chain,
    `Objective(ELBO())`, has the same mean, and takes T evaluations of the denoiser for one here.

    Args:
        num_times: Times an example.
        antithetic: Times of a batch at equal distances from one random start, each of them uniform
            by itself; otherwise independent.

    Raises:
        InputError: If there is no time.

    Example:
        >>> DiffusionBound().batch(model, xs, key=jax.random.key(0))  # (B,)

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021, eq. 11, 13, 18, app. I.
    """

    num_times: int = eqx.field(default=1, static=True)
    antithetic: bool = eqx.field(default=True, static=True, kw_only=True)

    def __check_init__(self) -> None:
        """Refuse a bound without times."""
        require(self.num_times is not None, "num_times is a whole number, got None")
        check_counts(num_times=self.num_times)

    @property
    def num_samples(self) -> int:
        """Draws in a bound: times."""
        return self.num_times

    @property
    def num_outer(self) -> int:
        """Bounds averaged: one, as more times do the same."""
        return 1

    @property
    def bias(self) -> Bias:
        """Of the total derivative it has."""
        return Bias(
            "its expectation is the ELBO's gradient; what is inside a learned schedule, of which "
            "the ELBO in continuous time is no function, follows the variance"
        )

    def at(self, step: Any) -> DiffusionBound:
        """The same at every step of training."""
        return self

    def batch(self, model: DiffusionModel, xs: Batch, *, key: Key[Array, ""]) -> PerExample:
        """The bound for each example of a batch, in nats."""
        return self.terms(model, xs, key=key).bound

    def terms(self, model: DiffusionModel, xs: Batch, *, key: Key[Array, ""]) -> Terms:
        """The terms of each example's bound, in nats.

        Raises:
            InputError: If the batch is empty, or examples don't fit the model.
        """
        model.check_examples(xs)
        time_key, noise_key = jax.random.split(key)
        us = jax.vmap(model.standardized)(xs)
        times = self._times(xs.shape[0], key=time_key)
        noise = jax.random.normal(noise_key, (*times.shape, *us.shape[1:]), us.dtype)
        diffusion = jnp.mean(diffusion_losses(model, us, times, noise), axis=1)
        return Terms(*closed_terms(model, us), diffusion)

    def _times(self, num: int, *, key: Key[Array, ""]) -> Times:
        shape = (num, self.num_times)
        if not self.antithetic:
            return jax.random.uniform(key, shape)
        # An example's own times are spread over all of [0, 1); those of the batch fill the gaps.
        own = jnp.arange(self.num_times) / self.num_times
        between = jnp.arange(num) / (num * self.num_times)
        return (jax.random.uniform(key) + own[None, :] + between[:, None]) % 1.0


def closed_terms(model: DiffusionModel, us: Batch) -> tuple[PerExample, PerExample]:
    """KL(q(z_1|x)‖N(0, I)) and E_q[log p(x|z_0)] of standardized examples, in nats."""
    axes, size = tuple(range(1, us.ndim)), us[0].size
    first, last = (model.schedule.log_snr(jnp.asarray(end)) for end in (0.0, 1.0))
    alpha, _ = signal_and_noise(last)
    # σ² − 1 = −α², and log σ² = log sigmoid(−λ), which is about −α².
    spread = -(alpha**2) - jax.nn.log_sigmoid(-last)
    prior_kl = 0.5 * (alpha**2 * jnp.sum(us**2, axis=axes) + size * spread)
    reconstruction = -0.5 * size * (1 + jnp.log(2 * jnp.pi) - first)
    reconstruction = reconstruction - model.log_volume
    return prior_kl, jnp.broadcast_to(reconstruction, us.shape[:1])


def diffusion_losses(
    model: DiffusionModel, us: Batch, times: Times, noise: Float[Array, "batch times ..."]
) -> Times:
    """Estimates of the diffusion term of standardized examples, one a time, in nats.

    With a learned schedule in continuous time the derivative by what is inside the schedule is that
    of the squared estimate (over the example's size, negated as the bound's is) instead: descent on
    the loss then lowers the variance of the estimate, whose mean does not depend on it.
    """
    num_steps = model.num_steps

    def at_levels(model: DiffusionModel, levels: Level) -> Times:
        return _flattened(model, us, levels, noise)

    of_bound, of_variance = model.schedule.parts()
    if of_variance is None or num_steps is not None:
        return at_levels(model, _levels(model.schedule, times, num_steps))
    levels = _levels(of_bound, times, num_steps)
    held = at_levels(stop_parameters(model), stop_parameters(levels))
    factor = 2 * held / us[0].size
    levels = jax.tree.map(
        jax.vmap(jax.vmap(with_second_path)),
        levels,
        _levels(of_variance, times, num_steps),
        Level(factor, factor),
    )
    return at_levels(model, levels)


def _levels(schedule: Schedule, times: Times, num_steps: int | None) -> Level:
    """The levels of noise at some times; with T steps, at the end of the step that each is in."""

    def level(time: Scalar) -> Level:
        if num_steps is None:
            log_snr, slope = schedule.with_slope(time)
            return Level(log_snr, -0.5 * slope)
        start = jnp.minimum(jnp.floor(time * num_steps), num_steps - 1)
        later = schedule.log_snr((start + 1) / num_steps)
        earlier = schedule.log_snr(start / num_steps)
        return Level(later, 0.5 * num_steps * jnp.expm1(earlier - later))

    return jax.vmap(jax.vmap(level))(times)


def _flattened(
    model: DiffusionModel, us: Batch, levels: Level, noise: Float[Array, "batch times ..."]
) -> Times:
    """Weighted squared errors, the times of all examples as rows of one vmap."""
    shape = noise.shape[:2]

    def row(u: Array, level: Level, noise: Array) -> Scalar:
        alpha, sigma = signal_and_noise(level.log_snr)
        output = model.denoiser(alpha * u + sigma * noise, level.log_snr)
        return level.weight * model.prediction.squared_error(output, u, noise, level.log_snr)

    repeated = us if shape[1] == 1 else jnp.repeat(us, shape[1], axis=0)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (levels, noise))
    return jax.vmap(row)(repeated, *flat).reshape(shape)
