"""From real numbers to a prior's support and back; priors of which some entries do not count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Distribution, MaskedDistribution, biject_to
from numpyro.distributions.transforms import OrderedTransform, StickBreakingTransform

from tighter.distributions.support import interval_of

# exp(±87) are about the largest float32 and the least normal one.
_FAR = 87.0


def to_support(support: Any, free: Float[Array, ...]) -> tuple[Array, Float[Array, ""]]:
    """A value in the support, and the log determinant of the map's derivative.

    Args:
        support: A numpyro constraint.
        free: Real numbers, of the shape that the constraint's bijection takes.
    """
    transform: Any = biject_to(support)
    if isinstance(transform, OrderedTransform):
        steps = jnp.clip(free[..., 1:], -_FAR, _FAR)
        free = jnp.concatenate([free[..., :1], steps], axis=-1)
    elif interval_of(support) is not None:
        free = jnp.clip(free, -_FAR, _FAR)
    value = _inside(support, jnp.asarray(transform(free)))
    return value, jnp.sum(transform.log_abs_det_jacobian(free, value))


def from_support(support: Any, value: Float[Array, ...]) -> tuple[Array, Float[Array, ""]]:
    """The real numbers that make a value, and the log determinant there."""
    transform: Any = biject_to(support)
    free: Any
    tiny = jnp.finfo(value.dtype).tiny
    if isinstance(transform, OrderedTransform):
        # Neighbors that rounding has made the same would be at minus infinity.
        gaps = jnp.maximum(value[..., 1:] - value[..., :-1], tiny)
        free = jnp.concatenate([value[..., :1], jnp.log(gaps)], axis=-1)
    elif isinstance(transform, StickBreakingTransform):
        value = jnp.maximum(value, tiny)
        # What is left of the stick by adding up: one minus what is gone would cancel.
        left = jnp.cumsum(value[..., :0:-1], axis=-1)[..., ::-1]
        shares = jnp.log(jnp.arange(left.shape[-1], 0, -1, left.dtype))
        free = jnp.log(value[..., :-1]) - jnp.log(left) + jnp.broadcast_to(shares, left.shape)
    else:
        value = _inside(support, value)
        free = transform.inv(value)
    return jnp.asarray(free), jnp.sum(transform.log_abs_det_jacobian(free, value))


def _inside(support: Any, value: Float[Array, ...]) -> Float[Array, ...]:
    """The value, or the next float inside where rounding has put it on an end of an interval."""
    ends = interval_of(support)
    if ends is None:
        return value
    low, high = ends
    finite = jnp.finfo(value.dtype)
    low = jnp.asarray(-finite.max if low is None else low, value.dtype)
    high = jnp.asarray(finite.max if high is None else high, value.dtype)
    # A float next to zero would be below the normal ones, which are flushed to zero.
    least = jnp.maximum(jnp.nextafter(low, high), low + finite.tiny)
    most = jnp.minimum(jnp.nextafter(high, low), high - finite.tiny)
    least, most = (jax.lax.stop_gradient(end) for end in (least, most))
    broadcast = jnp.broadcast_shapes(value.shape, least.shape, most.shape)
    least, most = (jnp.broadcast_to(end, broadcast) for end in (least, most))
    return jnp.clip(value, least, most)


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
