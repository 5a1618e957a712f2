"""Draws of a Bayesian model as arviz takes them, of either of its generations."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from tighter._checks import require
from tighter._extras import check_installed
from tighter.models.bayesian import BayesianModel
from tighter.models.bayesian.predictive import likelihood_blocks, num_draws


def inference_data(
    model: BayesianModel,
    data: PyTree,
    *,
    num_samples: int = 1000,
    draws: PyTree = None,
    posterior_predictive: PyTree = None,
    key: Key[Array, ""],
) -> Any:
    """Posterior draws, log-likelihood of each datum, and the data, as one chain.

    Args:
        model: The model.
        data: The data, arrays with leading axis N.
        num_samples: Draws of q.
        draws: Draws to take instead, leading axis S: `posterior_check(...).resampled(...)`.
        posterior_predictive: Data drawn anew, a dict of arrays with leading axis S.
        key: Random key.

    Returns:
        An `InferenceData` (arviz 0.x) or a `DataTree` (1.x).

    Raises:
        InputError: If arviz is not installed, or there are not as many predictive draws as draws.

    Example:
        >>> arviz.summary(inference_data(model, data, key=jax.random.key(0)))
    """
    from_dict = _from_dict()
    draws = model.draws(num_samples, key=key) if draws is None else draws
    num = num_draws(draws)
    log_likelihood = np.concatenate(list(likelihood_blocks(model, draws, data)), axis=1)
    groups = {
        "posterior": _one_chain(draws, "parameters"),
        "log_likelihood": {"data": log_likelihood[None]},
        "observed_data": _named(data, "data"),
    }
    if posterior_predictive is not None:
        num_new = num_draws(posterior_predictive)
        require(
            num_new == num,
            f"there are {num} draws and {num_new} of new data: draw new data from the same draws "
            "(give them as draws)",
        )
        groups["posterior_predictive"] = _one_chain(posterior_predictive, "data")
    if "posterior" in inspect.signature(from_dict).parameters:
        return from_dict(**groups)
    return from_dict(groups)


def _from_dict() -> Any:
    check_installed("arviz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its next generation
        import arviz  # pyright: ignore[reportMissingImports]
    return arviz.from_dict  # pyright: ignore[reportAttributeAccessIssue]


def _one_chain(draws: PyTree, alone: str) -> dict[str, np.ndarray]:
    return {name: leaf[None] for name, leaf in _named(draws, alone).items()}


def _named(tree: PyTree, alone: str) -> dict[str, np.ndarray]:
    """Arrays by their path; by `alone` where there is one without a path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=".") or alone: np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
