"""Gaussian observations of independent entries: a known scale, or a learned one."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Normal

from tighter.models.observations._observation import Factorized, Support


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
        if not self.scale > 0:
            raise ValueError(f"a standard deviation is above zero, got {self.scale}")

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


def _log_prob(residual: Float[Array, ...], log_scale: Array) -> Float[Array, ""]:
    constant = residual.size * (0.5 * jnp.log(2 * jnp.pi) + log_scale)
    return -0.5 * jnp.exp(-2 * log_scale) * jnp.sum(residual**2) - jax.lax.convert_element_type(
        constant, residual.dtype
    )
