"""Fully connected networks, and what others are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._precision import product

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
        return product(jnp.matmul, x, self.weight) + self.bias


class MLP(eqx.Module):
    """Fully connected layers with an activation between them; any shape in, any shape out.

    Args:
        shape_in: Shape of the input, flattened.
        hidden: Widths of the hidden layers; none for a linear map.
        shape_out: Shape of the output.
        activation: A name of `ACTIVATIONS`.
        key: Random key.
    """

    layers: tuple[Linear, ...]
    shape_out: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __init__(
        self,
        shape_in: Sequence[int],
        hidden: Sequence[int],
        shape_out: Sequence[int],
        *,
        activation: str = "tanh",
        key: Key[Array, ""],
    ):
        sizes = [math.prod(shape_in), *hidden, math.prod(shape_out)]
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            Linear(sizes[i], sizes[i + 1], key=keys[i]) for i in range(len(sizes) - 1)
        )
        self.shape_out = tuple(shape_out)
        self.activation = activation

    def __call__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One example through all layers."""
        hidden = x.reshape(-1)
        for layer in self.layers[:-1]:
            hidden = ACTIVATIONS[self.activation](layer(hidden))
        return self.layers[-1](hidden).reshape(self.shape_out)
