"""Observations of numbers, entry by entry: Gaussian, log-normal, and of heavier tails."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import Distribution, Normal
from numpyro.distributions import Laplace as LaplaceDistribution
from numpyro.distributions import LogNormal as LogNormalDistribution
from numpyro.distributions import StudentT as StudentTDistribution

from tighter._checks import require
from tighter.distributions._stirling import stirling_rest
from tighter.models.observations.observation import (
    LEAST_SCALE,
    Factorized,
    Numbers,
    log_or_least,
    means,
    scales,
    some_rows,
)
from tighter.models.observations.support import Support


class AroundOutput(Factorized):
    """Independent Gaussian values around the output."""

    support: ClassVar[Support] = Support()

    @property
    @abc.abstractmethod
    def deviation(self) -> Any:
        """The standard deviation, of all entries or of each."""

    def distribution(self, output: Numbers) -> Distribution:
        """Normal around the output."""
        return Normal(output, self.deviation, validate_args=False).to_event()

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return np.nanmean(xs, axis=0)


class Gaussian(AroundOutput):
    r"""Independent Gaussian values around the output, of one known standard deviation.

    Args:
        scale: The standard deviation, above zero.

    Raises:
        InputError: If `scale` is not above zero.
    """

    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        """Refuse what is no standard deviation."""
        holds = 0 < self.scale < float("inf")
        require(holds, f"a standard deviation is above zero and finite, got {self.scale}")

    @property
    def deviation(self) -> float:
        """The scale."""
        return self.scale

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        constant = 0.5 * math.log(2 * math.pi) + math.log(self.scale)
        return -0.5 * ((x - output) / self.scale) ** 2 - constant

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density."""
        return _log_prob(x - output, jnp.log(jnp.asarray(self.scale, output.dtype)))


class LearnedGaussian(AroundOutput):
    """Independent Gaussian values around the output, with one standard deviation that is learned.

    Attributes:
        log_scale: Logarithm of the standard deviation, a scalar.
    """

    log_scale: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)

    @property
    def deviation(self) -> Array:
        """The one of all entries."""
        return jnp.exp(self.log_scale)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        constant = 0.5 * math.log(2 * math.pi) + self.log_scale
        return -0.5 * jnp.exp(-2 * self.log_scale) * (x - output) ** 2 - constant

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density."""
        return _log_prob(x - output, self.log_scale)


class EntrywiseGaussian(AroundOutput):
    r"""Independent Gaussian values around the output m, with a learned standard deviation each.

    $\log p = \sum_i -\frac12 ((x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi$.

    Attributes:
        log_scale: s, logarithms of the standard deviations, in the shape of x.
    """

    log_scale: Numbers

    def __init__(self, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))

    @property
    def deviation(self) -> Array:
        """That of each entry."""
        return jnp.exp(self.log_scale)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        return _log_probs(output, self.log_scale, x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return means(xs)

    def initialized_from(self, xs: np.ndarray) -> EntrywiseGaussian:
        """With the data's standard deviations."""
        return EntrywiseGaussian(xs.shape[1:], np.log(scales(xs)))


class HeteroscedasticGaussian(Factorized):
    r"""Independent Gaussian values; the output is mean m and log standard deviation s of each.

    $\log p = \sum_i -\frac12 ((x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi$. Without bound
    where an example can be matched exactly.

    References:
        Nix & Weigend, "Estimating the mean and variance of the target probability distribution",
        1994; Mattei & Frellsen, "Leveraging the exact likelihood of deep latent variable models",
        2018, sec. 2.2, on the bound.
    """

    support: ClassVar[Support] = Support()
    num_parameters = 2

    def distribution(self, output: Numbers) -> Distribution:
        """Normal."""
        mean, scale = output[..., 0], jnp.exp(output[..., 1])
        return Normal(mean, scale, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        return _log_probs(output[..., 0], output[..., 1], x)

    def mean(self, output: Numbers) -> Numbers:
        """The means."""
        return output[..., 0]

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Mean and log standard deviation."""
        return np.stack([means(xs), np.log(scales(xs))], axis=-1)


def _log_probs(mean: Numbers, log_scale: Numbers, x: Numbers) -> Numbers:
    standard = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * standard**2 - log_scale - 0.5 * math.log(2 * math.pi)


def _log_prob(residual: Numbers, log_scale: Array) -> Float[Array, ""]:
    constant = residual.size * (0.5 * jnp.log(2 * jnp.pi) + log_scale)
    return -0.5 * jnp.exp(-2 * log_scale) * jnp.sum(residual**2) - jax.lax.convert_element_type(
        constant, residual.dtype
    )


class LogNormal(Factorized):
    r"""Independent positive values whose logarithms are Gaussian; their mean m and log scale s.

    $\log p = \sum_i -\frac12 ((\log x_i - m_i) e^{-s_i})^2 - s_i - \frac12 \log 2\pi - \log x_i$.
    The encoder sees log x.
    """

    support: ClassVar[Support] = Support(0.0, ends=False)
    num_parameters = 2

    def distribution(self, output: Numbers) -> Distribution:
        """Log-normal."""
        location, scale = output[..., 0], jnp.exp(output[..., 1])
        return LogNormalDistribution(location, scale, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        log_x = jnp.log(x)
        return _log_probs(output[..., 0], output[..., 1], log_x) - log_x

    def mean(self, output: Numbers) -> Numbers:
        r"""$e^{m + e^{2s}/2}$."""
        return jnp.exp(output[..., 0] + 0.5 * jnp.exp(2 * output[..., 1]))

    def features(self, x: Numbers) -> Numbers:
        """Log x."""
        return jnp.log(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Mean and log standard deviation of log x."""
        logs = np.log(xs)
        return np.stack([means(logs), np.log(scales(logs))], axis=-1)


_START_FREEDOM = 5.0


class Laplace(Factorized):
    r"""Independent Laplace values; the output is location m and log scale s of each entry.

    $\log p = \sum_i -|x_i - m_i| e^{-s_i} - s_i - \log 2$.
    """

    support: ClassVar[Support] = Support()
    num_parameters = 2

    def distribution(self, output: Numbers) -> Distribution:
        """Laplace around the locations."""
        location, scale = output[..., 0], jnp.exp(output[..., 1])
        return LaplaceDistribution(location, scale, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        log_scale = output[..., 1]
        return -jnp.abs(x - output[..., 0]) * jnp.exp(-log_scale) - log_scale - math.log(2)

    def mean(self, output: Numbers) -> Numbers:
        """The locations."""
        return output[..., 0]

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Median and mean distance from it: the most likely ones."""
        some = some_rows(xs)
        median = np.nanmedian(some, axis=0)
        return np.stack([median, log_or_least(np.nanmean(np.abs(some - median), axis=0))], axis=-1)


class StudentT(Factorized):
    r"""Independent Student's t values; the output is location m, log scale s and r of each entry.

    $\log p = \sum_i \log\frac{\Gamma((\nu_i+1)/2)}{\Gamma(\nu_i/2)\sqrt{\pi \nu_i}} - s_i -
    \frac{\nu_i+1}{2} \log(1 + t_i^2/\nu_i)$ with $t_i = (x_i - m_i) e^{-s_i}$ and
    $\nu_i = 1 + \log(1 + e^{r_i})$ degrees of freedom, so that there is a mean.

    References:
        Takahashi et al., "Student-t variational autoencoder for robust density estimation", 2018.
    """

    support: ClassVar[Support] = Support()
    num_parameters = 3

    def distribution(self, output: Numbers) -> Distribution:
        """Student's t around the locations."""
        location, scale, freedom = output[..., 0], jnp.exp(output[..., 1]), _freedom(output)
        return StudentTDistribution(freedom, location, scale, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry."""
        log_scale, freedom = output[..., 1], _freedom(output)
        square = ((x - output[..., 0]) * jnp.exp(-log_scale)) ** 2
        half = 0.5 * freedom
        # log Γ(h + ½) − log Γ(h) − ½ log 2πh, by Stirling's formula, as there may be many degrees.
        rests = [stirling_rest(y, jnp.log(y)) for y in (half + 0.5, half)]
        constant = half * jnp.log1p(0.5 / half) - 0.5 + rests[0] - rests[1]
        tails = (half + 0.5) * jnp.log1p(square / freedom)
        return constant - 0.5 * math.log(2 * math.pi) - log_scale - tails

    def mean(self, output: Numbers) -> Numbers:
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


def _freedom(output: Numbers) -> Numbers:
    return 1 + jax.nn.softplus(output[..., 2])
