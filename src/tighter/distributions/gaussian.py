"""Exact inference in the linear-Gaussian model, and the divergence of two Gaussians."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.scipy.linalg as linalg
from jaxtyping import Array, Float


class GaussianOfSquares(NamedTuple):
    r"""$\exp(-\frac12 \|Az - b\|^2)$ as a function of z.

    Attributes:
        mean: Where it is largest.
        factor: Cholesky factor of the covariance $(A^\top A)^{-1}$.
        log_mass: Log of its integral over $(2\pi)^{n/2}$ with n the rows of A.
    """

    mean: Float[Array, " latent"]
    factor: Float[Array, "latent latent"]
    log_mass: Float[Array, ""]


def gaussian_of_squares(
    matrix: Float[Array, "rows latent"], target: Float[Array, " rows"]
) -> GaussianOfSquares:
    """By reflections of A: a covariance or precision would have lost half of float32's digits."""
    rows, size = matrix.shape
    # Columns in reverse, so that the factor of the covariance is a lower triangle.
    orthogonal, upper = jnp.linalg.qr(matrix[:, ::-1])
    mean = linalg.solve_triangular(upper, orthogonal.T @ target)[::-1]
    lower = upper[::-1, ::-1] * jnp.sign(jnp.diagonal(upper))[::-1, None]
    factor = linalg.solve_triangular(lower, jnp.eye(size, dtype=matrix.dtype), lower=True)
    squares = jnp.sum((matrix @ mean - target) ** 2)
    constant = 0.5 * (rows - size) * math.log(2 * math.pi)
    return GaussianOfSquares(mean, factor, _log_diagonal(factor) - 0.5 * squares - constant)


def low_rank_factor(distribution: Any) -> Array:
    """Cholesky factor of a LowRankMultivariateNormal's covariance, which is not formed."""
    d = distribution
    deviations = jnp.sqrt(d.cov_diag)[..., None] * jnp.eye(d.cov_diag.shape[-1])
    upper = jnp.linalg.qr(
        jnp.concatenate([jnp.swapaxes(d.cov_factor, -1, -2), deviations], axis=-2), mode="r"
    )
    signs = jnp.sign(jnp.diagonal(upper, axis1=-2, axis2=-1))
    return jnp.swapaxes(upper * signs[..., None], -1, -2)


def linear_gaussian_evidence(
    prior_mean: Float[Array, " latent"],
    loading: Float[Array, "features latent"],
    offset: Float[Array, " features"],
    scale: Float[Array, ""],
    x: Float[Array, " features"],
) -> Float[Array, ""]:
    r"""Log p(x) for z ~ N(m, I), x|z ~ N(Wz + c, s² I): $\mathrm{N}(Wm + c,\ WW^\top + s^2 I)$."""
    joint = _joint(prior_mean, loading, offset, scale, x)
    return joint.log_mass - x.size * jnp.log(scale)


def linear_gaussian_posterior(
    prior_mean: Float[Array, " latent"],
    loading: Float[Array, "features latent"],
    offset: Float[Array, " features"],
    scale: Float[Array, ""],
    x: Float[Array, " features"],
) -> tuple[Float[Array, " latent"], Float[Array, "latent latent"]]:
    r"""Mean of p(z|x), $C(m + W^\top(x-c)/s^2)$, and the factor of $C = (I + W^\top W / s^2)^{-1}$.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, eqs. 2.116-2.117.
    """
    return _joint(prior_mean, loading, offset, scale, x)[:2]


def _joint(prior_mean: Any, loading: Any, offset: Any, scale: Any, x: Any) -> GaussianOfSquares:
    eye = jnp.eye(loading.shape[1], dtype=loading.dtype)
    return gaussian_of_squares(
        jnp.concatenate([loading / scale, eye]),
        jnp.concatenate([(x - offset) / scale, prior_mean]),
    )


def gaussian_kl_of_factors(
    q_mean: Float[Array, "*batch latent"],
    q_factor: Float[Array, "*batch latent latent"],
    p_mean: Float[Array, "*batch latent"],
    p_factor: Float[Array, "*batch latent latent"],
) -> Float[Array, "*batch"]:
    r"""KL(q‖p) of two Gaussians given the Cholesky factors of their covariances, in nats.

    $\frac12[\mathrm{tr}(P^{-1}Q) + (m_p-m_q)^\top P^{-1}(m_p-m_q) - D + \log|P|/|Q|]$.
    """
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
