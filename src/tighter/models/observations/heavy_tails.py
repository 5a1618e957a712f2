"""Observations with heavier tails than a Gaussian's, which bear outliers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution
from numpyro.distributions import Laplace as LaplaceDistribution
from numpyro.distributions import StudentT as StudentTDistribution

from tighter.distributions._stirling import stirling_rest
from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import (
    LEAST_SCALE,
    log_or_least,
    scales,
    some_rows,
)

_START_FREEDOM = 5.0


class Laplace(Factorized):
    r"""Independent Laplace values; the output is location m and log scale s of each entry.

    $\log p = \sum_i -|x_i - m_i| e^{-s_i} - s_i - \log 2$.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Laplace around the locations."""
        location, scale = output[..., 0], jnp.exp(output[..., 1])
        return LaplaceDistribution(location, scale, validate_args=False).to_event(location.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        log_scale = output[..., 1]
        return -jnp.abs(x - output[..., 0]) * jnp.exp(-log_scale) - log_scale - math.log(2)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The locations."""
        return output[..., 0]

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Median and mean distance from it: the most likely ones."""
        some = some_rows(xs)
        median = np.nanmedian(some, axis=0)
        return np.stack([median, log_or_least(np.nanmean(np.abs(some - median), axis=0))], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Location and log scale."""
        return 2

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


class StudentT(Factorized):
    r"""Independent Student's t values; the output is location m, log scale s and r of each entry.

    $\log p = \sum_i \log\frac{\Gamma((\nu_i+1)/2)}{\Gamma(\nu_i/2)\sqrt{\pi \nu_i}} - s_i -
    \frac{\nu_i+1}{2} \log(1 + t_i^2/\nu_i)$ with $t_i = (x_i - m_i) e^{-s_i}$ and
    $\nu_i = 1 + \log(1 + e^{r_i})$ degrees of freedom, so that there is a mean.

    References:
        Takahashi et al., "Student-t variational autoencoder for robust density estimation", 2018.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Student's t around the locations."""
        location, scale, freedom = output[..., 0], jnp.exp(output[..., 1]), _freedom(output)
        made = StudentTDistribution(freedom, location, scale, validate_args=False)
        return made.to_event(location.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry."""
        log_scale, freedom = output[..., 1], _freedom(output)
        square = ((x - output[..., 0]) * jnp.exp(-log_scale)) ** 2
        half = 0.5 * freedom
        # log Γ(h + ½) − log Γ(h) − ½ log 2πh, by Stirling's formula, as there may be many degrees.
        rests = [stirling_rest(y, jnp.log(y)) for y in (half + 0.5, half)]
        constant = half * jnp.log1p(0.5 / half) - 0.5 + rests[0] - rests[1]
        tails = (half + 0.5) * jnp.log1p(square / freedom)
        return constant - 0.5 * math.log(2 * math.pi) - log_scale - tails

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The locations."""
        return output[..., 0]

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The most likely ones of five degrees of freedom, by expectation-maximization."""
        some = some_rows(xs)
        location, scale = np.nanmedian(some, axis=0), scales(some)
        for _ in range(20):
            square = ((some - location) / scale) ** 2
            weights = (_START_FREEDOM + 1) / (_START_FREEDOM + square)
            location = np.nansum(weights * some, axis=0) / np.nansum(weights, axis=0)
            scale = np.sqrt(np.nanmean(weights * (some - location) ** 2, axis=0))
            scale = np.maximum(scale, LEAST_SCALE)
        raw = np.full_like(location, math.log(math.expm1(_START_FREEDOM - 1)))
        return np.stack([location, np.log(scale), raw], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Location, log scale and what makes the degrees of freedom."""
        return 3

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()


def _freedom(output: Float[Array, ...]) -> Float[Array, ...]:
    return 1 + jax.nn.softplus(output[..., 2])
