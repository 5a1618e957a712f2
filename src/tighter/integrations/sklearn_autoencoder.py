"""A variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import math
import warnings
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from tighter._errors import InputError
from tighter._examples import Admitted, admitted, moved_back, restored
from tighter.bounds import IWAE
from tighter.evaluation import impute
from tighter.integrations import _sklearn_build as built
from tighter.integrations import _sklearn_input as given
from tighter.integrations import _sklearn_programs as programs
from tighter.integrations import _sklearn_state as stored
from tighter.integrations._sklearn_epoch import one_epoch
from tighter.integrations._sklearn_fit import fit_estimator, split_aside
from tighter.models import VAE


class VariationalAutoencoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    r"""Variational autoencoder of a table: encodings, densities, draws, and missing entries.

    $z \sim p(z)$, $x \sim p(x \mid \text{decoder}(z))$, trained by a bound on $\log p(x)$; entries
    of x may be missing (NaN), and count for nothing then. Columns are standardized inside, where
    the observation family is one over all numbers; whatever goes in and comes out is in the units
    of X, log-likelihoods are in nats.

    Args:
        n_components: Dimensions of z.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        bound: A lower bound's name in `tighter.bounds.BOUNDS`, or a `tighter.bounds` object.
        gradient: An estimator's name in `tighter.gradients.ESTIMATORS`, or a `tighter.gradients`
            object; None for doubly reparameterized, or VIMCO where z is discrete.
        num_samples: K, draws in a bound.
        observation: The family p(x|z), or its name in `tighter.models.OBSERVATIONS`. The usual one
            has a mean from the decoder and a standard deviation a column; with "student-t" gross
            outliers weigh less.
        prior: The family p(z), or its name in `tighter.models.PRIORS`.
        posterior: The family q(z|x), or its name in `tighter.models.POSTERIORS`.
        activation: A name of `tighter.models.ACTIVATIONS`.
        max_iter: Epochs. The learning rate falls to a hundredth by half a cosine.
        batch_size: Examples a step, at most: an epoch is cut into steps of equal size.
        learning_rate: Adam's, at the start.
        validation_fraction: Share of the examples set aside; the epoch whose parameters are kept
            is the one with the largest bound on them. 0, or too few examples to set one aside, for
            the last epoch.
        num_likelihood_samples: Draws of z an example in `score_samples` and `impute`.
        random_state: Seed, or generator, of all that is random.
        verbose: Whether to show progress.

    Attributes:
        model_: The `tighter.models.VAE`: `tighter.log_likelihood(model_, X)` says how far the
            scores can be trusted.
        n_iter_: Epochs.
        best_iter_: The epoch whose parameters were kept, from 1.
        bounds_: Mean bound of each epoch, in nats an example.
        validation_bounds_: The same of the examples set aside; None if there are none.
        n_features_in_: Columns.
        feature_names_in_: Their names, if X was a data frame.

    Example:
        >>> autoencoder = VariationalAutoencoder(n_components=2, random_state=0).fit(X)
        >>> autoencoder.score_samples(X).mean()

    References:
        Kingma & Welling, "Auto-encoding variational Bayes", 2014; Mattei & Frellsen, "MIWAE: deep
        generative modelling and imputation of incomplete data sets", 2019.
    """

    # Whatever is handed in is kept as it is, as estimators do, and checked by fit.
    def __init__(
        self,
        n_components: Any = 10,
        *,
        hidden: Any = (200, 200),
        bound: Any = "iwae",
        gradient: Any = None,
        num_samples: Any = 8,
        observation: Any = "diagonal-gaussian",
        prior: Any = None,
        posterior: Any = None,
        activation: Any = "tanh",
        max_iter: Any = 200,
        batch_size: Any = 64,
        learning_rate: Any = 1e-3,
        validation_fraction: Any = 0.1,
        num_likelihood_samples: Any = 1000,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.n_components = n_components
        self.hidden = hidden
        self.bound = bound
        self.gradient = gradient
        self.num_samples = num_samples
        self.observation = observation
        self.prior = prior
        self.posterior = posterior
        self.activation = activation
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.num_likelihood_samples = num_likelihood_samples
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> VariationalAutoencoder:
        """Train from nothing.

        Args:
            X: Table (N, columns); missing entries NaN.
            y: Not used.

        Raises:
            InputError: If a parameter or X can't be right.
            NonFiniteError: If a bound or a gradient is not finite in training.
        """
        self._check_parameters()
        values = given.table(self, X, reset=True, least=2)
        model = self._start(values)
        train, validation = split_aside(self, values, seed=self._seed)
        fit_estimator(
            self,
            model,
            train,
            self._objective,
            validation=validation,
            num_epochs=self.max_iter,
            optimizer=lambda steps: built.adam("cosine", float(self.learning_rate), steps),
            key=self._key("fit"),
        )
        return self

    def partial_fit(self, X: Any, y: Any = None) -> VariationalAutoencoder:
        """Go on training from the present parameters, for one epoch of these examples.

        The first call, without `fit` before it, starts the model, and takes locations and scales
        of the columns from its examples: many will do better than few.

        Args:
            X: Table (N, columns); missing entries NaN.
            y: Not used.

        Raises:
            InputError: If a parameter or X can't be right.
            NonFiniteError: If a bound or a gradient is not finite.
        """
        self._check_parameters()
        first = not hasattr(self, "model_")
        values = given.table(self, X, reset=first, least=2 if first else 1)
        model = self._start(values) if first else self.model_
        if first:
            self.n_iter_, self.best_iter_ = 0, 0
            self.bounds_, self.validation_bounds_ = np.zeros(0), None
        self._check_support(model, values)
        near, xs, origin = admitted(model, values)
        self._seen_missing |= bool(np.isnan(xs).any())
        epoch = one_epoch(
            near,
            xs,
            self._objective,
            optimizer=built.adam("constant", float(self.learning_rate), 0),
            optimizer_state=self._optimizer_state,
            batch_size=given.even_batches(len(xs), self.batch_size),
            key=jax.random.fold_in(self._key("fit"), self.n_iter_ + 1),
        )
        self.model_ = moved_back(epoch.model, origin)
        self._optimizer_state = epoch.optimizer_state
        self.n_iter_ += 1
        self.best_iter_ = self.n_iter_
        self.bounds_ = np.append(self.bounds_, epoch.bound)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Means of q(z|x), shape (N, n_components)."""
        near, xs, _ = self._admitted(self._table(X))
        num = self.num_likelihood_samples
        return programs.encodings(near, xs, num_samples=num, key=self._key("draws"))

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Means of p(x|z), shape (N, columns)."""
        check_is_fitted(self, "model_")
        zs = given.single(check_array(Z))
        if zs.shape[1] != self._n_features_out:
            raise InputError(
                f"Z has {zs.shape[1]} columns, and z has {self._n_features_out} dimensions: give "
                "what transform made"
            )
        near, origin = self._near()
        return restored(programs.decodings(near, zs), origin)

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Log-likelihood of each row, $\log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$, in nats.

        Of K = `num_likelihood_samples` draws, from below in expectation. Where entries are missing
        it is that of the others. The same row has the same number in any table.
        """
        near, xs, _ = self._admitted(self._table(X))
        gradient = self._objective.gradient
        objective = programs.scoring(IWAE(), gradient, self.num_likelihood_samples)
        return programs.log_likelihoods(near, xs, objective, key=self._key("draws"))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood, in nats an example; larger is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draws of x, shape (n_samples, columns); the same at each call if random_state is a seed.

        Raises:
            InputError: If `n_samples` is below 1.
        """
        check_is_fitted(self, "model_")
        given.check_counts(n_samples=n_samples)
        key = self._key("sample", seed=_seed(self.random_state))
        near, origin = self._near()
        return restored(np.asarray(programs.draws(near, n_samples, key)), origin)

    def impute(self, X: Any, n_draws: int = 0) -> Any:
        r"""X with its missing entries filled in by $\mathrm E[x_m \mid x_o]$.

        By self-normalized importance sampling with `num_likelihood_samples` draws of z.

        Args:
            X: Table (N, columns); missing entries NaN.
            n_draws: If above 0, so many draws of all missing entries together instead.

        Returns:
            The completed table, a data frame if X is one; or the draws, shape (n_draws, N,
            columns). Entries that are there are as they were.

        Raises:
            InputError: If X is outside the observation family's support, or `n_draws` below 0.
        """
        values = self._table(X)
        self._check_support(self.model_, values)
        filled = impute(
            self.model_,
            values,
            num_samples=self.num_likelihood_samples,
            num_draws=n_draws,
            key=self._key("draws"),
            show_progress=None if self.verbose else False,
        )
        missing = np.isnan(values)
        if n_draws:
            return np.where(missing, filled.draws, values)
        return given.framed(np.where(missing, filled.values, values), X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return stored.packed(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(stored.unpacked(state))

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.model_.family.latent_shape(self.model_.num_latent))

    def _check_parameters(self) -> None:
        """Refuse parameters that can't be right, before anything is changed."""
        names = ("n_components", "num_samples", "max_iter", "batch_size", "num_likelihood_samples")
        given.check_counts(**{name: getattr(self, name) for name in names})
        given.check_widths(self.hidden)
        given.check_rate(self.learning_rate)
        given.check_share(self.validation_fraction)

    def _start(self, values: np.ndarray) -> VAE:
        """The model before training, and its objective."""
        self._seed = _seed(self.random_state)
        names = getattr(self, "feature_names_in_", None)
        observation = built.observation_of(self.observation, values, names=names)
        self._made = {
            "shape": values.shape[1:],
            "num_latent": int(self.n_components),
            "hidden": given.check_widths(self.hidden),
            "activation": self.activation,
            "posterior": self.posterior,
            "prior": self.prior,
        }
        model = built.create(observation=observation, **self._made, key=self._key("start"))
        self._objective = built.objective_of(
            self.bound, self.gradient, int(self.num_samples), model=model
        )
        self._optimizer_state = None
        self._seen_missing = bool(np.isnan(values).any())
        return model.initialized_from(values, key=self._key("start"))

    def _table(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        values = given.table(self, X, reset=False)
        if np.isnan(values).any() and not self._seen_missing:
            warnings.warn(
                "X has missing entries, and the examples of fit had none: the encoder has not "
                "learned to do without; fit with missing entries too, or raise "
                "num_likelihood_samples",
                stacklevel=3,
            )
        return values

    def _admitted(self, values: np.ndarray) -> Admitted:
        """The table in single precision, and the model of it; what doesn't fit is named."""
        self._check_support(self.model_, values)
        return admitted(self.model_, values)

    def _near(self) -> tuple[VAE, Any]:
        """The model of what the origin leaves, and the origin."""
        origin = self.model_.origin
        return (self.model_.moved(-origin), origin) if np.any(origin) else (self.model_, 0.0)

    def _check_support(self, model: VAE, xs: np.ndarray) -> None:
        names = getattr(self, "feature_names_in_", ())
        model.observation.check(xs, names=list(names))

    def _key(self, purpose: str, *, seed: int | None = None) -> Key[Array, ""]:
        seeded = jax.random.key(self._seed if seed is None else seed)
        return jax.random.fold_in(seeded, ("start", "fit", "draws", "sample").index(purpose))


def _seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31))
