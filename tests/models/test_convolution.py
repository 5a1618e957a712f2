"""Convolutions: sums written out, adjoints, and derivatives, once and twice, as XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

from tighter.models.networks._convolution import convolved, spread

KEY = jax.random.key(0)

# Height, width, size of the kernel, stride.
CASES = [(5, 4, 3, 1), (5, 6, 3, 2), (6, 8, 4, 2), (6, 7, 3, 2), (4, 5, 1, 2), (7, 7, 5, 3)]


def drawn(height, width, size, stride):
    keys = jax.random.split(KEY, 3)
    small = -(-height // stride), -(-width // stride)
    return (
        jax.random.normal(keys[0], (height, width, 3)),
        jax.random.normal(keys[1], (size, size, 3, 2)),
        jax.random.normal(keys[2], (*small, 2)),
    )


def of_xla(image, weight, stride):
    """With a derivative of XLA's own."""
    size = weight.shape[0]
    before = (size - 1) // 2
    padding = []
    for length in image.shape[:2]:
        padding.append((before, stride * (-(-length // stride) - 1) + size - length - before))
    return jax.lax.conv_general_dilated(
        image[None], weight, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


@pytest.mark.parametrize(("height", "width", "size", "stride"), CASES)
def test_values_are_the_sums(height, width, size, stride):
    image, weight, other = drawn(height, width, size, stride)
    before = (size - 1) // 2
    expected, turned = np.zeros(other.shape), np.zeros(image.shape)
    for i, j, u, v in np.ndindex(*other.shape[:2], size, size):
        row, column = stride * i + u - before, stride * j + v - before
        if 0 <= row < height and 0 <= column < width:
            expected[i, j] += np.asarray(image[row, column]) @ np.asarray(weight[u, v])
            turned[row, column] += np.asarray(weight[u, v]) @ np.asarray(other[i, j])
    np.testing.assert_allclose(convolved(image, weight, stride), expected, atol=1e-4)
    found = spread(other, weight, stride, (height, width))
    np.testing.assert_allclose(found, turned, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "size", "stride"), every(2, CASES))
def test_derivatives_are_xlas(height, width, size, stride):
    """Of a curved function, once and twice, and through both layers."""

    @quick_jit
    def all_of(image, weight, other):
        def value(convolve, back):
            def loss(image, weight, other):
                there = jnp.sin(convolve(image, weight))
                return jnp.sum(there * other) + jnp.sum(jnp.cos(back(other * there, weight)))

            slope = jax.grad(loss, (0, 1, 2))

            def size_of_slope(*at):
                return sum(jnp.sum(jnp.sin(part)) for part in slope(*at))

            return slope(image, weight, other), jax.grad(size_of_slope, (0, 1, 2))(
                image, weight, other
            )

        def back(small, weight):
            _, pull = jax.vjp(lambda image: of_xla(image, weight, stride), jnp.zeros_like(image))
            return pull(small)[0]

        theirs = value(lambda image, weight: of_xla(image, weight, stride), back)
        ours = value(
            lambda image, weight: convolved(image, weight, stride),
            lambda small, weight: spread(small, weight, stride, (height, width)),
        )
        return theirs, ours

    theirs, ours = all_of(*drawn(height, width, size, stride))
    for expected, found in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
