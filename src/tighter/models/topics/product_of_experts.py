"""ProdLDA: words of a document from a product of topics instead of a mixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter.models.topics.batch_norm import BatchNorm
from tighter.models.topics.log_simplex import LogisticNormal, laplace_of_dirichlet
from tighter.models.topics.mixture import Words, coordinate_ascent


class ProductOfExperts(Words):
    r"""$p(v \mid \theta) = \mathrm{softmax}(\mathrm{BN}(\theta^\top \beta))_v$, β of any reals.

    A topic's distribution over words is the softmax of its row.

    Attributes:
        weights: β, shape (topics, vocab).
        normalization: Batch normalization of the logits; its bias starts at the words' frequencies.

    References:
        Srivastava & Sutton, "Autoencoding variational inference for topic models", 2017, sec. 4.1.
    """

    weights: Float[Array, "topics vocab"]
    normalization: BatchNorm

    @classmethod
    def create(
        cls, num_topics: int, vocabulary_size: int, *, key: Key[Array, ""]
    ) -> ProductOfExperts:
        """Random weights, uniform by Glorot's rule."""
        limit = (6 / (num_topics + vocabulary_size)) ** 0.5
        shape = (num_topics, vocabulary_size)
        weights = jax.random.uniform(key, shape, minval=-limit, maxval=limit)
        return cls(weights, BatchNorm.create((vocabulary_size,)))

    @property
    def topics(self) -> Float[Array, "topics vocab"]:
        """Softmax of each row of β."""
        return jax.nn.softmax(self.weights)

    def log_probs(self, log_proportions: Float[Array, " topics"]) -> Float[Array, " vocab"]:
        """Log of the product, normalized."""
        return jax.nn.log_softmax(self.normalization(jnp.exp(log_proportions) @ self.weights))

    def initialized_from(
        self, log_topics: Array, log_frequencies: Array, num_documents: int
    ) -> ProductOfExperts:
        """With the words' frequencies as bias, and β how much more frequent they are in a topic."""
        bias = log_frequencies - jnp.mean(log_frequencies)
        return dataclasses.replace(
            self,
            weights=log_topics - log_frequencies[None],
            normalization=dataclasses.replace(self.normalization, bias=bias),
        )

    def guess(
        self, x: Float[Array, " vocab"], *, alpha: float, num_steps: int
    ) -> Float[Array, " topics"]:
        """By coordinate ascent, as if the topics were mixed."""
        topics = jax.nn.softmax(self.weights + self.normalization.bias[None])
        return coordinate_ascent(x, topics, alpha=alpha, num_steps=num_steps)

    def prior(self, concentration: Float[Array, " topics"]) -> LogisticNormal:
        """The logistic-normal nearest to the Dirichlet."""
        return laplace_of_dirichlet(concentration)

    def in_training(
        self, log_proportions: Callable[[], Float[Array, "batch topics"]], *, key: Key[Array, ""]
    ) -> ProductOfExperts:
        """Normalized by the batch's logits, of one draw of θ a document."""
        # Of logits that are linear in θ: by its mean and covariance, which are small.
        theta = jnp.exp(log_proportions())
        mean = jnp.mean(theta, axis=0)
        centered = theta - mean[None]
        covariance = centered.T @ centered / theta.shape[0]
        variance = jnp.sum(self.weights * (covariance @ self.weights), axis=0)
        batch = self.normalization.of_batch(mean @ self.weights, jnp.maximum(variance, 0))
        return dataclasses.replace(self, normalization=batch)

    def after_step(self, in_training: Any) -> ProductOfExperts:
        """With the normalization's averages moved."""
        moved = self.normalization.moved(in_training.normalization)
        return dataclasses.replace(self, normalization=moved)
