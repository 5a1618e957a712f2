"""A fitted estimator's attributes as arrays, and back: functions in a model can't be pickled."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from tighter.integrations._sklearn_build import adam
from tighter.models import VAE


def packed(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes, the model and the optimizer's state as lists of arrays."""
    if "model_" not in state:
        return dict(state)
    model, optimizer_state = state["model_"], state["_optimizer_state"]
    return state | {
        "model_": _leaves(model),
        "_optimizer_state": None if optimizer_state is None else _leaves(optimizer_state),
        # Fitted to the examples: what it says of them need not be an array.
        "_observation": model.observation,
    }


def unpacked(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes that were packed."""
    if "model_" not in state:
        return state
    state = dict(state)
    made = state["_made"] | {"observation": state.pop("_observation")}
    like = eqx.filter_eval_shape(VAE.create, **made, key=jax.random.key(0))
    shapes, static = eqx.partition(like, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    model = eqx.combine(_filled(shapes, state["model_"]), static)
    optimizer_state = state["_optimizer_state"]
    if optimizer_state is not None:
        # Alike for any learning rate.
        initial = adam("constant", 1.0, 0).init
        of_arrays = jax.eval_shape(initial, eqx.filter(model, eqx.is_inexact_array))
        optimizer_state = _filled(of_arrays, optimizer_state)
    return state | {"model_": model, "_optimizer_state": optimizer_state}


def _leaves(tree: PyTree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def _filled(like: PyTree, leaves: list[np.ndarray]) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaf) for leaf in leaves])
