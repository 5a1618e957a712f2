"""Gaussian posterior families: independent dimensions, a covariance of low rank, any covariance."""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import LowRankMultivariateNormal, MultivariateNormal, Normal

from tighter._errors import InputError
from tighter.distributions import Posterior
from tighter.models._families import PosteriorFamily


class DiagonalGaussian(PosteriorFamily):
    """N(μ, diag σ²); the output's rows are μ and log σ."""

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2, latent)."""
        return 2, num_latent

    def distribution(self, output: Float[Array, "2 latent"]) -> Posterior:
        """Independent normals."""
        mean, log_scale = output
        return Normal(mean, jnp.exp(log_scale), validate_args=False).to_event(1)


class FullCovarianceGaussian(PosteriorFamily):
    r"""N(μ, LLᵀ) with $L = \mathrm{diag}(\sigma)(I + N / \sqrt D)$, N strictly lower triangular.

    The output is μ, log σ and the D(D − 1)/2 numbers of N. Divided by √D, they start with as much
    variance in all of a row as a single output has.
    """

    @property
    def takes_any_map(self) -> bool:
        """A linear map of a draw is another of the family."""
        return True

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent (latent + 3) / 2,)."""
        return (num_latent * (num_latent + 3) // 2,)

    def distribution(self, output: Float[Array, " numbers"]) -> Posterior:
        """Multivariate normal by its Cholesky factor."""
        num_latent = (math.isqrt(9 + 8 * output.size) - 3) // 2
        mean, log_scale, free = jnp.split(output, (num_latent, 2 * num_latent))
        unit = jnp.eye(num_latent, dtype=output.dtype)
        unit = unit + _strictly_lower(free, num_latent) / math.sqrt(num_latent)
        factor = jnp.exp(log_scale)[:, None] * unit
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)


class LowRankGaussian(PosteriorFamily):
    r"""N(μ, S(I + VVᵀ/r)S) with $S = \mathrm{diag}(\sigma)$ and V of r columns.

    The output's rows are μ, log σ and the columns of V. In units of σ the covariance has no
    eigenvalue below 1, so that float32 holds however small σ is.

    Args:
        rank: r, from 1 to the dimensions of z.

    Raises:
        InputError: If the rank is below 1; by `shape`, if it is above the dimensions of z.
    """

    rank: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no rank."""
        if self.rank < 1:
            raise InputError(f"a low-rank posterior has a rank of 1 or more, got {self.rank}")

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2 + rank, latent)."""
        if self.rank > num_latent:
            raise InputError(
                f"a low-rank posterior has at most the rank of z's dimensions, got {self.rank} of "
                f"{num_latent}: lower it, or take 'full'"
            )
        return 2 + self.rank, num_latent

    def distribution(self, output: Float[Array, "rows latent"]) -> Posterior:
        """Multivariate normal of low rank."""
        mean, log_scale, *columns = output
        scale = jnp.exp(log_scale)
        factor = scale[:, None] * jnp.stack(columns, axis=1) / math.sqrt(self.rank)
        return LowRankMultivariateNormal(mean, factor, scale**2, validate_args=False)


def _strictly_lower(free: Float[Array, " numbers"], size: int) -> Float[Array, "size size"]:
    """All numbers once, below the diagonal; by slices, as a scatter takes far longer.

    Of the n(n + 1)/2 numbers of a triangle n = size − 1, those after the first n, then all in
    reverse, make n² numbers whose lower triangle has each once.
    """
    num = size - 1
    square = jnp.concatenate([free[num:], free[::-1]]).reshape(num, num)
    return jnp.pad(jnp.tril(square), ((1, 0), (0, 1)))
