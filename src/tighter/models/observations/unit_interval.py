"""Observations between 0 and 1: bits, pixels, shares."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from numpyro.distributions import BernoulliLogits, Distribution
from numpyro.distributions import Beta as BetaDistribution

from tighter.distributions._stirling import stirling_rest
from tighter.models.observations.observation import (
    Drawn,
    Factorized,
    Numbers,
    RandomKey,
    means,
    variances,
)
from tighter.models.observations.support import Support


class Bernoulli(Factorized):
    r"""Independent Bernoulli pixels from logits; values between 0 and 1 are taken as their means.

    $\log p = \sum_i x_i l_i - \log(1 + e^{l_i})$.
    """

    support: ClassVar[Support] = Support(0.0, 1.0)

    def distribution(self, output: Numbers) -> Distribution:
        """Bernoulli with the output as logits."""
        return BernoulliLogits(output, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Cross entropy of each entry."""
        softplus = jnp.maximum(output, 0) + jnp.log1p(jnp.exp(-jnp.abs(output)))
        return x * output - softplus

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Cross entropy from logits, of vectors: XLA sums one axis faster than two."""
        return _log_prob(output.reshape(-1), x.reshape(-1))

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Logit of the mean, clipped to [0.001, 0.999]."""
        mean = np.clip(np.nanmean(xs, axis=0), 1e-3, 1 - 1e-3)
        return np.log(mean) - np.log1p(-mean)


@jax.custom_jvp
def _log_prob(logits: Float[Array, " n"], x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of x l − log(1 + e^l); log1p(exp(−|l|)) is half the price of softplus.

    Its derivative x − sigmoid(l) is given, at half the price of differentiating the formula, and
    right at l = 0, where those of max and abs don't add up.
    """
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus)


def _log_prob_jvp(primals, tangents):
    logits, x = primals
    terms = [jnp.zeros((), logits.dtype)]
    for tangent, derivative in (
        (tangents[0], lambda: x - jax.nn.sigmoid(logits)),
        (tangents[1], lambda: logits),
    ):
        if not isinstance(tangent, SymbolicZero):
            terms.append(jnp.sum(derivative() * tangent))
    return _log_prob(logits, x), sum(terms[1:], start=terms[0])


_log_prob.defjvp(_log_prob_jvp, symbolic_zeros=True)


_SMALL = 0.5
_MOST_LOGIT = 100.0


class ContinuousBernoulli(Drawn, Factorized):
    r"""Independent values in [0, 1], of density ∝ $\lambda^x (1 - \lambda)^{1-x}$; logits.

    $\log p = \sum_i x_i l_i - \log\frac{e^{l_i} - 1}{l_i}$: uniform at $l = 0$.

    References:
        Loaiza-Ganem & Cunningham, "The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders", 2019, eq. 6–8.
    """

    support: ClassVar[Support] = Support(0.0, 1.0)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry: (x − 1/2) l − log (sinh(l/2) / (l/2))."""
        return (x - 0.5) * output - _log_sinh_over(0.5 * jnp.abs(output))

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw, by its distribution function's inverse."""
        uniform = jax.random.uniform(key, output.shape, output.dtype)
        size = jnp.maximum(jnp.abs(output), 1e-6)
        draw = jnp.log1p(uniform * jnp.expm1(-size)) / -size
        return jnp.where(output > 0, 1 - draw, draw)

    def mean(self, output: Numbers) -> Numbers:
        r"""$\frac12 + \frac12 (\coth \frac l2 - \frac 2l)$."""
        return 0.5 + 0.5 * jnp.sign(output) * _langevin(0.5 * jnp.abs(output))

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The logits of the means, clipped to [−100, 100]; found by bisection."""
        mean = means(xs)
        low, high = np.full(mean.shape, -_MOST_LOGIT), np.full(mean.shape, _MOST_LOGIT)
        for _ in range(60):
            logit = (low + high) / 2
            half = np.where(np.abs(logit) < 1e-4, 1.0, logit / 2)
            middle = np.where(
                np.abs(logit) < 1e-4, 0.5 + logit / 12, 0.5 + (1 / np.tanh(half) - 1 / half) / 2
            )
            low, high = np.where(middle < mean, logit, low), np.where(middle < mean, high, logit)
        return (low + high) / 2


def _log_sinh_over(a: Numbers) -> Numbers:
    """Log (sinh a / a) for a ≥ 0; near 0 by its series, off by 5e-10 at most."""
    is_small = a < _SMALL
    square = jnp.where(is_small, a, 0.0) ** 2
    # Coefficients of a², a⁴, …: those of the Langevin function's series over 2, 4, …
    series = square * _polynomial(square, (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775))
    large = jnp.where(is_small, 1.0, a)
    return jnp.where(is_small, series, large + jnp.log1p(-jnp.exp(-2 * large)) - jnp.log(2 * large))


def _langevin(a: Numbers) -> Numbers:
    """Coth a − 1/a for a ≥ 0: the derivative of log (sinh a / a)."""
    is_small = a < _SMALL
    small, large = jnp.where(is_small, a, 0.0), jnp.where(is_small, 1.0, a)
    series = small * _polynomial(small**2, (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555))
    return jnp.where(is_small, series, 1 / jnp.tanh(large) - 1 / large)


def _polynomial(y: Numbers, coefficients: tuple[float, ...]) -> Numbers:
    total = jnp.zeros_like(y)
    for coefficient in reversed(coefficients):
        total = total * y + coefficient
    return total


class Beta(Factorized):
    r"""Independent Beta values in (0, 1); the output is the mean's logit and the log precision.

    $\log p = \sum_i (\alpha_i - 1) \log x_i + (\beta_i - 1) \log(1 - x_i) -
    \log B(\alpha_i, \beta_i)$ with $\alpha = \mu\varphi$, $\beta = (1 - \mu)\varphi$,
    $\mu = \sigma(\mathrm{logit})$. The encoder sees the logit of x.

    References:
        Ferrari & Cribari-Neto, "Beta regression for modelling rates and proportions", 2004, eq. 4.
    """

    support: ClassVar[Support] = Support(0.0, 1.0, ends=False)
    num_parameters = 2

    def distribution(self, output: Numbers) -> Distribution:
        """Beta."""
        log_precision = output[..., 1]
        alpha, beta = (jnp.exp(log + log_precision) for log in _log_means(output))
        return BetaDistribution(alpha, beta, validate_args=False).to_event()

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
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

    def mean(self, output: Numbers) -> Numbers:
        """The means."""
        return jax.nn.sigmoid(output[..., 0])

    def features(self, x: Numbers) -> Numbers:
        """The logit of x."""
        return jnp.log(x) - jnp.log1p(-x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the data's mean and variance; precisions from 0.1 to 10,000."""
        mean = np.clip(means(xs), 1e-3, 1 - 1e-3)
        variance = np.maximum(variances(xs), 1e-12)
        precision = np.clip(mean * (1 - mean) / variance - 1, 0.1, 1e4)
        return np.stack([np.log(mean) - np.log1p(-mean), np.log(precision)], axis=-1)


def _log_means(output: Numbers) -> tuple[Array, Array]:
    """Logarithms of μ and 1 − μ."""
    return -jax.nn.softplus(-output[..., 0]), -jax.nn.softplus(output[..., 0])
