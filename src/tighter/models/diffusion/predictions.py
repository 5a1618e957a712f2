"""What a denoiser's output says: the noise, the data, or the velocity between them."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp

from tighter.models.diffusion.schedules import Example, Scalar, signal_and_noise


class Prediction(eqx.Module):
    """How x̂ and ε̂ follow from a denoiser's output; always z = α x̂ + σ ε̂."""

    @abc.abstractmethod
    def clean(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """x̂."""

    @abc.abstractmethod
    def noise(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """ε̂."""

    @abc.abstractmethod
    def squared_error(self, output: Example, x: Example, noise: Example, log_snr: Scalar) -> Scalar:
        """‖ε − ε̂‖² = SNR ‖x − x̂‖², from the output's own error: nothing cancels."""


class Epsilon(Prediction):
    """The output is ε̂."""

    def clean(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """(z − σ ε̂) / α."""
        alpha, sigma = signal_and_noise(log_snr)
        return (z - sigma * output) / alpha

    def noise(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """The output."""
        return output

    def squared_error(self, output: Example, x: Example, noise: Example, log_snr: Scalar) -> Scalar:
        """‖ε − ε̂‖²."""
        return jnp.sum((noise - output) ** 2)


class Clean(Prediction):
    """The output is x̂."""

    def clean(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """The output."""
        return output

    def noise(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """(z − α x̂) / σ."""
        alpha, sigma = signal_and_noise(log_snr)
        return (z - alpha * output) / sigma

    def squared_error(self, output: Example, x: Example, noise: Example, log_snr: Scalar) -> Scalar:
        """SNR ‖x − x̂‖²."""
        return jnp.exp(log_snr) * jnp.sum((x - output) ** 2)


class Velocity(Prediction):
    r"""The output is v̂, of $v = \alpha \varepsilon - \sigma x$; zero is right for white data.

    References:
        Salimans & Ho, "Progressive distillation for fast sampling of diffusion models", 2022,
        app. D.
    """

    def clean(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """α z − σ v̂."""
        alpha, sigma = signal_and_noise(log_snr)
        return alpha * z - sigma * output

    def noise(self, z: Example, output: Example, log_snr: Scalar) -> Example:
        """σ z + α v̂."""
        alpha, sigma = signal_and_noise(log_snr)
        return sigma * z + alpha * output

    def squared_error(self, output: Example, x: Example, noise: Example, log_snr: Scalar) -> Scalar:
        """α² ‖v − v̂‖²."""
        alpha, sigma = signal_and_noise(log_snr)
        return alpha**2 * jnp.sum((alpha * noise - sigma * x - output) ** 2)


# Adding one here enrolls it in the tests.
PREDICTIONS: dict[str, Prediction] = {"epsilon": Epsilon(), "x": Clean(), "v": Velocity()}
