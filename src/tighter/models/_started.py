"""What a model takes from the training examples before the first step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tighter._errors import InputError
from tighter.models.observations import Observation


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
    made = jax.eval_shape(decoder, z)
    if made.shape != observation.output_shape(xs.shape[1:]):
        raise InputError(
            f"examples of shape {xs.shape[1:]} don't fit a decoder with an output of shape "
            f"{made.shape}: make the model for their shape"
        )
    observation.check(xs)
    observation = observation.fitted(xs)
    output = np.asarray(observation.initial_output(xs), np.float32)
    origin = observation.origin
    near = np.asarray(np.asarray(xs, np.float64) - origin, np.float32)
    features = np.asarray(jax.vmap(observation.moved(-origin).features)(jnp.asarray(near)))
    return Start(observation, output, features)
