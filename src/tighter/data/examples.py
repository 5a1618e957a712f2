"""Examples handed in as arrays: what they may be, and what is refused before anything is done."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from tighter._errors import InputError
from tighter.data.dataset import Dataset


def examples_of(data: Any, name: str, *, missing: bool, scalars: bool) -> PyTree:
    """Finite numbers with one leading axis; NaN where the model takes missing entries.

    A datum of a Bayesian model may be a scalar.

    Args:
        data: A `Dataset`, an array, or a pytree of arrays.
        name: What messages call it.
        missing: Whether NaN stands for a value that is missing.
        scalars: Whether an example may be a scalar.

    Raises:
        InputError: If there are none, they are no numbers or not finite, or the parts have
            different numbers of rows.
    """
    arrays = checked_examples(data, name, missing=missing, scalars=scalars)
    return jax.tree.map(_floating, arrays)


def checked_examples(data: Any, name: str, *, missing: bool, scalars: bool) -> PyTree:
    """The same with the types that they came in."""
    data = data.x if isinstance(data, Dataset) else data
    parts, structure = jax.tree.flatten_with_path(data, is_leaf=lambda leaf: isinstance(leaf, list))
    whole = [(name + jax.tree_util.keystr(path), np.asarray(part)) for path, part in parts]
    if not whole:
        raise InputError(f"{name} holds no array: give an array of examples (N, ...)")
    least = 2 if len(whole) == 1 and not scalars else 1
    for place, part in whole:
        if part.ndim < least or part.shape[0] == 0:
            raise InputError(f"{place} is an array of examples (N, ...), got shape {part.shape}")
        _check_finite(part, place, missing=missing)
    sizes = {place: len(part) for place, part in whole}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{place} has {size}" for place, size in sizes.items())
        raise InputError(f"the parts of an example have as many rows each, but {told}")
    return jax.tree.unflatten(structure, [part for _, part in whole])


def check_finite(data: PyTree, name: str, *, missing: bool) -> None:
    """Refuse what is no finite number, where the data are known already.

    Raises:
        InputError: If something is, or is of no type for real numbers.
    """
    for path, part in jax.tree.flatten_with_path(data)[0]:
        if not isinstance(part, Tracer):
            _check_finite(np.asarray(part), name + jax.tree_util.keystr(path), missing=missing)


def _check_finite(xs: np.ndarray, name: str, *, missing: bool) -> None:
    if not np.isdtype(xs.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} has to be real numbers, got {xs.dtype}")
    wrong = np.atleast_1d(np.isinf(xs) if missing else ~np.isfinite(xs))
    if wrong.any():
        bad = np.any(wrong.reshape(wrong.shape[0], -1), axis=1)
        raise InputError(
            f"{name} has values that are not finite in {bad.sum()} of {len(bad)} examples, row "
            f"{int(bad.argmax())} first: drop these rows or fill them"
        )


def _floating(xs: np.ndarray) -> np.ndarray:
    return xs if np.issubdtype(xs.dtype, np.floating) else xs.astype(np.float32)
