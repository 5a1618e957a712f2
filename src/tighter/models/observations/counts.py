"""Observations of counts: Poisson, more varied than that, and with more zeros."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array
from numpyro.distributions import Distribution, NegativeBinomial2, ZeroInflatedDistribution
from numpyro.distributions import Poisson as PoissonDistribution

from tighter.distributions._stirling import (
    LARGE,
    poisson_log_prob,
    stirling_rest,
    stirling_series,
)
from tighter.models.observations.observation import (
    Factorized,
    Numbers,
    log_or_least,
    means,
    variances,
)
from tighter.models.observations.support import Support

_LOG_CONCENTRATIONS = -4.0, 7.0
_NEAR = 80.0  # of log ratios: whose exponentials are numbers of float32


class Counts(Factorized):
    """Independent counts, of which the encoder sees log(1 + x)."""

    support: ClassVar[Support] = Support(0.0, whole=True)

    @abc.abstractmethod
    def of_entries(self, output: Numbers) -> Distribution:
        """The distribution of one entry, with x's shape as batch shape."""

    @abc.abstractmethod
    def from_moments(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The output of this mean and variance."""

    def distribution(self, output: Numbers) -> Distribution:
        """Independent entries."""
        return self.of_entries(output).to_event()

    def features(self, x: Numbers) -> Numbers:
        """Log(1 + x)."""
        return jnp.log1p(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the data's mean and variance."""
        return self.from_moments(means(xs), variances(xs))


class Poisson(Counts):
    r"""Independent Poisson counts; the output is the logarithms l of the rates.

    $\log p = \sum_i x_i l_i - e^{l_i} - \log x_i!$. The encoder sees log(1 + x).
    """

    def of_entries(self, output: Numbers) -> Distribution:
        """The distribution of one entry, with x's shape as batch shape."""
        return PoissonDistribution(jnp.exp(output), validate_args=False)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        return poisson_log_prob(x, output)

    def mean(self, output: Numbers) -> Numbers:
        """The rates."""
        return jnp.exp(output)

    def from_moments(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The output of this mean, of 0.001 at least."""
        return log_or_least(mean)


class NegativeBinomial(Counts):
    r"""Independent negative binomial counts; the output is log mean m and log concentration c.

    $\log p = \sum_i \log\frac{\Gamma(x_i + r_i)}{\Gamma(r_i)\, x_i!} +
    r_i \log\frac{r_i}{r_i + \mu_i} + x_i \log\frac{\mu_i}{r_i + \mu_i}$ with $\mu = e^m$ and
    $r = e^c$; the variance is $\mu + \mu^2/r$. The encoder sees log(1 + x).

    References:
        Lopez et al., "Deep generative modeling for single-cell transcriptomics", 2018.
    """

    num_parameters = 2

    def of_entries(self, output: Numbers) -> Distribution:
        """The distribution of one entry, with x's shape as batch shape."""
        mean, concentration = jnp.exp(output[..., 0]), jnp.exp(output[..., 1])
        return NegativeBinomial2(mean, concentration, validate_args=False)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
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

    def mean(self, output: Numbers) -> Numbers:
        """The means."""
        return jnp.exp(output[..., 0])

    def from_moments(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The output of this mean and variance; log concentrations from −4 to 7."""
        excess = np.maximum(variance - mean, 1e-12)
        log_r = np.clip(2 * log_or_least(mean) - np.log(excess), *_LOG_CONCENTRATIONS)
        return np.stack([log_or_least(mean), log_r], axis=-1)


class ZeroInflated(Factorized):
    r"""Counts of a family f that are zero besides with probability $\pi = \sigma(g)$.

    $\log p = \sum_i \log(\pi_i [x_i = 0] + (1 - \pi_i) f(x_i))$; g is the output's last number.

    Args:
        family: `Poisson` or `NegativeBinomial`.

    References:
        Lambert, "Zero-inflated Poisson regression", 1992, eq. 1.
    """

    support: ClassVar[Support] = Counts.support

    family: Poisson | NegativeBinomial

    def distribution(self, output: Numbers) -> Distribution:
        """The family's, with zeros besides."""
        inner, logit = self._parts(output)
        entries = self.family.of_entries(inner)
        return ZeroInflatedDistribution(entries, gate_logits=logit, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        inner, logit = self._parts(output)
        counted = self.family.log_probs(inner, x) - jax.nn.softplus(logit)
        return jnp.where(x == 0, jnp.logaddexp(counted, -jax.nn.softplus(-logit)), counted)

    def mean(self, output: Numbers) -> Numbers:
        """(1 − π) of the family's mean."""
        inner, logit = self._parts(output)
        return jax.nn.sigmoid(-logit) * self.family.mean(inner)

    def features(self, x: Numbers) -> Numbers:
        """Log(1 + x)."""
        return self.family.features(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the data's mean, variance and, to 0.01, share of zeros."""
        mean, zeros = means(xs), means(np.where(np.isnan(xs), np.nan, xs == 0))
        square = variances(xs) + mean**2
        inflation = np.linspace(0.01, 0.99, 99).reshape(-1, *[1] * mean.ndim)
        counted, squares = mean / (1 - inflation), square / (1 - inflation)
        inner = self.family.from_moments(counted, squares - counted**2)
        at_zero = np.exp(self.family.log_probs(jnp.asarray(inner), jnp.zeros(counted.shape)))
        error = np.abs(inflation + (1 - inflation) * at_zero - zeros)
        best = error.argmin(axis=0)
        inner = inner if self.family.num_parameters > 1 else inner[..., None]
        chosen = np.take_along_axis(inner, best[None, ..., None], axis=0)[0]
        share = inflation.reshape(-1)[best][..., None]
        return np.concatenate([chosen, np.log(share) - np.log1p(-share)], axis=-1)

    @property
    def num_parameters(self) -> int:
        """The family's and a logit."""
        return self.family.num_parameters + 1

    def _parts(self, output: Numbers) -> tuple[Array, Array]:
        inner = output[..., :-1] if self.family.num_parameters > 1 else output[..., 0]
        return inner, output[..., -1]
