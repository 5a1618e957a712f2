"""Distributions over several layers of Gaussian latents, each given the one drawn before it."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._protocols import PosteriorHooks

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
