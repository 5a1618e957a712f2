"""Autoencoders with several layers of latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._names import check_known
from tighter.models._composition import (
    check_fit,
    check_sizes,
    initialized_decoder,
    start_of,
)
from tighter.models._layers_of_latents import (
    LAYERED_ENCODERS,
    GaussianChain,
    GaussianLayers,
    Latents,
    LayeredEncoder,
    Network,
    layer_names,
)
from tighter.models._model import LatentVariableModel, ObservationHooks
from tighter.models.networks import MLP
from tighter.models.observations import Observation, observation_from_name


class HierarchicalVAE(ObservationHooks, LatentVariableModel):
    r"""Variational autoencoder with L layers of latents, z = {"z1": …, …, "zL": …}; z1 next to x.

    $p(x, z) = \mathrm N(z_L; 0, I) \prod_{l<L} \mathrm N(z_l; \mu_l(z_{l+1}),
    \operatorname{diag} \sigma_l(z_{l+1})^2)\, p(x \mid z_1)$; the posterior goes up from x
    (`BottomUp`), or down from the topmost layer (`Ladder`).

    Attributes:
        encoder: Features of x -> the posterior of all layers.
        decoders: z1 -> the observation family's parameters; then z2 -> means and log standard
            deviations of z1, shape (2, latent), z3 -> those of z2, and so on.
        observation: The family p(x | decoder output).
        num_latent: Dimensions of z1, …, zL.

    Example:
        >>> model = HierarchicalVAE.create((28, 28), key=jax.random.key(0)).initialized_from(xs)
        >>> model.posterior(xs[0]).rsample(key)["z2"]

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5.
    """

    encoder: LayeredEncoder
    decoders: tuple[Network, ...]
    observation: Observation
    num_latent: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        *,
        num_latent: Sequence[int] = (100, 50),
        hidden: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
        activation: str = "tanh",
        observation: str | Observation = "bernoulli",
        posterior: str = "bottom-up",
        key: Key[Array, ""],
    ) -> HierarchicalVAE:
        """A model of MLPs, Burda's of two layers if nothing else is said.

        Args:
            shape: Shape of one example.
            num_latent: Dimensions of z1, …, zL.
            hidden: Widths of the hidden layers between x and z1, z1 and z2, and so on; the
                decoders have them in reverse.
            activation: A name of `ACTIVATIONS`.
            observation: The family p(x | decoder output), or its name in `OBSERVATIONS`.
            posterior: A name of `LAYERED_ENCODERS`: "bottom-up" or "ladder".
            key: Random key.

        Raises:
            InputError: If a name is unknown, there is no layer, a layer has no unit, or there are
                not as many groups of hidden layers as layers of latents.
        """
        check_known("posterior of several layers", posterior, LAYERED_ENCODERS)
        sizes, hidden = tuple(num_latent), tuple(tuple(widths) for widths in hidden)
        require(sizes, f"there is one layer of latents or more, got num_latent={sizes}")
        check_sizes(activation, num_latent=sizes, hidden=hidden)
        require(
            len(hidden) == len(sizes),
            f"{len(sizes)} layers of latents have as many groups of hidden layers, got "
            f"{len(hidden)}: give hidden=((200, 200), (100, 100)) for two",
        )
        if isinstance(observation, str):
            observation = observation_from_name(observation, shape)
        encoder_key, *decoder_keys = jax.random.split(key, len(sizes) + 1)
        encoder = LAYERED_ENCODERS[posterior](
            observation.features_shape(shape), sizes, hidden, activation=activation, key=encoder_key
        )
        outputs = [observation.output_shape(shape), *((2, num) for num in sizes[:-1])]
        decoders = tuple(
            MLP((num,), widths[::-1], output, activation=activation, key=own_key)
            for num, widths, output, own_key in zip(
                sizes, hidden, outputs, decoder_keys, strict=True
            )
        )
        return cls(encoder, decoders, observation, sizes)

    def initialized_from(self, xs: Any) -> HierarchicalVAE:
        """The same, started from the training examples instead of from nothing.

        The observation family takes its locations and scales from them; its decoder starts at
        their mean, and the encoder's first layer sees them centered on it.

        Args:
            xs: Training examples (N, *shape); missing entries NaN.

        Raises:
            InputError: If the examples have another shape, or are outside the observation family's
                support.
        """
        first, *others = self.decoders
        z = jnp.zeros(self.num_latent[0])
        start = start_of(self.observation, first, z, np.asarray(xs))
        return dataclasses.replace(
            self,
            observation=start.observation,
            encoder=self.encoder.initialized_from(start.features),
            decoders=(initialized_decoder(first, start.output), *others),
        )

    @property
    def prior(self) -> GaussianChain:
        """p(z1, …, zL), drawn from the topmost layer down."""
        names = layer_names(len(self.num_latent))
        standard = jnp.zeros((2, self.num_latent[-1]))
        return GaussianChain(names[::-1], standard, self.decoders[:0:-1])

    def likelihood(self, z: Latents) -> Any:
        """p(x|z1)."""
        return self.observation.distribution(self.decoders[0](z["z1"]))

    def posterior(self, x: Float[Array, ...]) -> GaussianLayers:
        """q(z1, …, zL | x)."""
        return self.encoder.posterior(self.observation.features(x), self.decoders[1:])

    def log_joint(self, x: Float[Array, ...]) -> Callable[[Latents], Array]:
        """The function z -> log p(x, z), in nats."""
        log_likelihood = self.log_likelihood(x)
        return lambda z: self.prior.log_prob(z) + log_likelihood(z)

    def log_likelihood(self, x: Float[Array, ...]) -> Callable[[Latents], Array]:
        """The function z -> log p(x|z1), in nats."""
        return lambda z: self.observation.log_prob(self.decoders[0](z["z1"]), x)

    def likelihood_mean(self, z: Latents) -> Float[Array, ...]:
        """Mean of p(x|z1), in the shape of x."""
        return self.observation.mean(self.decoders[0](z["z1"]))

    def check_examples(self, xs: Any) -> None:
        """Refuse examples that the observation family can't explain.

        Raises:
            InputError: If entries are outside of its support, or examples of another shape.
        """
        check_fit(self.observation, self.decoders[0], jnp.zeros(self.num_latent[0]), np.asarray(xs))
