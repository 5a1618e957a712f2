"""What every observation family can do: turn a decoder's output into p(x|z)."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter._checks import require
from tighter.distributions import draw
from tighter.models.observations.support import Support, check_support

Numbers = Float[Array, "..."]
Flags = Bool[Array, "..."]
RandomKey = Key[Array, ""]

LEAST_SCALE = 1e-3  # of entries that hardly change, whose density has no bound


class Observation(eqx.Module):
    """A family p(x | decoder output), for one example of any shape.

    A family of one number an entry has an output of x's shape; one of P numbers, of shape
    (*shape of x, P).
    """

    @property
    @abc.abstractmethod
    def support(self) -> Support:
        """The values that the family can explain."""

    @abc.abstractmethod
    def distribution(self, output: Numbers) -> Any:
        """p(x|z) given the decoder's output, with empty batch shape."""

    @abc.abstractmethod
    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density of x in nats: that of `distribution`, in the form that runs fastest."""

    @abc.abstractmethod
    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the observed entries alone, the others integrated out, in nats.

        `x` has values inside the support at all entries.
        """

    @abc.abstractmethod
    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """The decoder's output that explains the training examples (N, *shape) without any z.

        Computed once, on the host; entries of `xs` may be missing (NaN).
        """

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the decoder's output for examples of this shape."""
        return tuple(shape)

    def mean(self, output: Numbers) -> Numbers:
        """Mean of p(x|z), in the shape of x: what pictures and imputations show."""
        return self.distribution(output).mean

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """What is averaged over z to fill in missing entries: their mean given z and the others."""
        return self.mean(output)

    def point(self, statistic: Numbers) -> Numbers:
        """Values of x from an average of statistics."""
        return statistic

    def complete(self, output: Numbers, x: Numbers, observed: Flags, *, key: RandomKey) -> Numbers:
        """A draw of all of x given z and the observed entries."""
        return jnp.where(observed, x, draw(self.distribution(output), key=key))

    def features(self, x: Numbers) -> Numbers:
        """What an encoder sees of x, entry by entry: missing entries (NaN) stay missing."""
        return x

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of `features` of examples of this shape."""
        return tuple(shape)

    @property
    def origin(self) -> Any:
        """What single precision can't tell x from, doubles in the shape of x; 0 for nothing."""
        return 0.0

    def moved(self, by: Any) -> Observation:
        """The family of x + by."""
        return self

    def initialized_from(self, xs: np.ndarray) -> Observation:
        """The same with what it takes from the training examples (locations, scales)."""
        return self

    def check(self, xs: np.ndarray, *, names: Sequence[str] = ()) -> None:
        """Refuse examples that the family can't explain.

        Args:
            xs: Examples (N, *shape), missing entries NaN.
            names: The columns' names, for messages.

        Raises:
            InputError: If an entry is outside the support; column, rows and need are named.
        """
        check_support(xs, self.support, family=type(self).__name__, names=names)


class Factorized(Observation):
    """A family whose entries are independent given the decoder's output.

    Attributes:
        num_parameters: Numbers of the decoder's output that an entry takes, P.
    """

    num_parameters: ClassVar[int] = 1

    @abc.abstractmethod
    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each entry, in nats, in the shape of x."""

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density of x in nats."""
        return jnp.sum(self.log_probs(output, x))

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the observed entries alone, in nats."""
        return jnp.sum(jnp.where(observed, self.log_probs(output, x), 0.0))

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(*shape, P), or the shape itself for one number an entry."""
        count = self.num_parameters
        return tuple(shape) if count == 1 else (*shape, count)


class Drawn(Observation):
    """A family that numpyro lacks: it draws, weighs and averages by itself."""

    @abc.abstractmethod
    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw of x."""

    @abc.abstractmethod
    def mean(self, output: Numbers) -> Numbers:
        """Mean of p(x|z), in the shape of x."""

    def distribution(self, output: Numbers) -> Distribution:
        """The family as a distribution."""
        several = isinstance(self, Factorized) and self.num_parameters > 1
        return FamilyDistribution(self, output, output.shape[:-1] if several else output.shape)


class Pixels(Drawn, Factorized):
    """Independent pixels k/(L − 1), k = 0, …, L − 1, such as i/255."""

    @property
    @abc.abstractmethod
    def num_levels(self) -> int:
        """L."""

    def __check_init__(self) -> None:
        """Refuse what is no choice."""
        require(self.num_levels >= 2, f"there are two levels or more, got {self.num_levels}")

    def features(self, x: Numbers) -> Numbers:
        """2x − 1, from −1 to 1."""
        return 2 * x - 1

    @property
    def support(self) -> Support:
        """[0, 1] in steps of 1/(L − 1)."""
        return Support(0.0, 1.0, step=1 / (self.num_levels - 1))


class FamilyDistribution(Distribution):
    """p(x | decoder output) of one family, with empty batch shape.

    Args:
        family: What draws one x, by `sample(output, key=key)`, and knows `log_prob` and `mean`.
        output: The decoder's output.
        shape: Shape of x.
    """

    family: Any
    output: Array
    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("family", "output")
    has_rsample = False  # pyright: ignore[reportAssignmentType]

    def __init__(self, family: Any, output: Numbers, shape: Sequence[int]):
        self.family, self.output = family, output
        super().__init__((), tuple(shape), validate_args=False)

    @property
    def mean(self) -> Array:
        """That of the family."""
        return self.family.mean(self.output)

    def sample(self, key: RandomKey, sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent draws, shape (*sample_shape, *event_shape)."""
        if not sample_shape:
            return self.family.sample(self.output, key=key)
        keys = jax.random.split(key, math.prod(sample_shape))
        draws = jax.vmap(lambda key: self.family.sample(self.output, key=key))(keys)
        return draws.reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of each value, over any leading axes, in nats."""
        value = jnp.asarray(value)
        log_prob = lambda x: self.family.log_prob(self.output, x)  # noqa: E731
        for _ in range(value.ndim - len(self.event_shape)):
            log_prob = jax.vmap(log_prob)
        return log_prob(value)


def means(xs: np.ndarray) -> np.ndarray:
    """Mean of each entry of the training examples."""
    return np.asarray(np.nanmean(xs, axis=0, dtype=np.float64))


def variances(xs: np.ndarray) -> np.ndarray:
    """Variance of each entry."""
    return np.asarray(np.nanvar(xs, axis=0, dtype=np.float64))


def scales(xs: np.ndarray) -> np.ndarray:
    """Standard deviation of each entry, `LEAST_SCALE` at least."""
    return np.maximum(np.sqrt(variances(xs)), LEAST_SCALE)


def log_or_least(values: np.ndarray) -> np.ndarray:
    """Logarithm of what is at least `LEAST_SCALE`, or else of that."""
    return np.log(np.maximum(values, LEAST_SCALE))


def some_rows(xs: np.ndarray, most: int = 2_000) -> np.ndarray:
    """Evenly chosen rows, in 64 bits: a start need not be a fit, and medians sort.

    All rows where an entry would be missing in every one that was chosen.
    """
    some = xs[:: -(-len(xs) // most)]
    if np.isnan(some).all(axis=0).any():
        some = xs
    return np.asarray(some, np.float64)
