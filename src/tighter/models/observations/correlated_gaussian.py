"""Gaussian observations with a learned covariance: any one, or one of low rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, ArrayLike, Bool, Float

from tighter._checks import require
from tighter.models.observations.observation import Drawn, Flags, Numbers, RandomKey, means, scales
from tighter.models.observations.support import Support


class CorrelatedGaussian(Drawn):
    """Gaussian values around the output, with a learned covariance of all entries.

    Attributes:
        log_scale: Logarithms of the entries' own standard deviations, in the shape of x.
    """

    support: ClassVar[Support] = Support()

    log_scale: Numbers

    def mean(self, output: Numbers) -> Numbers:
        """The output."""
        return output

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The mean."""
        return means(xs)

    def complete(self, output: Numbers, x: Numbers, observed: Flags, *, key: RandomKey) -> Numbers:
        """A draw given the observed entries: any draw, moved by what it is off there."""
        draw = self.sample(output, key=key)
        moved = draw + self.statistic(jnp.zeros_like(output), x - draw, observed)
        return jnp.where(observed, x, moved)

    def _standard(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, " D"]:
        """What is observed in units of s around the output; 0 elsewhere."""
        return jnp.where(observed, (x - output) * jnp.exp(-self.log_scale), 0.0).reshape(-1)


class FullGaussian(CorrelatedGaussian):
    r"""Gaussian values around the output with one full covariance LLᵀ that is learned.

    $\log p = -\frac12 \|L^{-1}(x - m)\|^2 - \sum_i \log L_{ii} - \frac D2 \log 2\pi$, of x
    flattened, with $L = \mathrm{diag}(e^s)(I + N/\sqrt D)$ and N strictly lower triangular.
    Missing entries take a D × D decomposition an example.

    Attributes:
        log_scale: s, in the shape of x.
        lower: N, shape (D, D); what is not below the diagonal has no meaning.
    """

    lower: Float[Array, "D D"]

    def __init__(self, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        size = math.prod(shape)
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))
        self.lower = jnp.zeros((size, size), jnp.float32)

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density."""
        standard = ((x - output) * jnp.exp(-self.log_scale)).reshape(-1)
        white = solve_triangular(self._unit(), standard, lower=True, unit_diagonal=True)
        return -0.5 * white @ white - jnp.sum(self.log_scale) - 0.5 * math.log(2 * math.pi) * x.size

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
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

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """Mean of all entries given the observed ones."""
        factor = self._observed_factor(observed.reshape(-1))
        solved = cho_solve((factor, True), self._standard(output, x, observed))
        unit = self._unit()
        carried = unit @ (unit.T @ jnp.where(observed.reshape(-1), solved, 0.0))
        moved = output + jnp.exp(self.log_scale) * carried.reshape(output.shape)
        return jnp.where(observed, x, moved)

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw."""
        noise = self._unit() @ jax.random.normal(key, (output.size,), output.dtype)
        return output + jnp.exp(self.log_scale) * noise.reshape(output.shape)

    def initialized_from(self, xs: np.ndarray) -> FullGaussian:
        """Uncorrelated, with the data's standard deviations."""
        return FullGaussian(xs.shape[1:], np.log(scales(xs)))

    def _unit(self) -> Float[Array, "D D"]:
        size = len(self.lower)
        eye = jnp.eye(size, dtype=self.lower.dtype)
        return eye + jnp.tril(self.lower, -1) / math.sqrt(size)

    def _observed_factor(self, observed: Bool[Array, " D"]) -> Float[Array, "D D"]:
        """Lower triangular factor of the observed entries' covariance in units of s.

        Missing ones get the identity's rows and columns, and so change neither determinant nor
        form. What is decomposed are the rows of L, by reflections, and not their covariance, which
        would have lost half of float32's digits. The signs of its columns are arbitrary.
        """
        unit = jnp.where(observed[:, None], self._unit(), 0.0)
        missing = jnp.diag(jnp.where(observed, 0.0, 1.0).astype(unit.dtype))
        return jnp.linalg.qr(jnp.concatenate([unit.T, missing]), mode="r").T


class FactorGaussian(CorrelatedGaussian):
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
    factors: Float[Array, "D r"]

    def __init__(self, rank: int, shape: Sequence[int], log_scale: ArrayLike = 0.0):
        size = math.prod(shape)
        message = f"a low-rank covariance of {size} entries has a rank from 1 to {size}, got {rank}"
        require(1 <= rank <= size, message)
        self.rank = rank
        self.log_scale = jnp.broadcast_to(jnp.asarray(log_scale, jnp.float32), tuple(shape))
        self.factors = 0.1 * jax.random.normal(jax.random.key(0), (size, rank), jnp.float32)

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density."""
        standard = ((x - output) * jnp.exp(-self.log_scale)).reshape(-1)
        inner = self._inner(standard, self._columns())
        return inner - jnp.sum(self.log_scale) - 0.5 * math.log(2 * math.pi) * x.size

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the observed entries: that of their rows of V."""
        standard, columns = self._observed(output, x, observed)
        log_scales = jnp.sum(jnp.where(observed, self.log_scale, 0.0))
        return (
            self._inner(standard, columns)
            - log_scales
            - 0.5 * math.log(2 * math.pi) * jnp.sum(observed)
        )

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """Mean of all entries given the observed ones: of what they have in common."""
        standard, columns = self._observed(output, x, observed)
        factors = cho_solve((self._factor(columns), True), columns.T @ standard)
        common = jnp.exp(self.log_scale) * (self._columns() @ factors).reshape(output.shape)
        return jnp.where(observed, x, output + common)

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw."""
        own_key, key = jax.random.split(key)
        noise = self._columns() @ jax.random.normal(key, (self.rank,), output.dtype)
        own = jax.random.normal(own_key, output.shape, output.dtype)
        return output + jnp.exp(self.log_scale) * (own + noise.reshape(output.shape))

    def initialized_from(self, xs: np.ndarray) -> FactorGaussian:
        """With the data's standard deviations."""
        return FactorGaussian(self.rank, xs.shape[1:], np.log(scales(xs)))

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
        self, output: Numbers, x: Numbers, observed: Flags
    ) -> tuple[Float[Array, " D"], Float[Array, "D r"]]:
        """What is observed in units of s around the output, and its rows of V; 0 elsewhere."""
        columns = jnp.where(observed.reshape(-1, 1), self._columns(), 0.0)
        return self._standard(output, x, observed), columns
