"""Convolutional networks for images of any size and number of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter.models.networks._convolution import Convolution, TransposedConvolution
from tighter.models.networks._layers import ACTIVATIONS, Linear


class ResidualBlock(eqx.Module):
    """An image plus what two 3×3 convolutions make of it; at its start the identity, nearly."""

    first: Convolution
    second: Convolution
    activation: str = eqx.field(static=True)

    def __init__(self, channels: int, *, activation: str, key: Key[Array, ""]):
        keys = jax.random.split(key)
        self.first = Convolution(channels, channels, key=keys[0])
        second = Convolution(channels, channels, key=keys[1])
        self.second = jax.tree.map(lambda leaf: 0.1 * leaf, second)
        self.activation = activation

    def __call__(self, image: Float[Array, "height width channels"]) -> Float[Array, ...]:
        """One image through the block."""
        activation = ACTIVATIONS[self.activation]
        return image + self.second(activation(self.first(activation(image))))


class ConvolutionalEncoder(eqx.Module):
    """Strided 3×3 convolutions that halve the image each, then a linear layer.

    Args:
        shape_in: (height, width) or (height, width, channels).
        channels: Channels of each convolution.
        shape_out: Shape of the output.
        activation: A name of `ACTIVATIONS`.
        num_blocks: Residual blocks after each convolution.
        key: Random key.

    Raises:
        ValueError: If the input is no image.
    """

    convolutions: tuple[Convolution, ...]
    blocks: tuple[tuple[ResidualBlock, ...], ...]
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
        num_blocks: int = 0,
        key: Key[Array, ""],
    ):
        height, width, depth = _image_shape(shape_in, most=3)
        keys = jax.random.split(key, len(channels) + 1)
        depths = [depth, *channels]
        self.convolutions = tuple(
            Convolution(depths[i], depths[i + 1], stride=2, key=keys[i])
            for i in range(len(channels))
        )
        self.blocks = _blocks(channels, num_blocks, activation=activation, key=key)
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        self.last = Linear(height * width * depths[-1], math.prod(shape_out), key=keys[-1])
        self.shape_out = tuple(shape_out)
        self.activation = activation

    def __call__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One image through the network."""
        image = x[..., None] if x.ndim == 2 else x
        activation = ACTIVATIONS[self.activation]
        for convolution, blocks in zip(self.convolutions, self.blocks, strict=True):
            image = convolution(image)
            for block in blocks:
                image = block(image)
            image = activation(image)
        return self.last(image.reshape(-1)).reshape(self.shape_out)


class ConvolutionalDecoder(eqx.Module):
    """A linear layer, then transposed 4×4 convolutions that double the image each, cropped to size.

    Args:
        shape_in: Shape of the input, flattened.
        channels: Channels of each stage, in the encoder's order (the last is the smallest image).
        shape_out: (height, width), and then any axes, which become channels.
        activation: A name of `ACTIVATIONS`.
        num_blocks: Residual blocks before each convolution.
        key: Random key.

    Raises:
        ValueError: If the output is no image.
    """

    first: Linear
    convolutions: tuple[TransposedConvolution, ...]
    blocks: tuple[tuple[ResidualBlock, ...], ...]
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
        num_blocks: int = 0,
        key: Key[Array, ""],
    ):
        height, width, depth = _image_shape(shape_out)
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        depths = [*reversed(channels), depth]
        keys = jax.random.split(key, len(channels) + 1)
        self.start = (height, width, depths[0])
        self.first = Linear(math.prod(shape_in), math.prod(self.start), key=keys[0])
        self.convolutions = tuple(
            TransposedConvolution(depths[i], depths[i + 1], key=keys[i + 1])
            for i in range(len(channels))
        )
        self.blocks = _blocks(depths[:-1], num_blocks, activation=activation, key=key)
        self.bias = jnp.zeros(tuple(shape_out))
        self.activation = activation

    def __call__(self, z: Float[Array, ...]) -> Float[Array, ...]:
        """One latent through the network."""
        image = self.first(z.reshape(-1)).reshape(self.start)
        activation = ACTIVATIONS[self.activation]
        for convolution, blocks in zip(self.convolutions, self.blocks, strict=True):
            for block in blocks:
                image = block(image)
            image = convolution(activation(image))
        shape = self.bias.shape
        return image[: shape[0], : shape[1]].reshape(shape) + self.bias


def _blocks(
    channels: Sequence[int], num_blocks: int, *, activation: str, key: Key[Array, ""]
) -> tuple[tuple[ResidualBlock, ...], ...]:
    stages = []
    for i, num_channels in enumerate(channels):
        keys = jax.random.split(jax.random.fold_in(key, i), max(num_blocks, 1))[:num_blocks]
        stages.append(
            tuple(ResidualBlock(num_channels, activation=activation, key=k) for k in keys)
        )
    return tuple(stages)


def _image_shape(shape: Sequence[int], *, most: int = 4) -> tuple[int, int, int]:
    """(height, width, channels) of an image with or without channels, and numbers a channel."""
    if not 2 <= len(shape) <= most:
        raise ValueError(
            f"a convolutional network takes images (height, width) or (height, width, channels), "
            f"got shape {tuple(shape)}: take the MLP"
        )
    return shape[0], shape[1], math.prod(shape[2:])
