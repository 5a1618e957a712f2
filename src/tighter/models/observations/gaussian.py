"""Gaussian observations of independent entries: scales known, learned, or from the decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import Distribution, Normal

from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import means, scales


class Gaussian(Factorized):
    r"""Independent Gaussian values around the output, of one known standard deviation.

    Args:
        scale: The standard deviation, above zero.

    Raises:
        ValueError: If `scale` is not above zero.
    """

    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        """Refuse what is no standard deviation."""
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"a standard deviation is above zero and finite, got {self.scale}")

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal around the output."""
        return Normal(output, self.scale, validate_args=False).to_event(output.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        constant = 0.5 * math.log(2 * math.pi) + math.log(self.scale)
        return -0.5 * ((x - output) / self.scale) ** 2 - constant

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        return _log_prob(x - output, jnp.log(jnp.asarray(self.scale, output.dtype)))

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return np.nanmean(xs, axis=0)

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


class LearnedGaussian(Factorized):
    """Independent Gaussian values around the output, with one standard deviation that is learned.

    Attributes:
        log_scale: Logarithm of the standard deviation, a scalar.
    """

    log_scale: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal around the output."""
        scale = jnp.exp(self.log_scale)
        return Normal(output, scale, validate_args=False).to_event(output.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        constant = 0.5 * math.log(2 * math.pi) + self.log_scale
        return -0.5 * jnp.exp(-2 * self.log_scale) * (x - output) ** 2 - constant

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        return _log_prob(x - output, self.log_scale)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return np.nanmean(xs, axis=0)

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


class EntrywiseGaussian(Factorized):
    r"""Independent Gaussian values around the output m, with a learned standard deviation each.

    $\log p = \sum_i -\frac12 ((x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi$.

    Attributes:
        log_scale: s, logarithms of the standard deviations, in the shape of x.
    """

    log_scale: Float[Array, ...]

    def __init__(self, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal around the output."""
        scale = jnp.exp(self.log_scale)
        return Normal(output, scale, validate_args=False).to_event(output.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        return _log_probs(output, self.log_scale, x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return means(xs)

    def initialized_from(self, xs: np.ndarray) -> EntrywiseGaussian:
        """With the data's standard deviations."""
        return EntrywiseGaussian(xs.shape[1:], np.log(scales(xs)))

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


class HeteroscedasticGaussian(Factorized):
    r"""Independent Gaussian values; the output is mean m and log standard deviation s of each.

    $\log p = \sum_i -\frac12 ((x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi$. Without bound
    where an example can be matched exactly.

    References:
        Nix & Weigend, "Estimating the mean and variance of the target probability distribution",
        1994; Mattei & Frellsen, "Leveraging the exact likelihood of deep latent variable models",
        2018, sec. 2.2, on the bound.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal."""
        mean, scale = output[..., 0], jnp.exp(output[..., 1])
        return Normal(mean, scale, validate_args=False).to_event(mean.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        return _log_probs(output[..., 0], output[..., 1], x)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The means."""
        return output[..., 0]

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Mean and log standard deviation."""
        return np.stack([means(xs), np.log(scales(xs))], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Mean and log standard deviation."""
        return 2

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


def _log_probs(
    mean: Float[Array, ...], log_scale: Float[Array, ...], x: Float[Array, ...]
) -> Float[Array, ...]:
    standard = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi)


def _log_prob(residual: Float[Array, ...], log_scale: Array) -> Float[Array, ""]:
    constant = residual.size * (0.5 * jnp.log(2 * jnp.pi) + log_scale)
    return -0.5 * jnp.exp(-2 * log_scale) * jnp.sum(residual**2) - jax.lax.convert_element_type(
        constant, residual.dtype
    )
