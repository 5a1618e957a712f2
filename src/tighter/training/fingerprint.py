"""What a run is made of, as text that is the same in every process, and what differs in another."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax

from tighter.training.arrays import digest


@runtime_checkable
class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


def made_of(thing: Any, within: tuple[int, ...] = ()) -> str:
    """An optimizer, a model or a function by its parts: names, numbers, digests of arrays.

    A function is told by its name, the floats in its code and what it holds: optax keeps all its
    numbers in closures.

    Args:
        thing: Anything.
        within: The identities of what it is a part of, lest what holds itself has no end.
    """
    if id(thing) in within:
        return "itself"

    def parts_of(name: str, named: Mapping[Any, Any], unnamed: Iterable[Any] = ()) -> str:
        deeper = (*within, id(thing))
        parts = [made_of(part, deeper) for part in unnamed]
        parts += [f"{key}={made_of(part, deeper)}" for key, part in named.items()]
        return f"{name}({', '.join(parts)})"

    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if eqx.is_array(thing):
        is_key = jax.numpy.issubdtype(thing.dtype, jax.dtypes.prng_key)
        data = jax.random.key_data(thing) if is_key else thing
        return f"{data.dtype}{list(data.shape)}:{digest({'': data})[:12]}"
    if isinstance(thing, types.FunctionType):
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        filled = ((name, cell) for name, cell in cells if cell != types.CellType())
        held = {name: cell.cell_contents for name, cell in filled}
        numbers = [number for number in thing.__code__.co_consts if isinstance(number, float)]
        defaults = [*(thing.__defaults__ or ()), *numbers]
        return parts_of(name, held | (thing.__kwdefaults__ or {}), defaults)
    if isinstance(thing, types.MethodType):
        return parts_of(name, {}, [thing.__self__])
    if isinstance(thing, functools.partial):
        return parts_of("partial", thing.keywords, [thing.func, *thing.args])
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if isinstance(thing, Mapping):
        return parts_of("", thing)
    if isinstance(thing, list | tuple):
        named = thing._asdict() if isinstance(thing, _NamedTuple) else {}
        return parts_of(name if named else "", named, () if named else thing)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = [field.name for field in dataclasses.fields(thing) if field.name in dir(thing)]
        return parts_of(name, {field: getattr(thing, field) for field in fields})
    if isinstance(thing, float):  # a schedule's 10 steps are 10.0 once it was called
        return repr(thing).removesuffix(".0")
    if type(thing).__repr__ is object.__repr__:  # which says nothing but an address
        return parts_of(name, vars(thing) if "__dict__" in dir(thing) else {})
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """In what a stored run differs from another, a text each.

    What the stored one does not tell, as a run of an earlier version, is not compared.
    """
    return [
        f"{name} was {_unlike(theirs[name], mine)} and is {_unlike(mine, theirs[name])}"
        for name, mine in ours.items()
        if name in theirs and theirs[name] != mine
    ]


def _unlike(one: Any, other: Any) -> str:
    """One of two texts without the whole parts that both begin and end with."""
    if not isinstance(one, str) or not isinstance(other, str):
        return str(one)

    def alike(one: str, other: str) -> int:
        pairs = enumerate(zip(one, other, strict=False))
        return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))

    first = max(one.rfind(mark, 0, alike(one, other)) for mark in " (") + 1
    same = alike(one[first:][::-1], other[first:][::-1])
    ends = [end for mark in ",)" if (end := one.find(mark, len(one) - same)) >= 0]
    return one[first : min(ends, default=len(one))]
