"""A posterior as numbers that may take any value, and back: what an optimizer can move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Key, PyTree
from numpyro.distributions import biject_to

from tighter._errors import InputError
from tighter.distributions import Mixture, draw, name_of

Rebuild = Callable[[PyTree], Any]


def free_parameters(posterior: Any) -> tuple[PyTree, Rebuild]:
    """Unconstrained parameters, and the function that makes a posterior of the same kind of them.

    Parameters of a numpyro distribution, constants among them, go through the bijection of their
    constraint: a scale through the logarithm, a Cholesky factor through that of its diagonal. Any
    other posterior's floating-point arrays are taken as they are, and the distributions that it is
    made of like any other.
    """
    if isinstance(posterior, dist.Independent):
        free, base = free_parameters(posterior.base_dist)
        events = posterior.reinterpreted_batch_ndims
        return free, lambda free: base(free).to_event(events)
    if isinstance(posterior, dist.ExpandedDistribution):
        free, base = free_parameters(posterior.base_dist)
        shape = posterior.batch_shape
        return free, lambda free: base(free).expand(shape)
    if isinstance(posterior, Mixture):
        of_components, components = free_parameters(posterior.components)
        free = {"logits": posterior.logits, "components": of_components}
        return free, lambda free: Mixture(free["logits"], components(free["components"]))
    if isinstance(posterior, dist.Distribution):
        return _of_family(posterior)
    return _of_parts(posterior)


def check_free_parameters(posterior: Any, *, key: Key[jax.Array, ""]) -> None:
    """Refuse a posterior that its parameters don't make again.

    Raises:
        InputError: If it has none, or ones that can't be moved freely.
    """
    try:
        free, rebuild = free_parameters(posterior)
        z = draw(posterior, key=key)
        same = jnp.allclose(rebuild(free).log_prob(z), posterior.log_prob(z), rtol=1e-3, atol=1e-2)
    except (NotImplementedError, TypeError, ValueError):
        free, same = (), False
    if not (jax.tree.leaves(free) and bool(same)):
        raise InputError(
            f"a posterior of the family {name_of(posterior)} can't be optimized by its parameters: "
            "give one of a numpyro family with unconstrained, positive or similar parameters, or "
            "a pytree of arrays that may take any value"
        )


def _of_family(family: Any) -> tuple[PyTree, Rebuild]:
    """A numpyro distribution by the arguments that it stores."""
    stored = set(family.gather_pytree_data_fields()) & set(family.arg_constraints)
    arguments = {name: family.__dict__.get(name) for name in stored}
    constraints = {name: family.arg_constraints[name] for name in sorted(stored)}
    bijections = {
        name: biject_to(constraint)
        for name, constraint in constraints.items()
        if not constraint.is_discrete  # a count stays
    }
    free = {
        name: bijection.inv(jnp.asarray(arguments[name], float))
        for name, bijection in bijections.items()
    }

    def rebuild(free: PyTree) -> Any:
        moved = {name: bijection(free[name]) for name, bijection in bijections.items()}
        return type(family)(**{**arguments, **moved}, validate_args=False)

    return free, rebuild


def _of_parts(posterior: Any) -> tuple[PyTree, Rebuild]:
    """A pytree of arrays and distributions."""
    is_distribution = lambda part: isinstance(part, dist.Distribution)  # noqa: E731
    parts, structure = jax.tree.flatten(posterior, is_leaf=is_distribution)

    def of_part(part: Any) -> tuple[PyTree, Rebuild]:
        if is_distribution(part):
            return free_parameters(part)
        if eqx.is_inexact_array(part):
            return part, lambda free: free
        return None, lambda _: part

    split = [of_part(part) for part in parts]

    def rebuild(free: PyTree) -> Any:
        made = (remake(one) for one, (_, remake) in zip(free, split, strict=True))
        return jax.tree.unflatten(structure, made)

    return [free for free, _ in split], rebuild
