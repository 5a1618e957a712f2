"""Posterior families over all of a model's parameters, by the names that they have there."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._extras import check_installed
from tighter._names import unknown
from tighter.models._families import Space
from tighter.models.posteriors import (
    POSTERIORS,
    LowRankGaussian,
    MixturePosterior,
    PosteriorFamily,
)

# How far apart the parts of a family start that would else be the same for ever.
_LOW_RANK_SPREAD, _MIXTURE_SPREAD = 0.1, 0.5


def family_from_name(
    posterior: str | PosteriorFamily, num_free: int, *, key: Key[Array, ""]
) -> PosteriorFamily:
    """A family from its name and, after a colon, its one number: `low-rank:5`, `mixture:3`.

    Args:
        posterior: A name of `BAYESIAN_POSTERIORS`, or a family over real numbers as it is.
        num_free: How many numbers it is over.
        key: Random key, for families with networks of their own.

    Raises:
        InputError: If there is no such family, the number isn't one that it takes, or the family
            is not over real numbers.
    """
    if isinstance(posterior, str):
        name, colon, number = posterior.strip().partition(":")
        if name not in BAYESIAN_POSTERIORS:
            raise unknown("posterior", name, BAYESIAN_POSTERIORS)
        require(
            not colon or number.isdecimal(),
            f"posterior {posterior!r}: {number!r} is no whole number: write {name}:2",
        )
        make = BAYESIAN_POSTERIORS[name]
        posterior = make(num_free, int(number) if colon else None, key=key)
    require(
        isinstance(posterior, PosteriorFamily),
        f"posterior is a name or a family, got {posterior!r}: take one of "
        f"{', '.join(sorted(BAYESIAN_POSTERIORS))}",
    )
    require(
        posterior.space is Space.REAL,
        f"parameters are made from real numbers, and {type(posterior).__name__} is over "
        f"{posterior.space.value}: take one of {', '.join(sorted(BAYESIAN_POSTERIORS))}",
    )
    posterior.shape(num_free)  # refuses a number of dimensions that doesn't fit
    return posterior


def initial_output(
    family: PosteriorFamily, num_free: int, *, key: Key[Array, ""]
) -> Float[Array, ...]:
    """The family's parameters at the start: about a standard normal."""
    shape = family.shape(num_free)
    if isinstance(family, LowRankGaussian):
        columns = jax.random.normal(key, (shape[0] - 2, num_free))
        return jnp.concatenate([jnp.zeros((2, num_free)), _LOW_RANK_SPREAD * columns])
    if isinstance(family, MixturePosterior) and family.num_components > 1:
        locs = jax.random.normal(key, (shape[0], num_free))
        spread = _MIXTURE_SPREAD * (locs - jnp.mean(locs, axis=0, keepdims=True))
        return jnp.concatenate(
            [jnp.zeros((shape[0], 1)), spread, jnp.zeros((shape[0], num_free))], axis=1
        )
    return jnp.zeros(shape)


def _flow(kind: str) -> Callable[..., PosteriorFamily]:
    def make(num_free: int, num_layers: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
        check_installed("flowjax")
        from tighter.models.flows import FlowPosterior

        num_layers = 4 if num_layers is None else num_layers
        return FlowPosterior.create(kind, num_free, num_context=0, num_layers=num_layers, key=key)

    return make


# Called with how many numbers they are over, a number or None, and a key. The number is the rank,
# the components of a mixture, or the layers of a flow.
BAYESIAN_POSTERIORS: dict[str, Callable[..., PosteriorFamily]] = {
    "mean-field": POSTERIORS["diagonal"],
    "full-rank": POSTERIORS["full"],
    "low-rank": POSTERIORS["low-rank"],
    "student-t": POSTERIORS["student-t"],
    "mixture": POSTERIORS["mixture"],
    "flow": _flow("coupling"),
    "coupling": _flow("coupling"),
    "masked-autoregressive": _flow("masked-autoregressive"),
    "spline": _flow("neural-spline"),
}
