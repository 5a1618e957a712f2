"""Observations in units of their own location and scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import TransformedDistribution
from numpyro.distributions.transforms import AffineTransform

from tighter.models.observations._observation import Factorized, Observation, Support

# Of the location: of a smaller spread single precision would lose more than a ten thousandth.
_NEAR = 1e-3


class Standardized(Observation):
    r"""A family of (x − m) / s, with m and s the training data's means and standard deviations.

    $\log p(x \mid z) = \log f((x - m) / s \mid z) - \sum_i \log s_i$: densities, means and draws
    are in x's own units, while encoder and decoder see and make numbers of order one. m and s are
    constants; they are not trained.

    Numbers far from zero and close to each other, seconds since 1970 of one hour, are told apart by
    doubles alone: m is kept in two parts, and `origin` is what is to be taken from x before it is
    brought to single precision; `moved(-origin)` is the family of what is left, with the same
    density.

    Attributes:
        family: The family in standard units, over all real numbers.
        location: m, in the shape of x.
        scale: s, in the shape of x.
        rest: What m has beyond single precision, where s is that small.
    """

    untrained: ClassVar[tuple[str, ...]] = ("location", "scale", "rest")

    family: Observation
    location: Float[Array, ...]
    scale: Float[Array, ...]
    rest: Float[Array, ...]

    def __init__(
        self, family: Observation, shape: Sequence[int], location: Any = 0.0, scale: Any = 1.0
    ):
        self.family = family
        self.location = jnp.broadcast_to(jnp.asarray(location, jnp.float32), tuple(shape))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), tuple(shape))
        self.rest = jnp.zeros(tuple(shape), jnp.float32)

    def distribution(self, output: Float[Array, ...]) -> Any:
        """The family's distribution, moved and stretched."""
        (location, rest), scale = self._units()
        transform = AffineTransform(location + rest, scale)
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
        return self._restored(self.family.mean(output))

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """That of the family, in x's units."""
        return self._restored(self.family.statistic(output, self.features(x), observed))

    def complete(
        self,
        output: Float[Array, ...],
        x: Float[Array, ...],
        observed: Bool[Array, ...],
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ...]:
        """A draw of all of x, in its own units."""
        drawn = self.family.complete(output, self.features(x), observed, key=key)
        return jnp.where(observed, x, self._restored(drawn))

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """(x − m) / s."""
        (location, rest), scale = self._units()
        return (x - location - rest) / scale

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """That of the family."""
        return self.family.output_shape(shape)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the family, for standardized examples."""
        scale = np.asarray(self.scale, np.float64)
        standard = (np.asarray(xs, np.float64) - self._location) / scale
        return self.family.initial_output(standard.astype(np.float32))

    def initialized_from(self, xs: np.ndarray) -> Standardized:
        """With the means and standard deviations of the entries that are there."""
        location = np.nanmean(xs, axis=0, dtype=np.float64)
        scale = np.nanstd(xs, axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        family = self.family.initialized_from(((xs - location) / scale).astype(np.float32))
        return Standardized(family, xs.shape[1:], location, scale).moved(0.0, location)

    @property
    def origin(self) -> np.ndarray:
        """m, where s is so small beside it that single precision would lose of x; 0 elsewhere."""
        location = np.asarray(self.location, np.float64)
        return np.where(np.asarray(self.scale) < _NEAR * np.abs(location), location, 0.0)

    def moved(self, by: Any, location: Any = None) -> Standardized:
        """The family of x + by."""
        whole = (self._location if location is None else location) + np.asarray(by, np.float64)
        single = whole.astype(np.float32)
        near = np.asarray(self.scale) < _NEAR * np.abs(single)
        rest = np.where(near, whole - single, 0.0).astype(np.float32)
        parts = jnp.asarray(single), jnp.asarray(rest)
        return eqx.tree_at(lambda family: (family.location, family.rest), self, parts)

    @property
    def _location(self) -> np.ndarray:
        """M in double precision."""
        return np.asarray(self.location, np.float64) + np.asarray(self.rest, np.float64)

    def _restored(self, standard: Float[Array, ...]) -> Float[Array, ...]:
        """In x's units; what is small is added first."""
        (location, rest), scale = self._units()
        return location + (rest + scale * standard)

    @property
    def support(self) -> Support:
        """Every number."""
        return Support()

    def _units(self) -> tuple[tuple[Array, Array], Array]:
        return jax.lax.stop_gradient(((self.location, self.rest), self.scale))
