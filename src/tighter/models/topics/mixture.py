"""Words of a document as a mixture of topics: topics as parameters, or with a Dirichlet prior."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Float, Key

from tighter.distributions import Dirichlet, kl
from tighter.distributions.gamma import log_gamma
from tighter.models.topics.log_simplex import LogDirichlet

# Where a document's concentrations move by less on average, coordinate ascent has converged.
_TOLERANCE = 1e-3


class Words(eqx.Module):
    """p(word | θ): the likelihood of each word of a document."""

    @property
    @abc.abstractmethod
    def topics(self) -> Float[Array, "topics vocab"]:
        """Each topic's distribution over the vocabulary."""

    @abc.abstractmethod
    def log_probs(self, log_proportions: Float[Array, " topics"]) -> Float[Array, " vocab"]:
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

    def prior(self, concentration: Float[Array, " topics"]) -> Any:
        """p(log θ) where θ is Dirichlet of these concentrations, or nearly so."""
        return LogDirichlet(concentration)

    @abc.abstractmethod
    def guess(
        self, x: Float[Array, " vocab"], *, alpha: float, num_steps: int
    ) -> Float[Array, " topics"]:
        """Concentrations of a Dirichlet near to p(θ | x), without a derivative.

        Args:
            x: Counts of words.
            alpha: Concentration of the prior.
            num_steps: At most so many steps of what finds them.
        """

    def in_training(
        self, log_proportions: Callable[[], Float[Array, "batch topics"]], *, key: Key[Array, ""]
    ) -> Words:
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

    def log_probs(self, log_proportions: Float[Array, " topics"]) -> Float[Array, " vocab"]:
        """Log of the mixture."""
        word = jnp.exp(log_proportions) @ self.topics
        # A word that no topic has to a float's precision costs 87 nats, and no infinity.
        return jnp.log(jnp.maximum(word, jnp.finfo(word.dtype).tiny))

    def guess(
        self, x: Float[Array, " vocab"], *, alpha: float, num_steps: int
    ) -> Float[Array, " topics"]:
        """The fixed point of coordinate ascent."""
        return coordinate_ascent(x, self.topics, alpha=alpha, num_steps=num_steps)


class MixtureOfTopics(Mixture):
    r"""$p(v \mid \theta) = \sum_k \theta_k \beta_{kv}$, β = softmax of a row of parameters.

    Attributes:
        logits: Shape (topics, vocab).

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003, eq. 3 (the topic summed out).
    """

    logits: Float[Array, "topics vocab"]

    @property
    def topics(self) -> Float[Array, "topics vocab"]:
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

    log_concentration: Float[Array, "topics vocab"]
    eta: float = eqx.field(static=True)
    num_documents: int = eqx.field(static=True, default=1)

    @property
    def topics(self) -> Float[Array, "topics vocab"]:
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
        self, log_proportions: Callable[[], Float[Array, "batch topics"]], *, key: Key[Array, ""]
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


def coordinate_ascent(
    x: Float[Array, " vocab"], topics: Float[Array, "topics vocab"], *, alpha: float, num_steps: int
) -> Float[Array, " topics"]:
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
