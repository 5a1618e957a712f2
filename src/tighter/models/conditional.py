"""Autoencoders given a context: a label, the other half of an image, any array."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._errors import InputError
from tighter._examples import admitted
from tighter.distributions import Posterior, draw
from tighter.models._composition import (
    check_fit,
    check_sizes,
    initialized_decoder,
    initialized_encoder,
    latent_families,
    start_of,
)
from tighter.models._contexts import flat, halves, one_hot, parts_of
from tighter.models._families import Space
from tighter.models._model import LatentVariableModel, ObservationHooks
from tighter.models.networks import MLP
from tighter.models.observations import Observation, observation_from_name
from tighter.models.posteriors import DiagonalGaussian, PosteriorFamily
from tighter.models.priors import PriorFamily, StandardNormal

__all__ = ["ConditionalVAE", "GivenContext", "halves", "one_hot"]

Example = Mapping[str, Any]
Context = Array | np.ndarray


class NoPriorError(InputError, AttributeError):
    """There is no p(z), only p(z|c): an attribute that isn't there, for those who look for it."""


class GivenContext(eqx.Module):
    r"""The prior $p(z \mid c) = \mathrm N(\mu(c), \operatorname{diag} \sigma(c)^2)$.

    Attributes:
        network: The context, flattened -> means and log standard deviations, shape (2, latent).
    """

    network: Callable[[Array], Array]

    def distribution(self, context: Float[Array, " numbers"]) -> Any:
        """p(z|c)."""
        return DiagonalGaussian().distribution(self.network(context))


class ConditionalVAE(ObservationHooks, LatentVariableModel):
    r"""Variational autoencoder of x given a context c; an example is {"x": …, "context": …}.

    $p(x, z \mid c) = p(z \mid c)\, p(x \mid z, c)$ with the posterior $q(z \mid x, c)$; bounds are
    on $\log p(x \mid c)$. The networks see the context flattened, after their own input.

    Attributes:
        encoder: Features of x and the context, flat -> the posterior family's parameters.
        decoder: z and the context, flat -> the observation family's parameters.
        observation: The family p(x | decoder output).
        num_latent: Dimensions of z.
        shape: Shape of x.
        context_shape: Shape of the context.
        family: The family q(z | encoder output).
        of_z: p(z|c) by a network, or a family p(z) that doesn't depend on the context; N(0, I) if
            left out.

    Example:
        >>> model = ConditionalVAE.create((14, 28), (14, 28), key=jax.random.key(0))
        >>> tt.fit(model, halves(images), objective, ...)

    References:
        Sohn, Lee & Yan, "Learning structured output representation using deep conditional
        generative models", 2015.
    """

    encoder: Callable[[Array], Array]
    decoder: Callable[[Array], Array]
    observation: Observation
    num_latent: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    context_shape: tuple[int, ...] = eqx.field(static=True)
    family: PosteriorFamily = DiagonalGaussian()
    of_z: PriorFamily | GivenContext | None = None

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        context_shape: Sequence[int],
        *,
        num_latent: int = 20,
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        observation: str | Observation = "bernoulli",
        posterior: str | PosteriorFamily | None = None,
        prior: str | PriorFamily | None = None,
        conditional_prior: bool = False,
        key: Key[Array, ""],
    ) -> ConditionalVAE:
        """A model of MLPs; `initialized_from(examples)` then takes the data into account.

        Args:
            shape: Shape of x.
            context_shape: Shape of the context; (num_classes,) for labels (`one_hot`).
            num_latent: Dimensions of z.
            hidden: Widths of the hidden layers of encoder and conditional prior; the decoder has
                them in reverse.
            activation: A name of `ACTIVATIONS`.
            observation: The family p(x | decoder output), or its name in `OBSERVATIONS`.
            posterior: The family q(z | encoder output), or its name in `POSTERIORS`.
            prior: The family p(z), or its name in `PRIORS`, where it doesn't depend on the context.
            conditional_prior: Whether p(z|c) is a network of the context.
            key: Random key.

        Raises:
            InputError: If a name is unknown, a size is below one, a prior is given beside a
                conditional one, or prior and posterior are over different spaces.
        """
        hidden, shape, context_shape = tuple(hidden), tuple(shape), tuple(context_shape)
        sizes = {"num_latent": num_latent, "shape": shape, "context_shape": context_shape}
        check_sizes(activation, hidden=hidden, **sizes)
        require(
            not conditional_prior or prior is None,
            f"the prior is a network of the context, or {prior!r}, not both: leave out prior or "
            "conditional_prior",
        )
        if isinstance(observation, str):
            observation = observation_from_name(observation, shape)
        encoder_key, decoder_key, prior_key = jax.random.split(key, 3)
        num_context = math.prod(context_shape)
        num_in = math.prod(observation.features_shape(shape)) + num_context
        family, of_z = latent_families(posterior, prior, num_latent, shape=(num_in,), key=key)
        if conditional_prior:
            require(
                family.space is Space.REAL,
                f"a conditional prior is a Gaussian, and the posterior {type(family).__name__} is "
                f"over {family.space.value}: take 'diagonal'",
            )
            of_context = (num_context,), hidden, (2, num_latent)
            of_z = GivenContext(MLP(*of_context, activation=activation, key=prior_key))
        of_x = (num_in,), hidden, family.shape(num_latent)
        encoder = MLP(*of_x, activation=activation, key=encoder_key)
        num_given = math.prod(family.latent_shape(num_latent)) + num_context
        of_both = (num_given,), hidden[::-1], observation.output_shape(shape)
        decoder = MLP(*of_both, activation=activation, key=decoder_key)
        return cls(encoder, decoder, observation, family=family, of_z=of_z, **sizes)

    def initialized_from(
        self, examples: Any, *, key: Key[Array, ""] | None = None
    ) -> ConditionalVAE:
        """The same, started from the training examples instead of from nothing.

        The observation family takes its locations and scales from them; the decoder starts at their
        mean, the networks see x and context centered, and the prior starts where they are encoded.

        Args:
            examples: {"x": (N, *shape), "context": (N, *context shape)}; entries of x may be
                missing (NaN) where the observation family allows it.
            key: Random key, for priors that choose among the examples.

        Raises:
            InputError: If parts are left out, have other shapes or numbers of rows, x is outside
                the observation family's support, or the context is not finite.
        """
        self.check_examples(examples)
        xs, contexts = (np.asarray(part) for part in parts_of(examples))
        contexts = np.asarray(jax.vmap(self._checked_context)(contexts), np.float32)
        num = math.prod(self.family.latent_shape(self.num_latent))
        z_and_context = np.concatenate([np.zeros((len(xs), num), np.float32), contexts], axis=1)
        start = start_of(self.observation, self.decoder, jnp.asarray(z_and_context[0]), xs)
        seen = np.concatenate([start.features.reshape(len(xs), -1), contexts], axis=1)
        decoder = initialized_decoder(
            initialized_encoder(self.decoder, z_and_context), start.output
        )
        of_z = self.of_z
        if isinstance(of_z, GivenContext):
            of_z = GivenContext(initialized_encoder(of_z.network, contexts))
        model = dataclasses.replace(
            self,
            observation=start.observation,
            encoder=initialized_encoder(self.encoder, seen),
            decoder=initialized_decoder(decoder, start.output),
            of_z=of_z,
        )
        if of_z is None or isinstance(of_z, GivenContext):
            return model
        near, parts, _ = admitted(model, {"x": xs, "context": parts_of(examples)[1]})
        both = np.concatenate([parts["x"].reshape(len(xs), -1), contexts], axis=1)
        key = jax.random.key(0) if key is None else key
        of_z = of_z.initialized_from(_flat_encoder(near), both, key=key)
        return dataclasses.replace(model, of_z=of_z)

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return {"x": self.observation.origin}

    def moved(self, by: Any) -> Any:
        """The model of examples + by."""
        return dataclasses.replace(self, observation=self.observation.moved(by["x"]))

    def check_examples(self, xs: Any) -> None:
        """Refuse examples that are no pairs of a context and an x that the family explains.

        Raises:
            InputError: If parts are left out, have other shapes or numbers of rows, x is outside
                the observation family's support, or the context is not finite.
        """
        own, contexts = (np.asarray(part) for part in parts_of(xs))
        require(
            len(own) == len(contexts) > 0,
            f"every x has its context, got {len(own)} and {len(contexts)}: give as many, 1 or more",
        )
        jax.eval_shape(self._checked_context, contexts[0])
        finite = np.isfinite(contexts).reshape(len(own), -1).all(axis=1)
        require(
            finite.all(),
            f"the context is not finite in {np.sum(~finite)} of {len(own)} examples, row "
            f"{finite.argmin()} first: drop these rows or fill them",
        )
        self.check_own(own)

    def check_own(self, xs: np.ndarray) -> None:
        """Refuse x, without its context, of another shape or outside the family's support.

        Raises:
            InputError: If it is.
        """
        size = math.prod(self.family.latent_shape(self.num_latent)) + math.prod(self.context_shape)
        check_fit(self.observation, self.decoder, jnp.zeros(size), xs)

    @property
    def prior(self) -> Any:
        """p(z), where it doesn't depend on the context.

        Raises:
            InputError: If it does; `prior_given(context)` is there in any case.
        """
        if isinstance(self.of_z, GivenContext):
            raise NoPriorError(
                "the prior of this model depends on the context: ask prior_given(context)"
            )
        family = StandardNormal(self.num_latent) if self.of_z is None else self.of_z
        return family.distribution(_flat_encoder(self))

    def prior_given(self, context: Context) -> Any:
        """p(z|c)."""
        if isinstance(self.of_z, GivenContext):
            return self.of_z.distribution(self._checked_context(context))
        return self.prior

    def likelihood(self, z: Array, context: Context | None = None) -> Any:
        """p(x|z, c).

        Raises:
            InputError: If the context is left out, or has another shape.
        """
        return self.observation.distribution(self._output(z, self._checked_context(context)))

    def posterior(self, x: Example) -> Posterior:
        """q(z|x, c) of one example, {"x": …, "context": …}."""
        own, context = self._example(x)
        features = self.observation.features(own)
        return self.family.distribution(self.encoder(flat(features, context)))

    def log_joint(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x, z|c), in nats, of one example."""
        log_prior, log_likelihood = self.log_prior(x), self.log_likelihood(x)
        return lambda z: log_prior(z) + log_likelihood(z)

    def log_prior(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(z|c), in nats, of one example."""
        if isinstance(self.of_z, GivenContext):
            return self.of_z.distribution(self._example(x)[1]).log_prob
        family = StandardNormal(self.num_latent) if self.of_z is None else self.of_z
        return lambda z: family.log_prob(_flat_encoder(self), z)

    def log_likelihood(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x|z, c), in nats, of one example."""
        own, context = self._example(x)
        return lambda z: self.observation.log_prob(self._output(z, context), own)

    def sample(self, key: Key[Array, ""], n: int, *, context: Context | None = None) -> Array:
        """`n` draws of x given one context: z from the prior, x from the likelihood.

        Args:
            key: Random key.
            n: How many.
            context: One context; `vmap` for several.

        Returns:
            Shape (n, *shape of x).

        Raises:
            InputError: If the context is left out, or has another shape.
        """
        numbers = self._checked_context(context)

        def draw_once(key: Key[Array, ""]) -> Array:
            latent_key, observation_key = jax.random.split(key)
            z = self.prior_given(numbers.reshape(self.context_shape)).sample(latent_key)
            return self.observation.distribution(self._output(z, numbers)).sample(observation_key)

        return jax.vmap(draw_once)(jax.random.split(key, n))

    def likelihood_mean(self, z: Array, context: Context | None = None) -> Float[Array, ...]:
        """Mean of p(x|z, c), in the shape of x."""
        return self.observation.mean(self._output(z, self._checked_context(context)))

    def reconstruct(self, x: Example, key: Key[Array, ""]) -> Float[Array, ...]:
        """Mean of p(x|z, c) at one draw z from q(z|x, c)."""
        z = draw(self.posterior(x), key=key)
        return self.observation.mean(self._output(z, self._example(x)[1]))

    def _output(self, z: Array, context: Float[Array, " numbers"]) -> Float[Array, ...]:
        return self.decoder(flat(z, context))

    def _example(self, example: Example) -> tuple[Array, Float[Array, " numbers"]]:
        """The parts of one example, x in its shape and the context flat."""
        x, context = parts_of(example)
        shape = jnp.shape(x)
        require(shape == self.shape, f"the model is of x of shape {self.shape}, got {shape}")
        return jnp.asarray(x), self._checked_context(context)

    def _checked_context(self, context: Any) -> Float[Array, " numbers"]:
        """One context, flat."""
        is_given = context is not None
        require(is_given, "this model is of x given a context, got none: give context=…")
        require(
            jnp.shape(context) == self.context_shape,
            f"the model was made for a context of shape {self.context_shape}, got "
            f"{jnp.shape(context)}: give one example's, and labels by one_hot",
        )
        return flat(context)


class _Pairs(eqx.Module):
    """What is seen of examples that are one vector each, x and context."""

    model: ConditionalVAE

    def features(self, x: Float[Array, " numbers"]) -> Float[Array, " seen"]:
        """The features of x, and the context."""
        num = math.prod(self.model.shape)
        features = self.model.observation.features(x[:num].reshape(self.model.shape))
        return flat(features, x[num:])


class _FlatEncoder(eqx.Module):
    """What prior families ask of a model, of examples that are one vector each."""

    encoder: Callable[[Array], Array]
    family: PosteriorFamily
    observation: _Pairs

    def posterior(self, x: Float[Array, " numbers"]) -> Posterior:
        return self.family.distribution(self.encoder(self.observation.features(x)))


def _flat_encoder(model: ConditionalVAE) -> _FlatEncoder:
    return _FlatEncoder(model.encoder, model.family, _Pairs(model))
