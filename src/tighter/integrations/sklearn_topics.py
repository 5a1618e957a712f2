"""A topic model as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from tighter._checks import check_above, require
from tighter._programs import compiled
from tighter.gradients import Reparameterized, ScoreFunction
from tighter.integrations._sklearn_estimator import (
    ROWS,
    SCORED_ROWS,
    VariationalEstimator,
    in_blocks,
    row_bounds,
)
from tighter.models.topics.model import TopicModel as Model


@dataclasses.dataclass(kw_only=True, repr=False, eq=False)
class TopicModel(VariationalEstimator):
    r"""Topics of counts of words: latent Dirichlet allocation, or ProdLDA, by a variational bound.

    $\theta_d \sim \mathrm{Dirichlet}(\alpha)$, and each word of document d is of topic k with
    probability $\theta_{dk}$: $p(w \mid \theta) = \sum_k \theta_k \beta_{kw}$; of ProdLDA
    $\propto \exp \sum_k \theta_k \beta_{kw}$. It takes what `CountVectorizer` makes, sparse or not.

    Args:
        n_components: Topics.
        product: Whether words are a product of topics (ProdLDA) and not a mixture.
        doc_topic_prior: α; None for 1 / n_components, or 1 of ProdLDA.
        posterior: "coordinate-ascent", "dirichlet" or "logistic-normal"; None for the first, or
            the last of ProdLDA.
        hidden: Widths of the encoder's hidden layers, where there is one.
        bound: A lower bound's name in `tighter.bounds.BOUNDS`.
        gradient: An estimator's name in `tighter.gradients.ESTIMATORS`.
        num_samples: K, draws in a bound.
        max_iter: Epochs; None for 20, or 25 of ProdLDA. The learning rate falls to a hundredth by
            half a cosine.
        batch_size: Documents a step, at most: an epoch is cut into steps of equal size.
        learning_rate: Adam's, at the start; None for .05, or .01 of ProdLDA.
        validation_fraction: Share of the documents set aside; the epoch whose parameters are kept
            is the one with the largest bound on them. 0 for the last epoch.
        num_likelihood_samples: Draws of θ a document in `score_samples`.
        random_state: Seed, or generator, of all that is random.
        verbose: Whether to show progress.

    Attributes:
        model_: The `tighter.models.TopicModel`.
        components_: Each topic's probabilities of words, shape (n_components, columns).
        n_iter_: Epochs.
        best_iter_: The epoch whose parameters were kept, from 1.
        bounds_: Mean bound of each epoch, in nats a document.
        validation_bounds_: The same of the documents set aside; None if there are none.
        n_features_in_: Columns: words of the vocabulary.
        feature_names_in_: Their names, if X was a data frame.

    Example:
        >>> counts = CountVectorizer(stop_words="english").fit_transform(texts)
        >>> topics = TopicModel(n_components=20, random_state=0).fit_transform(counts)

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003; Srivastava & Sutton, "Autoencoding
        variational inference for topic models", 2017.
    """

    product: Any = False
    doc_topic_prior: Any = None
    posterior: Any = None
    hidden: Any = (100, 100)
    gradient: Any = "reparameterized"
    batch_size: Any = 200

    def fit(self, X: Any, y: Any = None) -> TopicModel:
        """Train from nothing.

        Args:
            X: Counts (N, words), sparse or not. Documents without a word say nothing, and are
                passed over; weights such as tf-idf count as parts of words.
            y: Not used.

        Raises:
            InputError: If a parameter or X can't be right.
            NonFiniteError: If a bound or a gradient is not finite in training.
        """
        self._check_parameters()
        objective = self._objective_by(Reparameterized)
        counts = self._counts(X, reset=True)
        counts = counts[counts.sum(axis=1) > 0]
        require(
            len(counts) >= 2,
            f"X has n_samples={len(counts)} documents with a word: topics are of several",
        )
        self._begin_seed()
        train, validation = self._split_aside(counts)
        self._train(
            # Topics start from whole words.
            self._create().initialized_from(np.ceil(train), key=self._key("start")),
            train,
            objective,
            validation=validation,
            num_epochs=self.max_iter or (25 if self.product else 20),
            learning_rate=float(self.learning_rate or (0.01 if self.product else 0.05)),
        )
        self.components_ = np.asarray(self.model_.topics)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means of the topics' proportions, shape (N, n_components).

        A document without a word has the prior's.
        """
        check_is_fitted(self, "model_")
        counts = self._counts(X, reset=False)
        model = self.model_
        return in_blocks(lambda block: _proportions(model, block), counts, ROWS)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Probabilities of words given proportions of topics, shape (N, words)."""
        check_is_fitted(self, "model_")
        checked: Any = check_array(Z)
        Z = np.asarray(checked, np.float64)
        num = len(self.components_)
        require(
            Z.shape[1] == num,
            f"Z has {Z.shape[1]} columns, and there are {num} topics: give what transform made",
        )
        require(
            (Z >= 0).all() and np.allclose(Z.sum(axis=1), 1, atol=1e-3),
            "rows of Z are proportions, from 0 and adding up to one",
        )
        logs = jnp.log(jnp.asarray(np.maximum(Z, np.finfo(np.float32).tiny), jnp.float32))
        return np.asarray(_word_probabilities(self.model_, logs))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood of each document's words, in nats, by importance sampling.

        From below in expectation, of `num_likelihood_samples` draws of θ. The same document has
        the same number in any table.
        """
        check_is_fitted(self, "model_")
        counts = self._counts(X, reset=False)
        best, objective = self.model_.for_scoring(), self._scoring(ScoreFunction())
        key = self._key("draws")
        return in_blocks(lambda block: _scores(best, block, objective, key), counts, SCORED_ROWS)

    def sample(self, n_samples: int = 1, *, length: int | None = None) -> np.ndarray:
        """Counts of drawn documents, shape (n_samples, words); the same at each call of a seed.

        Args:
            n_samples: Documents.
            length: Words in each; None for the median of the documents of `fit`.

        Raises:
            InputError: If a number is below 1.
        """
        check_is_fitted(self, "model_")
        words = self.model_.length if length is None else length
        key = self._sample_key(n_samples=n_samples, length=words)
        keys = jax.random.split(key, n_samples)
        return np.asarray(_draws(dataclasses.replace(self.model_, length=int(words)), keys))

    def perplexity(self, X: Any) -> float:
        """Perplexity, exp of minus the log-likelihood a word; smaller is better."""
        scores = self.score_samples(X)
        num_words = float(self._counts(X, reset=False).sum(dtype=np.float64))
        require(num_words, "perplexity is a number a word, and these documents have none")
        return math.exp(-float(scores.sum(dtype=np.float64)) / num_words)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def _static_of(self, model: Model) -> int:
        return model.length

    def _like(self, static: int) -> Model:
        return dataclasses.replace(self._create(), length=static)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.doc_topic_prior is not None:
            check_above(0.0, doc_topic_prior=self.doc_topic_prior)

    def _create(self) -> Model:
        num_words: Any = self.n_features_in_  # type: ignore[attr-defined]
        return Model.create(
            num_words,
            num_topics=int(self.n_components),
            posterior=self.posterior,
            product=bool(self.product),
            alpha=None if self.doc_topic_prior is None else float(self.doc_topic_prior),
            hidden=tuple(map(int, self.hidden)),
            key=self._key("start"),
        )

    def _counts(self, X: Any, *, reset: bool) -> np.ndarray:
        """Counts as float32."""
        values: Any = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=(np.float64, np.float32, np.int64, np.int32),
            ensure_min_samples=2 if reset else 1,
            ensure_non_negative=True,
        )
        counts = np.asarray(values.toarray() if issparse(values) else values, np.float32)
        require(
            counts.shape[1] >= 2,
            f"X has {counts.shape[1]} feature(s), and topics are of several words",
        )
        return counts


@compiled
def _proportions(model: Model, counts: Array) -> Array:
    return jax.vmap(model.proportions)(counts)


@compiled
def _draws(model: Model, keys: Key[Array, " documents"]) -> Array:
    return jax.lax.map(lambda key: model.sample(key, 1)[0], keys, batch_size=SCORED_ROWS)


_scores = compiled(row_bounds)


@compiled
def _word_probabilities(model: Model, log_proportions: Array) -> Array:
    return jnp.exp(jax.vmap(model.words.log_probs)(log_proportions))
