"""Denoisers of Gaussian data, and what a diffusion model of them must come to."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from tighter.models.diffusion import DiffusionModel
from tighter.models.diffusion.schedules import signal_and_noise


class Exact(eqx.Module):
    """x̂ = E[x | z] for x ~ N(0, 1), times a factor, said as noise, x or velocity."""

    prediction: str = eqx.field(static=True, default="x")
    factor: jnp.ndarray = eqx.field(default_factory=lambda: jnp.asarray(1.0))

    def __call__(self, z, log_snr):
        alpha, sigma = signal_and_noise(log_snr)
        clean = self.factor * alpha * z
        noise = (z - alpha * clean) / sigma
        return {"x": clean, "epsilon": noise, "v": alpha * noise - sigma * clean}[self.prediction]


def gaussian_model(shape=(1,), *, prediction="x", factor=1.0, key=None, **options):
    denoiser = Exact(prediction, jnp.asarray(factor))
    return DiffusionModel.create(
        shape, denoiser=denoiser, prediction=prediction, key=key, **options
    )


def levels(log_snrs):
    """α and σ, in double precision."""
    log_snrs = np.asarray(log_snrs, float)
    return 1 / np.sqrt(1 + np.exp(-log_snrs)), 1 / np.sqrt(1 + np.exp(log_snrs))


def diffusion_loss(log_snrs, x=None, factor=1.0):
    """The diffusion term of a chain with x̂ = factor α z: of one x, or on average over N(0, 1)."""
    alpha, sigma = levels(log_snrs)
    snr = np.exp(np.asarray(log_snrs, float))
    gain = factor * alpha[1:]
    second_moment = 1.0 if x is None else x**2
    error = second_moment * (1 - gain * alpha[1:]) ** 2 + (gain * sigma[1:]) ** 2
    return 0.5 * np.sum((snr[:-1] - snr[1:]) * error)


def steps(log_snrs):
    """keep, add and scale of z_s given z_t and x̂, from t = 1 down."""
    alpha, sigma = levels(log_snrs)
    ratio = np.exp(np.diff(np.asarray(log_snrs, float)))
    keep = ratio * alpha[:-1] / alpha[1:]
    return keep[::-1], ((1 - ratio) * alpha[:-1])[::-1], (np.sqrt(1 - ratio) * sigma[:-1])[::-1]


def ancestral_variance(log_snrs, factor=1.0):
    """Variance of x under the model with x̂ = factor α z."""
    alpha, sigma = levels(log_snrs)
    variance = 1.0
    for keep, add, scale, later in zip(*steps(log_snrs), alpha[:0:-1], strict=True):
        variance = (keep + add * factor * later) ** 2 * variance + scale**2
    return (variance + sigma[0] ** 2) / alpha[0] ** 2


def ddim_variance(log_snrs):
    """Variance of z_0 / α_0 by DDIM with the exact denoiser, which turns z by an angle a step."""
    alpha, sigma = levels(log_snrs)
    turned = alpha[1:] * alpha[:-1] + sigma[1:] * sigma[:-1]
    return np.prod(turned) ** 2 / alpha[0] ** 2
