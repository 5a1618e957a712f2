"""Exact inference in the linear-Gaussian model, and the divergence of two Gaussians."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg as linalg
from jaxtyping import Array, Float
from numpyro.distributions import MultivariateNormal


def linear_gaussian_evidence(
    prior_mean: Float[Array, " latent"],
    loading: Float[Array, "features latent"],
    offset: Float[Array, " features"],
    scale: Float[Array, ""],
) -> MultivariateNormal:
    r"""p(x) for z ~ N(m, I), x|z ~ N(Wz + c, s² I): $\mathrm{N}(Wm + c,\ WW^\top + s^2 I)$."""
    covariance = loading @ loading.T + scale**2 * jnp.eye(loading.shape[0], dtype=loading.dtype)
    return MultivariateNormal(loading @ prior_mean + offset, covariance, validate_args=False)


def linear_gaussian_posterior(
    prior_mean: Float[Array, " latent"],
    loading: Float[Array, "features latent"],
    offset: Float[Array, " features"],
    scale: Float[Array, ""],
    x: Float[Array, " features"],
) -> tuple[Float[Array, " latent"], Float[Array, "latent latent"]]:
    r"""Mean and covariance of p(z|x): $C = (I + W^\top W / s^2)^{-1}$, $C(m + W^\top(x-c)/s^2)$.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, eqs. 2.116-2.117.
    """
    precision = jnp.eye(loading.shape[1], dtype=loading.dtype) + loading.T @ loading / scale**2
    factor = linalg.cho_factor(precision, lower=True)
    mean = linalg.cho_solve(factor, prior_mean + loading.T @ (x - offset) / scale**2)
    return mean, linalg.cho_solve(factor, jnp.eye(loading.shape[1], dtype=loading.dtype))


def gaussian_kl(
    q_mean: Float[Array, " latent"],
    q_covariance: Float[Array, "latent latent"],
    p_mean: Float[Array, " latent"],
    p_covariance: Float[Array, "latent latent"],
) -> Float[Array, ""]:
    r"""KL(q‖p) of two Gaussians, in nats.

    $\frac12[\mathrm{tr}(P^{-1}Q) + (m_p-m_q)^\top P^{-1}(m_p-m_q) - D + \log|P|/|Q|]$.
    """
    q_factor = jnp.linalg.cholesky(q_covariance)
    p_factor = jnp.linalg.cholesky(p_covariance)
    whitened = linalg.solve_triangular(p_factor, q_factor, lower=True)
    shift = linalg.solve_triangular(p_factor, p_mean - q_mean, lower=True)
    log_ratio = jnp.sum(jnp.log(jnp.diagonal(p_factor)) - jnp.log(jnp.diagonal(q_factor)))
    return 0.5 * (jnp.sum(whitened**2) + jnp.sum(shift**2) - q_mean.shape[0]) + log_ratio
