"""Probabilistic principal component analysis."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, MultivariateNormal, Normal

from tighter._errors import InputError
from tighter.distributions.gaussian import linear_gaussian_evidence, linear_gaussian_posterior
from tighter.models._model import LatentVariableModel


class ProbabilisticPCA(LatentVariableModel):
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
        if examples.ndim != 2 or not 0 < num_components < min(
            examples.shape[1], examples.shape[0] - 1
        ):
            raise InputError(
                "PCA takes more features than components, and two examples more; got shape "
                f"{examples.shape} and {num_components} components"
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

    @property
    def prior(self) -> Distribution:
        """N(0, I)."""
        return Normal(jnp.zeros(self.loading.shape[1]), 1.0, validate_args=False).to_event(1)

    def likelihood(self, z: Float[Array, " latent"]) -> Distribution:
        """N(Wz + μ, σ² I)."""
        mean = self.loading @ z + self.mean
        return Normal(mean, jnp.exp(self.log_scale), validate_args=False).to_event(1)

    def posterior(self, x: Float[Array, " features"]) -> MultivariateNormal:
        """p(z|x), exactly: a Gaussian with full covariance."""
        mean, factor = linear_gaussian_posterior(*self._generative, x)
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)

    def log_joint(self, x: Float[Array, " features"]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return lambda z: jnp.add(self.prior.log_prob(z), self.likelihood(z).log_prob(x))

    def log_evidence(self, x: Float[Array, " features"]) -> Float[Array, ""]:
        """The logarithm of p(x), exactly, in nats."""
        return linear_gaussian_evidence(*self._generative, x)

    @property
    def _generative(self) -> tuple[Array, Array, Array, Array]:
        zeros = jnp.zeros(self.loading.shape[1])
        return zeros, self.loading, self.mean, jnp.exp(self.log_scale)
