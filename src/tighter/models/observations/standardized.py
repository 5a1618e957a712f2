"""Observations in units of their own location and scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import TransformedDistribution
from numpyro.distributions.transforms import AffineTransform

from tighter.models.observations._observation import Factorized, Observation, Support


class Standardized(Observation):
    r"""A family of (x − m) / s, with m and s the training data's means and standard deviations.

    $\log p(x \mid z) = \log f((x - m) / s \mid z) - \sum_i \log s_i$: densities, means and draws
    are in x's own units, while encoder and decoder see and make numbers of order one. m and s are
    constants; they are not trained.

    Attributes:
        family: The family in standard units, over all real numbers.
        location: m, in the shape of x.
        scale: s, in the shape of x.
    """

    family: Observation
    location: Float[Array, ...]
    scale: Float[Array, ...]

    def __init__(
        self, family: Observation, shape: Sequence[int], location: Any = 0.0, scale: Any = 1.0
    ):
        self.family = family
        self.location = jnp.broadcast_to(jnp.asarray(location, jnp.float32), tuple(shape))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), tuple(shape))

    def distribution(self, output: Float[Array, ...]) -> Any:
        """The family's distribution, moved and stretched."""
        location, scale = self._units()
        transform = AffineTransform(location, scale)
        return TransformedDistribution(self.family.distribution(output), transform)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density in x's units, in nats."""
        _, scale = self._units()
        return self.family.log_prob(output, self.features(x)) - jnp.sum(jnp.log(scale))

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log density of each entry in x's units, in nats.

        Raises:
            TypeError: If the family's entries are not independent.
        """
        if not isinstance(self.family, Factorized):
            raise TypeError(f"entries of {type(self.family).__name__} are not independent")
        _, scale = self._units()
        return self.family.log_probs(output, self.features(x)) - jnp.log(scale)

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the observed entries, in nats."""
        _, scale = self._units()
        inner = self.family.log_prob_observed(output, self.features(x), observed)
        return inner - jnp.sum(jnp.where(observed, jnp.log(scale), 0.0))

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """Mean in x's units."""
        location, scale = self._units()
        return location + scale * self.family.mean(output)

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """That of the family, in x's units."""
        location, scale = self._units()
        return location + scale * self.family.statistic(output, self.features(x), observed)

    def complete(
        self,
        output: Float[Array, ...],
        x: Float[Array, ...],
        observed: Bool[Array, ...],
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ...]:
        """A draw of all of x, in its own units."""
        location, scale = self._units()
        drawn = self.family.complete(output, self.features(x), observed, key=key)
        return jnp.where(observed, x, location + scale * drawn)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """(x − m) / s."""
        location, scale = self._units()
        return (x - location) / scale

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """That of the family."""
        return self.family.output_shape(shape)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the family, for standardized examples."""
        return self.family.initial_output((xs - np.asarray(self.location)) / np.asarray(self.scale))

    def fitted(self, xs: np.ndarray) -> Standardized:
        """With the means and standard deviations of the entries that are there."""
        location = np.nanmean(xs, axis=0, dtype=np.float64)
        scale = np.nanstd(xs, axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        family = self.family.fitted(((xs - location) / scale).astype(np.float32))
        return Standardized(family, xs.shape[1:], location, scale)

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()

    def _units(self) -> tuple[Array, Array]:
        return jax.lax.stop_gradient((self.location, self.scale))
