"""Examples to train on: what they may be, and what is refused before anything is written."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from tighter._errors import InputError
from tighter.data import Dataset


def examples_of(data: Any, name: str, *, missing: bool, scalars: bool) -> PyTree:
    """Finite numbers with one leading axis; NaN where the model takes missing entries.

    A datum of a Bayesian model may be a scalar.
    """
    data = data.x if isinstance(data, Dataset) else data
    parts, structure = jax.tree.flatten_with_path(data, is_leaf=lambda leaf: isinstance(leaf, list))
    whole = [(name + jax.tree_util.keystr(path), np.asarray(part)) for path, part in parts]
    if not whole:
        raise InputError(f"{name} holds no array: give an array of examples (N, ...)")
    arrays = [
        _checked(part, place, missing=missing, alone=len(whole) == 1 and not scalars)
        for place, part in whole
    ]
    sizes = {place: len(array) for (place, _), array in zip(whole, arrays, strict=True)}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{place} has {size}" for place, size in sizes.items())
        raise InputError(f"the parts of an example have as many rows each, but {told}")
    return jax.tree.unflatten(structure, arrays)


def _checked(xs: np.ndarray, name: str, *, missing: bool, alone: bool) -> np.ndarray:
    if xs.ndim < (2 if alone else 1) or xs.shape[0] == 0:
        raise InputError(f"{name} is an array of examples (N, ...), got shape {xs.shape}")
    if not np.isdtype(xs.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} has to be real numbers, got {xs.dtype}")
    wrong = np.isinf(xs) if missing else ~np.isfinite(xs)
    if wrong.any():
        bad = np.any(wrong.reshape(xs.shape[0], -1), axis=1)
        raise InputError(
            f"{name} has values that are not finite in {bad.sum()} of {xs.shape[0]} examples, row "
            f"{int(bad.argmax())} first: drop these rows or fill them"
        )
    return xs if np.issubdtype(xs.dtype, np.floating) else xs.astype(np.float32)


def check_numbers(
    xs: PyTree,
    held_out: PyTree,
    *,
    num_epochs: int,
    batch_size: int,
    average: float | None = None,
) -> None:
    """Refuse what `fit` can't train on, before anything is written."""
    if average is not None and not 0 <= average < 1:
        raise InputError(f"average is the decay of a mean, 0 or more and below 1, got {average}")
    if num_epochs < 1 or batch_size < 1:
        raise InputError(
            f"num_epochs and batch_size are at least 1, got {num_epochs} and {batch_size}"
        )
    if batch_size > leading_size(xs):
        raise InputError(
            f"a batch of {batch_size} is larger than the data of {leading_size(xs)} examples: take "
            f"a batch_size of at most {leading_size(xs)}"
        )
    ours, theirs = (jax.tree.map(lambda part: part.shape[1:], tree) for tree in (xs, held_out))
    if held_out is not None and ours != theirs:
        raise InputError(f"validation examples have shape {theirs}, training examples {ours}")


def named_parts(xs: PyTree) -> dict[str, np.ndarray]:
    """The arrays of the examples by the names that messages give them."""
    parts, _ = jax.tree.flatten_with_path(xs)
    return {"x" + jax.tree_util.keystr(path): part for path, part in parts}


def leading_size(xs: PyTree) -> int:
    """How many examples there are."""
    return jax.tree.leaves(xs)[0].shape[0]
