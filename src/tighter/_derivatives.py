"""Values whose derivative is another's, scaled, or refused: identities with a rule of their own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def scale_derivative(z: Float[Array, ...], factor: Float[Array, ""]) -> Float[Array, ...]:
    """z, with its derivative multiplied by a factor on the way."""
    return z


@scale_derivative.defjvp
def _scale_derivative_jvp(primals, tangents):
    z, factor = primals
    return z, tangents[0] * jax.lax.stop_gradient(factor)


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


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def without_derivative(z: Array, message: str) -> Array:
    """z, which must not be differentiated: a TypeError with the message if it is."""
    return z


@partial(without_derivative.defjvp, symbolic_zeros=True)
def _without_derivative_jvp(message, primals, tangents):
    if not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        raise TypeError(message)
    return primals[0], jnp.zeros_like(primals[0])
