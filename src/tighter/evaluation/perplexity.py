"""Perplexity of documents, whole or completed from half of their words, with its errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._checks import check_counts
from tighter._programs import compiled
from tighter._summary import quantity, summary
from tighter.distributions import draw
from tighter.evaluation.log_likelihood import log_likelihood
from tighter.objectives.log_weights import log_weight


class Perplexity(NamedTuple):
    """exp of minus the mean log probability of a word.

    Attributes:
        value: Between 1 and the size of the vocabulary for a model that has learned something.
        standard_error: Over documents drawn anew, the Monte Carlo noise in it; NaN of one document.
        monte_carlo_error: Of these documents, from the draws alone.
        log_probability: Of each document's words that are scored, in nats.
    """

    value: float
    standard_error: float
    monte_carlo_error: float
    log_probability: Float[np.ndarray, " documents"]

    def __repr__(self) -> str:
        value = quantity(self.value, self.standard_error)
        error = f"Monte Carlo error {quantity(self.monte_carlo_error)}"
        return summary(self, value, f"{self.log_probability.size:,} documents", error)


def perplexity(
    model: Any,
    counts: Any,
    *,
    num_samples: int = 1000,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> Perplexity:
    r"""$\exp(-\sum_d \log p(x_d) / \sum_d N_d)$, N_d the words of document d.

    log p(x_d) by importance sampling, so that the value is an upper bound in expectation; errors by
    the delta method.

    Args:
        model: A `TopicModel`; draws are of `model.for_scoring()`.
        counts: Documents (N, vocab), sparse or not.
        num_samples: Draws a document.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Raises:
        InputError: If the documents are none that the model takes.

    References:
        Wallach, Murray, Salakhutdinov & Mimno, "Evaluation methods for topic models", 2009, sec. 3.
    """
    from tighter.models.topics.documents import checked_documents

    counts = checked_documents(counts, model.vocabulary_size)
    estimate = log_likelihood(
        model, counts, num_samples=num_samples, key=key, show_progress=show_progress
    )
    return perplexity_of(estimate.value, counts.sum(axis=1), estimate.standard_error)


def document_completion(
    model: Any, counts: Any, *, num_samples: int = 1000, key: Key[Array, ""]
) -> Perplexity:
    r"""Perplexity of half of each document's words, given the other half.

    Half of the words, drawn at random, are observed; each of the others has probability
    $\mathbb E_{p(\theta \mid \text{observed})}[p(v \mid \theta)]$, by importance sampling with q.

    Args:
        model: A `TopicModel`; draws are of `model.for_scoring()`.
        counts: Documents (N, vocab) of two words or more.
        num_samples: Draws a document.
        key: Random key.

    Raises:
        InputError: If the documents are none that the model takes, or of fewer than two words.

    References:
        Wallach, Murray, Salakhutdinov & Mimno, "Evaluation methods for topic models", 2009, sec. 5.
    """
    from tighter.models.topics.documents import checked_documents

    counts = checked_documents(counts, model.vocabulary_size, least=2)
    check_counts(num_samples=num_samples)
    split_key, draw_key = jax.random.split(key)
    model = model.for_scoring()
    observed = _half(counts, np.random.default_rng(np.asarray(jax.random.key_data(split_key))))
    hidden = counts - observed
    keys = jax.random.split(draw_key, len(counts))
    scores = _completed(model, jnp.asarray(observed), jnp.asarray(hidden), keys, num_samples)
    return perplexity_of(np.asarray(scores[0]), hidden.sum(axis=1), np.asarray(scores[1]))


@compiled
def _completed(
    model: Any,
    observed: Float[Array, "documents vocab"],
    hidden: Float[Array, "documents vocab"],
    keys: Key[Array, " documents"],
    num_samples: int,
) -> tuple[Float[Array, " documents"], Float[Array, " documents"]]:
    """Log probability of each document's hidden words, and its Monte Carlo error."""

    def of_document(document: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        observed, hidden, key = document
        posterior = model.posterior(observed)

        def weighed(key: Key[Array, ""]) -> tuple[Array, Array]:
            log_probs = model.words.log_probs(draw(posterior, key=key))
            return log_weight(model.log_joint, observed, posterior, key), jnp.exp(log_probs)

        log_weights, probs = jax.vmap(weighed)(jax.random.split(key, num_samples))
        weights = jax.nn.softmax(log_weights)
        word = jnp.maximum(weights @ probs, jnp.finfo(probs.dtype).tiny)
        # Of a ratio of means: each draw's pull on the sum of logarithms.
        pull = weights * (probs @ (hidden / word) - jnp.sum(hidden))
        return hidden @ jnp.log(word), jnp.sqrt(jnp.sum(pull**2))

    return jax.lax.map(of_document, (observed, hidden, keys))


def _half(
    counts: Float[np.ndarray, "documents vocab"], random: np.random.Generator
) -> Float[np.ndarray, "documents vocab"]:
    """Half of each document's words, drawn without replacement, rounded down."""
    half = np.zeros_like(counts)
    for row, chosen in zip(counts, half, strict=True):
        words = np.repeat(np.arange(row.size), row.astype(int))
        np.add.at(chosen, random.permutation(words)[: words.size // 2], 1)
    return half


def perplexity_of(
    log_probability: np.ndarray, lengths: np.ndarray, standard_error: np.ndarray
) -> Perplexity:
    """Perplexity of documents whose log probabilities are known, with both errors.

    Args:
        log_probability: Of each document, in nats.
        lengths: Words of each.
        standard_error: Monte Carlo error of each log probability.
    """
    log_probability, lengths = (np.asarray(a, np.float64) for a in (log_probability, lengths))
    num, total = len(lengths), lengths.sum()
    rate = log_probability.sum() / total
    value = float(np.exp(-rate))
    spread = np.nan
    if num > 1:
        spread = np.sqrt(num / (num - 1) * np.sum((log_probability - rate * lengths) ** 2)) / total
    monte_carlo = np.sqrt(np.sum(np.asarray(standard_error, np.float64) ** 2)) / total
    return Perplexity(value, float(value * spread), float(value * monte_carlo), log_probability)
