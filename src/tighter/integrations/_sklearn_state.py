"""A model as arrays alone, and back: functions that it holds can't be pickled."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from tighter.models import VAE


def leaves_of(tree: PyTree) -> list[np.ndarray]:
    """The arrays of a pytree."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def model_from(leaves: list[np.ndarray], made: dict[str, Any]) -> VAE:
    """The model of these arrays.

    Args:
        leaves: Its arrays.
        made: What `VAE.create` took, its observation family as it is now.
    """
    like = eqx.filter_eval_shape(VAE.create, **made, key=jax.random.key(0))
    shapes, static = eqx.partition(like, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return eqx.combine(_filled(shapes, leaves), static)


def optimizer_state_from(
    leaves: list[np.ndarray], optimizer: optax.GradientTransformation, model: VAE
) -> PyTree:
    """The optimizer's state of these arrays, for a model's trainable ones."""
    arrays = eqx.filter(model, eqx.is_inexact_array)
    return _filled(jax.eval_shape(optimizer.init, arrays), leaves)


def _filled(like: PyTree, leaves: list[np.ndarray]) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(leaf) for leaf in leaves])
