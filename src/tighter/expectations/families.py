"""What a distribution is, as the estimators ask: its base, its support, its f."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array

MOST_POINTS = 2**16
BERNOULLIS = (dist.BernoulliProbs, dist.BernoulliLogits)
CATEGORICALS = (dist.CategoricalProbs, dist.CategoricalLogits)


def base_of(distribution: Any) -> Any:
    """The distribution of the coordinates, under any `to_event`."""
    while isinstance(distribution, dist.Independent):
        distribution = distribution.base_dist
    return distribution


def is_bernoulli(distribution: Any) -> bool:
    """Whether it is a Bernoulli, or a vector of them."""
    return isinstance(base_of(distribution), BERNOULLIS)


def is_relaxable(distribution: Any) -> bool:
    """Whether it is a Bernoulli or a Categorical, or a vector of them."""
    return isinstance(base_of(distribution), BERNOULLIS + CATEGORICALS)


def can_enumerate(distribution: Any) -> bool:
    """Whether its support is finite and not too large to sum over."""
    base = base_of(distribution)
    if not (isinstance(base, dist.Distribution) and base.has_enumerate_support):
        return False
    try:
        points = base.enumerate_support(expand=False).shape[0]
    except NotImplementedError:
        return False
    return points ** math.prod(distribution.event_shape) <= MOST_POINTS


def support_of(distribution: Any) -> Array:
    """Every value, shape (points, *event shape)."""
    with jax.ensure_compile_time_eval():
        values = np.asarray(base_of(distribution).enumerate_support(expand=False)).reshape(-1)
    size = math.prod(distribution.event_shape)
    points = np.array(list(itertools.product(values, repeat=size)), values.dtype)
    return jnp.asarray(points.reshape(-1, *distribution.event_shape))


def scalar(f: Callable[[Any], Array]) -> Callable[[Any], Array]:
    """f, checked to return a scalar.

    Raises:
        ValueError: When it is called and does not.
    """

    def checked(w: Any) -> Array:
        value = jnp.asarray(f(w))
        if value.shape != ():
            raise ValueError(
                f"f(w) is a scalar for one w, got shape {value.shape}: sum it, or vmap over it"
            )
        return value

    return checked
