"""Autoencoders with several layers of latents."""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models._gaussian_layers import (
    GaussianChain,
    GaussianLadder,
    GaussianLayers,
    Latents,
)
from tighter.models._initialization import check_fit, start_of
from tighter.models._model import LatentVariableModel, ObservationHooks
from tighter.models.networks._layers import ACTIVATIONS
from tighter.models.networks.mlp import MLP
from tighter.models.networks.table import started_decoder, started_encoder
from tighter.models.observations import Observation, observation_from_name

Network = Callable[[Array], Array]


class LayeredEncoder(eqx.Module):
    """What makes the posterior of all layers from one example's features."""

    @abc.abstractmethod
    def posterior(
        self, features: Float[Array, ...], conditionals: tuple[Network, ...]
    ) -> GaussianLayers:
        """q(z1, …, zL | x).

        Args:
            features: What the observation family shows of x.
            conditionals: The generative model's networks of p(z1|z2), p(z2|z3), ….
        """

    @abc.abstractmethod
    def initialized_from(self, features: np.ndarray) -> LayeredEncoder:
        """The same, its first layer seeing training examples centered on their mean."""


class BottomUp(LayeredEncoder):
    r"""$q(z_1 \mid x)\, q(z_2 \mid z_1) \cdots q(z_L \mid z_{L-1})$.

    Attributes:
        networks: x -> means and log standard deviations of z1, z1 -> those of z2, and so on.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5.
    """

    networks: tuple[Network, ...]

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        num_latent: Sequence[int],
        hidden: Sequence[Sequence[int]],
        *,
        activation: str,
        key: Key[Array, ""],
    ) -> BottomUp:
        """An MLP a layer of latents."""
        shapes = [tuple(shape), *((num,) for num in num_latent)]
        keys = jax.random.split(key, len(num_latent))
        return cls(
            tuple(
                MLP(below, widths, (2, *above), activation=activation, key=own_key)
                for (below, above), widths, own_key in zip(
                    itertools.pairwise(shapes), hidden, keys, strict=True
                )
            )
        )

    def posterior(
        self, features: Float[Array, ...], conditionals: tuple[Network, ...]
    ) -> GaussianLayers:
        """The chain from z1 up."""
        first, *others = self.networks
        return GaussianChain(layer_names(len(self.networks)), first(features), tuple(others))

    def initialized_from(self, features: np.ndarray) -> BottomUp:
        """The same, its first network seeing centered examples."""
        first, *others = self.networks
        return BottomUp((started_encoder(first, features), *others))


class Ladder(LayeredEncoder):
    r"""$q(z_L \mid x)\, q(z_{L-1} \mid z_L, x) \cdots q(z_1 \mid z_2, x)$, sharing the way down.

    Features of every layer go up without noise. On the way down a layer is the product of what
    they suggest, $\mathrm N(\hat\mu, \hat\sigma^2)$, and of the generative model's own
    $p(z_l \mid z_{l+1})$, whose parameters are thereby in the posterior too.

    Attributes:
        trunks: x -> features of the first layer, those -> features of the second, and so on; None
            where a layer has no features of its own but those below it.
        heads: Features of a layer -> what they suggest, means and log standard deviations.
        activation: A name of `ACTIVATIONS`, applied to what a trunk returns.

    References:
        Sønderby, Raiko, Maaløe, Sønderby & Winther, "Ladder variational autoencoders", 2016.
    """

    trunks: tuple[Network | None, ...]
    heads: tuple[Network, ...]
    activation: str = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        num_latent: Sequence[int],
        hidden: Sequence[Sequence[int]],
        *,
        activation: str,
        key: Key[Array, ""],
    ) -> Ladder:
        """As many hidden layers as the bottom-up encoder, the heads linear."""
        trunks, heads, below = [], [], tuple(shape)
        keys = jax.random.split(key, (len(num_latent), 2))
        for num, widths, (trunk_key, head_key) in zip(num_latent, hidden, keys, strict=True):
            trunk = None
            if widths:
                above = (widths[-1],)
                trunk = MLP(below, widths[:-1], above, activation=activation, key=trunk_key)
                below = above
            trunks.append(trunk)
            heads.append(MLP(below, (), (2, num), key=head_key))
        return cls(tuple(trunks), tuple(heads), activation)

    def posterior(
        self, features: Float[Array, ...], conditionals: tuple[Network, ...]
    ) -> GaussianLayers:
        """The ladder from the topmost layer down."""
        suggested = []
        for trunk, head in zip(self.trunks, self.heads, strict=True):
            if trunk is not None:
                features = ACTIVATIONS[self.activation](trunk(features))
            suggested.append(head(features))
        names = layer_names(len(self.heads))
        return GaussianLadder(names[::-1], tuple(suggested[::-1]), conditionals[::-1])

    def initialized_from(self, features: np.ndarray) -> Ladder:
        """The same, its first network seeing centered examples."""
        trunk, *trunks = self.trunks
        head, *heads = self.heads
        if trunk is None:
            head = started_encoder(head, features)
        else:
            trunk = started_encoder(trunk, features)
        return Ladder((trunk, *trunks), (head, *heads), self.activation)


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
        if posterior not in LAYERED_ENCODERS:
            raise unknown("posterior of several layers", posterior, LAYERED_ENCODERS)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        sizes, hidden = tuple(num_latent), tuple(tuple(widths) for widths in hidden)
        if not sizes or any(width < 1 for width in (*sizes, *itertools.chain(*hidden))):
            raise InputError(
                "there is one layer of latents or more, each layer of one unit or more, got "
                f"num_latent={sizes}, hidden={hidden}"
            )
        if len(hidden) != len(sizes):
            raise InputError(
                f"{len(sizes)} layers of latents have as many groups of hidden layers, got "
                f"{len(hidden)}: give hidden=((200, 200), (100, 100)) for two"
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
            decoders=(started_decoder(first, start.output), *others),
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


def layer_names(num: int) -> tuple[str, ...]:
    """Names of so many layers of latents: z1, next to x, and so on."""
    return tuple(f"z{index}" for index in range(1, num + 1))


# Called with the shape of the features, dimensions and hidden widths of each layer, an activation
# and a key. Adding one here enrols it in the tests.
LAYERED_ENCODERS: dict[str, Callable[..., LayeredEncoder]] = {
    "bottom-up": BottomUp.create,
    "ladder": Ladder.create,
}
