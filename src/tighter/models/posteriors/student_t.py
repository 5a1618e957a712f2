"""Student's t as a posterior: tails heavier than a Gaussian's, whose weight is learned."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key

from tighter.distributions import Posterior
from tighter.distributions.gamma import log_gamma
from tighter.models._families import PosteriorFamily

# Below two degrees of freedom there is no variance. The start is at ten: nearly a Gaussian.
_LEAST_DF, _START_DF = 2.0, 10.0


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
