"""Observation families by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models.observations._observation import Observation
from tighter.models.observations.bernoulli import Bernoulli
from tighter.models.observations.gaussian import Gaussian, LearnedGaussian


def observation_from_name(text: str, shape: Sequence[int]) -> Observation:
    """An observation family from its name and, after a colon, its one number: `gaussian:0.1`.

    Args:
        text: A name of `OBSERVATIONS`, or such a name, a colon and a number.
        shape: Shape of one example.

    Raises:
        InputError: If there is no such family, or the number isn't one that it takes.
    """
    name, _, argument = text.strip().partition(":")
    if name not in OBSERVATIONS:
        raise unknown("observation", name, OBSERVATIONS)
    try:
        number = float(argument) if argument else None
    except ValueError:
        raise InputError(
            f"observation {text!r}: {argument!r} is no number: write {name}, or {name}:2"
        ) from None
    try:
        return OBSERVATIONS[name](tuple(shape), number)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"observation {text!r}: {error}") from None


def _plain(make: Callable[[], Observation], name: str) -> Callable[..., Observation]:
    def make_one(shape: tuple[int, ...], number: float | None = None) -> Observation:
        if number is not None:
            raise InputError(f"the observation {name!r} takes no number, got {number:g}")
        return make()

    return make_one


def _learned_gaussian(shape: tuple[int, ...], scale: float | None = None) -> Observation:
    if scale is not None and not scale > 0:
        raise InputError(f"a standard deviation is above zero, got {scale:g}")
    return LearnedGaussian(np.log(1.0 if scale is None else scale))


# Called with the shape of an example and a number or None. Adding a family here enrols it in the
# tests, the command line and the docs.
OBSERVATIONS: dict[str, Callable[..., Observation]] = {
    "bernoulli": _plain(Bernoulli, "bernoulli"),
    "gaussian": lambda shape, scale=None: Gaussian(1.0 if scale is None else scale),
    "learned-gaussian": _learned_gaussian,
}
