"""Entries of an example that are missing, drawn given the others by a particle filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Normal

from tighter._programs import compiled
from tighter._resampling import systematic
from tighter._summary import quantity, summary
from tighter.models.diffusion.chain import Units, step_between
from tighter.models.diffusion.schedules import Example, Scalar, signal_and_noise

Particles = Float[Array, "particles ..."]
Weights = Float[Array, " particles"]


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
        text = f"{len(self.values):,} examples, {len(self.draws):,} draws of each"
        return summary(self, text, f"least ESS {quantity(np.min(self.ess))}")


@compiled
def filtered(
    denoised: Callable[[Array, Array], Array],
    units: Units,
    xs: Float[Array, "batch ..."],
    log_snrs: Float[Array, " levels"],
    num_particles: int,
    key: Key[Array, ""],
) -> tuple[Array, Array, Array]:
    """Draws, least effective number of particles and log p̂(observed) of each example.

    The observed entries' chain is drawn once from q, which is known. The particles draw the missing
    entries' chain from the model's steps beside it, are weighted by how well the observed entries'
    next step was foreseen, and are resampled where few bear the weight.

    Args:
        denoised: (z_t, log SNR) -> x̂.
        units: Of the examples.
        xs: Examples, missing entries NaN.
        log_snrs: The levels of the chain.
        num_particles: Particles an example.
        key: Random key.

    References:
        Trippe et al., "Diffusion probabilistic modeling of protein backbones in 3D for the
        motif-scaffolding problem", 2023, algorithm 2 (SMCDiff).
    """

    def of_example(both: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        return _filter(denoised, units, both[0], log_snrs, num_particles, both[1])

    return jax.lax.map(of_example, (xs, jax.random.split(key, xs.shape[0])))


def _filter(
    denoised: Callable[[Array, Array], Array],
    units: Units,
    x: Example,
    log_snrs: Float[Array, " levels"],
    num_particles: int,
    key: Key[Array, ""],
) -> tuple[Array, Array, Array]:
    """Those of one example."""
    observed = ~jnp.isnan(x)
    u = jnp.where(observed, units.standardized(jnp.where(observed, x, 0.0)), 0.0)
    first_key, scan_key, resample_key, last_key = jax.random.split(key, 4)

    def noise(key: Key[Array, ""]) -> Particles:
        """Its own for each particle; that of the observed entries is common to all."""
        drawn = jax.random.normal(key, (num_particles + 1, *x.shape))
        return jnp.where(observed[None], drawn[-1:], drawn[:-1])

    def over_observed(values: Particles) -> Weights:
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
        clean = jax.vmap(denoised, (0, None))(z, later)
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
        down, (z, log_weights, zero, full), (log_snrs[1:], log_snrs[:-1], keys), reverse=True
    )
    z, log_weights, total, least = carry
    # To x: p(x|z_0) of the observed entries, in x's own units.
    alpha, sigma = signal_and_noise(log_snrs[0])
    unit = (alpha * u[None] - z) / sigma
    log_weights = log_weights + over_observed(
        _log_normal(unit) - jnp.log(sigma / alpha) - jnp.log(units.scale)[None]
    )
    z, _, total, ess = _resampled(z, log_weights, total, always=True, key=resample_key)
    missing = (z + sigma * jax.random.normal(last_key, z.shape)) / alpha
    draws = jnp.where(observed[None], x[None], jax.vmap(units.restored)(missing))
    return draws, jnp.minimum(least, ess), total


def _resampled(
    z: Particles, log_weights: Weights, total: Scalar, *, always: bool = False, key: Key[Array, ""]
) -> tuple[Array, Array, Array, Array]:
    """Particles of equal weight, where less than half of them are effective; else as they are."""
    num = log_weights.shape[0]
    log_mean = jax.nn.logsumexp(log_weights) - jnp.log(float(num))
    weights = jax.nn.softmax(log_weights)
    ess = 1 / jnp.sum(weights**2)
    picked, _ = systematic(weights, num, key=key)
    few = jnp.asarray(always) | (ess < 0.5 * num)
    return (
        jnp.where(few, z[picked], z),
        jnp.where(few, 0.0, log_weights),
        jnp.where(few, total + log_mean, total),
        ess,
    )


def _log_normal(value: Array) -> Array:
    return Normal(0.0, 1.0, validate_args=False).log_prob(value)
