"""A topic model as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from tighter._errors import InputError
from tighter._programs import compiled
from tighter.bounds import IWAE, Side, bound_from_name
from tighter.gradients import ScoreFunction, estimator_from_name
from tighter.integrations import _sklearn_build as built
from tighter.integrations import _sklearn_input as given
from tighter.integrations import _sklearn_programs as programs
from tighter.integrations._sklearn_fit import fit_estimator, split_aside
from tighter.models.topics.model import TopicModel as Model
from tighter.objectives.objective import Objective

# One program for each of these serves tables of any length; the last block is filled up.
_ROWS, _SCORED_ROWS = 256, 16


class TopicModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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

    # Whatever is handed in is kept as it is, as estimators do, and checked by fit.
    def __init__(
        self,
        n_components: Any = 10,
        *,
        product: Any = False,
        doc_topic_prior: Any = None,
        posterior: Any = None,
        hidden: Any = (100, 100),
        bound: Any = "elbo",
        gradient: Any = "reparameterized",
        num_samples: Any = 1,
        max_iter: Any = None,
        batch_size: Any = 200,
        learning_rate: Any = None,
        validation_fraction: Any = 0.1,
        num_likelihood_samples: Any = 1000,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.n_components = n_components
        self.product = product
        self.doc_topic_prior = doc_topic_prior
        self.posterior = posterior
        self.hidden = hidden
        self.bound = bound
        self.gradient = gradient
        self.num_samples = num_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.num_likelihood_samples = num_likelihood_samples
        self.random_state = random_state
        self.verbose = verbose

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
        objective = self._objective()
        counts = self._counts(X, reset=True)
        counts = counts[counts.sum(axis=1) > 0]
        if len(counts) < 2:
            raise InputError(
                f"X has n_samples={len(counts)} documents with a word: topics are of several"
            )
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        train, validation = split_aside(self, counts, seed=self._seed)
        rate = float(self.learning_rate or (0.01 if self.product else 0.05))
        fit_estimator(
            self,
            # Topics start from whole words.
            self._create().initialized_from(np.ceil(train), key=self._key("start")),
            train,
            objective,
            validation=validation,
            num_epochs=self.max_iter or (25 if self.product else 20),
            optimizer=lambda steps: built.adam("cosine", rate, steps),
            key=self._key("fit"),
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
        return programs.in_blocks(lambda block: _proportions(model, block), counts, _ROWS)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Probabilities of words given proportions of topics, shape (N, words)."""
        check_is_fitted(self, "model_")
        checked: Any = check_array(Z)
        Z = np.asarray(checked, np.float64)
        if Z.shape[1] != len(self.components_):
            raise InputError(
                f"Z has {Z.shape[1]} columns, and there are {len(self.components_)} topics: give "
                "what transform made"
            )
        if (Z < 0).any() or not np.allclose(Z.sum(axis=1), 1, atol=1e-3):
            raise InputError("rows of Z are proportions, from 0 and adding up to one")
        logs = jnp.log(jnp.asarray(np.maximum(Z, np.finfo(np.float32).tiny), jnp.float32))
        return np.asarray(_word_probabilities(self.model_, logs))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood of each document's words, in nats, by importance sampling.

        From below in expectation, of `num_likelihood_samples` draws of θ. The same document has
        the same number in any table.
        """
        check_is_fitted(self, "model_")
        counts = self._counts(X, reset=False)
        objective = programs.scoring(IWAE(), ScoreFunction(), int(self.num_likelihood_samples))
        best = self.model_.for_scoring()
        key = self._key("draws")
        return programs.in_blocks(
            lambda block: _scores(best, block, objective, key), counts, _SCORED_ROWS
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood, in nats a document; larger is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

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
        given.check_counts(n_samples=n_samples, length=words)
        seed: Any = check_random_state(self.random_state).randint(2**31)
        keys = jax.random.split(self._key("sample", seed=int(seed)), n_samples)
        return np.asarray(_draws(dataclasses.replace(self.model_, length=int(words)), keys))

    def perplexity(self, X: Any) -> float:
        """Perplexity, exp of minus the log-likelihood a word; smaller is better."""
        scores = self.score_samples(X)
        num_words = float(self._counts(X, reset=False).sum(dtype=np.float64))
        if num_words == 0:
            raise InputError("perplexity is a number a word, and these documents have none")
        return math.exp(-float(scores.sum(dtype=np.float64)) / num_words)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        held: Any = super().__getstate__()
        state = dict(held)
        if "model_" in state:  # functions in a model can't be pickled, its arrays can
            leaves = jax.tree.leaves(eqx.filter(state["model_"], eqx.is_array))
            state["model_"] = [np.asarray(leaf) for leaf in leaves]
            state["_length"] = self.model_.length
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        leaves, length = state.pop("model_", None), state.pop("_length", None)
        super().__setstate__(state)
        if leaves is not None:
            arrays, static = eqx.partition(self._create(), eqx.is_array)
            arrays = jax.tree.unflatten(
                jax.tree.structure(arrays), [jnp.asarray(leaf) for leaf in leaves]
            )
            model = eqx.combine(arrays, static)
            self.model_ = dataclasses.replace(model, length=length)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _check_parameters(self) -> None:
        names = ("n_components", "num_samples", "batch_size", "num_likelihood_samples")
        given.check_counts(**{name: getattr(self, name) for name in names})
        given.check_widths(self.hidden)
        given.check_share(self.validation_fraction)
        if self.max_iter is not None:
            given.check_counts(max_iter=self.max_iter)
        if self.learning_rate is not None:
            given.check_rate(self.learning_rate)
        alpha = self.doc_topic_prior
        if alpha is not None and not (
            isinstance(alpha, numbers.Real) and 0 < float(alpha) < np.inf
        ):
            raise InputError(f"doc_topic_prior is a number above zero, got {alpha!r}")

    def _objective(self) -> Objective:
        bound = bound_from_name(self.bound)
        if bound.side is Side.UPPER:
            raise InputError(f"{self.bound} is an upper bound: take elbo, iwae or renyi:0.5")
        gradient = estimator_from_name(self.gradient)
        return Objective(bound, gradient, num_samples=int(self.num_samples))

    def _create(self) -> Model:
        num_words: Any = self.n_features_in_  # type: ignore[attr-defined]
        return Model.create(
            num_words,
            num_topics=int(self.n_components),
            posterior=self.posterior,
            product=bool(self.product),
            alpha=None if self.doc_topic_prior is None else float(self.doc_topic_prior),
            hidden=given.check_widths(self.hidden),
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
        if counts.shape[1] < 2:
            raise InputError(f"X has {counts.shape[1]} feature(s), and topics are of several words")
        return counts

    def _key(self, purpose: str, *, seed: int | None = None) -> Key[Array, ""]:
        seeded = jax.random.key(self._seed if seed is None else seed)
        return jax.random.fold_in(seeded, ("start", "fit", "draws", "sample").index(purpose))


@compiled
def _proportions(model: Model, counts: Array) -> Array:
    return jax.vmap(model.proportions)(counts)


@compiled
def _draws(model: Model, keys: Key[Array, " documents"]) -> Array:
    return jax.lax.map(lambda key: model.sample(key, 1)[0], keys, batch_size=_SCORED_ROWS)


@compiled
def _scores(model: Model, counts: Array, objective: Objective, key: Key[Array, ""]) -> Array:
    def one(x: Array) -> Array:
        drawn = programs.key_of(x, key)
        return objective(model.log_joint(x), model.posterior(x), key=drawn)

    return jax.vmap(one)(counts)


@compiled
def _word_probabilities(model: Model, log_proportions: Array) -> Array:
    return jnp.exp(jax.vmap(model.words.log_probs)(log_proportions))
