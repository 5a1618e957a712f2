"""Gaussian observations with a learned covariance of low rank and a diagonal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, ArrayLike, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter._errors import InputError
from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Observation, Support
from tighter.models.observations._starts import means, scales


class FactorGaussian(Observation):
    r"""Gaussian values around the output with a learned covariance of factor analysis.

    $x \sim N(m, S(I + VV^\top/r)S)$, of x flattened, with $S = \mathrm{diag}(e^s)$ and V of r
    columns: a learned diagonal and r learned factors. Decomposed is an r × r matrix, with missing
    entries one an example.

    Args:
        rank: r, from 1 to the entries of x.
        shape: Shape of x.

    Attributes:
        log_scale: s, in the shape of x.
        factors: V, shape (D, r); at the start small random numbers, as no gradient leaves zero.

    Raises:
        InputError: If the rank is below 1 or above the entries of x.
    """

    rank: int = eqx.field(static=True)
    log_scale: Float[Array, ...]
    factors: Float[Array, "D r"]

    def __init__(self, rank: int, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        size = math.prod(shape)
        if not 1 <= rank <= size:
            raise InputError(
                f"a low-rank covariance of {size} entries has a rank from 1 to {size}, got {rank}"
            )
        self.rank = rank
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))
        self.factors = 0.1 * jax.random.normal(jax.random.key(0), (size, rank), jnp.float32)

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(shape)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Multivariate normal of low rank."""
        return FamilyDistribution(self, output, output.shape)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        standard = ((x - output) * jnp.exp(-self.log_scale)).reshape(-1)
        inner = self._inner(standard, self._columns())
        return inner - jnp.sum(self.log_scale) - 0.5 * math.log(2 * math.pi) * x.size

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the observed entries: that of their rows of V."""
        standard, columns = self._observed(output, x, observed)
        log_scales = jnp.sum(jnp.where(observed, self.log_scale, 0.0))
        return (
            self._inner(standard, columns)
            - log_scales
            - 0.5 * math.log(2 * math.pi) * jnp.sum(observed)
        )

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """Mean of all entries given the observed ones: of what they have in common."""
        standard, columns = self._observed(output, x, observed)
        factors = cho_solve((self._factor(columns), True), columns.T @ standard)
        common = jnp.exp(self.log_scale) * (self._columns() @ factors).reshape(output.shape)
        return jnp.where(observed, x, output + common)

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
        own_key, key = jax.random.split(key)
        noise = self._columns() @ jax.random.normal(key, (self.rank,), output.dtype)
        own = jax.random.normal(own_key, output.shape, output.dtype)
        return output + jnp.exp(self.log_scale) * (own + noise.reshape(output.shape))

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """The output."""
        return output

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return means(xs)

    def initialized_from(self, xs: np.ndarray) -> FactorGaussian:
        """With the data's standard deviations."""
        return FactorGaussian(self.rank, xs.shape[1:], np.log(scales(xs)))

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()

    def _columns(self) -> Float[Array, "D r"]:
        return self.factors / math.sqrt(self.rank)

    def _inner(
        self, standard: Float[Array, " D"], columns: Float[Array, "D r"]
    ) -> Float[Array, ""]:
        """Log density of N(0, I + columns columnsᵀ) but for its constant, by Woodbury's formula."""
        factor = self._factor(columns)
        explained = solve_triangular(factor, columns.T @ standard, lower=True)
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
        return -0.5 * (standard @ standard - explained @ explained) - log_det

    def _factor(self, columns: Float[Array, "D r"]) -> Float[Array, "r r"]:
        return jnp.linalg.cholesky(jnp.eye(self.rank, dtype=columns.dtype) + columns.T @ columns)

    def _observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> tuple[Float[Array, " D"], Float[Array, "D r"]]:
        """What is observed in units of s around the output, and its rows of V; 0 elsewhere."""
        standard = jnp.where(observed, (x - output) * jnp.exp(-self.log_scale), 0.0).reshape(-1)
        return standard, jnp.where(observed.reshape(-1, 1), self._columns(), 0.0)
