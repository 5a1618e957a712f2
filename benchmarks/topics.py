"""Topics of 20 Newsgroups: ours against scikit-learn's LDA, by one scorer and one evaluator.

    uv run python -m benchmarks.topics ../shared/data/20news_prodlda_bow.npz [--documents 500]

1,995 words, 50 topics, 11,258 training documents. A fit's seconds are from the model's creation to
its last step, compilation included. The evaluator is ours for all mixtures: β and α of each in a
`TopicModel`, q refined, log p(document) of held-out documents by importance sampling, and half of
each document predicted from the other half. Coherence is the mean NPMI of each topic's ten top
words in the training documents; two topics are the same where they share more than five of those.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.sparse import csr_matrix
from sklearn.decomposition import LatentDirichletAllocation

import tighter as tt
from tighter.diagnostics.topics import npmi, num_distinct, top_words
from tighter.evaluation.perplexity import document_completion, perplexity
from tighter.models.topics.model import TopicModel

NUM_TOPICS = 50


def documents(path: str, split: str) -> csr_matrix:
    """Counts of words."""
    with np.load(path) as z:
        parts = (z[f"{split}_{name}"] for name in ("counts", "indices", "indptr"))
        counts, indices, pointers = parts
        shape = (len(pointers) - 1, len(z["vocab"]))
        return csr_matrix((counts.astype(np.float32), indices, pointers), shape)


def scikit_learn(counts: csr_matrix, num_jobs: int) -> tuple[np.ndarray, float]:
    """Topics and seconds of its batch fit, its defaults otherwise."""
    began = time.perf_counter()
    lda = LatentDirichletAllocation(
        NUM_TOPICS, learning_method="batch", n_jobs=num_jobs, random_state=0
    ).fit(counts)
    seconds = time.perf_counter() - began
    return lda.components_ / lda.components_.sum(axis=1, keepdims=True), seconds


def ours(counts: np.ndarray, epochs: int, *, product: bool, seed: int) -> tuple[TopicModel, float]:
    """The model and the seconds of its fit."""
    began, key = time.perf_counter(), jax.random.key(seed)
    model = TopicModel.create(counts.shape[1], num_topics=NUM_TOPICS, product=product, key=key)
    steps = epochs * (len(counts) // 200)
    rate = optax.cosine_decay_schedule(0.01 if product else 0.05, steps, alpha=0.01)
    result = tt.fit(
        model.initialized_from(counts),
        counts,
        tt.Objective(tt.bounds.ELBO(), num_samples=1),
        optimizer=optax.adam(rate),
        num_epochs=epochs,
        batch_size=200,
        key=key,
        show_progress=False,
    )
    jax.block_until_ready(result.model.topics)
    return result.model, time.perf_counter() - began


def tell(name: str, model: TopicModel, seconds: float, train: csr_matrix, test: np.ndarray) -> None:
    """Print a model's figures."""
    top = top_words(np.asarray(model.topics))
    key, line = jax.random.key(1), f"{name}: {seconds:.1f} s"
    line += f", NPMI {npmi(top, train).mean():.3f}, {num_distinct(top)} distinct"
    if len(test):
        scored = perplexity(model, test, num_samples=500, key=key)
        line += f", perplexity {scored.value:.0f} ± {scored.monte_carlo_error:.1f} (documents: "
        line += f"± {scored.standard_error:.0f})"
        half = document_completion(model, test, num_samples=200, key=key)
        line += f", completion {half.value:.0f}"
    print(line, flush=True)


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--documents", type=int, default=500, help="held-out documents scored")
    parser.add_argument("--epochs", type=int, default=5, help="of our LDA")
    parser.add_argument("--product-epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-scikit-learn", action="store_true")
    arguments = parser.parse_args()
    train = documents(arguments.data, "train")
    held_out = documents(arguments.data, "test").toarray()
    test = held_out[np.random.default_rng(0).permutation(len(held_out))[: arguments.documents]]
    counts = train.toarray()
    model, seconds = ours(counts, arguments.epochs, product=False, seed=arguments.seed)
    tell("tighter, LDA", model.refined(), seconds, train, test)
    if not arguments.without_scikit_learn:
        for num_jobs in (1, 2):
            topics, seconds = scikit_learn(train, num_jobs)
            theirs = TopicModel.from_topics(jnp.asarray(topics), alpha=1 / NUM_TOPICS).refined()
            name = f"scikit-learn, LDA, n_jobs={num_jobs}"
            # Its topics are the same with either.
            tell(name, theirs, seconds, train, test if num_jobs == 2 else test[:0])
    model, seconds = ours(counts, arguments.product_epochs, product=True, seed=arguments.seed)
    tell("tighter, ProdLDA", model, seconds, train, test)


if __name__ == "__main__":
    main()
