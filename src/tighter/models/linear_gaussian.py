"""The linear-Gaussian model, where everything is exact."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, MultivariateNormal, Normal

from tighter.distributions.gaussian import (
    gaussian_kl_of_factors,
    linear_gaussian_evidence,
    linear_gaussian_posterior,
)
from tighter.models._model import LatentVariableModel


class LinearGaussian(LatentVariableModel):
    r"""z ~ N(m, I), x|z ~ N(Wz + c, s² I), with the amortized posterior q = N(Ax + b, diag t²).

    Evidence, posterior, ELBO and, by differentiating it, the ELBO's gradients are exact: the
    model on which estimators are compared and checked.

    Attributes:
        prior_mean: m, shape (latent,).
        loading: W, shape (features, latent).
        offset: c, shape (features,).
        log_scale: log s, a scalar; s is a standard deviation.
        encoder_weight: A, shape (latent, features).
        encoder_bias: b, shape (latent,).
        encoder_log_scale: log t, shape (latent,); t is a standard deviation.

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, sec. 5.
    """

    prior_mean: Float[Array, " latent"]
    loading: Float[Array, "features latent"]
    offset: Float[Array, " features"]
    log_scale: Float[Array, ""]
    encoder_weight: Float[Array, "latent features"]
    encoder_bias: Float[Array, " latent"]
    encoder_log_scale: Float[Array, " latent"]

    @classmethod
    def create(cls, num_features: int, num_latent: int, *, key: Key[Array, ""]) -> LinearGaussian:
        """A random one: loading and encoder from standard normals over √latent and √features."""
        loading_key, encoder_key = jax.random.split(key)
        return cls(
            prior_mean=jnp.zeros(num_latent),
            loading=jax.random.normal(loading_key, (num_features, num_latent)) / num_latent**0.5,
            offset=jnp.zeros(num_features),
            log_scale=jnp.zeros(()),
            encoder_weight=jax.random.normal(encoder_key, (num_latent, num_features))
            / num_features**0.5,
            encoder_bias=jnp.zeros(num_latent),
            encoder_log_scale=jnp.zeros(num_latent),
        )

    @property
    def prior(self) -> Distribution:
        """N(m, I)."""
        return Normal(self.prior_mean, 1.0, validate_args=False).to_event(1)

    def likelihood(self, z: Float[Array, " latent"]) -> Distribution:
        """N(Wz + c, s² I)."""
        mean = self.loading @ z + self.offset
        return Normal(mean, jnp.exp(self.log_scale), validate_args=False).to_event(1)

    def posterior(self, x: Float[Array, " features"]) -> Distribution:
        """The approximate posterior N(Ax + b, diag t²)."""
        mean = self.encoder_weight @ x + self.encoder_bias
        return Normal(mean, jnp.exp(self.encoder_log_scale), validate_args=False).to_event(1)

    def log_joint(self, x: Float[Array, " features"]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return lambda z: jnp.add(self.prior.log_prob(z), self.likelihood(z).log_prob(x))

    def exact_posterior(self, x: Float[Array, " features"]) -> MultivariateNormal:
        """p(z|x), exactly."""
        mean, factor = linear_gaussian_posterior(*self._generative, x)
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)

    def log_evidence(self, x: Float[Array, " features"]) -> Float[Array, ""]:
        """The logarithm of p(x), exactly, in nats."""
        return linear_gaussian_evidence(*self._generative, x)

    def elbo(self, x: Float[Array, " features"]) -> Float[Array, ""]:
        """Log p(x) − KL(q(z|x)‖p(z|x)), exactly, in nats; its `jax.grad` is the exact gradient."""
        exact = linear_gaussian_posterior(*self._generative, x)
        mean = self.encoder_weight @ x + self.encoder_bias
        factor = jnp.diag(jnp.exp(self.encoder_log_scale))
        divergence = gaussian_kl_of_factors(mean, factor, *exact)
        return self.log_evidence(x) - divergence

    @property
    def _generative(self) -> tuple[Array, Array, Array, Array]:
        return self.prior_mean, self.loading, self.offset, jnp.exp(self.log_scale)
