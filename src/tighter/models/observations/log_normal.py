"""Log-normal observations."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution
from numpyro.distributions import LogNormal as LogNormalDistribution

from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import means, scales


class LogNormal(Factorized):
    r"""Independent positive values whose logarithms are Gaussian; their mean m and log scale s.

    $\log p = \sum_i -\frac12 ((\log x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi - \log x_i$.
    The encoder sees log x.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Log-normal."""
        location, scale = output[..., 0], jnp.exp(output[..., 1])
        return LogNormalDistribution(location, scale, validate_args=False).to_event(location.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        log_x, log_scale = jnp.log(x), output[..., 1]
        standard = (log_x - output[..., 0]) * jnp.exp(-log_scale)
        return -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi) - log_x

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        r"""$e^{m + e^{2s}/2}$."""
        return jnp.exp(output[..., 0] + 0.5 * jnp.exp(2 * output[..., 1]))

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """Log x."""
        return jnp.log(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Mean and log standard deviation of log x."""
        logs = np.log(xs)
        return np.stack([means(logs), np.log(scales(logs))], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Mean and log scale of log x."""
        return 2

    @property
    def support(self) -> Support:
        """Above 0."""
        return Support(0.0, ends=False)
