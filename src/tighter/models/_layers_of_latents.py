"""Encoders of several layers of latents, and the distributions that they make."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._protocols import PosteriorHooks
from tighter.models._composition import (
    initialized_encoder,
)
from tighter.models.networks import ACTIVATIONS, MLP

Network = Callable[[Array], Array]
Latents = dict[str, Array]


class GaussianLayers(PosteriorHooks, eqx.Module):
    r"""$\prod_i \mathrm N(z_i; \mu_i(z_{i-1}), \operatorname{diag} \sigma_i(z_{i-1})^2)$.

    Attributes:
        names: The layers, in the order in which they are drawn.
    """

    names: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def parameters(self, index: int, before: Array | None) -> Float[Array, "2 latent"]:
        """Means and logarithms of the standard deviations of one layer.

        Args:
            index: Which layer, in the order of drawing.
            before: The layer drawn before it; None for the first.
        """

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """A draw of every layer."""
        return self.rsample(key, sample_shape)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """A draw of every layer, with the derivatives that pass from layer to layer."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.rsample(key, sample_shape[1:]))(keys)
        z: Latents = {}
        before = None
        keys = jax.random.split(key, len(self.names))
        for index, name in enumerate(self.names):
            mean, log_scale = self.parameters(index, before)
            noise = jax.random.normal(keys[index], mean.shape, mean.dtype)
            before = z[name] = mean + jnp.exp(log_scale) * noise
        return z

    def log_prob(self, value: Latents) -> Float[Array, ""]:
        """Sum of the layers' conditional log densities, in nats."""
        total, before = jnp.zeros(()), None
        for index, name in enumerate(self.names):
            mean, log_scale = self.parameters(index, before)
            before = value[name]
            squares = jnp.sum(((before - mean) * jnp.exp(-log_scale)) ** 2)
            constant = 0.5 * math.log(2 * math.pi) * before.size
            total = total - 0.5 * squares - jnp.sum(log_scale) - constant
        return total


class GaussianChain(GaussianLayers):
    """Each layer from the one before it, by a network.

    Attributes:
        names: The layers, in the order in which they are drawn.
        first: Means and log standard deviations of the first layer.
        networks: For each further layer: the layer before it -> its means and log standard
            deviations, shape (2, latent).
    """

    names: tuple[str, ...] = eqx.field(static=True)
    first: Float[Array, "2 latent"]
    networks: tuple[Callable[[Array], Array], ...]

    def parameters(self, index: int, before: Array | None) -> Float[Array, "2 latent"]:
        """Those of the first layer, or the network's output."""
        return self.first if before is None else self.networks[index - 1](before)


class GaussianLadder(GaussianLayers):
    r"""Each layer by the product of the generative model's Gaussian and one that x suggests.

    $1/\sigma^2 = 1/\hat\sigma^2 + 1/\sigma_p^2$ and
    $\mu = \sigma^2 (\hat\mu/\hat\sigma^2 + \mu_p/\sigma_p^2)$; the topmost is what x suggests.

    Attributes:
        names: The layers, topmost first.
        suggested: For each layer, what x suggests: means and log standard deviations.
        conditionals: p(layer | the one above it), for each but the topmost.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    suggested: tuple[Float[Array, "2 _"], ...]
    conditionals: tuple[Callable[[Array], Array], ...]

    def parameters(self, index: int, before: Array | None) -> Float[Array, "2 latent"]:
        """The product of the two Gaussians, in logarithms."""
        own_mean, own_log_scale = self.suggested[index]
        if before is None:
            return self.suggested[index]
        mean, log_scale = self.conditionals[index - 1](before)
        # Share of the precision that is x's: the logistic function of the log ratio of the two.
        share = jax.nn.sigmoid(2 * (log_scale - own_log_scale))
        log_precision = jnp.logaddexp(-2 * own_log_scale, -2 * log_scale)
        return jnp.stack([mean + share * (own_mean - mean), -0.5 * log_precision])


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
        return BottomUp((initialized_encoder(first, features), *others))


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
            head = initialized_encoder(head, features)
        else:
            trunk = initialized_encoder(trunk, features)
        return Ladder((trunk, *trunks), (head, *heads), self.activation)


def layer_names(num: int) -> tuple[str, ...]:
    """Names of so many layers of latents: z1, next to x, and so on."""
    return tuple(f"z{index}" for index in range(1, num + 1))


# Called with the shape of the features, dimensions and hidden widths of each layer, an activation
# and a key. Adding one here enrols it in the tests.
LAYERED_ENCODERS: dict[str, Callable[..., LayeredEncoder]] = {
    "bottom-up": BottomUp.create,
    "ladder": Ladder.create,
}
