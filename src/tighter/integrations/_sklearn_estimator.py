"""What the scikit-learn estimators share: parameters, training, blocks of rows, pickles."""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from tighter._checks import check_above, check_counts, require
from tighter.bounds import IWAE, Side, bound_from_name
from tighter.gradients import Estimator, estimator_from_name
from tighter.objectives.objective import Objective
from tighter.training import SCHEDULES, fit

# One program for each of these serves tables of any length; the last block is filled up.
ROWS, SCORED_ROWS = 256, 16
# Draws in memory at a time where a row is scored.
_DRAWS = 256
_PURPOSES = ("start", "fit", "draws", "sample")


# Whatever is handed in is kept as it is, as estimators do, and checked by fit.
@dataclasses.dataclass(repr=False, eq=False)
class VariationalEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, abc.ABC
):
    """A model trained by a bound, as scikit-learn has estimators."""

    n_components: Any = 10
    _: dataclasses.KW_ONLY
    hidden: Any = ()
    bound: Any = "elbo"
    gradient: Any = None
    num_samples: Any = 1
    max_iter: Any = None
    batch_size: Any = 64
    learning_rate: Any = None
    validation_fraction: Any = 0.1
    num_likelihood_samples: Any = 1000
    random_state: Any = None
    verbose: Any = False

    @abc.abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Log-likelihood of each row, in nats."""

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood, in nats an example; larger is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, with trees as lists of arrays: functions in a model can't be pickled."""
        attributes: Any = super().__getstate__()
        state = dict(attributes)
        if "model_" in state:
            state["_static"] = self._static_of(state["model_"])
            for name in ("model_", "_optimizer_state"):
                leaves = jax.tree.leaves(eqx.filter(state.get(name), eqx.is_array))
                state[name] = [np.asarray(leaf) for leaf in leaves] or None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        leaves, static = state.pop("model_", None), state.pop("_static", None)
        super().__setstate__(state)
        if leaves is None:
            return
        like = self._like(static)
        arrays, rest = eqx.partition(
            like, lambda leaf: eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
        )
        self.model_ = eqx.combine(_filled(arrays, leaves), rest)
        if self._optimizer_state is not None:
            # Alike for any learning rate.
            initial = adam("constant", 1.0, 0).init
            state_like = jax.eval_shape(initial, eqx.filter(self.model_, eqx.is_inexact_array))
            self._optimizer_state = _filled(state_like, self._optimizer_state)

    @abc.abstractmethod
    def _static_of(self, model: Any) -> Any:
        """What of a fitted model is no array, and does not follow from the parameters."""

    @abc.abstractmethod
    def _like(self, static: Any) -> Any:
        """A model of the fitted one's structure."""

    def _check_parameters(self, *needed: Any) -> None:
        """Refuse parameters that can't be right, before anything is changed.

        Raises:
            InputError: With the first of them.
        """
        check_counts(
            n_components=self.n_components,
            num_samples=self.num_samples,
            max_iter=self.max_iter,
            batch_size=self.batch_size,
            num_likelihood_samples=self.num_likelihood_samples,
        )
        needed = (*needed, self.n_components, self.num_samples, self.batch_size)
        require(
            all(number is not None for number in (*needed, self.num_likelihood_samples)),
            "n_components, num_samples, batch_size, num_likelihood_samples, and of an autoencoder "
            "max_iter and learning_rate, are numbers, got None for one of them",
        )
        is_list = isinstance(self.hidden, Iterable) and not isinstance(self.hidden, str)
        require(is_list, f"hidden is a list of widths such as (200, 200), got {self.hidden!r}")
        for width in self.hidden:
            widths: dict[str, Any] = {"each width in hidden": width}
            check_counts(**widths)
        if self.learning_rate is not None:
            check_above(0.0, learning_rate=self.learning_rate)
        share = self.validation_fraction
        is_number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
        require(
            is_number and 0 <= share < 1,
            f"validation_fraction is a share from 0 to below 1, got {share!r}",
        )

    def _objective_by(self, default: Callable[[], Estimator]) -> Objective:
        """The objective, of names or objects; the default is for the gradient if there is none.

        Raises:
            InputError: If a name is unknown, a part is none, or the bound is an upper one.
            ValueError: If the parts don't fit.
        """
        bound = bound_from_name(self.bound) if isinstance(self.bound, str) else self.bound
        gradient = default() if self.gradient is None else self.gradient
        if isinstance(gradient, str):
            gradient = estimator_from_name(gradient)
        require(callable(bound), f"bound is a name or a tighter.bounds object, got {bound!r}")
        require(
            isinstance(gradient, Estimator),
            f"gradient is a name or a tighter.gradients object, got {gradient!r}",
        )
        objective = Objective(bound, gradient, num_samples=int(self.num_samples))
        require(
            objective.bound.side is not Side.UPPER,
            f"{self.bound} is an upper bound on log p: maximizing it trains nothing; take a lower "
            "bound (elbo, iwae, renyi:0.5)",
        )
        return objective

    def _scoring(self, gradient: Estimator) -> Objective:
        """The objective that rows are scored by, in bounded memory."""
        num = int(self.num_likelihood_samples)
        return Objective(IWAE(), gradient, num_samples=num, chunk_size=min(num, _DRAWS))

    def _split_aside(self, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The examples to train on, and those set aside; None where there are too few of them."""
        order = np.random.default_rng(self._seed).permutation(len(xs))
        aside = round(self.validation_fraction * len(xs))
        aside = aside if len(xs) - aside >= 2 else 0
        return xs[order[aside:]], xs[order[:aside]] if aside else None

    def _train(
        self,
        model: Any,
        xs: np.ndarray,
        objective: Objective,
        *,
        validation: np.ndarray | None,
        num_epochs: int,
        learning_rate: float,
    ) -> None:
        """Train, and set `model_`, `n_iter_`, `best_iter_` and the bounds.

        Raises:
            NonFiniteError: If a bound or a gradient is not finite.
        """
        batch_size = even_batches(len(xs), self.batch_size)
        result = fit(
            model,
            xs,
            objective,
            optimizer=adam("cosine", learning_rate, num_epochs * (len(xs) // batch_size)),
            num_epochs=num_epochs,
            batch_size=batch_size,
            key=self._key("fit"),
            validation=validation,
            show_progress=None if self.verbose else False,
        )
        self.n_iter_ = len(result.history)
        if result.interrupted:
            warnings.warn(
                f"interrupted after {self.n_iter_} of {num_epochs} epochs: the best parameters "
                "so far are kept",
                stacklevel=3,
            )
        self.model_, self.best_iter_ = result.model, self.n_iter_
        self.bounds_ = np.array([row["bound"] for row in result.history])
        self.validation_bounds_ = None
        if validation is not None:
            self.model_, self.best_iter_ = result.best_model, result.best_epoch
            bounds = [row["validation_bound"] for row in result.history]
            self.validation_bounds_ = np.array(bounds)

    def _begin_seed(self) -> None:
        """Settle what all that is random in `fit`, and after it, is drawn from."""
        self._seed, self._optimizer_state = self._new_seed(), None

    def _new_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31))

    def _key(self, purpose: str, *, seed: int | None = None) -> Key[Array, ""]:
        seeded = jax.random.key(self._seed if seed is None else seed)
        return jax.random.fold_in(seeded, _PURPOSES.index(purpose))

    def _sample_key(self, **counts: Any) -> Key[Array, ""]:
        """The key of draws of a fitted model; the same at each call if `random_state` is a seed.

        Raises:
            InputError: If a number is below 1.
        """
        check_is_fitted(self, "model_")
        check_counts(**counts)
        return self._key("sample", seed=self._new_seed())


def adam(schedule: str, learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam with a learning rate that follows a schedule."""
    return optax.adam(SCHEDULES[schedule](learning_rate, num_steps))


def even_batches(num_examples: int, batch_size: int) -> int:
    """The size of batches, all alike and no larger, of which the fewest examples are left over."""
    return num_examples // -(-num_examples // batch_size)


def in_blocks(function: Callable[[Array], Array], rows: np.ndarray, size: int) -> np.ndarray:
    """A function of blocks of rows, of always the same size, for all rows."""
    parts = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        filled = np.concatenate([block, np.repeat(block[:1], size - len(block), axis=0)])
        parts.append(np.asarray(function(jnp.asarray(filled)))[: len(block)])
    return np.concatenate(parts)


def key_of(x: Float[Array, " columns"], key: Key[Array, ""]) -> Key[Array, ""]:
    """A key for a row from its numbers: the same wherever in a table it stands."""
    of_digest, of_row = jax.random.split(key)
    alike = jnp.where(jnp.isnan(x), jnp.nan, x + 0.0).astype(jnp.float32)  # one NaN, one zero
    bits = jax.lax.bitcast_convert_type(alike, jnp.uint32)
    factors = jax.random.bits(of_digest, x.shape, jnp.uint32) | jnp.uint32(1)
    return jax.random.fold_in(of_row, jnp.sum(bits * factors, dtype=jnp.uint32))


def row_bounds(
    model: Any, xs: Float[Array, "rows columns"], objective: Objective, key: Key[Array, ""]
) -> Float[Array, " rows"]:
    """The objective's bound of each row, in nats: with IWAE of many draws its log-likelihood."""

    def bound_of(x: Array) -> Array:
        return objective(model.log_joint(x), model.posterior(x), key=key_of(x, key))

    return jax.vmap(bound_of)(xs)


def _filled(like: PyTree, leaves: list[np.ndarray]) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaf) for leaf in leaves])
