"""Observation families by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models.observations._observation import Observation
from tighter.models.observations.bernoulli import Bernoulli
from tighter.models.observations.beta import Beta
from tighter.models.observations.categorical import Categorical, CategoricalPixels
from tighter.models.observations.continuous_bernoulli import ContinuousBernoulli
from tighter.models.observations.counts import NegativeBinomial, Poisson
from tighter.models.observations.discretized_logistic import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from tighter.models.observations.factor_gaussian import FactorGaussian
from tighter.models.observations.full_gaussian import FullGaussian
from tighter.models.observations.gaussian import (
    EntrywiseGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    LearnedGaussian,
)
from tighter.models.observations.heavy_tails import Laplace, StudentT
from tighter.models.observations.log_normal import LogNormal
from tighter.models.observations.multinomial import Multinomial
from tighter.models.observations.zero_inflated import ZeroInflated


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


def _shaped(
    make: Callable[[tuple[int, ...]], Observation], name: str
) -> Callable[..., Observation]:
    def make_one(shape: tuple[int, ...], number: float | None = None) -> Observation:
        return _plain(lambda: make(shape), name)(shape, number)

    return make_one


def _counted(
    make: Callable[..., Observation], name: str, *, usual: int | None = None
) -> Callable[..., Observation]:
    """Of a whole number after the colon; `usual` if there is none and the family has no other."""

    def make_one(shape: tuple[int, ...], number: float | None = None) -> Observation:
        if number is None:
            return make() if usual is None else make(usual)
        if number != int(number):
            raise InputError(f"the observation {name!r} takes a whole number, got {number:g}")
        return make(int(number))

    return make_one


def _learned_gaussian(shape: tuple[int, ...], scale: float | None = None) -> Observation:
    if scale is not None and not 0 < scale < float("inf"):
        raise InputError(f"a standard deviation is above zero and finite, got {scale:g}")
    return LearnedGaussian(np.log(1.0 if scale is None else scale))


def _categorical(num_categories: int | None = None) -> Observation:
    if num_categories is None:
        raise InputError("the observation 'categorical' takes their number: write categorical:5")
    return Categorical(num_categories)


def _low_rank_gaussian(shape: tuple[int, ...], rank: float | None = None) -> Observation:
    usual = min(5, math.prod(shape))
    make = _counted(lambda rank: FactorGaussian(rank, shape), "low-rank-gaussian", usual=usual)
    return make(shape, rank)


def _mixed(shape: tuple[int, ...], number: float | None = None) -> Observation:
    raise InputError(
        "the observation 'mixed' takes a family a column, and no name tells them: "
        "Mixed.from_schema(schema) makes it from a table's schema"
    )


# Called with the shape of an example and a number or None. Adding a family here enrols it in the
# tests, the command line and the docs.
OBSERVATIONS: dict[str, Callable[..., Observation]] = {
    "bernoulli": _plain(Bernoulli, "bernoulli"),
    "continuous-bernoulli": _plain(ContinuousBernoulli, "continuous-bernoulli"),
    "gaussian": lambda shape, scale=None: Gaussian(1.0 if scale is None else scale),
    "learned-gaussian": _learned_gaussian,
    "diagonal-gaussian": _shaped(EntrywiseGaussian, "diagonal-gaussian"),
    "heteroscedastic-gaussian": _plain(HeteroscedasticGaussian, "heteroscedastic-gaussian"),
    "full-gaussian": _shaped(FullGaussian, "full-gaussian"),
    "low-rank-gaussian": _low_rank_gaussian,
    "laplace": _plain(Laplace, "laplace"),
    "student-t": _plain(StudentT, "student-t"),
    "categorical": _counted(_categorical, "categorical"),
    "categorical-pixels": _counted(CategoricalPixels, "categorical-pixels"),
    "multinomial": _counted(Multinomial, "multinomial"),
    "poisson": _plain(Poisson, "poisson"),
    "negative-binomial": _plain(NegativeBinomial, "negative-binomial"),
    "zero-inflated-poisson": _plain(lambda: ZeroInflated(Poisson()), "zero-inflated-poisson"),
    "zero-inflated-negative-binomial": _plain(
        lambda: ZeroInflated(NegativeBinomial()), "zero-inflated-negative-binomial"
    ),
    "discretized-logistic": _counted(DiscretizedLogistic, "discretized-logistic"),
    "discretized-logistic-mixture": _counted(
        DiscretizedLogisticMixture, "discretized-logistic-mixture"
    ),
    "beta": _plain(Beta, "beta"),
    "log-normal": _plain(LogNormal, "log-normal"),
    "mixed": _mixed,
}
