"""Entries of an example that are missing, drawn given the others by a particle filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Key
from numpyro.distributions import Normal

from tighter._errors import InputError
from tighter._programs import compiled
from tighter._resampling import systematic
from tighter._summary import quantity, summary
from tighter.models.diffusion.chain import step_between
from tighter.models.diffusion.sampling import (
    check_levels,
    check_steps,
    log_snrs_of,
    steps_or_own,
)
from tighter.models.diffusion.schedules import signal_and_noise

if TYPE_CHECKING:
    from tighter.models.diffusion.model import DiffusionModel


class Completed(NamedTuple):
    """Completed examples.

    Attributes:
        values: Missing entries at the mean of their draws, observed ones as they were, (N, *shape).
        draws: Draws of the missing entries given the observed ones, (num_particles, N, *shape);
            those of one example share a history, so that few of them differ where `ess` is low.
        ess: Least effective number of particles on the way, (N,).
        log_likelihood: Logarithm of an unbiased estimate of p(observed entries), in nats, (N,).
    """

    values: np.ndarray
    draws: np.ndarray
    ess: np.ndarray
    log_likelihood: np.ndarray

    def __repr__(self) -> str:
        told = f"{len(self.values):,} examples, {len(self.draws):,} draws of each"
        return summary(self, told, f"least ESS {quantity(np.min(self.ess))}")


def complete(
    model: DiffusionModel,
    xs: ArrayLike,
    *,
    num_particles: int = 64,
    num_steps: Any = None,
    schedule: Any = None,
    key: Key[Array, ""],
) -> Completed:
    """Draw the missing entries of examples given the others (inpainting).

    The observed entries' chain is drawn once from q, which is known. The particles draw the missing
    entries' chain from the model's steps beside it, are weighted by how well the observed entries'
    next step was foreseen, and are resampled where few bear the weight.

    What it is: exact in the limit of many particles where the model's chain is the one that its
    data would have (a denoiser without error, many steps). What it is not: exact for any denoiser;
    nor, with one particle, more than the replacement of the observed entries, which does not look
    ahead and is biased however many the steps. The likelihood's estimate is unbiased for any.

    Args:
        model: The model.
        xs: Examples (N, *shape); missing entries NaN.
        num_particles: Particles an example.
        num_steps: Steps of the chain; the model's if left out, or 256 in continuous time.
        schedule: Name or function of the levels gone through; the model's if left out.
        key: Random key.

    Raises:
        InputError: If a number is below 1, or examples don't fit the model.

    References:
        Trippe et al., "Diffusion probabilistic modeling of protein backbones in 3D for the
        motif-scaffolding problem", 2023, algorithm 2 (SMCDiff).
    """
    num_particles = check_steps(num_particles, "num_particles")
    num_steps = steps_or_own(num_steps, model)
    xs = jnp.asarray(xs, float)
    model.check_examples(xs)
    if bool(jnp.any(jnp.isinf(xs))):
        raise InputError("examples hold infinite entries: write NaN for what is missing")
    log_snrs = check_levels(log_snrs_of(model.levels(schedule), num_steps))
    draws, ess, log_likelihood = _filtered(model, xs, log_snrs, num_particles, key)
    draws = np.moveaxis(np.asarray(draws), 1, 0)
    observed = ~np.isnan(xs)
    values = np.where(observed, xs, draws.mean(axis=0))
    return Completed(values, draws, np.asarray(ess), np.asarray(log_likelihood))


@compiled
def _filtered(
    model: DiffusionModel,
    xs: Float[Array, "batch ..."],
    log_snrs: Float[Array, " levels"],
    num_particles: int,
    key: Key[Array, ""],
) -> tuple[Array, Array, Array]:
    keys = jax.random.split(key, xs.shape[0])
    return jax.lax.map(
        lambda both: _filter(model, both[0], log_snrs, num_particles, both[1]), (xs, keys)
    )


def _filter(
    model: DiffusionModel,
    x: Float[Array, ...],
    log_snrs: Float[Array, " levels"],
    num_particles: int,
    key: Key[Array, ""],
) -> tuple[Array, Array, Array]:
    """Draws, least effective number of particles and log p̂(observed) of one example."""
    observed = ~jnp.isnan(x)
    u = jnp.where(observed, model.standardized(jnp.where(observed, x, 0.0)), 0.0)
    first_key, scan_key, resample_key, last_key = jax.random.split(key, 4)

    def noise(key: Key[Array, ""]) -> Float[Array, "particles ..."]:
        """Its own for each particle; that of the observed entries is common to all."""
        drawn = jax.random.normal(key, (num_particles + 1, *x.shape))
        return jnp.where(observed[None], drawn[-1:], drawn[:-1])

    def over_observed(values: Float[Array, "particles ..."]) -> Float[Array, " particles"]:
        return jnp.sum(jnp.where(observed[None], values, 0.0).reshape(num_particles, -1), axis=1)

    # From z_1: weights are p/q of the observed entries.
    alpha, sigma = signal_and_noise(log_snrs[-1])
    start = noise(first_key)
    z = jnp.where(observed[None], (alpha * u)[None] + sigma * start, start)
    log_weights = over_observed(_log_normal(z) - _log_normal(start) + jnp.log(sigma))

    def down(carry: tuple[Array, Array, Array, Array], inputs: tuple[Array, Array, Array]) -> Any:
        z, log_weights, total, least = carry
        later, earlier, key = inputs
        noise_key, pick_key = jax.random.split(key)
        clean = jax.vmap(model.denoised, (0, None))(z, later)
        step, drawn = step_between(later, earlier), noise(noise_key)
        aim = jnp.where(observed[None], u[None], clean)
        z = step.keep * z + step.add * aim + step.scale * drawn
        # The same point's distance from p's mean and from q's, in units of the scale.
        beside = step.add / step.scale * (u[None] - clean)
        log_weights = log_weights - over_observed(beside * (drawn + 0.5 * beside))
        z, log_weights, total, ess = _resampled(z, log_weights, total, key=pick_key)
        return (z, log_weights, total, jnp.minimum(least, ess)), None

    keys = jax.random.split(scan_key, log_snrs.shape[0] - 1)
    zero, full = jnp.zeros(()), jnp.asarray(float(num_particles))
    carry, _ = jax.lax.scan(
        down,
        (z, log_weights, zero, full),
        (log_snrs[1:], log_snrs[:-1], keys),
        reverse=True,
    )
    z, log_weights, total, least = carry
    # To x: p(x|z_0) of the observed entries, in x's own units.
    alpha, sigma = signal_and_noise(log_snrs[0])
    _, scale = model.units
    unit = (alpha * u[None] - z) / sigma
    log_weights = log_weights + over_observed(
        _log_normal(unit) - jnp.log(sigma / alpha) - jnp.log(scale)[None]
    )
    z, _, total, ess = _resampled(z, log_weights, total, always=True, key=resample_key)
    missing = (z + sigma * jax.random.normal(last_key, z.shape)) / alpha
    draws = jnp.where(observed[None], x[None], jax.vmap(model.restored)(missing))
    return draws, jnp.minimum(least, ess), total


def _resampled(
    z: Float[Array, "particles ..."],
    log_weights: Float[Array, " particles"],
    total: Float[Array, ""],
    *,
    always: bool = False,
    key: Key[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Particles of equal weight, where less than half of them are effective; else as they are."""
    num = log_weights.shape[0]
    log_mean = jax.nn.logsumexp(log_weights) - jnp.log(float(num))
    weights = jax.nn.softmax(log_weights)
    ess = 1 / jnp.sum(weights**2)
    picked, _ = systematic(weights, num, key=key)
    few: Bool[Array, ""] = jnp.asarray(always) | (ess < 0.5 * num)
    return (
        jnp.where(few, z[picked], z),
        jnp.where(few, 0.0, log_weights),
        jnp.where(few, total + log_mean, total),
        ess,
    )


def _log_normal(value: Array) -> Array:
    return Normal(0.0, 1.0, validate_args=False).log_prob(value)
