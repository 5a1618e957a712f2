"""Words of a document: mixtures of topics, parameters or with a Dirichlet prior, and ProdLDA's."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Key

from tighter.distributions import Dirichlet, kl
from tighter.distributions.gamma import log_gamma
from tighter.models.topics.log_simplex import LogDirichlet, LogisticNormal, laplace_of_dirichlet

Vocab = Float[Array, " vocab"]
Topics = Float[Array, "topics vocab"]
Proportions = Float[Array, " topics"]

# Where a document's concentrations move by less on average, coordinate ascent has converged.
_TOLERANCE = 1e-3
_LEAST_VARIANCE = 1e-5
# Of a batch normalization's averages, kept at each step.
_KEPT = 0.98


class Words(eqx.Module):
    """p(word | θ): the likelihood of each word of a document."""

    @property
    @abc.abstractmethod
    def topics(self) -> Topics:
        """Each topic's distribution over the vocabulary."""

    @abc.abstractmethod
    def log_probs(self, log_proportions: Proportions) -> Vocab:
        """Log probability of each word given log θ."""

    @property
    def log_weight(self) -> Float[Array, ""]:
        """A document's share of log p − log q of the topics themselves, in nats."""
        return jnp.zeros(())

    @abc.abstractmethod
    def initialized_from(
        self, log_topics: Array, log_frequencies: Array, num_documents: int
    ) -> Words:
        """The same, started from data.

        Args:
            log_topics: Where the topics could start, shape (topics, vocab).
            log_frequencies: Log of each word's share of the corpus.
            num_documents: Documents of the corpus.
        """

    def prior(self, concentration: Proportions) -> Any:
        """p(log θ) where θ is Dirichlet of these concentrations, or nearly so."""
        return LogDirichlet(concentration)

    @abc.abstractmethod
    def guess(self, x: Vocab, *, alpha: float, num_steps: int) -> Proportions:
        """Concentrations of a Dirichlet near to p(θ | x), without a derivative.

        Args:
            x: Counts of words.
            alpha: Concentration of the prior.
            num_steps: At most so many steps of what finds them.
        """

    def in_training(self, log_proportions: Callable[[], Array], *, key: Key[Array, ""]) -> Words:
        """The same as a step of training sees it.

        Args:
            log_proportions: A draw of log θ of each document of the batch, where it is needed.
            key: Random key.
        """
        return self

    def after_step(self, in_training: Any) -> Words:
        """The same, its averages moved towards those of what the step saw."""
        return self


class Mixture(Words):
    """Words of which each is of one topic, the topic summed out."""

    def log_probs(self, log_proportions: Proportions) -> Vocab:
        """Log of the mixture."""
        word = jnp.exp(log_proportions) @ self.topics
        # A word that no topic has to a float's precision costs 87 nats, and no infinity.
        return jnp.log(jnp.maximum(word, jnp.finfo(word.dtype).tiny))

    def guess(self, x: Vocab, *, alpha: float, num_steps: int) -> Proportions:
        """The fixed point of coordinate ascent."""
        return coordinate_ascent(x, self.topics, alpha=alpha, num_steps=num_steps)


class MixtureOfTopics(Mixture):
    r"""$p(v \mid \theta) = \sum_k \theta_k \beta_{kv}$, β = softmax of a row of parameters.

    Attributes:
        logits: Shape (topics, vocab).

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003, eq. 3 (the topic summed out).
    """

    logits: Topics

    @property
    def topics(self) -> Topics:
        """β."""
        return jax.nn.softmax(self.logits)

    def initialized_from(
        self, log_topics: Array, log_frequencies: Array, num_documents: int
    ) -> MixtureOfTopics:
        """Topics from the data."""
        return MixtureOfTopics(log_topics)


class DirichletTopics(Mixture):
    r"""The same with β_k ~ Dirichlet(η) and q(β_k) = Dirichlet(λ_k).

    A step of training sees one draw of the topics, and each document pays 1/N of their divergence;
    everywhere else β is its mean.

    Attributes:
        log_concentration: log λ, shape (topics, vocab).
        eta: η.
        num_documents: N.

    References:
        Hoffman, Blei & Bach, "Online learning for latent Dirichlet allocation", 2010, sec. 2.1.
    """

    log_concentration: Topics
    eta: float = eqx.field(static=True)
    num_documents: int = eqx.field(static=True, default=1)

    @property
    def topics(self) -> Topics:
        """E[β]."""
        return jax.nn.softmax(self.log_concentration)

    @property
    def kl(self) -> Float[Array, ""]:
        """Divergence of all topics' posteriors from their prior, in nats."""
        concentration = jnp.exp(self.log_concentration)
        prior = Dirichlet(jnp.full_like(concentration, self.eta))
        return jnp.sum(kl(Dirichlet(concentration), prior))

    def initialized_from(
        self, log_topics: Array, log_frequencies: Array, num_documents: int
    ) -> DirichletTopics:
        """Topics from the data, as of as many words as there are in the vocabulary."""
        concentration = self.eta + jnp.exp(log_topics) * log_topics.shape[1]
        return DirichletTopics(jnp.log(concentration), self.eta, num_documents)

    def in_training(
        self, log_proportions: Callable[[], Array], *, key: Key[Array, ""]
    ) -> DrawnTopics:
        """With topics drawn."""
        logits = log_gamma(key, jnp.exp(self.log_concentration))
        return DrawnTopics(logits, self.kl / self.num_documents)


class DrawnTopics(MixtureOfTopics):
    """Topics that were drawn, and each document's share of their divergence in nats."""

    divergence: Float[Array, ""]

    @property
    def log_weight(self) -> Float[Array, ""]:
        """Less the divergence."""
        return -self.divergence


class ProductOfExperts(Words):
    r"""$p(v \mid \theta) = \mathrm{softmax}(\mathrm{BN}(\theta^\top \beta))_v$, β of any reals.

    A topic's distribution over words is the softmax of its row.

    Attributes:
        weights: β, shape (topics, vocab).
        normalization: Batch normalization of the logits; its bias starts at the words' frequencies.

    References:
        Srivastava & Sutton, "Autoencoding variational inference for topic models", 2017, sec. 4.1.
    """

    weights: Topics
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
    def topics(self) -> Topics:
        """Softmax of each row of β."""
        return jax.nn.softmax(self.weights)

    def log_probs(self, log_proportions: Proportions) -> Vocab:
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

    def guess(self, x: Vocab, *, alpha: float, num_steps: int) -> Proportions:
        """By coordinate ascent, as if the topics were mixed."""
        topics = jax.nn.softmax(self.weights + self.normalization.bias[None])
        return coordinate_ascent(x, topics, alpha=alpha, num_steps=num_steps)

    def prior(self, concentration: Proportions) -> LogisticNormal:
        """The logistic-normal nearest to the Dirichlet."""
        return laplace_of_dirichlet(concentration)

    def in_training(
        self, log_proportions: Callable[[], Array], *, key: Key[Array, ""]
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
        mean, variance = jax.tree.map(
            lambda ours, theirs: jax.lax.stop_gradient(_KEPT * ours + (1 - _KEPT) * theirs),
            (self.mean, self.variance),
            (batch.mean, batch.variance),
        )
        return dataclasses.replace(self, mean=mean, variance=variance)


def coordinate_ascent(x: Vocab, topics: Topics, *, alpha: float, num_steps: int) -> Proportions:
    r"""Concentrations γ at a fixed point of $\gamma_k = \alpha + \sum_v x_v\, \phi_{vk}$.

    $\phi_{vk} \propto e^{\psi(\gamma_k)} \beta_{kv}$: the classical mean field. It ends where γ
    moves by .001 on average, and carries no derivative.

    Args:
        x: Counts of words.
        topics: β.
        alpha: α.
        num_steps: At most so many steps.

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003, sec. 5.2.
    """
    topics, x = jax.lax.stop_gradient((topics, x))

    def step(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        gamma, _, count = carry
        exponent = digamma(gamma)
        share = jnp.exp(exponent - jnp.max(exponent))
        word = jnp.maximum(share @ topics, jnp.finfo(x.dtype).tiny)
        new = alpha + share * (topics @ (x / word))
        return new, jnp.mean(jnp.abs(new - gamma)), count + 1

    def going(carry: tuple[Array, Array, Array]) -> Array:
        return (carry[1] > _TOLERANCE) & (carry[2] < num_steps)

    start = jnp.full(topics.shape[0], alpha + jnp.sum(x) / topics.shape[0])
    infinite = jnp.asarray(jnp.inf, start.dtype)
    return jax.lax.while_loop(going, step, (start, infinite, jnp.asarray(0)))[0]
