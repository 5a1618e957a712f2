"""What every prior family p(z) and every posterior family q(z|x) can do, and where z lives."""

from __future__ import annotations

import abc
import enum
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Key

from tighter.distributions import Posterior


class Space(enum.Enum):
    """Where z is: a prior and a posterior go together if theirs is the same."""

    REAL = "real numbers"
    BOX = "numbers between 0 and 1"
    SIMPLEX = "the simplex"
    BITS = "bits"
    CATEGORIES = "categories"
    ANY = "the posterior's space, whichever it is"


class PriorFamily(eqx.Module):
    """A prior p(z); its inexact arrays are trained with the model.

    Attributes:
        space: Where z is.
    """

    space: ClassVar[Space] = Space.REAL

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

    Attributes:
        space: Where z is.
        takes_any_map: Whether all numbers of z may be mapped linearly without leaving the family.
    """

    space: ClassVar[Space] = Space.REAL
    takes_any_map: ClassVar[bool] = False

    @abc.abstractmethod
    def shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of the encoder's output for a z of so many dimensions."""

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of one z of so many dimensions: what the decoder is given."""
        return (num_latent,)

    @abc.abstractmethod
    def distribution(self, output: Float[Array, ...]) -> Posterior:
        """q(z|x) given the encoder's output."""
