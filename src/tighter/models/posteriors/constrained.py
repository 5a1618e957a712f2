"""Posterior families on the box, on the simplex, of bits and of categories."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, Normal, TransformedDistribution, constraints
from numpyro.distributions.transforms import SigmoidTransform

from tighter._checks import check_counts
from tighter.distributions import Beta, Dirichlet, Posterior, kl
from tighter.models._families import PosteriorFamily, Space

# In single precision the numbers next to 0 are 1e-38 apart, and those next to 1 only 6e-8. With
# concentrations from here up, and logits no further out, a draw hardly ever meets an end of them:
# with chance 1e-4, where its density would be that of the end.
_LEAST_BETA, _LEAST_DIRICHLET, _FARTHEST_LOGIT = 0.5, 0.1, 8.0


class BetaPosterior(PosteriorFamily):
    r"""Independent beta on [0, 1], density $\propto z^{a-1} (1-z)^{b-1}$; the rows give a and b.

    $a = \tfrac12 + \log(1 + e^{a' + c})$, and b likewise; at an output of zero the uniform.
    """

    space: ClassVar[Space] = Space.BOX

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

    space: ClassVar[Space] = Space.BOX

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

    space: ClassVar[Space] = Space.SIMPLEX

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent,)."""
        check_counts(least=2, num_latent=num_latent)
        return (num_latent,)

    def distribution(self, output: Float[Array, " latent"]) -> Posterior:
        """Dirichlet of these concentrations."""
        return Dirichlet(_concentration(output, least=_LEAST_DIRICHLET))


def _concentration(free: Float[Array, ...], *, least: float) -> Float[Array, ...]:
    """Softplus above a least value, one at zero."""
    return least + jax.nn.softplus(free + math.log(math.expm1(1 - least)))


class BernoulliPosterior(PosteriorFamily):
    """Independent bits, 0.0 or 1.0; the output is their log odds.

    For estimators without a path (VIMCO, the score function, wake-phi).
    """

    space: ClassVar[Space] = Space.BITS

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent,)."""
        return (num_latent,)

    def distribution(self, output: Float[Array, " latent"]) -> Posterior:
        """Independent Bernoullis."""
        return Bits(output, validate_args=False).to_event(1)


class CategoricalPosterior(PosteriorFamily):
    """Independent categories, each a row of zeros and a one; the output is their logits.

    For estimators without a path (VIMCO, the score function, wake-phi).

    Args:
        num_categories: C, two or more.

    Raises:
        InputError: If there are fewer.
    """

    space: ClassVar[Space] = Space.CATEGORIES

    num_categories: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what leaves no choice."""
        check_counts(least=2, num_categories=self.num_categories)

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent, categories)."""
        return self.latent_shape(num_latent)

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent, categories)."""
        return num_latent, self.num_categories

    def distribution(self, output: Float[Array, "latent categories"]) -> Posterior:
        """Independent categoricals."""
        return OneHot(output).to_event(1)


class Bits(dist.BernoulliLogits):
    """Bernoulli of given log odds; draws are 0.0 and 1.0.

    Args:
        logits: Log odds of a one.
    """

    logits: Array

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draws, without derivatives."""
        shape = sample_shape + self.batch_shape
        drawn = jax.random.bernoulli(key, jax.nn.sigmoid(self.logits), shape)
        return drawn.astype(self.logits.dtype)


class OneHot(Distribution):
    """A category of C, as a vector of zeros and a one.

    Args:
        logits: Log probabilities up to a constant, shape (..., C).
    """

    logits: Array
    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    pytree_data_fields = ("logits",)
    support = constraints.multinomial(1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Float[Array, ...], *, validate_args: bool = False):
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Array:
        """Probabilities."""
        return jax.nn.softmax(self.logits)

    @property
    def variance(self) -> Array:
        """Of each entry."""
        return self.mean * (1 - self.mean)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log probability, in nats."""
        log_probs = jax.nn.log_softmax(self.logits)
        # A zero of the value is no log probability times zero: that may be −∞.
        return jnp.sum(value * jnp.where(value == 0, 0, log_probs), axis=-1)

    def entropy(self) -> Array:
        """In nats."""
        return -self.log_prob(self.mean)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, without derivatives."""
        shape = sample_shape + self.batch_shape
        drawn = jax.random.categorical(key, self.logits, shape=shape)
        return jax.nn.one_hot(drawn, self.logits.shape[-1], dtype=self.logits.dtype)


def _kl(q: OneHot, p: OneHot) -> Array:
    return kl(*(dist.CategoricalLogits(d.logits, validate_args=False) for d in (q, p)))


_divergences: Any = dist.kl_divergence
_divergences.add((OneHot, OneHot), _kl)
