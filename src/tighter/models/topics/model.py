"""Topic models: latent Dirichlet allocation and ProdLDA, trained by any bound."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._names import unknown
from tighter.distributions import draw
from tighter.models._model import LatentVariableModel
from tighter.models.observations.observation import FamilyDistribution
from tighter.models.topics.documents import check_corpus, checked_documents, started_topics
from tighter.models.topics.inference import (
    CoordinateAscent,
    DefensiveCoordinateAscent,
    DirichletProportions,
    DocumentEncoder,
    Documents,
    Inference,
    LogisticNormalProportions,
    ProportionsFamily,
)
from tighter.models.topics.words import (
    DirichletTopics,
    MixtureOfTopics,
    ProductOfExperts,
    Proportions,
    Topics,
    Vocab,
    Words,
)

_FAMILIES: dict[str, ProportionsFamily] = {
    "dirichlet": DirichletProportions(),
    "logistic-normal": LogisticNormalProportions(),
}
TOPIC_POSTERIORS = (*_FAMILIES, "coordinate-ascent")
# Of ProdLDA's encoder, as published.
_KEEP = 0.4


class TopicModel(LatentVariableModel):
    r"""Topic proportions θ of a document, and its words given θ, each word's topic summed out.

    $\log p(x \mid \theta) = \sum_v x_v \log p(v \mid \theta)$, the probability of the document as a
    sequence of words: there is no multinomial coefficient, which is the same for every model. The
    latent is log θ. An example is a float array of counts, shape (vocab,).

    - Latent Dirichlet allocation: θ ~ Dirichlet(α) and $p(v \mid \theta) = \sum_k \theta_k
      \beta_{kv}$, the topics β parameters or with a Dirichlet prior.
    - ProdLDA: $p(v \mid \theta) = \mathrm{softmax}(\mathrm{BN}(\theta^\top\beta))_v$, with the
      logistic-normal that is nearest to the Dirichlet for prior.

    Attributes:
        words: p(word | θ), with the topics.
        inference: How q(log θ | x) is found.
        alpha: α, the concentration of each topic.
        length: Words of a document that `sample` draws.

    Example:
        >>> model = TopicModel.create(1995, num_topics=50, key=jax.random.key(0))
        >>> model = model.initialized_from(counts)
        >>> tt.fit(model, counts, objective, optimizer=optax.adam(0.01), num_epochs=20, ...)

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003; Srivastava & Sutton, "Autoencoding
        variational inference for topic models", 2017.
    """

    words: Words
    inference: Inference
    alpha: float = eqx.field(static=True)
    length: int = eqx.field(static=True, default=100)

    @classmethod
    def create(
        cls,
        vocabulary_size: int,
        *,
        num_topics: int = 50,
        posterior: str | None = None,
        product: bool = False,
        alpha: float | None = None,
        eta: float | None = None,
        hidden: Sequence[int] = (100, 100),
        key: Key[Array, ""],
    ) -> TopicModel:
        """A topic model; `initialized_from(counts)` then takes the data into account.

        Args:
            vocabulary_size: Words of the vocabulary.
            num_topics: Topics.
            posterior: "dirichlet", "logistic-normal" (by an encoder both), or "coordinate-ascent"
                (none); if left out "coordinate-ascent", of ProdLDA "logistic-normal".
            product: Whether the words are a product of topics (ProdLDA), rather than a mixture.
            alpha: α of each topic; if left out 1 / topics, of ProdLDA 1.
            eta: Concentration of the topics' own Dirichlet prior; if left out they are parameters.
            hidden: Widths of the encoder's layers.
            key: Random key.

        Raises:
            InputError: If a number is too low, there is no such posterior, or ProdLDA is asked for
                coordinate ascent or a prior of the topics, which it hasn't.
        """
        sizes = {"vocabulary_size": vocabulary_size, "num_topics": num_topics}
        low = [f"{name}={size}" for name, size in sizes.items() if size < 2]
        require(
            not low and not any(width < 1 for width in hidden),
            "a topic model has two words, two topics and layers of one unit or more, got "
            f"{', '.join(low) or f'hidden={tuple(hidden)}'}",
        )
        if posterior is None:
            posterior = "logistic-normal" if product else "coordinate-ascent"
        if posterior not in TOPIC_POSTERIORS:
            raise unknown("posterior of topic proportions", posterior, TOPIC_POSTERIORS)
        if alpha is None:
            alpha = 1.0 if product else 1 / num_topics
        require(
            0 < alpha < math.inf and (eta is None or 0 < eta < math.inf),
            f"concentrations are finite and above zero, got alpha={alpha}, eta={eta}",
        )
        require(
            not product or (posterior != "coordinate-ascent" and eta is None),
            "ProdLDA's topics are no distributions that are mixed, so that there is no "
            f"coordinate ascent and no eta for them, got posterior={posterior!r}, eta={eta}",
        )
        words_key, encoder_key = jax.random.split(key)
        if posterior in _FAMILIES:
            inference = DocumentEncoder.create(
                vocabulary_size, num_topics, hidden, family=_FAMILIES[posterior],
                normalized=product, keep=_KEEP if product else 1.0, key=encoder_key,
            )  # fmt: skip
        else:
            inference = CoordinateAscent()
        if product:
            words: Words = ProductOfExperts.create(num_topics, vocabulary_size, key=words_key)
        else:
            logits = 0.1 * jax.random.normal(words_key, (num_topics, vocabulary_size))
            words = MixtureOfTopics(logits) if eta is None else DirichletTopics(logits, float(eta))
        return cls(words, inference, float(alpha))

    @classmethod
    def from_topics(cls, topics: ArrayLike, *, alpha: float) -> TopicModel:
        """Latent Dirichlet allocation of topics known from elsewhere, q by coordinate ascent.

        Args:
            topics: Shape (topics, vocab), rows that add up to one.
            alpha: α of each topic.

        Raises:
            InputError: If the rows are no distributions, or α is not above zero.
        """
        rows = np.asarray(topics, np.float64)
        require(
            rows.ndim == 2 and not (rows < 0).any() and np.allclose(rows.sum(axis=1), 1, atol=1e-3),
            "topics are rows of probabilities that add up to one, got shape "
            f"{rows.shape}: divide each row by its sum",
        )
        require(
            0 < alpha < math.inf, f"concentrations are finite and above zero, got alpha={alpha}"
        )
        logits = np.log(np.maximum(rows, np.finfo(np.float32).tiny)).astype(np.float32)
        return cls(MixtureOfTopics(jnp.asarray(logits)), CoordinateAscent(), float(alpha))

    def initialized_from(self, counts: Any, *, key: Key[Array, ""] | None = None) -> TopicModel:
        """The same, its topics started from the training documents.

        Args:
            counts: Training documents (N, vocab).
            key: Random key of the clusters that topics start from.

        Raises:
            InputError: If the documents are none, or the corpus has but one word.
        """
        counts = checked_documents(counts, self.vocabulary_size)
        check_corpus(counts)
        seed = 0 if key is None else int(jax.random.bits(key))
        log_topics, log_frequencies = started_topics(counts, self.num_topics, seed=seed)
        words = self.words.initialized_from(
            jnp.asarray(log_topics), jnp.asarray(log_frequencies), len(counts)
        )
        length = max(1, int(np.median(counts.sum(axis=1))))
        return dataclasses.replace(self, words=words, length=length)

    @property
    def topics(self) -> Topics:
        """Each topic's distribution over the vocabulary."""
        return self.words.topics

    @property
    def num_topics(self) -> int:
        """How many topics there are."""
        return jax.eval_shape(lambda: self.words.topics).shape[0]

    @property
    def vocabulary_size(self) -> int:
        """How many words there are."""
        return jax.eval_shape(lambda: self.words.topics).shape[1]

    @property
    def prior(self) -> Any:
        """p(log θ)."""
        return self.words.prior(jnp.full(self.num_topics, self.alpha))

    def likelihood(self, z: Proportions) -> Any:
        """p(x | log θ): a document of `length` words, in any order."""
        log_probs = self.words.log_probs(z)
        return FamilyDistribution(_Document(self.length), log_probs, log_probs.shape)

    def posterior(self, x: Vocab) -> Any:
        """q(log θ | x)."""
        self._check(x)
        return self.inference.posterior(self, x)

    def log_joint(self, x: Vocab) -> Callable[[Array], Array]:
        """The function log θ -> log p(x, log θ), in nats.

        In a step of training with topics drawn, less a document's share of their divergence.
        """
        self._check(x)
        prior = self.prior

        def log_joint(z: Proportions) -> Float[Array, ""]:
            return prior.log_prob(z) + x @ self.words.log_probs(z) + self.words.log_weight

        return log_joint

    def log_likelihood(self, x: Vocab) -> Callable[[Array], Array]:
        """The function log θ -> log p(x | log θ), in nats."""
        self._check(x)
        return lambda z: x @ self.words.log_probs(z) + self.words.log_weight

    def proportions(self, counts: Vocab) -> Proportions:
        """Mean of θ under q(θ | x) of one document."""
        return self.posterior(counts).mean_proportions

    def refined(self, *, num_steps: int = 100) -> TopicModel:
        """The same with a q for evaluation: coordinate ascent to convergence, and wider parts.

        Importance weights are bounded by it; `proportions` are those of coordinate ascent.

        Args:
            num_steps: At most so many steps.

        Raises:
            InputError: If the words are no mixture of topics.
        """
        require(
            not isinstance(self.words, ProductOfExperts),
            "coordinate ascent is for mixtures of topics, got a product of experts: take its "
            "encoder's posterior",
        )
        return dataclasses.replace(self, inference=DefensiveCoordinateAscent(num_steps))

    def for_scoring(self) -> TopicModel:
        """The model as log-likelihoods see it: `refined`, unless it is or can't be.

        Training's q is too narrow for importance weights, whose mean would miss p(x) unflagged.
        """
        as_it_is = isinstance(self.words, ProductOfExperts) or isinstance(
            self.inference, DefensiveCoordinateAscent
        )
        return self if as_it_is else self.refined()

    def check_examples(self, xs: Any) -> None:
        """Refuse what are no documents.

        Raises:
            InputError: If a document is empty, a count below 0, or the vocabulary doesn't fit.
        """
        checked_documents(xs, self.vocabulary_size, parts=True)

    def in_training(self, xs: Documents, *, key: Key[Array, ""]) -> TopicModel:
        """The model as a step of training sees it: batch statistics, dropout, topics drawn."""
        encoder_key, draw_key, words_key = jax.random.split(key, 3)
        inference = self.inference.in_training(xs, key=encoder_key)
        model = dataclasses.replace(self, inference=inference)

        def log_proportions() -> Float[Array, "batch topics"]:
            keys = jax.random.split(draw_key, xs.shape[0])
            return jax.vmap(lambda x, key: draw(model.posterior(x), key=key))(xs, keys)

        words = self.words.in_training(log_proportions, key=words_key)
        return dataclasses.replace(model, words=words)

    def after_step(self, xs: Documents, *, key: Key[Array, ""]) -> TopicModel:
        """The model with its averages of batch statistics moved on."""
        seen = self.in_training(xs, key=key)
        return dataclasses.replace(
            self,
            words=self.words.after_step(seen.words),
            inference=self.inference.after_step(seen.inference),
        )

    def _check(self, x: Array) -> None:
        require(
            x.shape == (self.vocabulary_size,),
            f"the vocabulary doesn't fit: got a document of shape {x.shape}, the model has "
            f"{self.vocabulary_size} words: count the words of the model's vocabulary",
        )


class _Document(eqx.Module):
    """Words drawn one by one, and the probability of a document's words in their order."""

    length: int = eqx.field(static=True)

    def sample(self, output: Vocab, *, key: Key[Array, ""]) -> Array:
        """Counts of `length` words."""
        words = jax.random.categorical(key, output, shape=(self.length,))
        return jnp.zeros(output.shape).at[words].add(1)

    def log_prob(self, output: Vocab, x: Vocab) -> Array:
        """Of the document's own length."""
        return x @ output

    def mean(self, output: Vocab) -> Array:
        """Expected counts."""
        return self.length * jnp.exp(output)
