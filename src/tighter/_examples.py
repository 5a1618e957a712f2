"""The door: examples as a model takes them, looked at once before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from tighter._checks import require
from tighter._errors import InputError
from tighter._protocols import as_model
from tighter.data.dataset import Dataset
from tighter.data.source import ArrayLike, Source, as_source

# Of the standard deviation: what rounding may change a number by.
_LOST = 0.01
_ROUNDING = 1e-13
# Of what is read by rows, those that tell at the door what rounding loses.
_LOOKED_AT = 256


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


def admitted(
    model: Any, data: Any, name: str = "x", *, scalars: bool = True, narrow: bool = False
) -> Admitted:
    """Check examples against what a model can explain, and bring them to the device's precision.

    A model of numbers far from zero and close to each other says an `origin` (`Standardized` does):
    it is taken from the examples in double precision, and the model is moved alike, so that no
    digit is lost on the way to single precision.

    Args:
        model: Any model.
        data: A `Dataset`, an array, or a pytree of arrays with one leading axis.
        name: What messages call it.
        scalars: Whether an example may be a scalar.
        narrow: Whether whole numbers of few bits stay such, for the device to make others of.

    Raises:
        InputError: If they are no examples, not finite, outside of what the model explains, or of
            digits that single precision loses.
    """
    data = _in_memory(data, name)
    check_one_device(data, name)
    hooks = as_model(model)
    xs = checked_examples(data, name, missing=hooks.takes_missing, scalars=scalars)
    try:
        hooks.check_examples(xs)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    origin = _origin(model)
    away = in_single_precision(_minus(xs, origin), name, narrow=narrow)
    return Admitted(_moved_away(model, origin), away, origin)


class Stored:
    """A source as a model takes it: each row is checked as it is read, and of the device's types.

    Whole numbers of 8 or 16 bits stay such, for the device to make floating-point ones of.

    Args:
        model: Explains the examples.
        source: Gives them.
        name: What messages call it.
        scalars: Whether an example may be a scalar.
    """

    def __init__(self, model: Any, source: Source, name: str, *, scalars: bool):
        self._hooks, self._source, self._name = as_model(model), source, name
        self._scalars, self._size, self._origin = scalars, len(source), _origin(model)
        require(self._size > 0, f"{name} is empty: give at least one example")
        self.one = self[np.zeros(1, int)]  # what an example is like
        # A few rows don't tell what single precision loses of a column; these are to.
        some = np.unique(np.linspace(0, self._size - 1, _LOOKED_AT).astype(int))
        in_single_precision(self._read(some, self._checked), name)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, rows: np.ndarray) -> PyTree:
        return self._read(rows, self._as_taken)

    def _read(self, rows: np.ndarray, prepared: Callable[[PyTree], PyTree]) -> PyTree:
        """Rows as they are prepared; one that can't be is named by its place in the source."""
        size = len(self._source)
        require(
            size == self._size,
            f"{self._name} had {self._size} examples and has {size} now: a source keeps its length",
        )
        xs = self._source[rows]
        try:
            return prepared(xs)
        except InputError:
            for place, row in enumerate(rows):
                try:
                    prepared(jax.tree.map(lambda part, at=place: part[at : at + 1], xs))
                except InputError as error:
                    raise InputError(f"{self._name}, row {int(row)}: {error}") from None
            raise

    def _as_taken(self, xs: PyTree) -> PyTree:
        xs = self._checked(xs)
        return jax.tree.map(lambda x: x if _is_narrow(x) else _rounded(x, self._name), xs)

    def _checked(self, xs: PyTree) -> PyTree:
        missing = self._hooks.takes_missing
        xs = checked_examples(xs, self._name, missing=missing, scalars=self._scalars)
        self._hooks.check_examples(xs)
        return _minus(xs, self._origin)


def admitted_rows(model: Any, data: Any, name: str, *, scalars: bool = True) -> Admitted:
    """The same as `admitted`, of examples that are read by rows where they are not in memory.

    Returns:
        As `admitted` does; its `xs` are a `Stored` where they are to be read by rows, and whole
        numbers of few bits stay such.
    """
    data = data.x if isinstance(data, Dataset) else data
    source = as_source(data, name)
    if source is None:
        return admitted(model, data, name, scalars=scalars, narrow=True)
    origin = _origin(model)
    stored = Stored(model, source, name, scalars=scalars)
    return Admitted(_moved_away(model, origin), stored, origin)


def _origin(model: Any) -> Any:
    """What is taken from each example, doubles; 0.0 where nothing is."""
    origin = as_model(model).origin
    return origin if any(np.any(part) for part in jax.tree.leaves(origin)) else 0.0


def _moved_away(model: Any, origin: Any) -> Any:
    """The model of the examples without their origin."""
    if isinstance(origin, float):
        return model
    return as_model(model).moved(jax.tree.map(np.negative, origin))


def num_rows(xs: Any) -> int:
    """How many examples there are."""
    return len(xs) if isinstance(xs, Stored) else jax.tree.leaves(xs)[0].shape[0]


def shapes_of(xs: Any) -> PyTree:
    """The shapes of an example's parts."""
    one = xs.one if isinstance(xs, Stored) else xs
    return jax.tree.map(lambda part: part.shape[1:], one)


def as_floating(part: Array) -> Array:
    """Whole numbers as floating-point ones; those as they are."""
    floating = jnp.issubdtype(part.dtype, jnp.inexact)
    return part if floating else part.astype(jnp.result_type(float))


def _in_memory(data: Any, name: str) -> Any:
    """All rows of what is read by rows; arrays as they are."""
    data = data.x if isinstance(data, Dataset) else data
    source = as_source(data, name)
    return data if source is None else source[np.arange(len(source))]


def _is_narrow(part: Any) -> bool:
    """Whether an array is of whole numbers that take less than single precision."""
    return isinstance(part, ArrayLike) and part.dtype.kind in "biu" and part.dtype.itemsize < 4


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


def in_single_precision(xs: PyTree, name: str, *, narrow: bool = False) -> PyTree:
    """The arrays as JAX computes with them: float32, unless doubles are switched on.

    Args:
        xs: Arrays.
        name: What messages call them.
        narrow: Whether whole numbers of few bits stay such.

    Raises:
        InputError: If a number is too large, or what a column varies by is lost.
    """
    parts, structure = jax.tree.flatten_with_path(xs)
    cast = [
        part if narrow and _is_narrow(part) else _single(part, name + jax.tree_util.keystr(path))
        for path, part in parts
    ]
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


def _rounded(part: Any, name: str) -> Any:
    """In single precision, where all is within its reach; a few rows don't tell what it loses."""
    single = np.asarray(part, jnp.result_type(float))
    if part.dtype.itemsize > 4 and np.isinf(single).any():
        raise InputError(f"{name} reaches {np.nanmax(np.abs(part)):g}, too large for float32")
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
