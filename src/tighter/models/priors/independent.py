"""Priors of independent numbers, bits or categories, and the flat one on the simplex."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Laplace, Normal

from tighter._checks import check_counts
from tighter.distributions import Beta, Dirichlet
from tighter.models._families import PriorFamily, Space
from tighter.models.posteriors.constrained import Bits, OneHot


class StandardNormal(PriorFamily):
    """N(0, I)."""

    num_latent: int = eqx.field(static=True)

    def distribution(self, model: Any) -> Any:
        """Independent standard normals."""
        return Normal(jnp.zeros(self.num_latent), 1.0, validate_args=False).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        return -0.5 * (jnp.sum(z**2) + self.num_latent * math.log(2 * math.pi))


class DiagonalPrior(PriorFamily):
    """N(μ, diag σ²), learned; at its start N(0, I).

    Attributes:
        loc: μ.
        log_scale: log σ.
    """

    loc: Float[Array, " latent"]
    log_scale: Float[Array, " latent"]

    @classmethod
    def create(cls, num_latent: int) -> DiagonalPrior:
        """At its start."""
        return cls(jnp.zeros(num_latent), jnp.zeros(num_latent))

    def distribution(self, model: Any) -> Any:
        """Independent normals."""
        return Normal(self.loc, jnp.exp(self.log_scale), validate_args=False).to_event(1)


class LaplacePrior(PriorFamily):
    r"""Independent Laplace numbers of scale 1, density $\tfrac12 e^{-|z|}$ each."""

    num_latent: int = eqx.field(static=True)

    def distribution(self, model: Any) -> Any:
        """Independent Laplaces."""
        return Laplace(jnp.zeros(self.num_latent), 1.0, validate_args=False).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        return -jnp.sum(jnp.abs(z)) - self.num_latent * math.log(2)


class UniformPrior(PriorFamily):
    """Uniform on the box [0, 1]^D: for posteriors on the box (beta, logit-normal)."""

    space: ClassVar[Space] = Space.BOX

    num_latent: int = eqx.field(static=True)

    def distribution(self, model: Any) -> Any:
        """Independent Beta(1, 1), to which KL from a beta has a closed form."""
        return Beta(jnp.ones(self.num_latent), 1.0).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Zero, for z in the box."""
        return jnp.zeros((), z.dtype)


class DirichletPrior(PriorFamily):
    r"""Dirichlet of equal concentrations, density $\propto \prod_i z_i^{\alpha - 1}$.

    Args:
        num_latent: Entries of z, which sum to one.
        concentration: α; 1 is the uniform on the simplex.

    Raises:
        InputError: If there are fewer than two entries, or α is below 1.
    """

    space: ClassVar[Space] = Space.SIMPLEX

    num_latent: int = eqx.field(static=True)
    concentration: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Refuse what is no simplex."""
        check_counts(least=2, num_latent=self.num_latent)
        check_counts(concentration=self.concentration)

    def distribution(self, model: Any) -> Any:
        """The Dirichlet."""
        return Dirichlet(jnp.full(self.num_latent, float(self.concentration)))

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        total = self.num_latent * self.concentration
        constant = math.lgamma(total) - self.num_latent * math.lgamma(self.concentration)
        if self.concentration == 1:
            return jnp.full((), constant, z.dtype)
        return constant + (self.concentration - 1) * jnp.sum(jnp.log(z))


class BernoulliPrior(PriorFamily):
    """Independent bits, 0.0 or 1.0, of learned log odds; at their start fair coins.

    Attributes:
        logits: Log odds of a one.
    """

    space: ClassVar[Space] = Space.BITS

    logits: Float[Array, " latent"]

    @classmethod
    def create(cls, num_latent: int) -> BernoulliPrior:
        """At its start."""
        return cls(jnp.zeros(num_latent))

    def distribution(self, model: Any) -> Any:
        """Independent Bernoullis."""
        return Bits(self.logits, validate_args=False).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log probability of one z, in nats."""
        return jnp.sum(z * self.logits - jax.nn.softplus(self.logits))


class CategoricalPrior(PriorFamily):
    """Independent categories, each a row of zeros and a one, all of equal probability.

    Args:
        num_latent: How many there are.
        num_categories: C, two or more.

    Raises:
        InputError: If there are fewer.
    """

    space: ClassVar[Space] = Space.CATEGORIES

    num_latent: int = eqx.field(static=True)
    num_categories: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what leaves no choice."""
        check_counts(least=2, num_categories=self.num_categories)

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent, categories)."""
        return num_latent, self.num_categories

    def distribution(self, model: Any) -> Any:
        """Independent categoricals."""
        return OneHot(jnp.zeros((self.num_latent, self.num_categories))).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, "latent categories"]) -> Float[Array, ""]:
        """Log probability of one z, in nats."""
        return jnp.full((), -self.num_latent * math.log(self.num_categories), z.dtype)
