"""Networks by name, networks of other libraries, and where ours start."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tighter.models.networks.convolutions import ConvolutionalDecoder, ConvolutionalEncoder
from tighter.models.networks.mlp import MLP


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
