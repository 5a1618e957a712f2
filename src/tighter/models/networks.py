"""Networks for one example: several layers, or convolutions for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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


def _image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(height, width, channels) of an image with or without channels."""
    if len(shape) not in (2, 3):
        raise ValueError(
            f"a convolutional network takes images (height, width) or (height, width, channels), "
            f"got shape {tuple(shape)}: take the MLP"
        )
    return (*shape, 1) if len(shape) == 2 else tuple(shape)  # type: ignore[return-value]


class ConvolutionalEncoder(eqx.Module):
    """Strided 3×3 convolutions that halve the image each, then a linear layer.

    Args:
        shape_in: (height, width) or (height, width, channels).
        channels: Channels of each convolution.
        shape_out: Shape of the output.
        activation: A name of `ACTIVATIONS`.
        key: Random key.

    Raises:
        ValueError: If the input is no image.
    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    last: Linear
    shape_out: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __init__(
        self,
        shape_in: Sequence[int],
        channels: Sequence[int],
        shape_out: Sequence[int],
        *,
        activation: str = "relu",
        key: Key[Array, ""],
    ):
        height, width, depth = _image_shape(shape_in)
        keys = jax.random.split(key, len(channels) + 1)
        depths = [depth, *channels]
        self.convolutions = tuple(
            eqx.nn.Conv2d(depths[i], depths[i + 1], 3, stride=2, padding=1, key=keys[i])
            for i in range(len(channels))
        )
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        self.last = Linear(height * width * depths[-1], math.prod(shape_out), key=keys[-1])
        self.shape_out = tuple(shape_out)
        self.activation = activation

    def __call__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One image through the network."""
        image = x[None] if x.ndim == 2 else jnp.moveaxis(x, -1, 0)
        for convolution in self.convolutions:
            image = ACTIVATIONS[self.activation](convolution(image))
        return self.last(image.reshape(-1)).reshape(self.shape_out)


class ConvolutionalDecoder(eqx.Module):
    """A linear layer, then transposed 4×4 convolutions that double the image each, cropped to size.

    Args:
        shape_in: Shape of the input, flattened.
        channels: Channels of each stage, in the encoder's order (the last is the smallest image).
        shape_out: (height, width) or (height, width, channels).
        activation: A name of `ACTIVATIONS`.
        key: Random key.

    Raises:
        ValueError: If the output is no image.
    """

    first: Linear
    convolutions: tuple[eqx.nn.ConvTranspose2d, ...]
    bias: Float[Array, ...]
    start: tuple[int, int, int] = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __init__(
        self,
        shape_in: Sequence[int],
        channels: Sequence[int],
        shape_out: Sequence[int],
        *,
        activation: str = "relu",
        key: Key[Array, ""],
    ):
        height, width, depth = _image_shape(shape_out)
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        depths = [*reversed(channels), depth]
        keys = jax.random.split(key, len(channels) + 1)
        self.start = (depths[0], height, width)
        self.first = Linear(math.prod(shape_in), math.prod(self.start), key=keys[0])
        self.convolutions = tuple(
            eqx.nn.ConvTranspose2d(
                depths[i], depths[i + 1], 4, stride=2, padding=1, key=keys[i + 1]
            )
            for i in range(len(channels))
        )
        self.bias = jnp.zeros(tuple(shape_out))
        self.activation = activation

    def __call__(self, z: Float[Array, ...]) -> Float[Array, ...]:
        """One latent through the network."""
        image = self.first(z.reshape(-1)).reshape(self.start)
        for convolution in self.convolutions:
            image = convolution(ACTIVATIONS[self.activation](image))
        shape = self.bias.shape
        image = image[:, : shape[0], : shape[1]]
        return (image[0] if len(shape) == 2 else jnp.moveaxis(image, 0, -1)) + self.bias
