"""The variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, Normal

from tighter._names import unknown
from tighter.distributions import Posterior
from tighter.models._model import LatentVariableModel
from tighter.models.networks import (
    ACTIVATIONS,
    MLP,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
)
from tighter.models.observations import Bernoulli, Observation
from tighter.models.posteriors import DiagonalGaussian, PosteriorFamily, posterior_from_name

NETWORKS = ("mlp", "convolutional")


class VAE(LatentVariableModel):
    r"""Variational autoencoder: z ~ N(0, I), x|z from a decoder, z|x from an encoder.

    Attributes:
        encoder: x -> the posterior family's parameters; of the diagonal Gaussian (2, latent),
            means and logarithms of the standard deviations.
        decoder: z -> the observation family's parameters, of the shape of x.
        observation: The family p(x | decoder output).
        num_latent: Dimensions of z.
        family: The family q(z | encoder output).

    Example:
        >>> model = VAE.create((28, 28), num_latent=50, hidden=(200, 200), key=jax.random.key(0))
        >>> objective.batch(model, xs, key=key)

    References:
        Kingma & Welling, "Auto-encoding variational Bayes", 2014.
    """

    encoder: Callable[[Array], Array]
    decoder: Callable[[Array], Array]
    observation: Observation
    num_latent: int = eqx.field(static=True)
    family: PosteriorFamily = DiagonalGaussian()

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        *,
        num_latent: int = 20,
        hidden: Sequence[int] = (200, 200),
        network: str = "mlp",
        activation: str = "tanh",
        observation: Observation | None = None,
        posterior: str | PosteriorFamily = "diagonal",
        data_mean: Any = None,
        key: Key[Array, ""],
    ) -> VAE:
        """A VAE of fully connected or convolutional networks, ready to train.

        With `data_mean` the decoder starts at the data's mean, and the MLP's first layer sees the
        data centered on it.

        Args:
            shape: Shape of one example.
            num_latent: Dimensions of z.
            hidden: Widths of the encoder's hidden layers, or channels of its convolutions; the
                decoder has them in reverse.
            network: "mlp" or "convolutional" (for images).
            activation: A name of `ACTIVATIONS`.
            observation: The family p(x | decoder output); Bernoulli if left out.
            posterior: The family q(z | encoder output), or its name: "diagonal", "full",
                "low-rank:5", "coupling", "masked-autoregressive", "neural-spline".
            data_mean: Mean of the training examples, of their shape.
            key: Random key.

        Raises:
            InputError: If a name is unknown, or the posterior doesn't fit the latent dimensions.
            ValueError: If a size is below one, or convolutions are asked of what is no image.
        """
        if network not in NETWORKS:
            raise unknown("network", network, NETWORKS)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        if num_latent < 1 or any(width < 1 for width in hidden):
            raise ValueError(
                "layers have at least one unit, got "
                f"num_latent={num_latent}, hidden={tuple(hidden)}"
            )
        if data_mean is not None and jnp.shape(data_mean) != tuple(shape):
            raise ValueError(
                f"data_mean has the shape of one example, {tuple(shape)}, got "
                f"{jnp.shape(data_mean)}: take the mean over the first axis alone"
            )
        observation = Bernoulli() if observation is None else observation
        encoder_key, decoder_key = jax.random.split(key)
        if isinstance(posterior, str):
            family = posterior_from_name(posterior, num_latent, key=jax.random.fold_in(key, 2))
        else:
            family = posterior
        make_encoder, make_decoder, widths = MLP, MLP, tuple(reversed(hidden))
        if network == "convolutional":
            make_encoder, make_decoder = ConvolutionalEncoder, ConvolutionalDecoder
            widths = tuple(hidden)
        encoder = make_encoder(
            shape, hidden, family.shape(num_latent), activation=activation, key=encoder_key
        )
        decoder = make_decoder((num_latent,), widths, shape, activation=activation, key=decoder_key)
        model = cls(encoder, decoder, observation, num_latent, family)
        return model if data_mean is None else model._centered(jnp.asarray(data_mean, float))

    @property
    def prior(self) -> Distribution:
        """N(0, I)."""
        return Normal(jnp.zeros(self.num_latent), 1.0, validate_args=False).to_event(1)

    def likelihood(self, z: Float[Array, " latent"]) -> Distribution:
        """p(x|z) from the decoder's output."""
        return self.observation.distribution(self.decoder(z))

    def posterior(self, x: Float[Array, ...]) -> Posterior:
        """q(z|x) from the encoder's output."""
        return self.family.distribution(self.encoder(x))

    def log_joint(self, x: Float[Array, ...]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""

        def log_joint(z: Float[Array, " latent"]) -> Float[Array, ""]:
            log_prior = -0.5 * (jnp.sum(z**2) + self.num_latent * math.log(2 * math.pi))
            return log_prior + self.observation.log_prob(self.decoder(z), x)

        return log_joint

    def log_likelihood(self, x: Float[Array, ...]) -> Callable[[Array], Array]:
        """The function z -> log p(x|z), in nats."""
        return lambda z: self.observation.log_prob(self.decoder(z), x)

    def _centered(self, mean: Float[Array, ...]) -> VAE:
        """The same with biases set from the data's mean."""
        output = self.observation.initial_bias(mean)
        if not isinstance(self.decoder, MLP):
            return eqx.tree_at(lambda vae: vae.decoder.bias, self, output)
        first = self.encoder.layers[0]  # type: ignore[attr-defined]
        return eqx.tree_at(
            lambda vae: (vae.encoder.layers[0].bias, vae.decoder.layers[-1].bias),
            self,
            (-mean.reshape(-1) @ first.weight, output.reshape(-1)),
        )
