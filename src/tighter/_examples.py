"""The door: examples as a model takes them, looked at once before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from tighter._errors import InputError
from tighter._protocols import as_model
from tighter.data.dataset import Dataset
from tighter.data.examples import checked_examples, in_single_precision


class Admitted(NamedTuple):
    """Examples in the precision of the device, and the model of them.

    Attributes:
        model: The model, of x − origin where it says an origin; densities are the same.
        xs: The examples minus the origin, arrays with one leading axis.
        origin: What was taken from each example, doubles; 0 where nothing was.
    """

    model: Any
    xs: PyTree
    origin: Any


def admitted(model: Any, data: Any, name: str = "x", *, scalars: bool = True) -> Admitted:
    """Check examples against what a model can explain, and bring them to the device's precision.

    A model of numbers far from zero and close to each other says an `origin` (`Standardized` does):
    it is taken from the examples in double precision, and the model is moved alike, so that no
    digit is lost on the way to single precision.

    Args:
        model: Any model.
        data: A `Dataset`, an array, or a pytree of arrays with one leading axis.
        name: What messages call it.
        scalars: Whether an example may be a scalar.

    Raises:
        InputError: If they are no examples, not finite, outside of what the model explains, or of
            digits that single precision loses.
    """
    check_one_device(data.x if isinstance(data, Dataset) else data, name)
    hooks = as_model(model)
    xs = checked_examples(data, name, missing=hooks.takes_missing, scalars=scalars)
    try:
        hooks.check_examples(xs)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    origin = hooks.origin
    if not any(np.any(part) for part in jax.tree.leaves(origin)):
        return Admitted(model, in_single_precision(xs, name), 0.0)
    away = in_single_precision(_minus(xs, origin), name)
    return Admitted(hooks.moved(jax.tree.map(np.negative, origin)), away, origin)


def check_one_device(tree: PyTree, name: str) -> None:
    """Refuse arrays that are spread over devices: they would be gathered on one in silence.

    Raises:
        InputError: If one is.
    """
    for leaf in jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Iterator)):
        if not isinstance(leaf, jax.Array) or isinstance(leaf, Tracer):
            continue
        if not leaf.sharding.is_fully_replicated:
            raise InputError(
                f"{name} is sharded over {len(leaf.sharding.device_set)} devices, and all is "
                f"computed on one: hand over jax.device_get({name}), if it is to be gathered there"
            )


def moved_back(model: Any, origin: Any) -> Any:
    """The model of the examples as they were before their origin was taken from them."""
    return model if isinstance(origin, float) else model.moved(origin)


def restored(values: Any, origin: Any) -> Any:
    """Numbers in x's own units: with the origin in double precision, where there is one."""
    return values if isinstance(origin, float) else np.asarray(values, np.float64) + origin


def _minus(xs: PyTree, origin: Any) -> PyTree:
    """Examples without their origin; of a dict, that of the parts that have one."""
    if isinstance(origin, dict):
        return {part: _minus(x, origin[part]) if part in origin else x for part, x in xs.items()}
    return np.asarray(xs, np.float64) - origin if np.any(origin) else xs
