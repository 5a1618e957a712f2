"""Priors of which some entries count for nothing, as pytrees that can be taken apart."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree
from numpyro.distributions import Distribution, MaskedDistribution


class Masked(Distribution):
    """A distribution whose density counts where the mask is true: flat elsewhere.

    numpyro's own is another pytree once its mask is filtered out of its leaves.

    Args:
        base: A distribution.
        mask: Of the base's batch shape.
    """

    arg_constraints = {}  # noqa: RUF012
    pytree_data_fields = ("base", "mask_of_batch")

    def __init__(self, base: Distribution, mask: Any):
        self.base = base
        self.mask_of_batch = jnp.broadcast_to(jnp.asarray(mask, bool), base.batch_shape)
        super().__init__(base.batch_shape, base.event_shape)

    @property
    def support(self) -> Any:
        """The base's."""
        return self.base.support

    def sample(self, key: Key[Array, ""] | None, sample_shape: tuple[int, ...] = ()) -> Any:
        """The base's."""
        return self.base.sample(key, sample_shape)

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density, in nats, and zero where the mask is false."""
        return jnp.where(self.mask_of_batch, self.base.log_prob(value), 0.0)


def without_numpyro_masks(parts: PyTree) -> PyTree:
    """The same distributions, masked by ours."""

    def ours(part: Any) -> Any:
        if not isinstance(part, MaskedDistribution):
            return part
        return Masked(ours(part.base_dist), part._mask)

    return jax.tree.map(ours, parts, is_leaf=lambda part: isinstance(part, Distribution))
