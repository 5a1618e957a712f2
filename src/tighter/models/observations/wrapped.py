"""Observation families around another: entries that may be missing, units of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import TransformedDistribution
from numpyro.distributions.transforms import AffineTransform

from tighter._errors import InputError
from tighter.models.observations.observation import (
    Factorized,
    Flags,
    Numbers,
    Observation,
    RandomKey,
)
from tighter.models.observations.support import Support


class Missing(Observation):
    r"""A family of which any entry of x may be missing (NaN): $\log p(x_\text{observed} \mid z)$.

    Training a VAE with it by IWAE is the missing-data importance-weighted autoencoder; it is right
    where entries are missing at random. The encoder sees 0 where an entry is missing, and which
    entries are observed: numbers after the features, or for images a further channel.

    Attributes:
        family: The family of the complete x.

    References:
        Mattei & Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data
        sets", 2019, eq. 4.
    """

    family: Observation

    def distribution(self, output: Numbers) -> Any:
        """p(x|z) of a complete x."""
        return self.family.distribution(output)

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density of the entries that are there, in nats."""
        observed = ~jnp.isnan(x)
        return self.family.log_prob_observed(output, self.filled(x), observed)

    def filled(self, x: Numbers) -> Numbers:
        """X with some value of the support where an entry is missing."""
        return jnp.where(jnp.isnan(x), self.support.inside, x)

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the entries that are observed, in nats."""
        return self.family.log_prob_observed(output, x, observed)

    def mean(self, output: Numbers) -> Numbers:
        """Mean of a complete x."""
        return self.family.mean(output)

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """That of the family."""
        return self.family.statistic(output, x, observed)

    def point(self, statistic: Numbers) -> Numbers:
        """That of the family."""
        return self.family.point(statistic)

    def complete(self, output: Numbers, x: Numbers, observed: Flags, *, key: RandomKey) -> Numbers:
        """That of the family."""
        return self.family.complete(output, x, observed, key=key)

    def features(self, x: Numbers) -> Numbers:
        """The family's features, 0 where missing, with what is observed beside them."""
        features = self.family.features(x)
        seen = jnp.nan_to_num(features)
        observed = (~jnp.isnan(features)).astype(seen.dtype)
        if features.ndim == 1:
            return jnp.concatenate([seen, observed])
        if features.ndim == 2:
            return jnp.stack([seen, observed], axis=-1)
        return jnp.concatenate([seen, observed], axis=-1)

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Twice the numbers."""
        inner = self.family.features_shape(shape)
        return (*inner, 2) if len(inner) == 2 else (*inner[:-1], 2 * inner[-1])

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """That of the family."""
        return self.family.output_shape(shape)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """That of the family."""
        return self.family.initial_output(xs)

    def initialized_from(self, xs: np.ndarray) -> Missing:
        """The family fitted to the entries that are there.

        Raises:
            InputError: If an entry is missing in every example, or every entry of an example.
        """
        absent = np.isnan(xs).reshape(len(xs), -1)
        if (never := absent.all(axis=0)).any():
            raise InputError(
                f"entry {never.argmax()} is missing in all {len(xs)} examples: leave it out"
            )
        if (empty := absent.all(axis=1)).any():
            raise InputError(f"row {empty.argmax()} has no entry that is there: leave it out")
        return Missing(self.family.initialized_from(xs))

    @property
    def origin(self) -> Any:
        """That of the family."""
        return self.family.origin

    def moved(self, by: Any) -> Missing:
        """The family of x + by."""
        return Missing(self.family.moved(by))

    def check(self, xs: np.ndarray, *, names: Sequence[str] = ()) -> None:
        """Refuse entries that the family can't explain."""
        self.family.check(xs, names=names)

    @property
    def support(self) -> Support:
        """That of the family."""
        return self.family.support


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

    support: ClassVar[Support] = Support()

    untrained: ClassVar[tuple[str, ...]] = ("location", "scale", "rest")

    family: Observation
    location: Numbers
    scale: Numbers
    rest: Numbers

    def __init__(
        self, family: Observation, shape: Sequence[int], location: Any = 0.0, scale: Any = 1.0
    ):
        self.family = family
        self.location = jnp.broadcast_to(jnp.asarray(location, jnp.float32), tuple(shape))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), tuple(shape))
        self.rest = jnp.zeros(tuple(shape), jnp.float32)

    def distribution(self, output: Numbers) -> Any:
        """The family's distribution, moved and stretched."""
        (location, rest), scale = self._units()
        transform = AffineTransform(location + rest, scale)
        return TransformedDistribution(self.family.distribution(output), transform)

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density in x's units, in nats."""
        _, scale = self._units()
        return self.family.log_prob(output, self.features(x)) - jnp.sum(jnp.log(scale))

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry in x's units, in nats.

        Raises:
            TypeError: If the family's entries are not independent.
        """
        if not isinstance(self.family, Factorized):
            raise TypeError(f"entries of {type(self.family).__name__} are not independent")
        _, scale = self._units()
        return self.family.log_probs(output, self.features(x)) - jnp.log(scale)

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the observed entries, in nats."""
        _, scale = self._units()
        inner = self.family.log_prob_observed(output, self.features(x), observed)
        return inner - jnp.sum(jnp.where(observed, jnp.log(scale), 0.0))

    def mean(self, output: Numbers) -> Numbers:
        """Mean in x's units."""
        return self._restored(self.family.mean(output))

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """That of the family, in x's units."""
        return self._restored(self.family.statistic(output, self.features(x), observed))

    def complete(self, output: Numbers, x: Numbers, observed: Flags, *, key: RandomKey) -> Numbers:
        """A draw of all of x, in its own units."""
        drawn = self.family.complete(output, self.features(x), observed, key=key)
        return jnp.where(observed, x, self._restored(drawn))

    def features(self, x: Numbers) -> Numbers:
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

    def _restored(self, standard: Numbers) -> Numbers:
        """In x's units; what is small is added first."""
        (location, rest), scale = self._units()
        return location + (rest + scale * standard)

    def _units(self) -> tuple[tuple[Array, Array], Array]:
        return jax.lax.stop_gradient(((self.location, self.rest), self.scale))
