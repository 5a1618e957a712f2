"""Networks that denoise: fully connected ones here, and what they share with the U-Net."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models.diffusion.features import EMBEDDED, embedded_log_snr, fourier_features
from tighter.models.diffusion.unet import UNet
from tighter.models.networks._layers import ACTIVATIONS, Linear

Denoiser = Callable[[Array, Array], Array]


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

    def __call__(self, z: Float[Array, ...], log_snr: Float[Array, ""]) -> Float[Array, ...]:
        """One noisy example through the network."""
        embedding = embedded_log_snr(log_snr)
        hidden = fourier_features(z.reshape(-1), self.fourier)
        for layer in self.layers:
            hidden = layer(hidden, embedding)
        return self.last(hidden).reshape(z.shape) + self.gain(embedding)[0] * z


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
    if min((*shape, *(hidden or ())), default=1) < 1:
        raise InputError(
            f"layers have at least one unit, got shape={tuple(shape)}, hidden={tuple(hidden or ())}"
        )
    sizes = {} if hidden is None else {"hidden": tuple(hidden)}
    return DENOISERS[name](shape, **sizes, fourier=fourier, activation=activation, key=key)


# Called with the shape, hidden= where it is given, fourier=, activation= and key=.
DENOISERS: dict[str, Callable[..., Any]] = {"mlp": MLPDenoiser, "unet": UNet}
