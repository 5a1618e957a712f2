"""Compiled functions whose programs are shared by what they are made of, and let go when unused."""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import re
import threading
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

from tighter._errors import InputError

P = ParamSpec("P")
T = TypeVar("T")

# A program on a CPU takes up to a hundred or so mappings of memory, and Linux gives a process
# 65,530: without an end to them a few hundred fits, each with an optimizer of its own, would end
# in a segmentation fault.
_HELD = 48
_OURS = re.compile(r"(optax|tighter)(\.|$)")
_programs: collections.OrderedDict[Any, Any] = collections.OrderedDict()
_lock = threading.Lock()


def compiled(function: Callable[P, T], *, compiler_options: Any = None) -> Callable[P, T]:
    """The function compiled; arrays are its arguments, all else is part of the program.

    Unlike `eqx.filter_jit` it keeps no more than the programs used last, of all functions together,
    and takes optimizers made of the same numbers for the same.

    Args:
        function: Any function of pytrees.
        compiler_options: As in `jax.jit`.

    Raises:
        InputError: If the program itself refuses its numbers (`eqx.error_if`).
    """

    def program_of(args: tuple, kwargs: dict) -> tuple[Any, list, Callable | None]:
        leaves, structure = jax.tree.flatten((args, kwargs))
        dynamic = [eqx.is_array(leaf) for leaf in leaves]
        static = [None if array else leaf for array, leaf in zip(dynamic, leaves, strict=True)]
        arrays = [leaf for array, leaf in zip(dynamic, leaves, strict=True) if array]
        shapes = tuple((a.shape, a.dtype, jax.typeof(a).weak_type) for a in arrays)

        def filed(program: Any) -> Any:
            # Static fields are compared as they are told, too: 1 equals True, and 0.0 equals -0.0.
            tree = str(structure), structure
            key = (function, tree, tuple(map(_made_of, static)), tuple(dynamic), shapes)
            with _lock:
                program = _programs[key] = _programs.get(key, program)
                _programs.move_to_end(key)
                while len(_programs) > _HELD:
                    _programs.popitem(last=False)
            return program

        new = _new(function, structure, static, dynamic)
        program = filed(new)
        return program, arrays, filed if program is new else None

    def _new(function: Callable, structure: Any, static: list, dynamic: list) -> Any:
        def run(*arrays: Any) -> Any:
            given = iter(arrays)
            leaves = [next(given) if a else s for a, s in zip(dynamic, static, strict=True)]
            args, kwargs = jax.tree.unflatten(structure, leaves)
            out, rest = eqx.partition(function(*args, **kwargs), eqx.is_array)
            return out, _Static(rest)

        with contextlib.suppress(AttributeError):  # a partial has no name
            run.__name__ = function.__name__
        return jax.jit(run, compiler_options=compiler_options)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        program, arrays, filed = program_of(args, kwargs)
        callbacks, said = logging.getLogger("jax._src.callback"), _Said()
        callbacks.addFilter(said)
        try:
            out, rest = program(*arrays)
            if filed is not None:  # tracing may change what a function holds: optax's cosine does
                filed(program)
            if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(out)):
                jax.block_until_ready(out)
        except jax.errors.JaxRuntimeError as error:
            refused = re.search(r"EquinoxRuntimeError: (.*?)(\n\n|$)", str(error), re.DOTALL)
            if refused is None:
                raise
            raise InputError(refused[1]) from error
        finally:
            callbacks.removeFilter(said)
        return eqx.combine(out, rest.value)

    def lower(*args: P.args, **kwargs: P.kwargs) -> Any:
        program, arrays, _ = program_of(args, kwargs)
        return program.lower(*arrays)

    call.lower = lower  # type: ignore[attr-defined]
    return call


class _Static(eqx.Module):
    """What a program gives back beside arrays."""

    value: Any = eqx.field(static=True)


class _Said(logging.Filter):
    """JAX's traceback of a program that refuses its numbers: the error itself says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != "jax.pure_callback failed"


class _Itself:
    """Something with no value to compare by: the same as itself alone."""

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _made_of(thing: Any) -> Any:
    """What a static part is compared by: functions that optax and we make, by what they hold.

    Two calls of `optax.adam(1e-3)` give functions that differ in identity alone. A user's functions
    are compared by identity, as they may read names that have changed since.
    """
    if isinstance(thing, types.FunctionType) and _OURS.match(thing.__globals__.get("__name__", "")):
        filled = (cell for cell in thing.__closure__ or () if cell != types.CellType())
        held = [cell.cell_contents for cell in filled]
        return thing.__code__, _parts((held, thing.__defaults__, thing.__kwdefaults__))
    if isinstance(thing, functools.partial):
        return functools.partial, _parts((thing.func, thing.args, thing.keywords))
    if isinstance(thing, np.ndarray | np.generic):
        return type(thing), thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, float | complex):
        return type(thing), repr(thing)  # 0.0 is not -0.0
    return type(thing), thing  # 1 is not 1.0, nor True


def _parts(held: Any) -> Any:
    """The parts of something held by a function, of which any may be unhashable."""
    if isinstance(held, list | tuple):
        return type(held), tuple(map(_parts, held))
    if isinstance(held, dict):
        return dict, tuple((key, _parts(part)) for key, part in held.items())
    made = _made_of(held)
    try:
        hash(made)
    except TypeError:
        return _Itself(held)
    return made
