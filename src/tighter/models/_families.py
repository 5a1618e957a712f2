"""What every prior family p(z) and every posterior family q(z|x) can do."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter.distributions import Posterior
from tighter.models._space import Space


class PriorFamily(eqx.Module):
    """A prior p(z); its inexact arrays are trained with the model."""

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.REAL

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of one z of so many dimensions."""
        return (num_latent,)

    @abc.abstractmethod
    def distribution(self, model: Any) -> Any:
        """p(z), with empty batch shape.

        Args:
            model: The model that it is the prior of, which a VampPrior asks for its posteriors.
        """

    def log_prob(self, model: Any, z: Array) -> Float[Array, ""]:
        """Log density of one z in nats: that of `distribution`, in the form that runs fastest."""
        return self.distribution(model).log_prob(z)

    def initialized_from(self, model: Any, xs: np.ndarray, *, key: Key[Array, ""]) -> PriorFamily:
        """The same, started from the training examples (N, *shape).

        Args:
            model: The model before training, whose posteriors say where examples are.
            xs: Training examples.
            key: Random key.
        """
        return self


class PosteriorFamily(eqx.Module):
    """A family q(z | encoder output), for one example.

    Its draws carry the derivative of all its parameters, but for bits and categories, which have
    none: there the distribution has no `rsample`, and estimators that need a path refuse it.
    """

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.REAL

    @property
    def takes_any_map(self) -> bool:
        """Whether all numbers of z may be mapped linearly without leaving the family."""
        return False

    @abc.abstractmethod
    def shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of the encoder's output for a z of so many dimensions."""

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of one z of so many dimensions: what the decoder is given."""
        return (num_latent,)

    @abc.abstractmethod
    def distribution(self, output: Float[Array, ...]) -> Posterior:
        """q(z|x) given the encoder's output."""


def check_count(name: str, count: int, *, least: int = 1) -> None:
    """Refuse a number of parts that is too low.

    Raises:
        InputError: If it is below the least.
    """
    if count < least:
        raise InputError(f"{name} is {least} or more, got {count}")


def refuse_number(kind: str, name: str, number: int | None) -> None:
    """Refuse a number after the name of a family that takes none.

    Raises:
        InputError: If there is one.
    """
    if number is not None:
        raise InputError(
            f"the {kind} {name!r} takes no number, got '{name}:{number}': write {name!r}"
        )
