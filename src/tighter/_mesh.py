"""Devices in a mesh: examples over its axis "data", draws over "draws", wide layers over "model".

What is computed is the same program as on one device; here stands only where its arrays lie. Keys
belong to examples and draws and not to devices, so that numbers are the same to rounding.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from tighter._checks import require

T = TypeVar("T")

AXES = ("data", "draws", "model")
# Of fewer numbers, an array is on all devices.
_LEAST_SPREAD = 1 << 16
_MOST = 64  # into which a CPU is divided

_current: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)


def checked_mesh(mesh: Any) -> Mesh:
    """A mesh whose arrays the compiler lays out, with the axes that are known here.

    Raises:
        InputError: If it is no mesh, has no axis "data", or an axis that nothing is spread over.
    """
    require(
        isinstance(mesh, Mesh),
        f'mesh is a jax.sharding.Mesh, such as jax.make_mesh((2,), ("data",)), got '
        f"{type(mesh).__name__}",
    )
    require(
        "data" in mesh.axis_names,
        f'a mesh has an axis "data", over which examples are spread, got {mesh.axis_names}: '
        'jax.make_mesh((2,), ("data",)), for instance',
    )
    unknown = [name for name in mesh.axis_names if name not in AXES]
    require(
        not unknown,
        f"nothing is spread over the axis {', '.join(map(repr, unknown))} of the mesh: its axes "
        'are "data" (examples), "draws" (the K draws of an example) and "model" (wide layers)',
    )
    automatic = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=automatic)


def size_of(mesh: Mesh | None, axis: str) -> int:
    """Over how many devices an axis spreads: 1 where there is none."""
    return 1 if mesh is None else mesh.shape.get(axis, 1)


def check_divides(batch_size: int, size: int) -> None:
    """Refuse a batch that does not divide over the devices.

    Raises:
        InputError: With the nearest that does.
    """
    nearest = max(size, round(batch_size / size) * size)
    require(
        batch_size % size == 0,
        f"a batch of {batch_size} does not divide over {size} devices: the nearest that does is "
        f"{nearest}",
    )


def mesh_of(devices: str) -> Mesh | None:
    """A mesh of so many devices for examples; None of one. A CPU is divided into as many.

    Args:
        devices: A whole number, or "all".

    Raises:
        InputError: If there are not as many, or it is no number.
    """
    number = int(devices) if devices.isdecimal() else 0
    require(devices == "all" or number > 0, f"--devices is a whole number or all, got {devices!r}")
    with contextlib.suppress(RuntimeError):  # JAX has begun: with as many as there are
        jax.config.update("jax_num_cpu_devices", min(number, _MOST) or os.cpu_count() or 1)
    there = jax.devices()
    require(
        number <= len(there),
        f"{number} devices were asked for, and there are {len(there)} ({there[0].platform}): "
        f"take --devices {len(there)} or fewer",
    )
    taken = there[: number or len(there)]
    return Mesh(np.asarray(taken), ("data",)) if len(taken) > 1 else None


@contextlib.contextmanager
def over(mesh: Mesh | None) -> Iterator[None]:
    """Within, rows of examples and draws are spread over the mesh."""
    token = _current.set(mesh)
    try:
        yield
    finally:
        _current.reset(token)


def spread(tree: T, *axes: str) -> T:
    """Arrays whose leading axes are spread over the current mesh, where they divide.

    Args:
        tree: Arrays, each with these leading axes; as it is where there is no mesh.
        axes: Of the mesh, for the first axes of the arrays.
    """
    mesh = _current.get()
    if mesh is None:
        return tree

    def placed(leaf: Any) -> Any:
        names = [
            name if leaf.shape[place] % size_of(mesh, name) == 0 and name in mesh.shape else None
            for place, name in enumerate(axes)
        ]
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, PartitionSpec(*names)))

    return jax.tree.map(placed, tree)


def spread_rows(tree: T, num_examples: int, num_draws: int) -> T:
    """The same of rows, each a draw of an example: both axes in one."""
    mesh = _current.get()
    if mesh is None:
        return tree
    sizes = {"data": num_examples, "draws": num_draws}
    names = tuple(n for n, s in sizes.items() if n in mesh.shape and s % mesh.shape[n] == 0)
    sharding = NamedSharding(mesh, PartitionSpec(names or None))
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)


def layout(mesh: Mesh, tree: PyTree) -> PyTree:
    """Where parameters lie: the widest axis of large ones over "model", all else everywhere."""
    size = size_of(mesh, "model")

    def of(leaf: Any) -> NamedSharding:
        names: list[str | None] = [None] * leaf.ndim
        if size > 1 and leaf.ndim > 1 and leaf.size >= _LEAST_SPREAD:
            widths = [width if width % size == 0 else 0 for width in leaf.shape]
            if max(widths):
                names[widths.index(max(widths))] = "model"
        return NamedSharding(mesh, PartitionSpec(*names))

    return jax.tree.map(of, tree)
