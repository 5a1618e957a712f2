"""Runs of topics of texts: a corpus to a topic model, its held-out score, and its topics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from tighter._checks import require
from tighter._errors import InputError
from tighter._programs import compiled
from tighter.data import split
from tighter.data.corpus import Corpus, count_words
from tighter.data.counts import COUNTS_SUFFIX, read_counts
from tighter.data.dataset import Dataset
from tighter.data.text import read_documents
from tighter.diagnostics import topics as measures
from tighter.evaluation import log_likelihood
from tighter.evaluation.perplexity import perplexity_of
from tighter.models.topics.model import TopicModel
from tighter.runs.build_objective import build_objective
from tighter.runs.configuration import Configuration, ObjectiveConfiguration
from tighter.runs.folder import VOCABULARY, RunFolder, write_arrays, write_json
from tighter.runs.kind import Announce, Effort, Kind, Prepared, Shape, error_of_mean, summary
from tighter.runs.results import store_result
from tighter.runs.topics_configuration import TextsConfiguration, TopicsConfiguration
from tighter.training import Trainable

# Epochs and steps at the least, and the learning rate, of each family.
_PACE = {"lda": (20, 150, 0.05), "prodlda": (25, 600, 0.01)}
# Documents through the encoder at a time, and the words of a topic in print and in measures.
_BLOCK = 256
_PRINTED, _COHERENT, _DIVERSE = 10, 10, 25


class Topics(Kind):
    """A topic model of texts."""

    def prepare(self, configuration: TopicsConfiguration, stored: RunFolder | None) -> Prepared:
        """Read the data and decide what was left out."""
        corpus = read_corpus(configuration.data)
        if stored and stored.vocabulary != corpus.vocabulary:
            raise InputError(
                "the vocabulary doesn't fit the run: the texts have changed since "
                f"{stored.path} was started ({len(corpus.vocabulary)} words, the run has "
                f"{len(stored.vocabulary)})"
            )
        parts = rows(corpus, configuration)
        xs, model = corpus.dense(parts["train"]), configuration.model
        left_out = ()
        if corpus.left_out:
            left_out = (
                f"{len(corpus.left_out)} documents have no word of the vocabulary and are left "
                f"out, {corpus.left_out[0]} first",
            )
        return Prepared(
            configuration=_resolved(configuration, len(xs)),
            source=xs,
            xs=xs,
            validation=corpus.dense(parts["validation"][:2000]),
            test=corpus.dense(parts["test"]),
            data=corpus,
            shape=(len(corpus.vocabulary),),
            facts={
                "data_sizes": {name: len(part) for name, part in parts.items()},
                "corpus": {
                    "documents": len(corpus),
                    "left_out": len(corpus.left_out),
                    "words": corpus.num_words,
                    "vocabulary": len(corpus.vocabulary),
                    "words_not_in_the_vocabulary": corpus.num_unknown,
                },
            },
            files={VOCABULARY: {"words": list(corpus.vocabulary)}},
            about=f"{model.topics} topics ({model.family}) in {len(corpus)} documents of "
            f"{corpus.num_words} words, {len(corpus.vocabulary)} different ones",
            notes=left_out,
        )

    def build(self, configuration: Any, shape: Shape, xs: Any, schema: Any = None) -> TopicModel:
        """The model before training."""
        given, key = configuration.model, jax.random.key(configuration.training.seed)
        model = TopicModel.create(
            *shape,
            num_topics=given.topics,
            posterior=given.posterior,
            product=given.family == "prodlda",
            alpha=given.alpha,
            hidden=given.hidden,
            key=key,
        )
        return model if xs is None else model.initialized_from(xs, key=key)

    def objective(self, configuration: TopicsConfiguration, *, num_steps: int) -> Trainable:
        """The bound and its gradient."""
        given = vars(configuration.objective)
        return build_objective(Configuration(objective=ObjectiveConfiguration(**given)))

    def optimizer(
        self, configuration: TopicsConfiguration, num_steps: int
    ) -> optax.GradientTransformation:
        """Adam down to a hundredth of its rate."""
        rate = configuration.training.learning_rate or 0.0
        return optax.adam(optax.cosine_decay_schedule(rate, max(1, num_steps), alpha=0.01))

    def score(
        self, model: Any, test: np.ndarray, run: RunFolder, effort: Effort, announce: Announce
    ) -> dict[str, Any]:
        """Log-likelihoods of test documents by importance sampling, and their perplexity."""
        num_samples, num_examples, seed, _ = effort
        counts = test[:num_examples]
        announce(f"log-likelihood of {len(counts)} test documents, K = {num_samples}")
        key = jax.random.fold_in(jax.random.key(seed), 1)
        estimates = log_likelihood(model, counts, num_samples=num_samples, key=key)
        lengths = counts.sum(axis=1)
        error = np.nan_to_num(estimates.standard_error)
        perplexity = perplexity_of(estimates.value, lengths, error)
        record = {
            "split": "test",
            "num_examples": len(counts),
            "num_words": int(lengths.sum()),
            "num_samples": num_samples,
            "seed": seed,
            "perplexity": perplexity.value,
            "perplexity_standard_error": perplexity.standard_error if len(counts) > 1 else None,
            "perplexity_monte_carlo_error": perplexity.monte_carlo_error,
            **summary(estimates),
        }
        return store_result(
            run.path, "evaluation", record, estimates._asdict(),
            settings={"K": num_samples, "n": len(counts), "seed": seed, "": "test"},
            effort=num_samples * len(counts),
        )  # fmt: skip

    def draw(self, run: RunFolder, model: Any, data: Corpus) -> dict[str, Any]:
        """Store what a report's pictures are drawn from."""
        return store_topics(model, data, run)

    def folder_name(self, configuration: TopicsConfiguration) -> str:
        """Of a new run, before its number."""
        source = configuration.data.sources[0]
        return f"{Path(source.rpartition(':')[0] or source).stem or 'texts'}-topics"


def read_corpus(data: TextsConfiguration) -> Corpus:
    """The corpus that a configuration speaks of.

    Raises:
        InputError: If it can't be read, or nothing can be learned from it.
    """
    counted = [source for source in data.sources if Path(source).suffix.lower() == COUNTS_SUFFIX]
    if not counted:
        if data.vocabulary is not None:
            raise InputError("--vocabulary is about counts (.npz), and texts make their own")
        return count_words(read_documents(data.sources, column=data.column), data.tokenizing)
    if len(data.sources) > 1:
        raise InputError(f"{counted[0]} is a corpus of its own: name it alone")
    if data.column is not None:
        raise InputError(f"--column is about tables, and {counted[0]} holds counts: leave it out")
    return read_counts(counted[0], data.vocabulary)


def rows(corpus: Corpus, configuration: TopicsConfiguration) -> dict[str, np.ndarray]:
    """Which documents are for training, validation and test."""
    data, seed = configuration.data, configuration.training.seed
    known = len(corpus) - corpus.num_test
    needed = 1 + (data.validation > 0) + (data.test > 0 and not corpus.num_test)
    require(
        known >= needed,
        f"{known} document{'s' * (known != 1)} can't be split for training, validation and test: "
        "give more documents",
    )
    numbers = np.arange(len(corpus), dtype=np.int64)[:, None]
    test = Dataset(numbers[known:]) if corpus.num_test else data.test
    parts = split(Dataset(numbers[:known]), validation=data.validation, test=test, seed=seed)
    found = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    return {name: part.x[:, 0].astype(np.int64) for name, part in found.items()}


def _resolved(configuration: TopicsConfiguration, num_documents: int) -> TopicsConfiguration:
    """The configuration with what was left out decided."""
    training = configuration.training
    num_epochs, num_steps, rate = _PACE[configuration.model.family]
    batch_size = min(training.batch_size, max(1, num_documents // 4))
    least = -(-num_steps // max(1, num_documents // batch_size))
    changed = dataclasses.replace(
        training,
        epochs=training.epochs or max(num_epochs, least),
        batch_size=batch_size,
        learning_rate=training.learning_rate or rate,
    )
    return dataclasses.replace(configuration, training=changed)


def proportions(model: TopicModel, counts: Any) -> np.ndarray:
    """Posterior means of the topics' proportions in documents.

    Args:
        model: The topic model.
        counts: Counts of words, shape (N, V), sparse or not.

    Returns:
        Shape (N, topics); rows add up to one.
    """
    parts = []
    for start in range(0, counts.shape[0], _BLOCK):
        block = counts[start : start + _BLOCK]
        block = np.asarray(block if isinstance(block, np.ndarray) else block.toarray(), np.float32)
        # The last block is filled up, so that one program serves all.
        filled = np.pad(block, ((0, _BLOCK - len(block)), (0, 0)), mode="edge")
        parts.append(np.asarray(_proportions(model, filled))[: len(block)])
    return np.concatenate(parts)


@compiled
def _proportions(model: TopicModel, counts: Any) -> Any:
    return jax.vmap(model.proportions)(counts)


def store_topics(model: TopicModel, corpus: Corpus, run: RunFolder) -> dict[str, Any]:
    """Topics, the commonest first, with what is said of them in tables and pictures."""
    theta = proportions(model, corpus.counts)
    lengths = np.asarray(corpus.counts.sum(axis=1)).ravel()
    prevalence = lengths @ theta / lengths.sum()
    order = np.argsort(-prevalence, kind="stable")
    topics, prevalence = np.asarray(model.topics, np.float64)[order], prevalence[order]
    shares = prevalence @ topics
    num_words = topics.shape[1]
    top = measures.top_words(topics, min(_COHERENT, num_words))
    association = measures.npmi(top, corpus.counts)
    coherence = measures.c_v(top, corpus.counts, corpus.sequences)
    relevant = measures.top_words(measures.relevance(topics, shares), min(_PRINTED, num_words))
    places = measures.layout(measures.topic_distances(topics))
    words = np.array(corpus.vocabulary)
    record = {
        "npmi": float(association.mean()),
        "npmi_standard_error": error_of_mean(association),
        "c_v": float(coherence.mean()),
        "c_v_standard_error": error_of_mean(coherence),
        "c_v_windows": "documents" if corpus.sequences is None else f"{measures.WINDOW} words",
        "diversity": measures.topic_diversity(measures.top_words(topics, min(_DIVERSE, num_words))),
        "num_distinct": measures.num_distinct(top),
        "num_documents": len(corpus),
        "num_words": corpus.num_words,
        "topics": [
            {
                "topic": number + 1,
                "component": int(order[number]),
                "prevalence": float(prevalence[number]),
                "npmi": float(association[number]),
                "c_v": float(coherence[number]),
                "words": words[top[number]].tolist(),
                "relevant_words": words[relevant[number]].tolist(),
                "place": places[number].tolist(),
            }
            for number in range(len(topics))
        ],
    }
    arrays = {"topics": topics.astype(np.float32), "prevalence": prevalence, "shares": shares}
    write_arrays(run.path / "topics.npz", arrays)
    write_json(run.path / "topics.json", record)
    return record
