"""The variational autoencoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._examples import admitted
from tighter._names import check_known
from tighter.distributions import Posterior
from tighter.models._composition import (
    check_fit,
    check_sizes,
    initialized_decoder,
    initialized_encoder,
    latent_families,
    start_of,
)
from tighter.models._families import Space
from tighter.models._model import Completion, LatentVariableModel, ObservationHooks
from tighter.models.networks import NETWORKS
from tighter.models.observations import Observation, observation_from_name
from tighter.models.posteriors import DiagonalGaussian, PosteriorFamily
from tighter.models.priors import PriorFamily, StandardNormal


class VAE(ObservationHooks, LatentVariableModel):
    r"""Variational autoencoder: z from a prior, x|z from a decoder, z|x from an encoder.

    $p(x, z) = p(z)\, p(x \mid \text{decoder}(z))$ and $q(z \mid \text{encoder}(x))$, each of a
    family of its own: prior, observation and posterior are composed freely, as long as prior and
    posterior are over the same space. Encoder and decoder are any callables (an `eqx.Module` where
    they have parameters; `Applied` for networks of other libraries).

    Attributes:
        encoder: Features of x (`observation.features`) -> the posterior family's parameters; of the
            diagonal Gaussian (2, latent), means and logarithms of the standard deviations.
        decoder: z -> the observation family's parameters, of shape `observation.output_shape`.
        observation: The family p(x | decoder output).
        num_latent: Dimensions of z.
        family: The family q(z | encoder output).
        prior_family: The family p(z); N(0, I) if left out.

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
    prior_family: PriorFamily | None = None

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        *,
        num_latent: int = 20,
        hidden: Sequence[int] = (200, 200),
        network: str = "mlp",
        activation: str = "tanh",
        observation: str | Observation = "bernoulli",
        posterior: str | PosteriorFamily | None = None,
        prior: str | PriorFamily | None = None,
        key: Key[Array, ""],
    ) -> VAE:
        """A VAE of this library's networks; `initialized_from(xs)` then takes the data in.

        Args:
            shape: Shape of one example.
            num_latent: Dimensions of z.
            hidden: Widths of the encoder's hidden layers, or channels of its convolutions; the
                decoder has them in reverse.
            network: A name of `NETWORKS`: "mlp", or for images "convolutional" or "residual".
            activation: A name of `ACTIVATIONS`.
            observation: The family p(x | decoder output), or its name in `OBSERVATIONS`.
            posterior: The family q(z | encoder output), or its name in `POSTERIORS`; if left out,
                the usual one over the prior's space.
            prior: The family p(z), or its name in `PRIORS`; if left out, the usual one over the
                posterior's space.
            key: Random key.

        Raises:
            InputError: If a name is unknown, a size is below one, a family doesn't fit the latent
                dimensions, or prior and posterior are over different spaces.
            ValueError: If convolutions are asked of what is no image.
        """
        check_known("network", network, NETWORKS)
        check_sizes(activation, num_latent=num_latent, hidden=tuple(hidden))
        if isinstance(observation, str):
            observation = observation_from_name(observation, shape)
        encoder_key, decoder_key = jax.random.split(key)
        seen, output = observation.features_shape(shape), observation.output_shape(shape)
        family, of_z = latent_families(posterior, prior, num_latent, shape=seen, key=key)
        make_encoder, make_decoder = NETWORKS[network]
        inner, latent = family.shape(num_latent), family.latent_shape(num_latent)
        encoder = make_encoder(seen, hidden, inner, activation=activation, key=encoder_key)
        decoder = make_decoder(latent, hidden, output, activation=activation, key=decoder_key)
        return cls(encoder, decoder, observation, num_latent, family, of_z)

    def initialized_from(self, xs: Any, *, key: Key[Array, ""] | None = None) -> VAE:
        """The same, started from the training examples instead of from nothing.

        The observation family takes its locations and scales from them; the decoder starts at their
        mean, an MLP's first layer sees them centered on it, and the prior starts where they are
        encoded. For networks of this library.

        Args:
            xs: Training examples (N, *shape); missing entries NaN.
            key: Random key, for priors that choose among the examples.

        Raises:
            InputError: If the examples are outside the observation family's support.
        """
        z = jnp.zeros(self.family.latent_shape(self.num_latent))
        start = start_of(self.observation, self.decoder, z, np.asarray(xs))
        model = dataclasses.replace(
            self,
            observation=start.observation,
            encoder=initialized_encoder(self.encoder, start.features),
            decoder=initialized_decoder(self.decoder, start.output),
        )
        if model.prior_family is None:
            return model
        near, xs, _ = admitted(model, xs)
        key = jax.random.key(0) if key is None else key
        prior = model.prior_family.initialized_from(near, xs, key=key)
        return dataclasses.replace(model, prior_family=prior)

    @property
    def prior(self) -> Any:
        """p(z)."""
        return self._of_z.distribution(self)

    def likelihood(self, z: Array) -> Any:
        """p(x|z) from the decoder's output."""
        return self.observation.distribution(self.decoder(z))

    def posterior(self, x: Float[Array, ...]) -> Posterior:
        """q(z|x) from the encoder's output."""
        return self.family.distribution(self.encoder(self.observation.features(x)))

    def log_joint(self, x: Float[Array, ...]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""

        def log_joint(z: Array) -> Float[Array, ""]:
            log_likelihood = self.observation.log_prob(self.decoder(z), x)
            return self._of_z.log_prob(self, z) + log_likelihood

        return log_joint

    def log_likelihood(self, x: Float[Array, ...]) -> Callable[[Array], Array]:
        """The function z -> log p(x|z), in nats."""
        return lambda z: self.observation.log_prob(self.decoder(z), x)

    def likelihood_mean(self, z: Array) -> Float[Array, ...]:
        """Mean of p(x|z), in the shape of x."""
        return self.observation.mean(self.decoder(z))

    def completion(self, x: Float[Array, ...]) -> Completion:
        """How the missing entries of an example are filled in, given z."""
        observed = ~jnp.isnan(x)
        filled = jnp.where(observed, x, self.observation.support.inside)
        family, decoder = self.observation, self.decoder
        return Completion(
            lambda z: family.statistic(decoder(z), filled, observed),
            lambda average: jnp.where(observed, x, family.point(average)),
            lambda z, key: family.complete(decoder(z), filled, observed, key=key),
        )

    @property
    def is_plane(self) -> bool:
        """Whether z is two real numbers, so that it can be drawn."""
        return self.num_latent == 2 and self.family.space is Space.REAL

    def check_examples(self, xs: Any) -> None:
        """Refuse examples that the observation family can't explain.

        Raises:
            InputError: If entries are outside of its support, or examples of another shape than the
                decoder's, which would be broadcast against it.
        """
        z = jnp.zeros(self.family.latent_shape(self.num_latent))
        check_fit(self.observation, self.decoder, z, np.asarray(xs))

    @property
    def _of_z(self) -> PriorFamily:
        return StandardNormal(self.num_latent) if self.prior_family is None else self.prior_family
