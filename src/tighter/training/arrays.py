"""A pytree's arrays by the names of their places, and back: what a checkpoint is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
import safetensors.numpy
from jaxtyping import Array

from tighter._errors import InputError
from tighter._files import writing

Tree = TypeVar("Tree")


def named_arrays(tree: Any) -> dict[str, Array]:
    """The arrays of a pytree, each under the path to it."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def with_arrays(tree: Tree, arrays: Mapping[str, Any]) -> Tree:
    """The pytree with its arrays replaced by those under the same names.

    Raises:
        InputError: If a name is missing or too many, or a shape or type differs.
    """
    expected = named_arrays(tree)
    odd = sorted(set(expected) ^ set(arrays))
    if odd:
        raise InputError(f"the stored parameters are of another model: {', '.join(odd[:3])} differ")
    for name, leaf in expected.items():
        if leaf.shape != arrays[name].shape or leaf.dtype != arrays[name].dtype:
            raise InputError(
                f"the stored parameters are of another model: {name} is {leaf.dtype}{leaf.shape} "
                f"in it, {arrays[name].dtype}{arrays[name].shape} in the file"
            )
    dynamic, static = eqx.partition(tree, eqx.is_array)
    places, structure = jax.tree.flatten(dynamic)
    assert len(places) == len(expected)
    replaced = jax.tree.unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in expected])
    return eqx.combine(replaced, static)


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes, types and bytes."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def save_parameters(path: Path, model: Any) -> None:
    """Write a model's arrays as safetensors, whole or not at all."""
    arrays = {name: np.asarray(leaf) for name, leaf in named_arrays(model).items()}
    with writing(path) as place:
        place.write_bytes(safetensors.numpy.save(arrays, metadata={"sha256": digest(arrays)}))


def load_parameters(path: Path, model: Tree) -> Tree:
    """The model with the arrays of a safetensors file; no code runs on reading.

    Raises:
        InputError: If the file is missing, damaged, or of another model.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            stated = (file.metadata() or {}).get("sha256")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: the run has stored no parameters yet") from None
    except Exception as error:
        raise InputError(f"{path} is damaged and can't be read ({error})") from None
    if stated is not None and stated != digest(arrays):
        raise InputError(f"{path} is damaged: its contents don't have the digest stated in it")
    return with_arrays(model, arrays)
