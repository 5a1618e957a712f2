"""Networks that denoise: fully connected ones and a U-Net, and what they see of the noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._names import unknown
from tighter.models.diffusion.schedules import Example, Scalar
from tighter.models.networks._convolution import Convolution
from tighter.models.networks._layers import ACTIVATIONS, Linear

Denoiser = Callable[[Array, Array], Array]

EMBEDDED = 32
# Radians a nat: from waves longer than the whole range of log SNRs to changes within a nat.
_FREQUENCIES = np.geomspace(0.05, 2.0, EMBEDDED // 2).astype(np.float32)


def embedded_log_snr(log_snr: Scalar) -> Float[Array, " embedded"]:
    """Sines and cosines of the log SNR, which say the level of noise whatever the schedule."""
    angles = log_snr * _FREQUENCIES
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def fourier_features(z: Example, exponents: Sequence[int]) -> Example:
    """The input and sin 2ⁿπz, cos 2ⁿπz for each exponent n, along the last axis.

    Where the density has details far finer than the data's spread (pixels of 256 levels), networks
    see them thereby.

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021, app. C.
    """
    waves = [wave(2.0**n * np.pi * z) for n in exponents for wave in (jnp.sin, jnp.cos)]
    return jnp.concatenate([z, *waves], axis=-1)


class Layer(eqx.Module):
    """A vector plus what two linear maps make of it, between which the level of noise comes in."""

    first: Linear
    second: Linear
    level: Linear
    shortcut: Linear | None
    activation: str = eqx.field(static=True)

    def __init__(self, num_in: int, num_out: int, *, activation: str, key: Key[Array, ""]):
        keys = jax.random.split(key, 4)
        self.first = Linear(num_in, num_out, key=keys[0])
        self.second = Linear(num_out, num_out, key=keys[1])
        self.level = Linear(EMBEDDED, 2 * num_out, key=keys[2])
        self.shortcut = None if num_in == num_out else Linear(num_in, num_out, key=keys[3])
        self.activation = activation

    def __call__(
        self, hidden: Float[Array, " in"], embedding: Float[Array, " embedded"]
    ) -> Float[Array, " out"]:
        """One vector through the layer."""
        scale, shift = jnp.split(self.level(embedding), 2)
        inner = ACTIVATIONS[self.activation](self.first(hidden) * (1 + scale) + shift)
        straight = hidden if self.shortcut is None else self.shortcut(hidden)
        return straight + self.second(inner)


class MLPDenoiser(eqx.Module):
    """Residual layers of a noisy example and its log SNR, plus a gain times the example.

    Args:
        shape: Shape of an example.
        hidden: Widths of the residual layers.
        fourier: Exponents n of Fourier features sin 2ⁿπz and cos 2ⁿπz of the input; none for none.
        activation: A name of `ACTIVATIONS`.
        key: Random key.
    """

    layers: tuple[Layer, ...]
    last: Linear
    gain: Linear
    fourier: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        *,
        fourier: Sequence[int] = (),
        activation: str = "silu",
        key: Key[Array, ""],
    ):
        size = math.prod(shape)
        widths = [size * (1 + 2 * len(fourier)), *hidden]
        last_key, gain_key, *keys = jax.random.split(key, 2 + len(hidden))
        self.layers = tuple(
            Layer(below, above, activation=activation, key=own_key)
            for (below, above), own_key in zip(itertools.pairwise(widths), keys, strict=True)
        )
        self.last = Linear(widths[-1], size, key=last_key)
        self.gain = jax.tree.map(jnp.zeros_like, Linear(EMBEDDED, 1, key=gain_key))
        self.fourier = tuple(fourier)

    def __call__(self, z: Example, log_snr: Scalar) -> Example:
        """One noisy example through the network."""
        embedding = embedded_log_snr(log_snr)
        hidden = fourier_features(z.reshape(-1), self.fourier)
        for layer in self.layers:
            hidden = layer(hidden, embedding)
        return self.last(hidden).reshape(z.shape) + self.gain(embedding)[0] * z


class Block(eqx.Module):
    """An image plus two convolutions of it, between which the level of noise comes in."""

    first: Convolution
    second: Convolution
    level: Linear
    shortcut: Convolution | None
    activation: str = eqx.field(static=True)

    def __init__(self, num_in: int, num_out: int, *, activation: str, key: Key[Array, ""]):
        keys = jax.random.split(key, 4)
        self.first = Convolution(num_in, num_out, key=keys[0])
        second = Convolution(num_out, num_out, key=keys[1])
        self.second = jax.tree.map(lambda leaf: 0.1 * leaf, second)
        self.level = Linear(EMBEDDED, 2 * num_out, key=keys[2])
        same = num_in == num_out
        self.shortcut = None if same else Convolution(num_in, num_out, size=1, key=keys[3])
        self.activation = activation

    def __call__(
        self, image: Float[Array, "height width in"], embedding: Float[Array, " embedded"]
    ) -> Float[Array, "height width out"]:
        """One image through the block."""
        activation = ACTIVATIONS[self.activation]
        scale, shift = jnp.split(self.level(embedding), 2)
        hidden = _normalized(self.first(activation(_normalized(image))))
        hidden = hidden * (1 + scale[None, None]) + shift[None, None]
        straight = image if self.shortcut is None else self.shortcut(image)
        return straight + self.second(activation(hidden))


class UNet(eqx.Module):
    """Convolutional denoiser of images, plus a gain times the image.

    Each resolution halves the one before, rounded up, so that sizes may be odd.

    Args:
        shape: (height, width) or (height, width, channels).
        hidden: Channels of each resolution, the full one first.
        fourier: Exponents n of Fourier features sin 2ⁿπz and cos 2ⁿπz of the input; none for none.
        activation: A name of `ACTIVATIONS`.
        key: Random key.

    Raises:
        InputError: If the shape is no image's, or there is no resolution.

    References:
        Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", 2020, app. B.
    """

    first: Convolution
    down: tuple[Block, ...]
    halve: tuple[Convolution, ...]
    middle: Block
    up: tuple[Block, ...]
    last: Convolution
    gain: Linear
    position: Float[Array, "height width hidden"]
    fourier: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (16, 32, 64),
        *,
        fourier: Sequence[int] = (),
        activation: str = "silu",
        key: Key[Array, ""],
    ):
        require(
            len(shape) in (2, 3) and hidden,
            "a U-Net takes images (height, width) or (height, width, channels) and channels of "
            f"one resolution or more, got shape {tuple(shape)} and {tuple(hidden)}: take 'mlp'",
        )
        channels = shape[2] if len(shape) == 3 else 1
        keys = iter(jax.random.split(key, 3 * len(hidden) + 4))
        self.first = Convolution(channels * (1 + 2 * len(fourier)), hidden[0], key=next(keys))
        self.down = tuple(Block(num, num, activation=activation, key=next(keys)) for num in hidden)
        self.halve = tuple(
            Convolution(num, below, key=next(keys)) for num, below in itertools.pairwise(hidden)
        )
        self.middle = Block(hidden[-1], hidden[-1], activation=activation, key=next(keys))
        # From the coarsest up: what comes from below beside what was there on the way down.
        below = [hidden[-1], *reversed(hidden)]
        self.up = tuple(
            Block(num + here, here, activation=activation, key=next(keys))
            for num, here in zip(below, reversed(hidden), strict=False)
        )
        last = Convolution(hidden[0], channels, key=next(keys))
        self.last = jax.tree.map(lambda leaf: 0.1 * leaf, last)
        self.gain = jax.tree.map(jnp.zeros_like, Linear(EMBEDDED, 1, key=next(keys)))
        self.position = jnp.zeros((*shape[:2], hidden[0]))
        self.fourier, self.activation = tuple(fourier), activation

    def __call__(self, z: Example, log_snr: Scalar) -> Example:
        """One noisy image through the network."""
        embedding = embedded_log_snr(log_snr)
        image = z[..., None] if z.ndim == 2 else z
        hidden = self.first(fourier_features(image, self.fourier)) + self.position
        kept = []
        for index, block in enumerate(self.down):
            hidden = block(hidden, embedding)
            kept.append(hidden)
            if index < len(self.halve):
                hidden = self.halve[index](_halved(hidden))
        hidden = self.middle(hidden, embedding)
        for block, beside in zip(self.up, reversed(kept), strict=True):
            if hidden.shape[:2] != beside.shape[:2]:
                hidden = _doubled(hidden)[: beside.shape[0], : beside.shape[1]]
            hidden = block(jnp.concatenate([hidden, beside], axis=-1), embedding)
        output = self.last(ACTIVATIONS[self.activation](_normalized(hidden)))
        return output.reshape(z.shape) + self.gain(embedding)[0] * z


def _halved(image: Float[Array, "height width depth"]) -> Float[Array, "down across depth"]:
    """Means of two by two pixels; at an odd end the last ones count twice."""
    height, width, depth = image.shape
    even = jnp.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return jnp.mean(even.reshape(-(-height // 2), 2, -(-width // 2), 2, depth), axis=(1, 3))


def _normalized(image: Float[Array, "height width depth"]) -> Float[Array, "height width depth"]:
    """The image as a whole with a mean square of one: pixels keep their contrast."""
    return image * jax.lax.rsqrt(jnp.mean(image**2) + 1e-5)


def _doubled(image: Float[Array, "height width depth"]) -> Float[Array, "up across depth"]:
    return jnp.repeat(jnp.repeat(image, 2, axis=0), 2, axis=1)


def denoiser_from_name(
    name: str,
    shape: Sequence[int],
    hidden: Sequence[int] | None,
    *,
    fourier: Sequence[int] = (),
    activation: str = "silu",
    key: Key[Array, ""],
) -> Denoiser:
    """A denoiser by its name in `DENOISERS`.

    Args:
        name: "mlp", or for images "unet".
        shape: Shape of an example.
        hidden: Widths of hidden layers, or channels of each resolution; None for its own default.
        fourier: Exponents of Fourier features of the input.
        activation: A name of `ACTIVATIONS`.
        key: Random key.

    Raises:
        InputError: If a name is unknown, a size below one, or the U-Net asked of what is no image.
    """
    if name not in DENOISERS:
        raise unknown("denoiser", name, DENOISERS)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    require(
        min((*shape, *(hidden or ())), default=1) >= 1,
        f"layers have at least one unit, got shape={tuple(shape)}, hidden={tuple(hidden or ())}",
    )
    sizes = {} if hidden is None else {"hidden": tuple(hidden)}
    return DENOISERS[name](shape, **sizes, fourier=fourier, activation=activation, key=key)


# Called with the shape, hidden= where it is given, fourier=, activation= and key=.
DENOISERS: dict[str, Callable[..., Any]] = {"mlp": MLPDenoiser, "unet": UNet}
