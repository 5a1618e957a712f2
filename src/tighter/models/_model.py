"""What every latent-variable model can do."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Key, PyTree

from tighter._protocols import ModelHooks
from tighter.distributions import draw
from tighter.models.observations import Missing, Observation


class Completion(NamedTuple):
    """How the missing entries of one example are filled in, given its latent.

    Attributes:
        statistic: z -> what is averaged over z, an array.
        point: The average -> x, its observed entries as they are.
        draw: (z, key) -> x, its missing entries drawn from p(missing | observed, z).
    """

    statistic: Callable[[PyTree], Array]
    point: Callable[[Array], Array]
    draw: Callable[[PyTree, Key[Array, ""]], Array]


class LatentVariableModel(ModelHooks, eqx.Module):
    """A prior p(z), a likelihood p(x|z) and an approximate posterior q(z|x), for one example.

    Any `eqx.Module` with `log_joint` and `posterior` serves the objectives and the log-likelihood;
    this class adds what can be built from prior, likelihood and posterior.
    """

    @property
    @abc.abstractmethod
    def prior(self) -> Any:
        """p(z), a distribution with empty batch shape."""

    @abc.abstractmethod
    def likelihood(self, z: PyTree) -> Any:
        """p(x|z), a distribution with empty batch shape."""

    @abc.abstractmethod
    def posterior(self, x: Array) -> Any:
        """q(z|x), a distribution with empty batch shape."""

    @abc.abstractmethod
    def log_joint(self, x: Array) -> Callable[[PyTree], Array]:
        """Z -> log p(x, z), in nats."""

    def log_prior(self, x: Any) -> Callable[[PyTree], Array]:
        """The function z -> log p(z), in nats; log p(z|c) where the example brings a context c."""
        return lambda z: self.prior.log_prob(z)

    def log_likelihood(self, x: Array) -> Callable[[PyTree], Array]:
        """The function z -> log p(x|z), in nats."""
        return lambda z: self.likelihood(z).log_prob(x)

    def likelihood_mean(self, z: PyTree) -> Any:
        """Mean of p(x|z), in the shape of x: what pictures show."""
        return self.likelihood(z).mean

    def sample(self, key: Key[Array, ""], n: int) -> Any:
        """`n` draws of x from the model: z from the prior, x from the likelihood.

        Args:
            key: Random key.
            n: How many.

        Returns:
            Shape (n, *shape of x), of each part where x has several.
        """

        def draw_once(key: Key[Array, ""]) -> Any:
            latent_key, observation_key = jax.random.split(key)
            z = self.prior.sample(latent_key)
            return self.likelihood(z).sample(observation_key)

        return jax.vmap(draw_once)(jax.random.split(key, n))

    def reconstruct(self, x: Any, key: Key[Array, ""]) -> Any:
        """Mean of p(x|z) at one draw z from q(z|x).

        Args:
            x: One example.
            key: Random key.

        Returns:
            Of the shape of x.
        """
        return self.likelihood_mean(draw(self.posterior(x), key=key))


class ObservationHooks(ModelHooks):
    """The hooks of a model whose x is of one observation family."""

    observation: Observation

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return self.observation.origin

    def moved(self: Any, by: Any) -> Any:
        """The model of examples + by, with the same densities."""
        return dataclasses.replace(self, observation=self.observation.moved(by))

    @property
    def takes_missing(self) -> bool:
        """Whether entries of x may be missing (NaN)."""
        return isinstance(self.observation, Missing)


class ModelOnVAE(LatentVariableModel):
    """A model with the prior and likelihood of a VAE, and something else of its own."""

    vae: Any

    @property
    def prior(self) -> Any:
        """p(z)."""
        return self.vae.prior

    @property
    def num_latent(self) -> int:
        """Dimensions of z."""
        return self.vae.num_latent

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return self.vae.origin

    def moved(self, by: Any) -> Any:
        """The model of examples + by, with the same densities."""
        return dataclasses.replace(self, vae=self.vae.moved(by))

    @property
    def takes_missing(self) -> bool:
        """Whether entries of x may be missing (NaN)."""
        return self.vae.takes_missing

    def check_examples(self, xs: Any) -> None:
        """Refuse examples that the observation family can't explain.

        Raises:
            InputError: If entries are outside of its support, or examples of another shape.
        """
        self.vae.check_examples(xs)

    def log_joint(self, x: Any) -> Callable[[PyTree], Array]:
        """The function z -> log p(x, z), in nats."""
        return self.vae.log_joint(x)

    def log_likelihood(self, x: Any) -> Callable[[PyTree], Array]:
        """The function z -> log p(x|z), in nats."""
        return self.vae.log_likelihood(x)

    def likelihood(self, z: Array) -> Any:
        """p(x|z)."""
        return self.vae.likelihood(z)

    def likelihood_mean(self, z: Array) -> Array:
        """Mean of p(x|z), in the shape of x."""
        return self.vae.likelihood_mean(z)
