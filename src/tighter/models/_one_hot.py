"""Bits and categories as floating-point numbers, which networks take."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, constraints

from tighter.distributions import kl


class Bits(dist.BernoulliLogits):
    """Bernoulli of given log odds; draws are 0.0 and 1.0.

    Args:
        logits: Log odds of a one.
    """

    logits: Array

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draws, without derivatives."""
        shape = sample_shape + self.batch_shape
        drawn = jax.random.bernoulli(key, jax.nn.sigmoid(self.logits), shape)
        return drawn.astype(self.logits.dtype)


class OneHot(Distribution):
    """A category of C, as a vector of zeros and a one.

    Args:
        logits: Log probabilities up to a constant, shape (..., C).
    """

    logits: Array
    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    pytree_data_fields = ("logits",)
    support = constraints.multinomial(1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Float[Array, ...], *, validate_args: bool = False):
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Array:
        """Probabilities."""
        return jax.nn.softmax(self.logits)

    @property
    def variance(self) -> Array:
        """Of each entry."""
        return self.mean * (1 - self.mean)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log probability, in nats."""
        log_probs = jax.nn.log_softmax(self.logits)
        # A zero of the value is no log probability times zero: that may be −∞.
        return jnp.sum(value * jnp.where(value == 0, 0, log_probs), axis=-1)

    def entropy(self) -> Array:
        """In nats."""
        return -self.log_prob(self.mean)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, without derivatives."""
        shape = sample_shape + self.batch_shape
        drawn = jax.random.categorical(key, self.logits, shape=shape)
        return jax.nn.one_hot(drawn, self.logits.shape[-1], dtype=self.logits.dtype)


def _kl(q: OneHot, p: OneHot) -> Array:
    return kl(*(dist.CategoricalLogits(d.logits, validate_args=False) for d in (q, p)))


_divergences: Any = dist.kl_divergence
_divergences.add((OneHot, OneHot), _kl)
