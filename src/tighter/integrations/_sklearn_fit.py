"""Training as an estimator's `fit` does it: some examples aside, and what it learned as its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jaxtyping import Array, Key

from tighter.integrations._sklearn_input import even_batches
from tighter.objectives.objective import Objective
from tighter.training import fit


def split_aside(estimator: Any, xs: np.ndarray, *, seed: int) -> tuple[np.ndarray, Any]:
    """The examples to train on, and those set aside; None where there are too few of them."""
    order = np.random.default_rng(seed).permutation(len(xs))
    aside = round(estimator.validation_fraction * len(xs))
    aside = aside if len(xs) - aside >= 2 else 0
    return xs[order[aside:]], xs[order[:aside]] if aside else None


def fit_estimator(
    estimator: Any,
    model: Any,
    xs: np.ndarray,
    objective: Objective,
    *,
    validation: np.ndarray | None,
    num_epochs: int,
    optimizer: Callable[[int], optax.GradientTransformation],
    key: Key[Array, ""],
) -> None:
    """Train, and set the estimator's `model_`, `n_iter_`, `best_iter_` and bounds.

    Args:
        estimator: Says `batch_size` and `verbose`.
        model: The model before training.
        xs: Examples to train on.
        objective: The objective.
        validation: Examples set aside, by which the best epoch is chosen; or None.
        num_epochs: Epochs.
        optimizer: Makes an optimizer for a number of steps.
        key: Random key.

    Raises:
        NonFiniteError: If a bound or a gradient is not finite.
    """
    batch_size = even_batches(len(xs), estimator.batch_size)
    result = fit(
        model,
        xs,
        objective,
        optimizer=optimizer(num_epochs * (len(xs) // batch_size)),
        num_epochs=num_epochs,
        batch_size=batch_size,
        key=key,
        validation=validation,
        show_progress=None if estimator.verbose else False,
    )
    estimator.n_iter_ = len(result.history)
    if result.interrupted:
        warnings.warn(
            f"interrupted after {estimator.n_iter_} of {num_epochs} epochs: the best parameters "
            "so far are kept",
            stacklevel=3,
        )
    chosen = validation is not None
    estimator.model_ = result.best_model if chosen else result.model
    estimator.best_iter_ = result.best_epoch if chosen else estimator.n_iter_
    estimator.bounds_ = np.array([row["bound"] for row in result.history])
    estimator.validation_bounds_ = (
        np.array([row["validation_bound"] for row in result.history]) if chosen else None
    )
