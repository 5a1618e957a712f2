"""A mixture of diagonal Gaussians whose parameters are those of a model in training."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Normal

from tighter.distributions import Mixture


class GaussianMixture(Mixture):
    r"""$\sum_c \pi_c\, \mathrm N(\mu_c, \mathrm{diag}\, \sigma_c^2)$.

    Unlike a `Mixture` it lets parameters pass that are not finite: training finds such a step by
    its bound, and tells the term and the rows.

    Args:
        logits: Log π up to a constant.
        locs: μ.
        log_scales: log σ.
    """

    def __init__(
        self,
        logits: Float[Array, " components"],
        locs: Float[Array, "components latent"],
        log_scales: Float[Array, "components latent"],
    ):
        self.logits = logits
        self.components = Normal(locs, jnp.exp(log_scales), validate_args=False).to_event(1)
        Distribution.__init__(self, (), locs.shape[1:], validate_args=False)
