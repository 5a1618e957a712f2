"""Batch normalization with averaged statistics where nothing is trained."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LEAST_VARIANCE = 1e-5
# Of the averages, kept at each step.
_KEPT = 0.98


class BatchNorm(eqx.Module):
    r"""$(x - m) / \sqrt{v} + b$, by the statistics of the batch in training, else by averages.

    So one document's value depends on no other's, except in a step of training.

    Attributes:
        bias: b, trained.
        mean: m.
        variance: v.
        held: Whether the statistics are averages, without a derivative.

    References:
        Ioffe & Szegedy, "Batch normalization", 2015, algorithms 1 and 2 (without γ).
    """

    untrained: ClassVar[tuple[str, ...]] = ("mean", "variance")

    bias: Float[Array, ...]
    mean: Float[Array, ...]
    variance: Float[Array, ...]
    held: bool = eqx.field(static=True, default=True)

    @classmethod
    def create(cls, shape: tuple[int, ...]) -> BatchNorm:
        """With mean 0 and variance 1."""
        return cls(jnp.zeros(shape), jnp.zeros(shape), jnp.ones(shape))

    def __call__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One example."""
        mean, variance = self.mean, self.variance
        if self.held:
            mean, variance = jax.lax.stop_gradient((mean, variance))
        return (x - mean) * jax.lax.rsqrt(variance + _LEAST_VARIANCE) + self.bias

    def of_batch(self, mean: Float[Array, ...], variance: Float[Array, ...]) -> BatchNorm:
        """With the statistics of a batch, which are differentiated."""
        return dataclasses.replace(self, mean=mean, variance=variance, held=False)

    def moved(self, batch: BatchNorm) -> BatchNorm:
        """With averages moved towards the statistics of a batch."""

        def average(ours: Array, theirs: Array) -> Array:
            return jax.lax.stop_gradient(_KEPT * ours + (1 - _KEPT) * theirs)

        return dataclasses.replace(
            self,
            mean=average(self.mean, batch.mean),
            variance=average(self.variance, batch.variance),
        )
