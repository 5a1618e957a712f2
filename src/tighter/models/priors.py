"""Prior families p(z)."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Normal

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models._space import Space


class PriorFamily(eqx.Module):
    """A prior p(z); its inexact arrays are trained with the model."""

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.REAL

    @abc.abstractmethod
    def distribution(self, model: Any) -> Any:
        """p(z), with empty batch shape.

        Args:
            model: The model that it is the prior of, which a VampPrior asks for its posteriors.
        """

    def log_prob(self, model: Any, z: Array) -> Float[Array, ""]:
        """Log density of one z in nats: that of `distribution`, in the form that runs fastest."""
        return self.distribution(model).log_prob(z)

    def fitted(self, model: Any, xs: np.ndarray, *, key: Key[Array, ""]) -> PriorFamily:
        """The same, started from the training examples (N, *shape).

        Args:
            model: The model before training, whose posteriors say where examples are.
            xs: Training examples.
            key: Random key.
        """
        return self


class StandardNormal(PriorFamily):
    """N(0, I)."""

    num_latent: int = eqx.field(static=True)

    def distribution(self, model: Any) -> Any:
        """Independent standard normals."""
        return Normal(jnp.zeros(self.num_latent), 1.0, validate_args=False).to_event(1)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        return -0.5 * (jnp.sum(z**2) + self.num_latent * math.log(2 * math.pi))


def prior_from_name(
    text: str, num_latent: int, *, shape: Sequence[int], key: Key[Array, ""]
) -> PriorFamily:
    """A prior family from its name and, after a colon, its one number: `standard`, `mixture:10`.

    Args:
        text: A name of `PRIORS`, or such a name, a colon and a whole number.
        num_latent: Dimensions of z.
        shape: Shape of one example.
        key: Random key, for families with arrays of their own.

    Raises:
        InputError: If there is no such family, or the number isn't one that it takes.
    """
    name, _, argument = text.strip().partition(":")
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    if argument and not argument.isdecimal():
        raise InputError(f"prior {text!r}: {argument!r} is no whole number: write {name}:10")
    number = int(argument) if argument else None
    return PRIORS[name](num_latent, number, shape=tuple(shape), key=key)


def _standard(num_latent: int, number: int | None, **_: Any) -> PriorFamily:
    if number is not None:
        raise InputError(f"the prior 'standard' takes no number, got {number}: write 'standard'")
    return StandardNormal(num_latent)


# Called with the dimensions of z, a number or None, the shape of an example and a key. Adding a
# family here enrols it in the tests, the command line and the docs.
PRIORS: dict[str, Callable[..., PriorFamily]] = {"standard": _standard}
