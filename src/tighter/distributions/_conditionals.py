"""Location-scale families coordinate by coordinate: z_d given the coordinates before it."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    MultivariateStudentT,
    Normal,
    StudentT,
)

from tighter.distributions._checks import name_of
from tighter.distributions.gaussian import low_rank_factor


class Family(eqx.Module):
    """A symmetric distribution of one number, at location 0 and scale 1."""

    @abc.abstractmethod
    def log_density(self, unit: Array, df: Array) -> Array:
        """In nats."""

    @abc.abstractmethod
    def tail(self, unit: Array, df: Array) -> Array:
        """P(Z > unit), for unit ≥ 0."""


class Gaussian(Family):
    """The standard normal."""

    def log_density(self, unit: Array, df: Array) -> Array:
        """In nats."""
        return -0.5 * unit**2 - 0.5 * jnp.log(2 * jnp.pi)

    def tail(self, unit: Array, df: Array) -> Array:
        """Of the complementary error function."""
        return 0.5 * jax.lax.erfc(unit / jnp.sqrt(2.0).astype(unit.dtype))


class Student(Family):
    """Student's t."""

    def log_density(self, unit: Array, df: Array) -> Array:
        """In nats."""
        normalizer = jax.lax.lgamma(0.5 * (df + 1)) - jax.lax.lgamma(0.5 * df)
        normalizer = normalizer - 0.5 * jnp.log(df * jnp.pi)
        return normalizer - 0.5 * (df + 1) * jnp.log1p(unit**2 / df)

    def tail(self, unit: Array, df: Array) -> Array:
        """Of the incomplete beta function."""
        half = jnp.full_like(unit, 0.5)
        return 0.5 * jax.lax.betainc(0.5 * df + jnp.zeros_like(unit), half, df / (df + unit**2))


class Conditional(NamedTuple):
    """z_d given the coordinates before it, a row a component."""

    loc: Float[Array, " C"]
    scale: Float[Array, " C"]
    df: Float[Array, " C"]


class LocationScale(eqx.Module):
    """C distributions over D coordinates, in a family closed under conditioning.

    Attributes:
        family: Of one coordinate.
        loc: Locations.
        scale: Scales of independent coordinates (C, D), or Cholesky factors (C, D, D).
        df: Degrees of freedom, (C,) or (C, D); no meaning for Gaussians.
        joint: Whether one tail weight is shared by all coordinates (multivariate Student's t).
    """

    family: Family = eqx.field(static=True)
    loc: Float[Array, "C D"]
    scale: Float[Array, "C D"] | Float[Array, "C D D"]
    df: Float[Array, " C"] | Float[Array, "C D"]
    joint: bool = eqx.field(static=True)

    def conditional(self, index: Int[Array, ""], whitened: Float[Array, "C D"]) -> Conditional:
        """Of one coordinate, given the whitened coordinates before it (zeros from it on)."""
        loc = jnp.take(self.loc, index, axis=1)
        df = jnp.take(self.df, index, axis=1) if self.df.ndim == 2 else self.df
        if self.scale.ndim == 2:
            return Conditional(loc, jnp.take(self.scale, index, axis=1), df)
        row = jnp.take(self.scale, index, axis=1)
        scale = jnp.take(row, index, axis=1)
        loc = loc + jnp.sum(row * whitened, axis=1)
        if self.joint:
            # A long way before leaves a wide tail after: df + d degrees of freedom.
            seen = index.astype(df.dtype)
            scale = scale * jnp.sqrt((df + jnp.sum(whitened**2, axis=1)) / (df + seen))
            df = df + seen
        return Conditional(loc, scale, df)

    def extended(
        self, whitened: Float[Array, "C D"], index: Int[Array, ""], z: Float[Array, ""]
    ) -> Float[Array, "C D"]:
        """The whitened coordinates with one more."""
        if self.scale.ndim == 2:
            return whitened
        row = jnp.take(self.scale, index, axis=1)
        rest = z - jnp.take(self.loc, index, axis=1) - jnp.sum(row * whitened, axis=1)
        here = jnp.arange(self.loc.shape[1]) == index
        unit = rest / jnp.take(row, index, axis=1)
        return whitened + jnp.where(here[None, :], unit[:, None], 0)


_OF_VECTORS = (MultivariateNormal, LowRankMultivariateNormal, MultivariateStudentT)


def location_scale(components: Any) -> LocationScale:
    """The C components of a mixture as locations, scales and a family.

    Raises:
        TypeError: If they are of none that is known.
    """
    shape = (components.batch_shape[0], -1)
    batch = components.batch_shape + components.event_shape

    def columns(parameter: Any) -> Array:
        return jnp.broadcast_to(parameter, batch).reshape(shape)

    base: Any = components.base_dist if isinstance(components, Independent) else components
    student = isinstance(base, StudentT | MultivariateStudentT)
    family = Student() if student else Gaussian()
    if isinstance(base, Normal | StudentT) and len(components.event_shape) < 2:
        loc = columns(base.loc)
        df = columns(base.df) if student else jnp.ones_like(loc)
        return LocationScale(family, loc, columns(base.scale), df, joint=False)
    if isinstance(components, _OF_VECTORS):
        loc = columns(components.loc)
        is_low_rank = isinstance(components, LowRankMultivariateNormal)
        factor: Any = low_rank_factor(components) if is_low_rank else components.scale_tril
        factor = jnp.broadcast_to(factor, (*loc.shape, loc.shape[1]))
        df = base.df if student else jnp.ones_like(loc[:, 0])
        df = jnp.broadcast_to(df, loc[:, 0].shape)  # pyright: ignore[reportArgumentType]
        return LocationScale(family, loc, factor, df, joint=student)
    raise TypeError(
        f"a reparameterized mixture is of Normal, StudentT (alone or .to_event(1)), "
        f"MultivariateNormal, LowRankMultivariateNormal or MultivariateStudentT, got "
        f"{name_of(components)}: use it with ScoreFunction, as numpyro's MixtureSameFamily"
    )
