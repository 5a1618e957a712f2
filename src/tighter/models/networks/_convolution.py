"""Convolutions with channels last, whose derivatives by the weights are products of matrices.

XLA's own derivative by the weights is a convolution with a kernel as large as the image; within a
loop, as training is, CPUs take ten times as long for it.
"""

from __future__ import annotations

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._precision import product


class Convolution(eqx.Module):
    """A convolution that keeps an image's size, or divides it by the stride, rounded up."""

    weight: Float[Array, "size size in out"]
    bias: Float[Array, " out"]
    stride: int = eqx.field(static=True)

    def __init__(
        self, num_in: int, num_out: int, *, size: int = 3, stride: int = 1, key: Key[Array, ""]
    ):
        self.weight = _glorot((size, size, num_in, num_out), key=key)
        self.bias = jnp.zeros(num_out)
        self.stride = stride

    def __call__(self, image: Float[Array, "height width in"]) -> Float[Array, "down across out"]:
        """One image through the layer."""
        if self.weight.shape[0] == 1 and self.stride == 1:
            return product(jnp.matmul, image, self.weight[0, 0]) + self.bias[None, None]
        moved = product(lambda x, w: convolved(x, w, self.stride), image, self.weight)
        return moved + self.bias[None, None]


class TransposedConvolution(eqx.Module):
    """A transposed convolution that doubles an image."""

    weight: Float[Array, "size size out in"]
    bias: Float[Array, " out"]

    def __init__(self, num_in: int, num_out: int, *, size: int = 4, key: Key[Array, ""]):
        self.weight = _glorot((size, size, num_out, num_in), key=key)
        self.bias = jnp.zeros(num_out)

    def __call__(self, image: Float[Array, "height width in"]) -> Float[Array, "up across out"]:
        """One image through the layer."""
        height, width, _ = image.shape
        size = 2 * height, 2 * width
        doubled = product(lambda x, w: spread(x, w, 2, size), image, self.weight)
        return doubled + self.bias[None, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolved(
    image: Float[Array, "height width in"], weight: Float[Array, "size size in out"], stride: int
) -> Float[Array, "down across out"]:
    r"""$y_{ijo} = \sum_{uvc} w_{uvco} x_{si + u - p,\, sj + v - p,\, c}$, p half the kernel.

    Args:
        image: x, taken as zero outside.
        weight: w.
        stride: s.

    Returns:
        y, of ⌈height / s⌉ by ⌈width / s⌉ pixels.
    """
    height, width, _ = image.shape
    size = weight.shape[0]
    padding = [_padding(length, -(-length // stride), size, stride) for length in (height, width)]
    return _convolution(image, weight, strides=(stride, stride), padding=padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def spread(
    image: Float[Array, "height width in"],
    weight: Float[Array, "size size out in"],
    stride: int,
    shape: tuple[int, int],
) -> Float[Array, "up across out"]:
    """The adjoint of `convolved` by its image, which has that shape: a transposed convolution."""
    size = weight.shape[0]
    padding = []
    for small, large in zip(image.shape[:2], shape, strict=True):
        low, high = _padding(large, small, size, stride)
        padding.append((size - 1 - low, size - 1 - high))
    turned = jnp.flip(weight, (0, 1)).swapaxes(2, 3)
    return _convolution(image, turned, padding=padding, dilation=(stride, stride))


def _convolution(
    image: Array,
    weight: Array,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: list[tuple[int, int]],
    dilation: tuple[int, int] = (1, 1),
) -> Array:
    return jax.lax.conv_general_dilated(
        image[None],
        weight,
        strides,
        padding,
        lhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]


def _padding(large: int, small: int, size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after (fewer than none where the last ones have no say)."""
    before = (size - 1) // 2
    return before, stride * (small - 1) + size - large - before


def _by_weight(large: Array, small: Array, size: int, stride: int) -> Array:
    """The derivative by the weights: an entry a product of two matrices, over the pixels."""
    height, width, _ = small.shape
    padding = [
        _padding(a, b, size, stride) for a, b in zip(large.shape[:2], small.shape[:2], strict=True)
    ]
    padded = jnp.pad(large, [(low, max(high, 0)) for low, high in padding] + [(0, 0)])
    products = [
        jnp.einsum(
            "hwa,hwb->ab",
            padded[up : up + stride * height : stride, across : across + stride * width : stride],
            small,
        )
        for up in range(size)
        for across in range(size)
    ]
    return jnp.stack(products).reshape(size, size, large.shape[2], small.shape[2])


def _convolved_forward(image: Array, weight: Array, stride: int) -> tuple[Array, tuple]:
    return convolved(image, weight, stride), (image, weight)


def _convolved_backward(stride: int, residuals: tuple, cotangent: Array) -> tuple[Array, Array]:
    image, weight = residuals
    return (
        spread(cotangent, weight, stride, image.shape[:2]),
        _by_weight(image, cotangent, weight.shape[0], stride),
    )


def _spread_forward(
    image: Array, weight: Array, stride: int, shape: tuple[int, int]
) -> tuple[Array, tuple]:
    return spread(image, weight, stride, shape), (image, weight)


def _spread_backward(
    stride: int, shape: tuple[int, int], residuals: tuple, cotangent: Array
) -> tuple[Array, Array]:
    image, weight = residuals
    return (
        convolved(cotangent, weight, stride),
        _by_weight(cotangent, image, weight.shape[0], stride),
    )


convolved.defvjp(_convolved_forward, _convolved_backward)
spread.defvjp(_spread_forward, _spread_backward)


def _glorot(shape: tuple[int, int, int, int], *, key: Key[Array, ""]) -> Array:
    """Uniform with the variance that keeps the size of what goes through, both ways."""
    limit = math.sqrt(6 / (shape[0] * shape[1] * (shape[2] + shape[3])))
    # Flat, then shaped: the same numbers, and less to compile.
    return jax.random.uniform(key, (math.prod(shape),), minval=-limit, maxval=limit).reshape(shape)
