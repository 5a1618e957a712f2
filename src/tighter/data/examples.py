"""Examples handed in as arrays: what they may be, and what is refused before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from tighter._checks import require
from tighter._errors import InputError
from tighter.data.dataset import Dataset

# Of the standard deviation: what rounding may change a number by.
_LOST = 0.01
_ROUNDING = 1e-13


def checked_examples(data: Any, name: str, *, missing: bool, scalars: bool) -> PyTree:
    """Finite numbers with one leading axis, of the types that they came in.

    NaN is let through where the model takes missing entries.

    Args:
        data: A `Dataset`, an array, or a pytree of arrays.
        name: What messages call it.
        missing: Whether NaN stands for a value that is missing.
        scalars: Whether an example may be a scalar.

    Raises:
        InputError: If there are none, they are no numbers or not finite, or the parts have
            different numbers of rows.
    """
    data = data.x if isinstance(data, Dataset) else data
    parts, structure = jax.tree.flatten_with_path(
        data, is_leaf=lambda leaf: isinstance(leaf, (list, Iterator))
    )
    whole = [(name + jax.tree_util.keystr(path), part) for path, part in parts]
    whole = [(place, _array(part, place)) for place, part in whole]
    require(whole, f"{name} holds no array: give an array of examples (N, ...)")
    least = 2 if len(whole) == 1 and not scalars else 1
    for place, part in whole:
        require(
            part.ndim >= least and part.shape[0] != 0,
            f"{place} is an array of examples (N, ...), with a leading axis of at least 1, got "
            f"shape {part.shape}",
        )
        _check_finite(np.asarray(part), place, missing=missing)
    sizes = ", ".join(f"{place} has {len(part)}" for place, part in whole)
    require(
        len({len(part) for _, part in whole}) == 1,
        f"the parts of examples have the same leading axis, but {sizes}",
    )
    return jax.tree.unflatten(structure, [part for _, part in whole])


def in_single_precision(xs: PyTree, name: str) -> PyTree:
    """The arrays as JAX computes with them: float32, unless doubles are switched on.

    Raises:
        InputError: If a number is too large, or what a column varies by is lost.
    """
    parts, structure = jax.tree.flatten_with_path(xs)
    cast = [_single(part, name + jax.tree_util.keystr(path)) for path, part in parts]
    return jax.tree.unflatten(structure, cast)


def check_finite(data: PyTree, name: str, *, missing: bool) -> None:
    """Refuse what is no finite number, where the data are known already.

    Raises:
        InputError: If something is, or is of no type for real numbers.
    """
    for path, part in jax.tree.flatten_with_path(data)[0]:
        if not isinstance(part, Tracer):
            _check_finite(np.asarray(part), name + jax.tree_util.keystr(path), missing=missing)


def _array(part: Any, name: str) -> Any:
    """An array of numbers; what is on a device stays there."""
    if isinstance(part, jax.Array) and not isinstance(part, Tracer):
        return part
    try:
        array = np.asarray(part)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths: give one array (N, ...)") from None
    if array.dtype.hasobject:
        kind = type(part).__name__
        what = "a list" if kind == "list" else f"an array of {kind}s" if kind == "ndarray" else kind
        raise InputError(
            f"{name} is an array of examples (N, ...), got {what} of Python objects: give numbers, "
            "such as np.stack(list(examples))"
        )
    return array


def _check_finite(xs: np.ndarray, name: str, *, missing: bool) -> None:
    # JAX knows the half precisions that NumPy doesn't.
    require(
        any(jnp.issubdtype(xs.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)),
        f"{name} has to be real numbers, got {xs.dtype}",
    )
    if not jnp.issubdtype(xs.dtype, jnp.floating):
        return
    wrong = np.atleast_1d(np.isinf(xs) if missing else ~np.isfinite(xs))
    if wrong.any():
        bad = np.any(wrong.reshape(wrong.shape[0], -1), axis=1)
        raise InputError(
            f"{name} has values that are not finite in {bad.sum()} of {len(bad)} examples, row "
            f"{int(bad.argmax())} first: drop these rows or fill them"
        )


def _single(xs: Any, name: str) -> Any:
    wanted = jnp.result_type(float)
    if xs.dtype == wanted:
        return xs
    with np.errstate(over="ignore"):
        single = xs.astype(wanted)
    if isinstance(xs, np.ndarray) and xs.dtype.itemsize > 2:
        _refuse_lost(xs, single, name)
    return single


def _refuse_lost(xs: np.ndarray, single: np.ndarray, name: str) -> None:
    """Refuse numbers that single precision can't hold, or can't tell apart."""
    flat, kept = xs.reshape(len(xs), -1), single.reshape(len(xs), -1)
    low, high = np.fmin.reduce(flat, axis=0), np.fmax.reduce(flat, axis=0)
    size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    if (size > np.finfo(single.dtype).max).any():
        raise InputError(f"{name} reaches {np.nanmax(size):g}, too large for float32: rescale it")
    spread = high.astype(np.float64) - low
    # What is constant but for the rounding of doubles varies by nothing.
    varies = spread > _ROUNDING * size
    suspect = varies & (np.finfo(single.dtype).eps * size > _LOST * spread)
    for column in np.flatnonzero(suspect):
        values = flat[:, column].astype(np.float64)
        if np.nanmax(np.abs(values - kept[:, column])) > _LOST * np.nanstd(values):
            index = [int(i) for i in np.unravel_index(column, xs.shape[1:])]
            place = f"entry {index[0] if len(index) == 1 else tuple(index)} of {name}"
            raise InputError(
                f"{place if index else name} varies by {np.nanstd(values):g} about "
                f"{np.nanmean(values):.10g}, which float32 can't tell apart: subtract the mean, "
                "which leaves densities as they are, or take Standardized(family, shape), started "
                "from the data"
            )
