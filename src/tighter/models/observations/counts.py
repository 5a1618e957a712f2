"""Observations of counts: Poisson, and negative binomial where they vary more than that."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, NegativeBinomial2
from numpyro.distributions import Poisson as PoissonDistribution

from tighter.distributions._stirling import (
    LARGE,
    poisson_log_prob,
    stirling_rest,
    stirling_series,
)
from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import log_or_least, means, variances

_LOG_CONCENTRATIONS = -4.0, 7.0
_NEAR = 80.0  # of log ratios: whose exponentials are numbers of float32


class Poisson(Factorized):
    r"""Independent Poisson counts; the output is the logarithms l of the rates.

    $\log p = \sum_i x_i l_i - e^{l_i} - \log x_i!$. The encoder sees log(1 + x).
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Poisson."""
        return self.of_entries(output).to_event(output.ndim)

    def of_entries(self, output: Float[Array, ...]) -> Distribution:
        """The distribution of one entry, with x's shape as batch shape."""
        return PoissonDistribution(jnp.exp(output), validate_args=False)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log probability of each entry."""
        return poisson_log_prob(x, output)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The rates."""
        return jnp.exp(output)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """Log(1 + x)."""
        return jnp.log1p(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, of 0.001 at least."""
        return self.from_moments(means(xs), variances(xs))

    def from_moments(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The output of this mean."""
        return log_or_least(mean)

    @property
    def support(self) -> Support:
        """The numbers 0, 1, 2, and so on."""
        return Support(0.0, whole=True)


class NegativeBinomial(Factorized):
    r"""Independent negative binomial counts; the output is log mean m and log concentration c.

    $\log p = \sum_i \log\frac{\Gamma(x_i + r_i)}{\Gamma(r_i)\, x_i!} +
    r_i \log\frac{r_i}{r_i + \mu_i} + x_i \log\frac{\mu_i}{r_i + \mu_i}$ with $\mu = e^m$ and
    $r = e^c$; the variance is $\mu + \mu^2/r$. The encoder sees log(1 + x).

    References:
        Lopez et al., "Deep generative modeling for single-cell transcriptomics", 2018.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Poisson with a rate of gamma distribution."""
        return self.of_entries(output).to_event(output.ndim - 1)

    def of_entries(self, output: Float[Array, ...]) -> Distribution:
        """The distribution of one entry, with x's shape as batch shape."""
        mean, concentration = jnp.exp(output[..., 0]), jnp.exp(output[..., 1])
        return NegativeBinomial2(mean, concentration, validate_args=False)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log probability of each entry; log Γ's by Stirling's formula, as r and x may be large."""
        log_mean, log_r = output[..., 0], output[..., 1]
        r = jnp.exp(log_r)
        is_large = x > LARGE
        small, large = jnp.where(is_large, 0.0, x), jnp.where(is_large, x, LARGE + 1.0)
        log_sum = jnp.log(x + r)
        rest = stirling_rest(x + r, log_sum) - stirling_rest(r, log_r)
        log_total = jnp.logaddexp(log_mean, log_r)
        near = (
            (r - 0.5) * jnp.log1p(small / r) - small
            + small * (log_sum - log_total + log_mean)
            - r * jax.nn.softplus(log_mean - log_r)
            - gammaln(small + 1)
        )  # fmt: skip
        # x log(μ/x) − (x + r) log((r + μ)/(x + r)): by the smaller of x and r, or far apart as is.
        log_large = jnp.log(large)
        change = log_mean - log_large
        is_near = jnp.abs(change) < _NEAR
        turned = jnp.where(large < r, 1.0, -1.0) * jnp.where(is_near, change, 0.0)
        less, total = jnp.minimum(large, r), large + r
        close = less * turned - total * jnp.log1p(less / total * jnp.expm1(turned))
        apart = large * change - total * (log_total - log_sum)
        halves = 0.5 * (log_r - log_sum - log_large - math.log(2 * math.pi))
        far = jnp.where(is_near, close, apart) + halves - stirling_series(large)
        return jnp.where(is_large, far, near) + rest

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The means."""
        return jnp.exp(output[..., 0])

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """Log(1 + x)."""
        return jnp.log1p(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the data's mean and variance."""
        return self.from_moments(means(xs), variances(xs))

    def from_moments(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The output of this mean and variance; log concentrations from −4 to 7."""
        excess = np.maximum(variance - mean, 1e-12)
        log_r = np.clip(2 * log_or_least(mean) - np.log(excess), *_LOG_CONCENTRATIONS)
        return np.stack([log_or_least(mean), log_r], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Log mean and log concentration."""
        return 2

    @property
    def support(self) -> Support:
        """The numbers 0, 1, 2, and so on."""
        return Support(0.0, whole=True)
