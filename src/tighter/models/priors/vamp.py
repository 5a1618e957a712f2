"""The VampPrior: the mixture of the posteriors at pseudo-inputs that are learned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from tighter._errors import InputError
from tighter._protocols import PosteriorHooks
from tighter.distributions import Posterior, draw
from tighter.models._families import PosteriorFamily, PriorFamily, check_count
from tighter.models._space import Space


class VampPrior(PriorFamily):
    r"""$p(z) = \tfrac1C \sum_c q(z \mid u_c)$, with pseudo-inputs u that are learned.

    For any amortized posterior family, in whichever space. The posteriors are the encoder's own
    (of a semi-amortized model those before its steps), computed once for all draws of a batch.
    Pseudo-inputs are what the encoder sees of an example (`observation.features`), and not the
    example: they start there and are free afterwards, whatever the support of x.

    Attributes:
        pseudo_inputs: u, shape (C, *shape of the features).

    References:
        Tomczak & Welling, "VAE with a VampPrior", 2018, eq. 9.
    """

    pseudo_inputs: Float[Array, "components ..."]

    @classmethod
    def create(cls, num_components: int, shape: Sequence[int], *, key: Key[Array, ""]) -> VampPrior:
        """Pseudo-inputs uniform between 0 and 1, where no examples are known yet.

        Args:
            num_components: C.
            shape: Shape of the features of one example.
            key: Random key.

        Raises:
            InputError: If there is no component.
        """
        check_count("the number of components of a VampPrior", num_components)
        return cls(jax.random.uniform(key, (num_components, *shape)))

    @property
    def space(self) -> Space:
        """That of the posterior."""
        return Space.ANY

    def initialized_from(self, model: Any, xs: np.ndarray, *, key: Key[Array, ""]) -> VampPrior:
        """The same, started at the features of examples picked at random.

        Args:
            model: The model before training.
            xs: Training examples (N, *shape).
            key: Random key.

        Raises:
            InputError: If there are more components than examples.
        """
        num_components = len(self.pseudo_inputs)
        if len(xs) < num_components:
            raise InputError(
                f"a VampPrior of {num_components} components is started from as many examples or "
                f"more, got {len(xs)}: take fewer components"
            )
        picked = np.asarray(xs)[np.asarray(jax.random.permutation(key, len(xs)))[:num_components]]
        features = jax.vmap(model.observation.features)(jnp.asarray(picked, jnp.float32))
        return dataclasses.replace(self, pseudo_inputs=features)

    def distribution(self, model: Any) -> PosteriorsInEqualParts:
        """The mixture.

        Args:
            model: Has `encoder` and `family`, as a `VAE`.
        """
        # Not by model.posterior: where that takes steps on the bound, it would ask for the prior.
        return PosteriorsInEqualParts(model.family, jax.vmap(model.encoder)(self.pseudo_inputs))


class PosteriorsInEqualParts(PosteriorHooks, eqx.Module):
    """The mixture with equal weights of a family's members.

    Attributes:
        family: The family.
        outputs: What the encoder said of each member, shape (C, *family.shape).
    """

    family: PosteriorFamily
    outputs: Float[Array, "components ..."]

    def log_prob(self, value: Array) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        log_probs = jax.vmap(lambda output: self.family.distribution(output).log_prob(value))
        return jax.nn.logsumexp(log_probs(self.outputs)) - math.log(len(self.outputs))

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, each of a member picked at random."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.sample(key, sample_shape[1:]))(keys)
        index_key, key = jax.random.split(key)
        index = jax.random.randint(index_key, (), 0, len(self.outputs))
        return jax.lax.stop_gradient(draw(self._member(index), key=key))

    def _member(self, index: Int[Array, ""]) -> Posterior:
        return self.family.distribution(self.outputs[index])
