"""Networks for one example: several layers, convolutions for images, any other callable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from tighter.models.networks._layers import ACTIVATIONS, MLP
from tighter.models.networks.convolutions import ConvolutionalDecoder, ConvolutionalEncoder

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "Applied",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
]


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


def _mlp_decoder(
    shape_in: Sequence[int], hidden: Sequence[int], shape_out: Sequence[int], **options: Any
) -> MLP:
    return MLP(shape_in, hidden[::-1], shape_out, **options)


# Encoder and decoder: (shape in, widths in the encoder's order, shape out, activation=, key=).
NETWORKS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "mlp": (MLP, _mlp_decoder),
    "convolutional": (ConvolutionalEncoder, ConvolutionalDecoder),
    "residual": (
        functools.partial(ConvolutionalEncoder, num_blocks=1),
        functools.partial(ConvolutionalDecoder, num_blocks=1),
    ),
}
