"""The likelihood of several modalities, any of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from tighter.models.observations import Missing, Observation

Example = Mapping[str, Any]


class JointLikelihood(eqx.Module):
    r"""$p(x \mid z) = \prod_m p(x_m \mid z)$; x is a dict by the modalities' names.

    Attributes:
        observations: The modalities' families.
        outputs: Their decoders' outputs.
    """

    observations: dict[str, Observation]
    outputs: dict[str, Float[Array, ...]]

    @property
    def mean(self) -> dict[str, Float[Array, ...]]:
        """Mean of each modality."""
        return {name: family.mean(self.outputs[name]) for name, family in self.observations.items()}

    def log_prob(self, value: Example) -> Float[Array, ""]:
        """Log density of the modalities that are there, in nats."""
        total = jnp.zeros(())
        for name, family in self.observations.items():
            present, whole = filled(family, value[name])
            log_prob = family.log_prob(self.outputs[name], whole)
            total = total + jnp.where(present, log_prob, 0.0)
        return total

    def sample(
        self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()
    ) -> dict[str, Float[Array, ...]]:
        """A draw of every modality."""
        keys = jax.random.split(key, len(self.observations))
        return {
            name: family.distribution(self.outputs[name]).sample(own_key, sample_shape)
            for own_key, (name, family) in zip(keys, self.observations.items(), strict=True)
        }


def filled(family: Observation, x: Any) -> tuple[Bool[Array, ""], Float[Array, ...]]:
    """Whether a modality is there, and values of the family's support where it isn't.

    Filled before a network sees it, and not only masked behind, so that derivatives are finite.
    `Missing` does it by itself.
    """
    x = jnp.asarray(x)
    present = ~jnp.all(jnp.isnan(x))
    if isinstance(family, Missing):
        return present, x
    return present, jnp.where(present, x, jnp.asarray(family.support.inside, x.dtype))
