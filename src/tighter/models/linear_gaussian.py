"""Linear-Gaussian models, where everything is exact: of any encoder, and probabilistic PCA."""

from __future__ import annotations

import abc
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, MultivariateNormal, Normal

from tighter._checks import require
from tighter.distributions.gaussian import (
    gaussian_kl_of_factors,
    linear_gaussian_evidence,
    linear_gaussian_posterior,
)
from tighter.models._model import LatentVariableModel


class ExactGaussian(LatentVariableModel):
    """z ~ N(m, I), x|z ~ N(Wz + c, s² I): m, W, c and s are all that a model of it says."""

    @property
    @abc.abstractmethod
    def generative(self) -> tuple[Array, Array, Array, Array]:
        """m, W, c and s."""

    @property
    def prior(self) -> Distribution:
        """N(m, I)."""
        return Normal(self.generative[0], 1.0, validate_args=False).to_event(1)

    def likelihood(self, z: Float[Array, " latent"]) -> Distribution:
        """N(Wz + c, s² I)."""
        _, loading, offset, scale = self.generative
        return Normal(loading @ z + offset, scale, validate_args=False).to_event(1)

    def log_joint(self, x: Float[Array, " features"]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return lambda z: jnp.add(self.prior.log_prob(z), self.likelihood(z).log_prob(x))

    def exact_posterior(self, x: Float[Array, " features"]) -> MultivariateNormal:
        """p(z|x), exactly."""
        mean, factor = linear_gaussian_posterior(*self.generative, x)
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)

    def log_evidence(self, x: Float[Array, " features"]) -> Float[Array, ""]:
        """The logarithm of p(x), exactly, in nats."""
        return linear_gaussian_evidence(*self.generative, x)


class LinearGaussian(ExactGaussian):
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

    def posterior(self, x: Float[Array, " features"]) -> Distribution:
        """The approximate posterior N(Ax + b, diag t²)."""
        mean = self.encoder_weight @ x + self.encoder_bias
        return Normal(mean, jnp.exp(self.encoder_log_scale), validate_args=False).to_event(1)

    def elbo(self, x: Float[Array, " features"]) -> Float[Array, ""]:
        """Log p(x) − KL(q(z|x)‖p(z|x)), exactly, in nats; its `jax.grad` is the exact gradient."""
        exact = linear_gaussian_posterior(*self.generative, x)
        mean = self.encoder_weight @ x + self.encoder_bias
        factor = jnp.diag(jnp.exp(self.encoder_log_scale))
        divergence = gaussian_kl_of_factors(mean, factor, *exact)
        return self.log_evidence(x) - divergence

    @property
    def generative(self) -> tuple[Array, Array, Array, Array]:
        """M, W, c and s."""
        return self.prior_mean, self.loading, self.offset, jnp.exp(self.log_scale)


class ProbabilisticPCA(ExactGaussian):
    r"""z ~ N(0, I), x|z ~ N(Wz + μ, σ² I), with its exact posterior.

    Every bound over it is log p(x) itself, without noise. What a VAE with a linear decoder learns
    at best, and so the baseline that one should beat.

    Attributes:
        loading: W, shape (features, latent).
        mean: μ, shape (features,).
        log_scale: log σ, a scalar; σ is a standard deviation.

    Example:
        >>> model = ProbabilisticPCA.from_data(xs, num_components=2)
        >>> model.log_evidence(xs[0])

    References:
        Tipping & Bishop, "Probabilistic principal component analysis", 1999.
    """

    loading: Float[Array, "features latent"]
    mean: Float[Array, " features"]
    log_scale: Float[Array, ""]

    @classmethod
    def from_data(cls, xs: Float[Array, "batch features"], num_components: int) -> ProbabilisticPCA:
        r"""The maximum-likelihood fit, in closed form from the sample covariance.

        $W = U_L(\Lambda_L - \sigma^2 I)^{1/2}$, $\sigma^2$ the mean of the discarded eigenvalues.

        Args:
            xs: Examples, at least `num_components` + 2 of them.
            num_components: Latent dimensions, fewer than features.

        Raises:
            InputError: If the sizes leave nothing to fit.

        References:
            Tipping & Bishop, 1999, eqs. 7-8 (of the article in JRSS B).
        """
        examples = np.asarray(xs, np.float64)
        shape = examples.shape
        require(
            len(shape) == 2 and 0 < num_components < min(shape[1], shape[0] - 1),
            "PCA takes more features than components, and two examples more; got shape "
            f"{shape} and {num_components} components",
        )
        mean = examples.mean(axis=0)
        _, singular, rows = np.linalg.svd(examples - mean, full_matrices=False)
        eigenvalues = np.zeros(examples.shape[1])
        eigenvalues[: singular.size] = singular**2 / examples.shape[0]
        noise = max(eigenvalues[num_components:].mean(), np.finfo(np.float32).tiny)
        scales = np.sqrt(np.maximum(eigenvalues[:num_components] - noise, 0))
        return cls(
            loading=jnp.asarray(rows[:num_components].T * scales, float),
            mean=jnp.asarray(mean, float),
            log_scale=jnp.asarray(0.5 * np.log(noise), float),
        )

    def posterior(self, x: Float[Array, " features"]) -> MultivariateNormal:
        """p(z|x), exactly: a Gaussian with full covariance."""
        return self.exact_posterior(x)

    @property
    def generative(self) -> tuple[Array, Array, Array, Array]:
        """Zeros, W, μ and σ."""
        zeros = jnp.zeros(self.loading.shape[1])
        return zeros, self.loading, self.mean, jnp.exp(self.log_scale)
