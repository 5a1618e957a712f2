"""Values whose derivative is another's, a sum, or refused: identities with a rule of their own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def tap(z: PyTree, other: PyTree, a: Array, b: Array) -> tuple[PyTree, Array, Array]:
    """z, with its derivative plus a factor times that of the same value on another path.

    The factor need not be known yet: it is the cotangent of a over that of b when they come back.
    So a factor that is a function of what is computed from z costs no second pass. Backward only.

    Args:
        z: Floating-point arrays.
        other: The same values, on another path.
        a: Zero, with an axis for each `vmap` under which the factor varies; a scalar, or of as many
            axes as the arrays.
        b: The same.

    Returns:
        z, a and b.
    """
    # Over each axis of a, lest a cotangent be the sum over it.
    z = jax.tree.map(lambda leaf: jnp.where(False, a.astype(leaf.dtype), leaf), z)  # noqa: FBT003
    return _tap(z, other, a, b)


@jax.custom_vjp
def _tap(z: PyTree, other: PyTree, a: Array, b: Array) -> tuple[PyTree, Array, Array]:
    return z, a, b


def _tap_forward(z: PyTree, other: PyTree, a: Array, b: Array) -> tuple[tuple, tuple]:
    return (z, a, b), (a, b)


def _tap_backward(zeros: tuple, cotangents: tuple) -> tuple:
    of_z, of_a, of_b = cotangents
    factor = jnp.where(of_b == 0, 0, of_a / jnp.where(of_b == 0, 1, of_b))
    return of_z, jax.tree.map(lambda ct: ct * factor.astype(ct.dtype), of_z), *zeros


_tap.defvjp(_tap_forward, _tap_backward)


@jax.custom_jvp
def with_second_path(
    z: Float[Array, ...], other: Float[Array, ...], factor: Float[Array, ""]
) -> Float[Array, ...]:
    """z, with its derivative plus a factor times that of the same value on another path."""
    return z


@with_second_path.defjvp
def _with_second_path_jvp(primals, tangents):
    z, _, factor = primals
    return z, tangents[0] + tangents[1] * jax.lax.stop_gradient(factor)


@jax.custom_jvp
def with_gradient_of(value: Float[Array, ...], surrogate: Float[Array, ...]) -> Float[Array, ...]:
    """The value to the last bit, with the derivative of the surrogate."""
    return value


@with_gradient_of.defjvp
def _with_gradient_of_jvp(primals, tangents):
    return primals[0], tangents[1]


@jax.custom_jvp
def with_derivative(
    value: Float[Array, ...], slopes: Float[Array, "... K"], at: Float[Array, " K"]
) -> Float[Array, ...]:
    """The value to the last bit, with the derivative by `at` that the slopes are."""
    return value


@with_derivative.defjvp
def _with_derivative_jvp(primals, tangents):
    slopes = primals[1]
    moved = jnp.broadcast_to(tangents[2], slopes.shape)
    return with_derivative(*primals), jnp.sum(slopes * moved, axis=-1)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def without_derivative(z: Array, message: str) -> Array:
    """z, which must not be differentiated: a TypeError with the message if it is."""
    return z


@partial(without_derivative.defjvp, symbolic_zeros=True)
def _without_derivative_jvp(message, primals, tangents):
    if not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        raise TypeError(message)
    return primals[0], jnp.zeros_like(primals[0])
