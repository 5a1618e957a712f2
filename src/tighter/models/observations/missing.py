"""Observations of which entries may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from tighter._errors import InputError
from tighter.models.observations._observation import Observation, Support


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

    def distribution(self, output: Float[Array, ...]) -> Any:
        """p(x|z) of a complete x."""
        return self.family.distribution(output)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density of the entries that are there, in nats."""
        observed = ~jnp.isnan(x)
        return self.family.log_prob_observed(output, self.filled(x), observed)

    def filled(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """X with some value of the support where an entry is missing."""
        return jnp.where(jnp.isnan(x), self.support.inside, x)

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """Log density of the entries that are observed, in nats."""
        return self.family.log_prob_observed(output, x, observed)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """Mean of a complete x."""
        return self.family.mean(output)

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """That of the family."""
        return self.family.statistic(output, x, observed)

    def point(self, statistic: Float[Array, ...]) -> Float[Array, ...]:
        """That of the family."""
        return self.family.point(statistic)

    def complete(
        self,
        output: Float[Array, ...],
        x: Float[Array, ...],
        observed: Bool[Array, ...],
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ...]:
        """That of the family."""
        return self.family.complete(output, x, observed, key=key)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
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
        if absent.all(axis=0).any():
            raise InputError(
                f"entry {int(absent.all(axis=0).argmax())} is missing in all {len(xs)} examples: "
                "leave it out"
            )
        if absent.all(axis=1).any():
            raise InputError(
                f"row {int(absent.all(axis=1).argmax())} has no entry that is there: leave it out"
            )
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
