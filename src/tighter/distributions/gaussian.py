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
    factors = (jnp.linalg.cholesky(covariance) for covariance in (q_covariance, p_covariance))
    q_factor, p_factor = factors
    return gaussian_kl_of_factors(q_mean, q_factor, p_mean, p_factor)


def gaussian_kl_of_factors(
    q_mean: Float[Array, "*batch latent"],
    q_factor: Float[Array, "*batch latent latent"],
    p_mean: Float[Array, "*batch latent"],
    p_factor: Float[Array, "*batch latent latent"],
) -> Float[Array, "*batch"]:
    """KL(q‖p) of two Gaussians given the Cholesky factors of their covariances, in nats."""
    shift = (p_mean - q_mean)[..., None]
    shift, p_whole, q_factor = _same_batch(shift, p_factor, q_factor)
    whitened = linalg.solve_triangular(p_whole, q_factor, lower=True)
    shift = linalg.solve_triangular(p_whole, shift, lower=True)
    log_ratio = _log_diagonal(p_factor) - _log_diagonal(q_factor)
    squares = jnp.sum(whitened**2, axis=(-2, -1)) + jnp.sum(shift**2, axis=(-2, -1))
    return 0.5 * (squares - q_mean.shape[-1]) + log_ratio


def _same_batch(*arrays: Array) -> list[Array]:
    batch = jnp.broadcast_shapes(*(array.shape[:-2] for array in arrays))
    return [jnp.broadcast_to(array, batch + array.shape[-2:]) for array in arrays]


def _log_diagonal(factor: Array) -> Array:
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
