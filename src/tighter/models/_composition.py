"""Parts of a model that go together, and what they take from the training examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from tighter._checks import require
from tighter._names import check_known
from tighter.models._families import Space
from tighter.models.networks import ACTIVATIONS, MLP, ConvolutionalDecoder
from tighter.models.observations import Bernoulli, Observation
from tighter.models.posteriors import PosteriorFamily, posterior_from_name
from tighter.models.priors import PriorFamily, prior_from_name

# The families taken over a space, where one of the two is left out.
_USUAL_PRIOR = {
    Space.REAL: "standard",
    Space.BOX: "uniform",
    Space.SIMPLEX: "dirichlet",
    Space.BITS: "bernoulli",
    Space.CATEGORIES: "categorical",
}
_USUAL_POSTERIOR = {
    Space.REAL: "diagonal",
    Space.BOX: "beta",
    Space.SIMPLEX: "dirichlet",
    Space.BITS: "bernoulli",
    Space.CATEGORIES: "categorical",
    Space.ANY: "diagonal",
}


def latent_families(
    posterior: str | PosteriorFamily | None,
    prior: str | PriorFamily | None,
    num_latent: int,
    *,
    shape: Sequence[int],
    key: Key[Array, ""],
) -> tuple[PosteriorFamily, PriorFamily]:
    """Posterior and prior family of one z, from names or as they are, over the same space.

    Args:
        posterior: A family or its name; if left out, the usual one over the prior's space.
        prior: A family or its name; if left out, the usual one over the posterior's space.
        num_latent: Dimensions of z.
        shape: Shape of what the encoder sees of one example (`observation.features_shape`).
        key: Random key.

    Raises:
        InputError: If a name is unknown, or the two are over different spaces.
    """
    of_posterior, of_prior = jax.random.fold_in(key, 2), jax.random.fold_in(key, 3)
    if isinstance(prior, str):
        prior = prior_from_name(prior, num_latent, shape=shape, key=of_prior)
    if posterior is None:
        posterior = _USUAL_POSTERIOR[Space.REAL]
        if prior is not None:
            posterior = _counted(_USUAL_POSTERIOR[prior.space], prior.latent_shape(num_latent))
    if isinstance(posterior, str):
        posterior = posterior_from_name(posterior, num_latent, key=of_posterior)
    if prior is None:
        usual = _counted(_USUAL_PRIOR[posterior.space], posterior.latent_shape(num_latent))
        prior = prior_from_name(usual, num_latent, shape=shape, key=of_prior)
    _check(posterior, prior, num_latent)
    return posterior, prior


def _counted(name: str, latent_shape: tuple[int, ...]) -> str:
    """The name with the number of categories, where z has them."""
    return ":".join([name, *(str(size) for size in latent_shape[1:])])


def _check(posterior: PosteriorFamily, prior: PriorFamily, num_latent: int) -> None:
    if prior.space is Space.ANY:
        return
    names = type(prior).__name__, type(posterior).__name__
    require(
        prior.space is posterior.space,
        f"the prior {names[0]} is over {prior.space.value} and the posterior {names[1]} over "
        f"{posterior.space.value}: take the prior {_USUAL_PRIOR.get(posterior.space)!r} or the "
        f"posterior {_USUAL_POSTERIOR[prior.space]!r}",
    )
    shapes = prior.latent_shape(num_latent), posterior.latent_shape(num_latent)
    require(
        shapes[0] == shapes[1],
        f"z has shape {shapes[0]} in the prior {names[0]} and {shapes[1]} in the posterior "
        f"{names[1]}: give both the same number",
    )


def check_sizes(activation: str, **sizes: Any) -> None:
    """Require a known activation, and sizes of 1 or more: numbers, or groups of them by name.

    Raises:
        InputError: If the name is unknown, or a size is below one.
    """
    check_known("activation", activation, ACTIVATIONS)
    given = ", ".join(f"{name}={size}" for name, size in sizes.items())
    require(min(jax.tree.leaves(sizes)) >= 1, f"sizes are 1 or more, got {given}")


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
    is_mlp = isinstance(decoder, MLP)  # which says it, at no cost
    shape = decoder.shape_out if is_mlp else jax.eval_shape(decoder, z).shape
    needed = observation.output_shape(xs.shape[1:])
    as_many = flat and isinstance(observation, Bernoulli) and math.prod(shape) == math.prod(needed)
    require(
        shape == needed or as_many,
        f"examples of shape {xs.shape[1:]} don't fit a decoder with an output of shape {shape}: "
        "reshape them (x.reshape), or make the model for their shape",
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


def initialized_encoder(encoder: Any, features: np.ndarray) -> Any:
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


def initialized_decoder(decoder: Any, output: np.ndarray) -> Any:
    """A network of this library whose outputs start around `output`; others as they are."""
    if isinstance(decoder, MLP):
        bias = jnp.asarray(output.reshape(-1))
        return eqx.tree_at(lambda mlp: mlp.layers[-1].bias, decoder, bias)
    if isinstance(decoder, ConvolutionalDecoder):
        return eqx.tree_at(lambda network: network.bias, decoder, jnp.asarray(output))
    return decoder
