"""Parameters checked where they enter: at once if they are known, else when the program runs."""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from numpyro.distributions import Independent

from tighter._errors import InputError

Tree = TypeVar("Tree")


def name_of(distribution: object) -> str:
    """The family's name, told with its base where it is a family of vectors."""
    if isinstance(distribution, Independent):
        return f"{type(distribution.base_dist).__name__}.to_event"
    return type(distribution).__name__


def check_finite_parameters(tree: Tree, name: str) -> Tree:
    """The same pytree, refused if a parameter is not finite.

    A Cholesky factor is not finite where the covariance was not positive definite.
    """
    message = (
        f"{name}: a parameter is not finite (a covariance that is not positive definite has no "
        "Cholesky factor)"
    )
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array(leaf)]
    if not leaves:
        return tree
    bad = ~jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
    return refuse(tree, bad, message)


def refuse(tree: Tree, bad: jax.Array, message: str) -> Tree:
    """The same pytree; an error if `bad`, at once where it is known, else when the program runs.

    Raises:
        InputError: At once, outside of any transformation.
    """
    if isinstance(bad, Tracer):
        return eqx.error_if(tree, bad, message)
    if bool(bad):
        raise InputError(message)
    return tree
