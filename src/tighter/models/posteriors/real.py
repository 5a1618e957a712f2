"""Posterior families over real numbers: Gaussians, their mixture, Student's t."""

from __future__ import annotations

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key
from numpyro.distributions import (
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from tighter._checks import check_counts, require
from tighter.distributions import Mixture, Posterior
from tighter.distributions.gamma import log_gamma
from tighter.models._families import PosteriorFamily

# Below two degrees of freedom there is no variance. The start is at ten: nearly a Gaussian.
_LEAST_DF, _START_DF = 2.0, 10.0


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

    takes_any_map: ClassVar[bool] = True

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
        require(self.rank >= 1, f"a low-rank posterior has a rank of 1 or more, got {self.rank}")

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2 + rank, latent)."""
        require(
            self.rank <= num_latent,
            f"a low-rank posterior has at most the rank of z's dimensions, got {self.rank} of "
            f"{num_latent}: lower it, or take 'full'",
        )
        return 2 + self.rank, num_latent

    def distribution(self, output: Float[Array, "rows latent"]) -> Posterior:
        """Multivariate normal of low rank."""
        mean, log_scale, *columns = output
        scale = jnp.exp(log_scale)
        factor = scale[:, None] * jnp.stack(columns, axis=1) / math.sqrt(self.rank)
        return LowRankMultivariateNormal(mean, factor, scale**2, validate_args=False)


class MixturePosterior(PosteriorFamily):
    r"""$\sum_c \pi_c\, \mathrm N(\mu_c, \mathrm{diag}\, \sigma_c^2)$, reparameterized implicitly.

    A row of the output is a component: log π up to a constant, μ and log σ.

    Args:
        num_components: C.

    Raises:
        InputError: If there is no component.

    References:
        Graves, "Stochastic backpropagation through mixture density distributions", 2016.
    """

    takes_any_map: ClassVar[bool] = True

    num_components: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse a mixture of nothing."""
        check_counts(num_components=self.num_components)

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(components, 1 + 2 latent)."""
        return self.num_components, 1 + 2 * num_latent

    def distribution(self, output: Float[Array, "components numbers"]) -> Posterior:
        """The mixture."""
        num_latent = output.shape[1] // 2
        logits, locs, log_scales = jnp.split(output, (1, 1 + num_latent), axis=1)
        return GaussianMixture(logits[:, 0], locs, log_scales)


class GaussianMixture(Mixture):
    r"""$\sum_c \pi_c\, \mathrm N(\mu_c, \mathrm{diag}\, \sigma_c^2)$.

    Unlike a `Mixture` it lets parameters pass that are not finite: training finds such a step by
    its bound, and tells the term and the rows.

    Args:
        logits: Log π up to a constant.
        locs: μ.
        log_scales: log σ.
    """

    def __init__(
        self,
        logits: Float[Array, " components"],
        locs: Float[Array, "components latent"],
        log_scales: Float[Array, "components latent"],
    ):
        self.logits = logits
        self.components = Normal(locs, jnp.exp(log_scales), validate_args=False).to_event(1)
        Distribution.__init__(self, (), locs.shape[1:], validate_args=False)


class StudentTPosterior(PosteriorFamily):
    r"""Independent Student's t, $z = \mu + \sigma t_\nu$; the output's rows are μ, log σ and ν'.

    $\nu = 2 + \log(1 + e^{\nu' + c})$, so that the variance is finite; at ν' = 0, ν = 10. Draws
    carry the derivatives of all three: $t = \varepsilon \sqrt{(\nu/2) / g}$ with ε normal and g of
    a gamma of concentration ν/2.
    """

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(3, latent)."""
        return 3, num_latent

    def distribution(self, output: Float[Array, "3 latent"]) -> Posterior:
        """Independent Student's t."""
        loc, log_scale, free = output
        start = math.log(math.expm1(_START_DF - _LEAST_DF))
        df = _LEAST_DF + jax.nn.softplus(free + start)
        return StudentT(df, loc, jnp.exp(log_scale), validate_args=False).to_event(1)


class StudentT(dist.StudentT):
    """numpyro's, with draws whose derivative of ν takes a tenth of the time."""

    df: Array
    loc: Array
    scale: Array

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draws, with derivatives."""
        normal_key, gamma_key = jax.random.split(key)
        shape = sample_shape + self.batch_shape
        half = jnp.broadcast_to(0.5 * self.df, shape)
        spread = jnp.exp(0.5 * (jnp.log(half) - log_gamma(gamma_key, half)))
        noise = jax.random.normal(normal_key, shape, half.dtype)
        loc, scale = (jnp.broadcast_to(part, shape) for part in (self.loc, self.scale))
        return loc + scale * noise * spread

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draws, with derivatives."""
        return self.sample(key, sample_shape)


def _strictly_lower(free: Float[Array, " numbers"], size: int) -> Float[Array, "size size"]:
    """All numbers once, below the diagonal; by slices, as a scatter takes far longer.

    Of the n(n + 1)/2 numbers of a triangle n = size − 1, those after the first n, then all in
    reverse, make n² numbers whose lower triangle has each once.
    """
    num = size - 1
    square = jnp.concatenate([free[num:], free[::-1]]).reshape(num, num)
    return jnp.pad(jnp.tril(square), ((1, 0), (0, 1)))
