"""Beta observations: shares strictly between 0 and 1."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Beta as BetaDistribution
from numpyro.distributions import Distribution

from tighter.distributions._stirling import stirling_rest
from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import means, variances


class Beta(Factorized):
    r"""Independent Beta values in (0, 1); the output is the mean's logit and the log precision.

    $\log p = \sum_i (\alpha_i - 1) \log x_i + (\beta_i - 1) \log(1 - x_i) -
    \log B(\alpha_i, \beta_i)$ with $\alpha = \mu\varphi$, $\beta = (1 - \mu)\varphi$,
    $\mu = \sigma(\mathrm{logit})$. The encoder sees the logit of x.

    References:
        Ferrari & Cribari-Neto, "Beta regression for modelling rates and proportions", 2004, eq. 4.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Beta."""
        log_precision = output[..., 1]
        alpha, beta = (jnp.exp(log + log_precision) for log in _log_means(output))
        return BetaDistribution(alpha, beta, validate_args=False).to_event(alpha.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry; log Γ's by Stirling's formula, as φ may be large.

        What is of order φ is then −φ KL(μ‖x), as of two Bernoullis.
        """
        log_mean, log_rest = _log_means(output)
        log_precision = output[..., 1]
        log_alpha, log_beta = log_mean + log_precision, log_rest + log_precision
        alpha, beta, precision = jnp.exp(log_alpha), jnp.exp(log_beta), jnp.exp(log_precision)
        log_x, log_other = jnp.log(x), jnp.log1p(-x)
        divergence = alpha * (log_x - log_mean) + beta * (log_other - log_rest)
        halves = 0.5 * (log_alpha + log_beta - log_precision - math.log(2 * math.pi))
        rests = (
            stirling_rest(precision, log_precision)
            - stirling_rest(alpha, log_alpha)
            - stirling_rest(beta, log_beta)
        )
        return divergence + halves + rests - log_x - log_other

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The means."""
        return jax.nn.sigmoid(output[..., 0])

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """The logit of x."""
        return jnp.log(x) - jnp.log1p(-x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the data's mean and variance; precisions from 0.1 to 10,000."""
        mean = np.clip(means(xs), 1e-3, 1 - 1e-3)
        variance = np.maximum(variances(xs), 1e-12)
        precision = np.clip(mean * (1 - mean) / variance - 1, 0.1, 1e4)
        return np.stack([np.log(mean) - np.log1p(-mean), np.log(precision)], axis=-1)

    @property
    def num_parameters(self) -> int:
        """Logit of the mean and log precision."""
        return 2

    @property
    def support(self) -> Support:
        """Between 0 and 1, without them."""
        return Support(0.0, 1.0, ends=False)


def _log_means(output: Float[Array, ...]) -> tuple[Array, Array]:
    """Logarithms of μ and 1 − μ."""
    return -jax.nn.softplus(-output[..., 0]), -jax.nn.softplus(output[..., 0])
