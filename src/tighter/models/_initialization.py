"""What a model takes from the training examples before the first step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tighter._errors import InputError
from tighter.models.observations import Bernoulli, Observation


class Start(NamedTuple):
    """An observation family with what it takes from examples.

    Attributes:
        observation: The family, fitted.
        output: The decoder's output that explains the examples without any z.
        features: What an encoder sees of them, shape (N, *shape).
    """

    observation: Observation
    output: np.ndarray
    features: np.ndarray


def check_fit(
    observation: Observation, decoder: Any, z: Any, xs: np.ndarray, *, flat: bool = True
) -> None:
    """Refuse examples that would be broadcast against the decoder's output, or can't be explained.

    Args:
        observation: The family.
        decoder: Input -> the family's parameters.
        z: An input of the decoder; its shape alone matters.
        xs: Examples (N, *shape); missing entries NaN.
        flat: Whether bits, whose density takes them in a line, may come in another shape.

    Raises:
        InputError: If the examples don't fit the decoder, or are outside the family's support.
    """
    made = getattr(decoder, "shape_out", None) or jax.eval_shape(decoder, z).shape
    needed = observation.output_shape(xs.shape[1:])
    same_size = math.prod(made) == math.prod(needed)
    if made != needed and not (flat and isinstance(observation, Bernoulli) and same_size):
        raise InputError(
            f"examples of shape {xs.shape[1:]} don't fit a decoder with an output of shape {made}: "
            "reshape them (x.reshape), or make the model for their shape"
        )
    observation.check(xs)


def start_of(observation: Observation, decoder: Any, z: Any, xs: np.ndarray) -> Start:
    """Fit an observation family to the examples.

    Args:
        observation: The family.
        decoder: Input -> the family's parameters.
        z: An input of the decoder; its shape alone matters.
        xs: Training examples (N, *shape); missing entries NaN.

    Raises:
        InputError: If the examples don't fit the decoder, or are outside the family's support.
    """
    check_fit(observation, decoder, z, xs, flat=False)
    observation = observation.initialized_from(xs)
    output = np.asarray(observation.initial_output(xs), np.float32)
    origin = observation.origin
    near = np.asarray(np.asarray(xs, np.float64) - origin, np.float32)
    features = np.asarray(jax.vmap(observation.moved(-origin).features)(jnp.asarray(near)))
    return Start(observation, output, features)
