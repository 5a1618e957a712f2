"""A mixture of Gaussians as a posterior: several modes for one example."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.distributions import Posterior
from tighter.models._families import PosteriorFamily, check_count
from tighter.models.priors._gaussian_mixture import GaussianMixture


class MixturePosterior(PosteriorFamily):
    r"""$\sum_c \pi_c\, \mathrm N(\mu_c, \mathrm{diag}\, \sigma_c^2)$, reparameterized implicitly.

    A row of the output is a component: log π up to a constant, μ and log σ.

    Args:
        num_components: C.

    Raises:
        InputError: If there is no component.

    References:
        Graves, "Stochastic backpropagation through mixture density distributions", 2016.
    """

    num_components: int = eqx.field(static=True)

    @property
    def takes_any_map(self) -> bool:
        """A linear map of a draw is another of the family."""
        return True

    def __check_init__(self) -> None:
        """Refuse a mixture of nothing."""
        check_count("the number of components of a mixture posterior", self.num_components)

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(components, 1 + 2 latent)."""
        return self.num_components, 1 + 2 * num_latent

    def distribution(self, output: Float[Array, "components numbers"]) -> Posterior:
        """The mixture."""
        num_latent = output.shape[1] // 2
        logits, locs, log_scales = jnp.split(output, (1, 1 + num_latent), axis=1)
        return GaussianMixture(logits[:, 0], locs, log_scales)
