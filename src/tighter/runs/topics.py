"""Topics of texts: a corpus to a trained topic model, its score, its topics; and unseen texts."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from tighter._errors import InputError
from tighter._files import sealed
from tighter._lock import alone_in
from tighter._programs import compiled
from tighter.bounds import Side, bound_from_name
from tighter.data import split
from tighter.data.corpus import Corpus
from tighter.data.dataset import Dataset
from tighter.diagnostics import topics as judged
from tighter.evaluation import log_likelihood
from tighter.evaluation.perplexity import perplexity_of
from tighter.gradients import estimator_from_name
from tighter.models.topics.model import TopicModel
from tighter.objectives.objective import Objective
from tighter.runs.build import check_seed
from tighter.runs.folder import (
    CONFIGURATION,
    check_new,
    versions,
    write_arrays,
    write_json,
)
from tighter.runs.results import store_result
from tighter.runs.scoring import error_of_mean, summary
from tighter.runs.topics_configuration import (
    KIND,
    VOCABULARY,
    TopicsConfiguration,
    TopicsRun,
    open_topics,
    read_corpus,
)
from tighter.training import FitResult, check_numbers, fit, load_parameters

Announce = Callable[[str], None]

# Epochs and steps at the least, and the learning rate, of each family.
_PACE = {"lda": (20, 150, 0.05), "prodlda": (25, 600, 0.01)}
# Documents through the encoder at a time, and the words of a topic that are told and judged.
_BLOCK = 256
_TOLD, _JUDGED, _DIVERSE = 10, 10, 25


@dataclasses.dataclass(frozen=True)
class TopicsOutcome:
    """What a run came to.

    Attributes:
        run: Its folder.
        fit: The training's result.
        evaluation: The record of the held-out score; None where training was interrupted.
        topics: The record of the topics; None where training was interrupted.
    """

    run: TopicsRun
    fit: FitResult
    evaluation: dict[str, Any] | None
    topics: dict[str, Any] | None


def train_topics(
    configuration: TopicsConfiguration,
    path: Path,
    *,
    resume: bool = False,
    command: str = "",
    announce: Announce = lambda line: None,
    show_progress: bool | None = None,
) -> TopicsOutcome:
    """Train on a corpus, score held-out documents, store topics and what a report is drawn from.

    Args:
        configuration: What to do.
        path: The run's folder.
        resume: Go on with the run in it.
        command: The command that asked for it, for the record.
        announce: Told what is going on, a line at a time.
        show_progress: As in `tighter.fit`.

    Returns:
        Folder, training result, score and topics.

    Raises:
        InputError: If the texts, the configuration or the folder is not right.
        NonFiniteError: If training meets a value that is not finite.
    """
    _check_folder(path, resume=resume)
    check_seed(configuration.training.seed)
    objective = _objective(configuration)
    corpus = read_corpus(configuration.data)
    if resume and open_topics(path).vocabulary != corpus.vocabulary:
        raise InputError(
            f"the vocabulary doesn't fit the run: the texts have changed since {path} was started "
            f"({len(corpus.vocabulary)} words, the run has {len(open_topics(path).vocabulary)})"
        )
    train, validation, test = _rows(corpus, configuration)
    configuration = _resolved(configuration, len(train))
    training = configuration.training
    xs, held_out = corpus.dense(train), corpus.dense(validation[:2000])
    model = _model(configuration, corpus.vocabulary, xs)
    epochs = training.epochs or 0
    check_numbers(xs, held_out, num_epochs=epochs, batch_size=training.batch_size)
    with alone_in(path):
        _check_folder(path, resume=resume)  # as it is, now that nobody else writes to it
        if not resume:
            sizes = {"train": len(train), "validation": len(validation), "test": len(test)}
            _write_configuration(path, configuration, model, corpus, sizes, command)
        run = open_topics(path)
        announce(
            f"{configuration.model.topics} topics ({configuration.model.family}) in {len(corpus)} "
            f"documents of {corpus.num_words} words, {len(corpus.vocabulary)} different ones, "
            f"{epochs} epochs; run folder {path}"
        )
        if corpus.left_out:
            announce(
                f"note: {len(corpus.left_out)} documents have no word of the vocabulary and are "
                f"left out, {corpus.left_out[0]} first"
            )
        result = fit(
            model,
            xs,
            objective,
            optimizer=_optimizer(configuration, epochs * (len(train) // training.batch_size)),
            num_epochs=epochs,
            batch_size=training.batch_size,
            key=jax.random.key(training.seed),
            validation=held_out,
            directory=path,
            resume=resume,
            show_progress=show_progress,
        )
        if result.interrupted:
            return TopicsOutcome(run, result, None, None)
        if not result.steps_taken:
            announce(f"note: {path} was finished before, all {epochs} epochs; it is scored again")
        model = result.best_model
        evaluation = _score(model, corpus.dense(test), run, announce=announce)
        return TopicsOutcome(run, result, evaluation, _store_topics(model, corpus, run))


def _check_folder(path: Path, *, resume: bool) -> None:
    """Refuse to start where there is a run, and to go on where there is none."""
    if resume:
        open_topics(path)
    else:
        check_new(path)


def load_topics(run: TopicsRun) -> TopicModel:
    """The trained model of a run."""
    model = _model(run.configuration, run.vocabulary, None)
    return load_parameters(run.path / "best.safetensors", model)


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


def _objective(configuration: TopicsConfiguration) -> Objective:
    objective = configuration.objective
    bound = bound_from_name(objective.bound)
    if bound.side is Side.UPPER:
        raise InputError(f"{objective.bound} is an upper bound: train with elbo, iwae, renyi:0.5")
    try:
        gradient = estimator_from_name(objective.gradient)
        return Objective(bound, gradient, num_samples=objective.num_samples)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"[objective]: {error}") from None


def _optimizer(configuration: TopicsConfiguration, num_steps: int) -> optax.GradientTransformation:
    """Adam down to a hundredth of its rate."""
    rate = configuration.training.learning_rate or 0.0
    schedule = optax.cosine_decay_schedule(rate, max(1, num_steps), alpha=0.01)
    return optax.adam(schedule)


def _resolved(configuration: TopicsConfiguration, num_documents: int) -> TopicsConfiguration:
    """The configuration with what was left out decided."""
    training = configuration.training
    num_epochs, num_steps, rate = _PACE[configuration.model.family]
    batch_size = min(training.batch_size, max(1, num_documents // 4))
    least = -(-num_steps // max(1, num_documents // batch_size))
    epochs = training.epochs or max(num_epochs, least)
    rate = training.learning_rate or rate
    changed = dataclasses.replace(
        training, epochs=epochs, batch_size=batch_size, learning_rate=rate
    )
    return dataclasses.replace(configuration, training=changed)


def _rows(corpus: Corpus, configuration: TopicsConfiguration) -> tuple[np.ndarray, ...]:
    """Which documents are for training, validation and test."""
    data, seed = configuration.data, configuration.training.seed
    known = len(corpus) - corpus.num_test
    rows = Dataset(np.arange(known, dtype=np.int64)[:, None])
    needed = 1 + (data.validation > 0) + (data.test > 0 and not corpus.num_test)
    if known < needed:
        raise InputError(
            f"{known} document{'s' * (known != 1)} can't be split for training, validation and "
            "test: give more documents"
        )
    official = Dataset(np.arange(known, len(corpus))[:, None]) if corpus.num_test else None
    parts = split(rows, validation=data.validation, test=official or data.test, seed=seed)
    found = (parts.train, parts.validation, parts.test)
    return tuple(part.x[:, 0].astype(np.int64) for part in found)


def _model(
    configuration: TopicsConfiguration, vocabulary: tuple[str, ...], xs: np.ndarray | None
) -> TopicModel:
    given, key = configuration.model, jax.random.key(configuration.training.seed)
    model = TopicModel.create(
        len(vocabulary),
        num_topics=given.topics,
        posterior=given.posterior,
        product=given.family == "prodlda",
        alpha=given.alpha,
        hidden=given.hidden,
        key=key,
    )
    return model if xs is None else model.initialized_from(xs, key=key)


def _score(
    model: TopicModel, counts: np.ndarray, run: TopicsRun, *, announce: Announce
) -> dict[str, Any]:
    """Log-likelihoods of test documents by importance sampling, and their perplexity."""
    evaluation, seed = run.configuration.evaluation, run.configuration.training.seed
    counts = counts[: evaluation.num_examples]
    announce(f"log-likelihood of {len(counts)} test documents, K = {evaluation.num_samples}")
    key = jax.random.fold_in(jax.random.key(seed), 1)
    num_samples = evaluation.num_samples
    estimates = log_likelihood(model, counts, num_samples=num_samples, key=key)
    lengths = counts.sum(axis=1)
    error = np.nan_to_num(estimates.standard_error)
    scored = perplexity_of(estimates.value, lengths, error)
    record = {
        "split": "test",
        "num_examples": len(counts),
        "num_words": int(lengths.sum()),
        "num_samples": num_samples,
        "seed": seed,
        "perplexity": scored.value,
        "perplexity_standard_error": scored.standard_error if len(counts) > 1 else None,
        "perplexity_monte_carlo_error": scored.monte_carlo_error,
        **summary(estimates),
    }
    return store_result(
        run.path, "evaluation", record, estimates._asdict(),
        settings={"K": num_samples, "n": len(counts), "seed": seed, "": "test"},
        effort=num_samples * len(counts),
    )  # fmt: skip


def _store_topics(model: TopicModel, corpus: Corpus, run: TopicsRun) -> dict[str, Any]:
    """Topics, the commonest first, with what is said of them in tables and pictures."""
    theta = proportions(model, corpus.counts)
    lengths = np.asarray(corpus.counts.sum(axis=1)).ravel()
    prevalence = lengths @ theta / lengths.sum()
    order = np.argsort(-prevalence, kind="stable")
    topics, prevalence = np.asarray(model.topics, np.float64)[order], prevalence[order]
    shares = prevalence @ topics
    num_words = topics.shape[1]
    top = judged.top_words(topics, min(_JUDGED, num_words))
    npmi = judged.npmi(top, corpus.counts)
    coherence = judged.c_v(top, corpus.counts, corpus.sequences)
    relevant = judged.top_words(judged.relevance(topics, shares), min(_TOLD, num_words))
    places = judged.layout(judged.topic_distances(topics))
    words = np.array(corpus.vocabulary)
    record = {
        "npmi": float(npmi.mean()),
        "npmi_standard_error": error_of_mean(npmi),
        "c_v": float(coherence.mean()),
        "c_v_standard_error": error_of_mean(coherence),
        "c_v_windows": "documents" if corpus.sequences is None else f"{judged.WINDOW} words",
        "diversity": judged.topic_diversity(judged.top_words(topics, min(_DIVERSE, num_words))),
        "num_distinct": judged.num_distinct(top),
        "num_documents": len(corpus),
        "num_words": corpus.num_words,
        "topics": [
            {
                "topic": number + 1,
                "component": int(order[number]),
                "prevalence": float(prevalence[number]),
                "npmi": float(npmi[number]),
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


def _write_configuration(
    path: Path,
    configuration: TopicsConfiguration,
    model: TopicModel,
    corpus: Corpus,
    sizes: dict[str, int],
    command: str,
) -> None:
    write_json(path / VOCABULARY, {"words": list(corpus.vocabulary)})
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    record = {
        "command": command,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kind": KIND,
        "configuration": configuration.to_dict(),
        "data_sizes": sizes,
        "corpus": {
            "documents": len(corpus),
            "left_out": len(corpus.left_out),
            "words": corpus.num_words,
            "vocabulary": len(corpus.vocabulary),
            "words_not_in_the_vocabulary": corpus.num_unknown,
        },
        "num_parameters": sum(math.prod(leaf.shape) for leaf in arrays),
        "device": str(jax.devices()[0]),
        "versions": versions(),
    }
    write_json(path / CONFIGURATION, sealed(record))
