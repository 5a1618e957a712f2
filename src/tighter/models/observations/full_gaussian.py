"""Gaussian observations with one learned covariance of all entries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, ArrayLike, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Observation, Support
from tighter.models.observations._starts import means, scales


class FullGaussian(Observation):
    r"""Gaussian values around the output with one full covariance LLᵀ that is learned.

    $\log p = -\frac12 \|L^{-1}(x - m)\|^2 - \sum_i \log L_{ii} - \frac D2 \log 2\pi$, of x
    flattened, with $L = \mathrm{diag}(e^s)(I + N/\sqrt D)$ and N strictly lower triangular.
    Missing entries take a D × D decomposition an example.

    Attributes:
        log_scale: s, in the shape of x.
        lower: N, shape (D, D); what is not below the diagonal has no meaning.
    """

    log_scale: Float[Array, ...]
    lower: Float[Array, "D D"]

    def __init__(self, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        size = math.prod(shape)
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))
        self.lower = jnp.zeros((size, size), jnp.float32)

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(shape)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Multivariate normal."""
        return FamilyDistribution(self, output, output.shape)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        standard = ((x - output) * jnp.exp(-self.log_scale)).reshape(-1)
        white = solve_triangular(self._unit(), standard, lower=True, unit_diagonal=True)
        return -0.5 * white @ white - jnp.sum(self.log_scale) - 0.5 * math.log(2 * math.pi) * x.size

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the observed entries: of their rows and columns of the covariance."""
        standard = self._standard(output, x, observed)
        factor = self._observed_factor(observed.reshape(-1))
        white = solve_triangular(factor, standard, lower=True)
        log_scales = jnp.sum(jnp.where(observed, self.log_scale, 0.0))
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(factor))))
        return (
            -0.5 * white @ white
            - log_det
            - log_scales
            - 0.5 * math.log(2 * math.pi) * jnp.sum(observed)
        )

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """Mean of all entries given the observed ones."""
        factor = self._observed_factor(observed.reshape(-1))
        solved = cho_solve((factor, True), self._standard(output, x, observed))
        unit = self._unit()
        carried = unit @ (unit.T @ jnp.where(observed.reshape(-1), solved, 0.0))
        moved = output + jnp.exp(self.log_scale) * carried.reshape(output.shape)
        return jnp.where(observed, x, moved)

    def complete(
        self,
        output: Float[Array, ...],
        x: Float[Array, ...],
        observed: Bool[Array, ...],
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ...]:
        """A draw given the observed entries: any draw, moved by what it is off there."""
        draw = self.sample(output, key=key)
        moved = draw + self.statistic(jnp.zeros_like(output), x - draw, observed)
        return jnp.where(observed, x, moved)

    def sample(self, output: Float[Array, ...], *, key: Key[Array, ""]) -> Float[Array, ...]:
        """One draw."""
        noise = self._unit() @ jax.random.normal(key, (output.size,), output.dtype)
        return output + jnp.exp(self.log_scale) * noise.reshape(output.shape)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The output."""
        return output

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return means(xs)

    def initialized_from(self, xs: np.ndarray) -> FullGaussian:
        """Uncorrelated, with the data's standard deviations."""
        return FullGaussian(xs.shape[1:], np.log(scales(xs)))

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()

    def _unit(self) -> Float[Array, "D D"]:
        size = len(self.lower)
        eye = jnp.eye(size, dtype=self.lower.dtype)
        return eye + jnp.tril(self.lower, -1) / math.sqrt(size)

    def _standard(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, " D"]:
        """What is observed in units of s around the output; 0 elsewhere."""
        return jnp.where(observed, (x - output) * jnp.exp(-self.log_scale), 0.0).reshape(-1)

    def _observed_factor(self, observed: Bool[Array, " D"]) -> Float[Array, "D D"]:
        """Lower triangular factor of the observed entries' covariance in units of s.

        Missing ones get the identity's rows and columns, and so change neither determinant nor
        form. What is decomposed are the rows of L, by reflections, and not their covariance, which
        would have lost half of float32's digits. The signs of its columns are arbitrary.
        """
        unit = jnp.where(observed[:, None], self._unit(), 0.0)
        missing = jnp.diag(jnp.where(observed, 0.0, 1.0).astype(unit.dtype))
        return jnp.linalg.qr(jnp.concatenate([unit.T, missing]), mode="r").T
