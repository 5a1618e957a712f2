"""A variational autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_array, check_is_fitted

from tighter._checks import require
from tighter._errors import NonFiniteError
from tighter._examples import Admitted, admitted, moved_back, restored
from tighter._programs import compiled
from tighter.distributions import draw, is_reparameterizable
from tighter.evaluation import impute
from tighter.gradients import VIMCO, DoublyReparameterized, Estimator
from tighter.integrations import _sklearn_table as tables
from tighter.integrations._sklearn_estimator import (
    ROWS,
    SCORED_ROWS,
    VariationalEstimator,
    adam,
    even_batches,
    in_blocks,
    key_of,
    row_bounds,
)
from tighter.models import VAE, Missing, Observation, Standardized, Support, observation_from_name
from tighter.objectives.objective import Objective
from tighter.training.feed import InMemory
from tighter.training.order import Order
from tighter.training.steps import Steps, keys_of

# One program to compile instead of one a layer; it runs once, so that speed is no matter.
_OPTIONS: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
_create = compiled(VAE.create, **_OPTIONS)


@dataclasses.dataclass(kw_only=True, repr=False, eq=False)
class VariationalAutoencoder(DensityMixin, VariationalEstimator):
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

    hidden: Any = (200, 200)
    bound: Any = "iwae"
    num_samples: Any = 8
    observation: Any = "diagonal-gaussian"
    prior: Any = None
    posterior: Any = None
    activation: Any = "tanh"
    max_iter: Any = 200
    learning_rate: Any = 1e-3

    def fit(self, X: Any, y: Any = None) -> VariationalAutoencoder:
        """Train from nothing.

        Args:
            X: Table (N, columns); missing entries NaN.
            y: Not used.

        Raises:
            InputError: If a parameter or X can't be right.
            NonFiniteError: If a bound or a gradient is not finite in training.
        """
        self._check_parameters(self.max_iter, self.learning_rate)
        values = tables.table(self, X, reset=True, least=2)
        model = self._start(values)
        train, validation = self._split_aside(values)
        self._train(
            model,
            train,
            self._objective,
            validation=validation,
            num_epochs=self.max_iter,
            learning_rate=float(self.learning_rate),
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
        self._check_parameters(self.max_iter, self.learning_rate)
        first = "model_" not in vars(self)
        values = tables.table(self, X, reset=first, least=2 if first else 1)
        model = self._start(values) if first else self.model_
        if first:
            self.n_iter_, self.best_iter_ = 0, 0
            self.bounds_, self.validation_bounds_ = np.zeros(0), None
        self._check_support(model, values)
        near, xs, origin = admitted(model, values)
        self._seen_missing |= bool(np.isnan(xs).any())
        trained, self._optimizer_state, bound = _one_epoch(
            near,
            xs,
            self._objective,
            optimizer=adam("constant", float(self.learning_rate), 0),
            optimizer_state=self._optimizer_state,
            batch_size=even_batches(len(xs), self.batch_size),
            key=jax.random.fold_in(self._key("fit"), self.n_iter_ + 1),
        )
        self.model_ = moved_back(trained, origin)
        self.n_iter_ += 1
        self.best_iter_ = self.n_iter_
        self.bounds_ = np.append(self.bounds_, bound)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Means of q(z|x), shape (N, n_components)."""
        near, xs, _ = self._admitted(self._table(X))
        num, key = self.num_likelihood_samples, self._key("draws")
        return in_blocks(lambda block: _encode(near, block, num, key), xs, ROWS)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Means of p(x|z), shape (N, columns)."""
        check_is_fitted(self, "model_")
        zs = tables.single(check_array(Z))
        require(
            zs.shape[1] == self._n_features_out,
            f"Z has {zs.shape[1]} columns, and z has {self._n_features_out} dimensions: give what "
            "transform made",
        )
        near, origin = self._near()
        return restored(in_blocks(lambda block: _decode(near, block), zs, ROWS), origin)

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Log-likelihood of each row, $\log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$, in nats.

        Of K = `num_likelihood_samples` draws, from below in expectation. Where entries are missing
        it is that of the others. The same row has the same number in any table.
        """
        near, xs, _ = self._admitted(self._table(X))
        objective, key = self._scoring(self._objective.gradient), self._key("draws")
        return in_blocks(lambda block: _bounds(near, block, objective, key), xs, SCORED_ROWS)

    score = VariationalEstimator.score  # pyright: ignore[reportAssignmentType]

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draws of x, shape (n_samples, columns); the same at each call if random_state is a seed.

        Raises:
            InputError: If `n_samples` is below 1.
        """
        key = self._sample_key(n_samples=n_samples)
        near, origin = self._near()
        return restored(np.asarray(_draws(near, n_samples, key)), origin)

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
        return tables.framed(np.where(missing, filled.values, values), X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _static_of(self, model: VAE) -> Observation:
        # Fitted to the examples: what it says of them need not be an array.
        return model.observation

    def _like(self, static: Observation) -> Any:
        made = self._made | {"observation": static}
        return eqx.filter_eval_shape(VAE.create, **made, key=jax.random.key(0))

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.model_.family.latent_shape(self.model_.num_latent))

    def _start(self, values: np.ndarray) -> VAE:
        """The model before training, and its objective."""
        self._begin_seed()
        self._made = {
            "shape": values.shape[1:],
            "num_latent": int(self.n_components),
            "hidden": tuple(map(int, self.hidden)),
            "activation": self.activation,
            "posterior": self.posterior,
            "prior": self.prior,
        }
        observation = self._observation(values)
        model = _create(observation=observation, **self._made, key=self._key("start"))
        self._objective = self._objective_by(lambda: _suitable_gradient(model))
        self._seen_missing = bool(np.isnan(values).any())
        return model.initialized_from(values, key=self._key("start"))

    def _observation(self, values: np.ndarray) -> Observation:
        """The family, standardized where it is over all numbers; entries may be missing.

        Raises:
            InputError: If there is no such family, or a column's density would have no bound.
        """
        family, shape = self.observation, values.shape[1:]
        if isinstance(family, str):
            family = observation_from_name(family, shape)
        if isinstance(family, Missing):
            return family
        if family.support == Support():
            tables.refuse_constant(values, names=vars(self).get("feature_names_in_"))
            family = family if isinstance(family, Standardized) else Standardized(family, shape)
        return Missing(family)

    def _table(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        values = tables.table(self, X, reset=False)
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
        names = vars(self).get("feature_names_in_", ())
        model.observation.check(xs, names=list(names))


def _suitable_gradient(model: VAE) -> Estimator:
    """Through the path where the posterior has one."""
    posterior = model.family.distribution(jnp.zeros(model.family.shape(model.num_latent)))
    return DoublyReparameterized() if is_reparameterizable(posterior) else VIMCO()


def _one_epoch(
    model: VAE,
    xs: np.ndarray,
    objective: Objective,
    *,
    optimizer: optax.GradientTransformation,
    optimizer_state: PyTree,
    batch_size: int,
    key: Key[Array, ""],
) -> tuple[VAE, PyTree, float]:
    """Train for one epoch from where another left off; `optimizer_state` is None before the first.

    Returns:
        The model, the optimizer's state, and the mean bound of the epoch in nats an example.

    Raises:
        NonFiniteError: If a bound or a gradient is not finite.
    """
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    num_steps = len(xs) // batch_size
    until = jnp.asarray(num_steps)
    steps = Steps(static, objective, optimizer, None, batch_size, len(xs), until, keys_of(key))
    start = steps.initial(arrays)
    if optimizer_state is not None:
        start = start._replace(optimizer=optimizer_state)
    block, _ = InMemory(xs, Order(steps.keys.permutation, len(xs), batch_size)).block(0)
    state, finite = steps.run(start, block, until)
    if not finite:
        good = steps.before_fault(start, block, int(state.step))
        raise NonFiniteError(
            f"step {int(good.step) + 1} of the epoch: a value that is not finite; the parameters "
            "are as before; try a smaller learning rate, or look at these rows"
        )
    bound = float(state.bound_sum) / num_steps
    return eqx.combine(state.arrays, static), state.optimizer, bound


@compiled
def _draws(model: VAE, num: int, key: Key[Array, ""]) -> Array:
    return model.sample(key, num)


@compiled
def _encode(
    model: VAE, xs: Float[Array, "rows columns"], num_samples: int, key: Key[Array, ""]
) -> Float[Array, "rows latent"]:
    """Mean of q(z|x) of each row, flattened; of so many draws where it has no closed form."""

    def mean_of(x: Array) -> Array:
        posterior: Any = model.posterior(x)
        if _has_mean(posterior):
            return posterior.mean.reshape(-1)
        keys = jax.random.split(key_of(x, key), num_samples)
        drawn = jax.vmap(lambda key: draw(posterior, key=key))(keys)
        return jnp.mean(drawn, axis=0, dtype=float).reshape(-1)

    return jax.vmap(mean_of)(xs)


@compiled
def _decode(model: VAE, zs: Float[Array, "rows latent"]) -> Float[Array, "rows columns"]:
    """Mean of p(x|z) of each row."""
    shape = model.family.latent_shape(model.num_latent)
    return jax.vmap(lambda z: model.likelihood_mean(z.reshape(shape)))(zs)


_bounds = compiled(row_bounds)


def _has_mean(posterior: Any) -> bool:
    """Whether it has a mean in closed form."""
    try:
        return isinstance(posterior.mean, jax.Array)
    except (AttributeError, NotImplementedError):
        return False
