"""Continuous Bernoulli observations: pixels between 0 and 1 with a density that is one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution

from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import means

_SMALL = 0.5
_MOST_LOGIT = 100.0


class ContinuousBernoulli(Factorized):
    r"""Independent values in [0, 1], of density ∝ $\lambda^x (1 - \lambda)^{1-x}$; logits.

    $\log p = \sum_i x_i l_i - \log\frac{e^{l_i} - 1}{l_i}$: uniform at $l = 0$.

    References:
        Loaiza-Ganem & Cunningham, "The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders", 2019, eq. 6–8.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Continuous Bernoulli with the output as logits."""
        return FamilyDistribution(self, output, output.shape)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry: (x − 1/2) l − log (sinh(l/2) / (l/2))."""
        return (x - 0.5) * output - _log_sinh_over(0.5 * jnp.abs(output))

    def sample(self, output: Float[Array, ...], *, key: Key[Array, ""]) -> Float[Array, ...]:
        """One draw, by its distribution function's inverse."""
        uniform = jax.random.uniform(key, output.shape, output.dtype)
        size = jnp.maximum(jnp.abs(output), 1e-6)
        draw = jnp.log1p(uniform * jnp.expm1(-size)) / -size
        return jnp.where(output > 0, 1 - draw, draw)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
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

    @property
    def support(self) -> Support:
        """[0, 1]."""
        return Support(0.0, 1.0)


def _log_sinh_over(a: Float[Array, ...]) -> Float[Array, ...]:
    """Log (sinh a / a) for a ≥ 0; near 0 by its series, off by 5e-10 at most."""
    is_small = a < _SMALL
    square = jnp.where(is_small, a, 0.0) ** 2
    # Coefficients of a², a⁴, …: those of the Langevin function's series over 2, 4, …
    series = square * _polynomial(square, (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775))
    large = jnp.where(is_small, 1.0, a)
    return jnp.where(is_small, series, large + jnp.log1p(-jnp.exp(-2 * large)) - jnp.log(2 * large))


def _langevin(a: Float[Array, ...]) -> Float[Array, ...]:
    """Coth a − 1/a for a ≥ 0: the derivative of log (sinh a / a)."""
    is_small = a < _SMALL
    small, large = jnp.where(is_small, a, 0.0), jnp.where(is_small, 1.0, a)
    series = small * _polynomial(small**2, (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555))
    return jnp.where(is_small, series, 1 / jnp.tanh(large) - 1 / large)


def _polynomial(y: Float[Array, ...], coefficients: tuple[float, ...]) -> Float[Array, ...]:
    total = jnp.zeros_like(y)
    for coefficient in reversed(coefficients):
        total = total * y + coefficient
    return total
