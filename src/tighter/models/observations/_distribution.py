"""The distribution of a family that numpyro lacks: the family draws, weighs and averages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution


@runtime_checkable
class _Family(Protocol):
    def sample(self, output: Array, *, key: Key[Array, ""]) -> Array: ...

    def log_prob(self, output: Array, x: Array) -> Array: ...

    def mean(self, output: Array) -> Array: ...


class FamilyDistribution(Distribution):
    """p(x | decoder output) of one family, with empty batch shape.

    Args:
        family: What draws one x, by `sample(output, key=key)`, and knows `log_prob` and `mean`.
        output: The decoder's output.
        shape: Shape of x.
    """

    family: Any
    output: Array
    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("family", "output")
    has_rsample = False  # pyright: ignore[reportAssignmentType]

    def __init__(self, family: _Family, output: Float[Array, ...], shape: Sequence[int]):
        self.family, self.output = family, output
        super().__init__((), tuple(shape), validate_args=False)

    @property
    def mean(self) -> Array:
        """That of the family."""
        return self.family.mean(self.output)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent draws, shape (*sample_shape, *event_shape)."""
        if not sample_shape:
            return self.family.sample(self.output, key=key)
        keys = jax.random.split(key, math.prod(sample_shape))
        draws = jax.vmap(lambda key: self.family.sample(self.output, key=key))(keys)
        return draws.reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of each value, over any leading axes, in nats."""
        value = jnp.asarray(value)
        log_prob = lambda x: self.family.log_prob(self.output, x)  # noqa: E731
        for _ in range(value.ndim - len(self.event_shape)):
            log_prob = jax.vmap(log_prob)
        return log_prob(value)
