"""What networks are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


class Linear(eqx.Module):
    """x W + b, with W (in, out) so that rows stay rows under `vmap`; Glorot's uniform start."""

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    def __init__(self, num_in: int, num_out: int, *, key: Key[Array, ""]):
        limit = math.sqrt(6 / (num_in + num_out))
        # Flat, then shaped: the same numbers, and less to compile.
        weight = jax.random.uniform(key, (num_in * num_out,), minval=-limit, maxval=limit)
        self.weight = weight.reshape(num_in, num_out)
        self.bias = jnp.zeros(num_out)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """One example through the layer."""
        return x @ self.weight + self.bias
