"""Posteriors that are not the encoder's alone: refined for an example, or with no encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._checks import check_above, check_counts, require
from tighter._errors import InputError
from tighter.distributions import Posterior, draw, is_reparameterizable
from tighter.models._model import Completion, ModelOnVAE
from tighter.models.vae import VAE

_LARGEST_STEP = 5.0


class SemiAmortized(ModelOnVAE):
    r"""A VAE whose posterior takes a few steps from the encoder's output to the example's best.

    $\lambda_0 = \text{encoder}(x)$, $\lambda_{t+1} = \lambda_t + \eta\, \nabla_\lambda
    \mathrm{ELBO}(\lambda_t)$, with the same few draws' noise at each step, so that q(z|x) stays a
    function of x. The steps are differentiated, so that the encoder learns where to start; a
    gradient longer than 5 is shortened to that.

    Attributes:
        vae: The model; its posterior family is reparameterized.
        log_learning_rate: log η, trained as well.
        num_steps: How many steps.
        num_samples: Draws of the ELBO that is climbed.

    Example:
        >>> SemiAmortized.create(VAE.create((8, 8), key=jax.random.key(0)), num_steps=5)

    References:
        Kim, Wiseman, Miller, Sontag & Rush, "Semi-amortized variational autoencoders", 2018.
    """

    vae: VAE
    log_learning_rate: Float[Array, ""]
    num_steps: int = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)

    @classmethod
    def create(
        cls, vae: VAE, *, num_steps: int = 5, num_samples: int = 4, learning_rate: float = 0.02
    ) -> SemiAmortized:
        """A VAE with refinement.

        Args:
            vae: The model.
            num_steps: How many steps, 1 or more.
            num_samples: Draws of the ELBO that is climbed, 1 or more.
            learning_rate: η at the start, above zero.

        Raises:
            InputError: If a number is too low, or the posterior family has no reparameterized
                draws.
        """
        check_counts(num_steps=num_steps, num_samples=num_samples)
        check_above(0.0, learning_rate=learning_rate)
        posterior = vae.family.distribution(jnp.zeros(vae.family.shape(vae.num_latent)))
        require(
            is_reparameterizable(posterior),
            f"refinement climbs through draws of z, and {type(vae.family).__name__} has no "
            "reparameterized ones: take a posterior over real numbers",
        )
        return cls(vae, jnp.log(jnp.asarray(learning_rate, float)), num_steps, num_samples)

    def completion(self, x: Float[Array, ...]) -> Completion:
        """How the missing entries of an example are filled in, given z."""
        return self.vae.completion(x)

    def posterior(self, x: Float[Array, ...]) -> Posterior:
        """q(z|x) after the steps."""
        log_joint, family = self.vae.log_joint(x), self.vae.family
        keys = jax.random.split(jax.random.key(0), self.num_samples)

        def elbo(output: Array) -> Float[Array, ""]:
            posterior = family.distribution(output)

            def log_weight(key: Array) -> Float[Array, ""]:
                z = draw(posterior, key=key)
                return log_joint(z) - posterior.log_prob(z)

            return jnp.mean(jax.vmap(log_weight)(keys))

        def step(output: Array, _: None) -> tuple[Array, None]:
            gradient = jax.grad(elbo)(output)
            length = jnp.sqrt(jnp.sum(gradient**2) + jnp.finfo(output.dtype).tiny)
            shortened = gradient * jnp.minimum(1.0, _LARGEST_STEP / length)
            return output + jnp.exp(self.log_learning_rate) * shortened, None

        start = self.vae.encoder(self.vae.observation.features(x))
        output, _ = jax.lax.scan(step, start, None, length=self.num_steps)
        return family.distribution(output)


class FreePosterior(ModelOnVAE):
    r"""A VAE without an encoder: the posterior's parameters of each example are a row of a table.

    An example is {"x": x, "index": n}, n its row. With it there is no amortization gap; a new
    example's row is found by training a table for new examples, the decoder held.

    Attributes:
        vae: The model; its encoder is not used, nor trained.
        table: Parameters, shape (N, *shape of the encoder's output).

    Example:
        >>> model = FreePosterior.create(vae, xs)
        >>> tt.fit(model, model.examples(xs), objective, ...)

    References:
        Hoffman, Blei, Wang & Paisley, "Stochastic variational inference", 2013, sec. 2 (local
        variational parameters); Cremer, Li & Duvenaud, "Inference suboptimality in variational
        autoencoders", 2018.
    """

    vae: VAE
    table: Float[Array, "examples ..."]

    @classmethod
    def create(cls, vae: VAE, xs: Any) -> FreePosterior:
        """A table for some examples, which starts where the encoder would have them.

        Args:
            vae: The model.
            xs: The examples (N, *shape).
        """
        encode = jax.jit(jax.vmap(lambda x: vae.encoder(vae.observation.features(x))))
        return cls(vae, encode(jnp.asarray(xs, float)))

    def examples(self, xs: Any) -> dict[str, np.ndarray]:
        """The examples with their rows in the table.

        Raises:
            InputError: If there are more or fewer than rows.
        """
        xs = np.asarray(xs)
        require(
            len(xs) == len(self.table),
            f"the table has a row for each of {len(self.table)} examples, got {len(xs)}: make one "
            "for these (FreePosterior.create)",
        )
        return {"x": xs, "index": np.arange(len(xs))}

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return {"x": self.vae.origin}

    def moved(self, by: Any) -> Any:
        """The model of examples + by."""
        return dataclasses.replace(self, vae=self.vae.moved(by["x"]))

    def check_examples(self, xs: Any) -> None:
        """Refuse examples that the observation family can't explain.

        Raises:
            InputError: If entries are outside of its support, or an index is no row of the table.
        """
        self.vae.check_examples(xs["x"])
        index = np.asarray(xs["index"])
        wrong = (index < 0) | (index >= len(self.table)) | (index != np.round(index))
        if wrong.any():
            raise InputError(
                f"an index is a row of the table, 0 to {len(self.table) - 1}, got "
                f"{index[wrong][0]} in row {wrong.argmax()}"
            )

    def log_joint(self, x: dict[str, Array]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return self.vae.log_joint(x["x"])

    def log_likelihood(self, x: dict[str, Array]) -> Callable[[Array], Array]:
        """The function z -> log p(x|z), in nats."""
        return self.vae.log_likelihood(x["x"])

    def posterior(self, x: dict[str, Array]) -> Posterior:
        """q(z) of the example's row."""
        return self.vae.family.distribution(self.table[jnp.asarray(x["index"], int)])
