"""Observations of counts with more zeros than their family has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, ZeroInflatedDistribution

from tighter.models.observations._observation import Factorized, Support
from tighter.models.observations._starts import means, variances
from tighter.models.observations.counts import NegativeBinomial, Poisson


class ZeroInflated(Factorized):
    r"""Counts of a family f that are zero besides with probability $\pi = \sigma(g)$.

    $\log p = \sum_i \log(\pi_i [x_i = 0] + (1 - \pi_i) f(x_i))$; g is the output's last number.

    Args:
        family: `Poisson` or `NegativeBinomial`.

    References:
        Lambert, "Zero-inflated Poisson regression", 1992, eq. 1.
    """

    family: Poisson | NegativeBinomial

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """The family's, with zeros besides."""
        inner, logit = self._parts(output)
        made = ZeroInflatedDistribution(
            self.family.of_entries(inner), gate_logits=logit, validate_args=False
        )
        return made.to_event(logit.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log probability of each entry."""
        inner, logit = self._parts(output)
        counted = self.family.log_probs(inner, x) - jax.nn.softplus(logit)
        return jnp.where(x == 0, jnp.logaddexp(counted, -jax.nn.softplus(-logit)), counted)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """(1 − π) of the family's mean."""
        inner, logit = self._parts(output)
        return jax.nn.sigmoid(-logit) * self.family.mean(inner)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
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

    @property
    def support(self) -> Support:
        """The numbers 0, 1, 2, and so on."""
        return self.family.support

    def _parts(self, output: Float[Array, ...]) -> tuple[Array, Array]:
        inner = output[..., :-1] if self.family.num_parameters > 1 else output[..., 0]
        return inner, output[..., -1]
