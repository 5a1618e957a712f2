"""Networks for one example: several layers, convolutions for images, any other callable."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter.models._layers import ACTIVATIONS, Linear
from tighter.models.convolutions import ConvolutionalDecoder, ConvolutionalEncoder


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


class Applied(eqx.Module):
    """A network of another library: a function of parameters and an input, and the parameters.

    Args:
        apply: (parameters, x) -> output, for one example; `module.apply` of flax's linen.
        parameters: Any pytree of arrays; they are trained.

    Example:
        >>> Applied(flax_module.apply, flax_module.init(key, x))
    """

    apply: Callable[[Any, Array], Array] = eqx.field(static=True)
    parameters: PyTree

    def __call__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One example through the network."""
        return self.apply(self.parameters, x)


def started_encoder(encoder: Any, features: np.ndarray) -> Any:
    """An MLP whose first layer sees inputs centered on the mean of examples; others as they are.

    Args:
        encoder: Any network.
        features: What it sees of the training examples, shape (N, *shape).
    """
    if not isinstance(encoder, MLP):
        return encoder
    center = features.mean(axis=0).reshape(-1)
    bias = jnp.asarray(-center @ np.asarray(encoder.layers[0].weight))
    return eqx.tree_at(lambda mlp: mlp.layers[0].bias, encoder, bias)


def started_decoder(decoder: Any, output: np.ndarray) -> Any:
    """A network of this library whose outputs start around `output`; others as they are."""
    if isinstance(decoder, MLP):
        bias = jnp.asarray(output.reshape(-1))
        return eqx.tree_at(lambda mlp: mlp.layers[-1].bias, decoder, bias)
    if isinstance(decoder, ConvolutionalDecoder):
        return eqx.tree_at(lambda network: network.bias, decoder, jnp.asarray(output))
    return decoder


def _mlp_decoder(
    shape_in: Sequence[int], hidden: Sequence[int], shape_out: Sequence[int], **options: Any
) -> MLP:
    return MLP(shape_in, tuple(reversed(hidden)), shape_out, **options)


# Encoder and decoder: (shape in, widths in the encoder's order, shape out, activation=, key=).
NETWORKS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "mlp": (MLP, _mlp_decoder),
    "convolutional": (ConvolutionalEncoder, ConvolutionalDecoder),
    "residual": (
        functools.partial(ConvolutionalEncoder, num_blocks=1),
        functools.partial(ConvolutionalDecoder, num_blocks=1),
    ),
}
