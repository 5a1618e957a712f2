"""A chain of latents from noise to data, each step a Gaussian around a denoised example."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.distributions import Normal

from tighter._protocols import PosteriorHooks
from tighter.models.diffusion.schedules import Example, Scalar, signal_and_noise


class Units(NamedTuple):
    """Location and scale of the data, in the shape of x."""

    location: Example
    scale: Example

    def standardized(self, x: Example) -> Example:
        """An example in these units."""
        return (x - self.location) / self.scale

    def restored(self, u: Example) -> Example:
        """An example in x's units, from standard ones."""
        return self.location + self.scale * u


class Step(NamedTuple):
    """z_s given z_t and x, for s < t: N(keep · z_t + add · x, scale²)."""

    keep: Scalar
    add: Scalar
    scale: Scalar


def step_between(later: Scalar, earlier: Scalar) -> Step:
    r"""One step of $q(z_s \mid z_t, x)$ from the log SNRs at t (`later`) and s.

    With $c = 1 - \mathrm{SNR}(t) / \mathrm{SNR}(s)$: keep $(1 - c) \alpha_s / \alpha_t$, add
    $c \alpha_s$, scale $\sqrt c\, \sigma_s$.

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021, app. A, eq. 25 to 29.
    """
    change = -jnp.expm1(later - earlier)
    alpha_later, _ = signal_and_noise(later)
    alpha, sigma = signal_and_noise(earlier)
    return Step(
        jnp.exp(later - earlier) * alpha / alpha_later, change * alpha, jnp.sqrt(change) * sigma
    )


class Known(eqx.Module):
    """The denoiser that knows the example: with it the chain is q(z|x)."""

    x: Example

    def __call__(self, z: Example, log_snr: Scalar) -> Example:
        """The example."""
        return self.x


class ReverseChain(PosteriorHooks, eqx.Module):
    r"""$z_1 \sim \mathrm N(m, s^2)$, then $z_s \sim q(z_s \mid z_t, \hat x(z_t))$ down to $z_0$.

    Both the prior of a diffusion model, whose $\hat x$ is the denoiser's, and its posterior, whose
    $\hat x$ is the example. A draw is the whole chain, shape (T + 1, *shape of x), z_0 first.

    Attributes:
        denoise: (z_t, log SNR) -> x̂.
        log_snrs: log SNR at t = 0, 1/T, …, 1.
        location: m.
        scale: s.
    """

    denoise: Callable[[Array, Array], Array]
    log_snrs: Float[Array, " levels"]
    location: Example
    scale: Scalar

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Example:
        """Draws of the chain."""
        return self.rsample(key, sample_shape)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Example:
        """Draws of the chain, with the derivatives that pass down it."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.rsample(key, sample_shape[1:]))(keys)
        noise = jax.random.normal(key, (self.log_snrs.shape[0], *self.location.shape))
        last = self.location + self.scale * noise[-1]

        def down(z: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            later, earlier, noise = inputs
            step = step_between(later, earlier)
            z = step.keep * z + step.add * self.denoise(z, later) + step.scale * noise
            return z, z

        inputs = (self.log_snrs[1:], self.log_snrs[:-1], noise[:-1])
        _, others = jax.lax.scan(down, last, inputs, reverse=True)
        return jnp.concatenate([others, last[None]])

    def log_prob(self, value: Example) -> Scalar:
        """Log density of a whole chain, in nats; all steps at once."""

        def step(z: Array, below: Array, later: Array, earlier: Array) -> Array:
            step = step_between(later, earlier)
            mean = step.keep * z + step.add * self.denoise(z, later)
            return jnp.sum(Normal(mean, step.scale, validate_args=False).log_prob(below))

        last = Normal(self.location, self.scale, validate_args=False).log_prob(value[-1])
        steps = jax.vmap(step)(value[1:], value[:-1], self.log_snrs[1:], self.log_snrs[:-1])
        return jnp.sum(last) + jnp.sum(steps)
