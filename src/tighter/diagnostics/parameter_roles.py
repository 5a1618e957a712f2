"""Which of a model's parameters are generative (θ) and which the posterior's (φ)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Key, PyTree

from tighter._checks import require
from tighter._rows import rows_of_batch
from tighter.distributions import draw


class Roles(NamedTuple):
    """A bool for each of a model's trainable arrays, None elsewhere; an array may be of both.

    Attributes:
        theta: Whether log p(x, z) depends on it, z held fixed.
        phi: Whether log q(z|x) depends on it, z held fixed.
    """

    theta: PyTree
    phi: PyTree


def parameter_roles(
    model: Any, x: PyTree, *, phi: Callable[[Any], Any] | PyTree | None = None, key: Key[Array, ""]
) -> Roles:
    """Tell θ from φ by differentiation: exactly, for any model, and without evaluating it.

    Args:
        model: Has `log_joint(x)` and `posterior(x)`; its inexact arrays are its parameters.
        x: Examples; arrays with leading axis N. The first one is used.
        phi: To say it instead: a function from the model to its part that is φ
            (`lambda model: model.encoder`), or the model with a bool for each array. θ is the rest.
        key: Random key; only the shape of a draw counts.

    Returns:
        Two pytrees of the model's structure.

    Raises:
        InputError: If the model has no inexact arrays, the batch no examples, or `phi` doesn't
            fit the model.
    """
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    require(
        jax.tree.leaves(arrays),
        f"{type(model).__name__} has no floating-point arrays, so that there is nothing to "
        "differentiate: make its parameters jax arrays",
    )
    if phi is not None:
        chosen = _chosen(phi, model, arrays)
        return Roles(jax.tree.map(lambda flag: not flag, chosen), chosen)

    def first_draw(key: Key[Array, ""]) -> PyTree:
        return draw(rows_of_batch(model, x, key=key).example_posterior(), key=key)

    z = eqx.filter_eval_shape(first_draw, key)
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], x)

    def log_joint(arrays: PyTree, z: PyTree) -> Array:
        return eqx.combine(arrays, static).log_joint(example)(z)

    def log_density(arrays: PyTree, z: PyTree) -> Array:
        return eqx.combine(arrays, static).posterior(example).log_prob(z)

    return Roles(_reaching(log_joint, arrays, z), _reaching(log_density, arrays, z))


def _chosen(phi: Any, model: Any, arrays: PyTree) -> PyTree:
    """A bool an array, from what the user said."""
    nothing = jax.tree.map(lambda _: False, arrays)
    if callable(phi) and not isinstance(phi, type(model)):
        return eqx.tree_at(phi, nothing, replace_fn=lambda part: jax.tree.map(lambda _: True, part))
    flags = eqx.filter(phi, lambda leaf: isinstance(leaf, bool))
    require(
        jax.tree.structure(flags) == jax.tree.structure(nothing),
        "phi is a function from the model to a part of it, or the model with a bool for each of "
        f"its floating-point arrays, got {type(phi).__name__} of another structure",
    )
    return flags


def _reaching(function: Callable[[PyTree, PyTree], Array], arrays: PyTree, z: PyTree) -> PyTree:
    """For each array, whether the function has a derivative in it: by structure, not by value."""
    leaves, structure = jax.tree.flatten(arrays)
    traced = jax.make_jaxpr(function)(arrays, z)
    flat = jaxpr_as_fun(traced)
    others = jax.tree.leaves(z)

    def reaches(position: int) -> bool:
        seen = []

        @jax.custom_jvp
        def probe(value: Array) -> Array:
            return value

        def look(primals: tuple, tangents: tuple) -> tuple:
            seen.append(not isinstance(tangents[0], SymbolicZero))
            return primals[0], jnp.zeros_like(primals[0])

        probe.defjvp(look, symbolic_zeros=True)

        def derivative(leaves: list, others: list) -> Any:
            def of_one(leaf: Array) -> list:
                moved = [*leaves[:position], leaf, *leaves[position + 1 :]]
                return [probe(value) for value in flat(*moved, *others)]

            return jax.jvp(of_one, (leaves[position],), (leaves[position],))

        jax.eval_shape(derivative, leaves, others)
        return any(seen)

    return jax.tree.unflatten(structure, [reaches(i) for i in range(len(leaves))])
