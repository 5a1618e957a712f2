"""In which precision networks multiply; all else is in that of its arrays."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax.numpy as jnp
from jaxtyping import Array

from tighter._names import unknown

PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}

_current: contextvars.ContextVar[str] = contextvars.ContextVar("precision", default="float32")


def check_precision(precision: str) -> None:
    """Refuse a name that is none of `PRECISIONS`.

    Raises:
        InputError: With those that there are.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)


@contextlib.contextmanager
def multiplied_in(precision: str) -> Iterator[None]:
    """Within, what is traced of networks multiplies in this precision.

    Sums within a product, parameters, what lies between layers, and densities stay in float32.
    """
    token = _current.set(precision)
    try:
        yield
    finally:
        _current.reset(token)


def product(multiply: Callable[[Array, Array], Array], x: Array, weight: Array) -> Array:
    """`multiply(x, weight)` in the current precision, given back in that of x."""
    dtype = PRECISIONS[_current.get()]
    if dtype is None:
        return multiply(x, weight)
    return multiply(x.astype(dtype), weight.astype(dtype)).astype(x.dtype)
