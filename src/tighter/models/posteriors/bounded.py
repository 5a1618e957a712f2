"""Posterior families on the box and on the simplex."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Normal, TransformedDistribution
from numpyro.distributions.transforms import SigmoidTransform

from tighter.distributions import Beta, Dirichlet, Posterior
from tighter.models._families import PosteriorFamily, check_count
from tighter.models._space import Space

# In single precision the numbers next to 0 are 1e-38 apart, and those next to 1 only 6e-8. With
# concentrations from here up, and logits no further out, a draw hardly ever meets an end of them:
# with chance 1e-4, where its density would be that of the end.
_LEAST_BETA, _LEAST_DIRICHLET, _FARTHEST_LOGIT = 0.5, 0.1, 8.0


class BetaPosterior(PosteriorFamily):
    r"""Independent beta on [0, 1], density $\propto z^{a-1} (1-z)^{b-1}$; the rows give a and b.

    $a = \tfrac12 + \log(1 + e^{a' + c})$, and b likewise; at an output of zero the uniform.
    """

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.BOX

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2, latent)."""
        return 2, num_latent

    def distribution(self, output: Float[Array, "2 latent"]) -> Posterior:
        """Independent betas."""
        ones, zeros = _concentration(output, least=_LEAST_BETA)
        return Beta(ones, zeros).to_event(1)


class LogitNormalPosterior(PosteriorFamily):
    r"""$z = 1 / (1 + e^{-u})$ with $u \sim \mathrm N(\mu, \mathrm{diag}\,\sigma^2)$, on [0, 1].

    The output's rows are μ' and log σ, with $\mu = 8 \tanh(\mu'/8)$: a median from .0003 to .9997,
    short of where single precision has no more numbers.
    """

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.BOX

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2, latent)."""
        return 2, num_latent

    def distribution(self, output: Float[Array, "2 latent"]) -> Posterior:
        """The logistic function of independent normals."""
        free, log_scale = output
        loc = _FARTHEST_LOGIT * jnp.tanh(free / _FARTHEST_LOGIT)
        normal = Normal(loc, jnp.exp(log_scale), validate_args=False)
        entries = TransformedDistribution(normal, SigmoidTransform(), validate_args=False)
        return entries.to_event(1)


class DirichletPosterior(PosteriorFamily):
    r"""Dirichlet on the simplex, density $\propto \prod_i z_i^{\alpha_i - 1}$; the output gives α.

    $\alpha = 0.1 + \log(1 + e^{\alpha' + c})$; at an output of zero the uniform on the simplex.
    The entries of z sum to one.
    """

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.SIMPLEX

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent,)."""
        check_count("the number of entries of z on the simplex", num_latent, least=2)
        return (num_latent,)

    def distribution(self, output: Float[Array, " latent"]) -> Posterior:
        """Dirichlet of these concentrations."""
        return Dirichlet(_concentration(output, least=_LEAST_DIRICHLET))


def _concentration(free: Float[Array, ...], *, least: float) -> Float[Array, ...]:
    """Softplus above a least value, one at zero."""
    return least + jax.nn.softplus(free + math.log(math.expm1(1 - least)))
