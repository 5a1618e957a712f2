"""Observation families by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import counted, from_name, plain
from tighter.models.observations.categorical import Categorical, CategoricalPixels, Multinomial
from tighter.models.observations.continuous import (
    EntrywiseGaussian,
    Gaussian,
    HeteroscedasticGaussian,
    Laplace,
    LearnedGaussian,
    LogNormal,
    StudentT,
)
from tighter.models.observations.correlated_gaussian import FactorGaussian, FullGaussian
from tighter.models.observations.counts import NegativeBinomial, Poisson, ZeroInflated
from tighter.models.observations.discretized_logistic import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from tighter.models.observations.observation import Observation
from tighter.models.observations.unit_interval import Bernoulli, Beta, ContinuousBernoulli


def observation_from_name(text: str, shape: Sequence[int]) -> Observation:
    """An observation family from its name and, after a colon, its one number: `gaussian:0.1`.

    Args:
        text: A name of `OBSERVATIONS`, or such a name, a colon and a number.
        shape: Shape of one example.

    Raises:
        InputError: If there is no such family, or the number isn't one that it takes.
    """
    return from_name("observation", text, OBSERVATIONS, tuple(shape))


def _learned_gaussian(shape: tuple[int, ...], scale: float | None = None) -> Observation:
    scale = 1.0 if scale is None else scale
    require(0 < scale < math.inf, f"a standard deviation is above zero and finite, got {scale:g}")
    return LearnedGaussian(np.log(scale))


def _categorical(shape: tuple[int, ...], num_categories: int | None) -> Observation:
    if num_categories is None:
        raise InputError("it takes the number of categories: write categorical:5")
    return Categorical(num_categories)


def _low_rank_gaussian(shape: tuple[int, ...], rank: int | None) -> Observation:
    return FactorGaussian(min(5, math.prod(shape)) if rank is None else rank, shape)


def _mixed(shape: tuple[int, ...], number: float | None = None) -> Observation:
    raise InputError(
        "it takes a family a column, and no name tells them: Mixed.from_schema(schema) makes it "
        "from a table's schema"
    )


# Called with the shape of an example and a number or None. Adding a family here enrols it in the
# tests, the command line and the docs.
OBSERVATIONS: dict[str, Callable[..., Observation]] = {
    "bernoulli": plain(lambda shape: Bernoulli()),
    "continuous-bernoulli": plain(lambda shape: ContinuousBernoulli()),
    "gaussian": lambda shape, scale=None: Gaussian(1.0 if scale is None else scale),
    "learned-gaussian": _learned_gaussian,
    "diagonal-gaussian": plain(EntrywiseGaussian),
    "heteroscedastic-gaussian": plain(lambda shape: HeteroscedasticGaussian()),
    "full-gaussian": plain(FullGaussian),
    "low-rank-gaussian": counted(_low_rank_gaussian, None),
    "laplace": plain(lambda shape: Laplace()),
    "student-t": plain(lambda shape: StudentT()),
    "categorical": counted(_categorical, None),
    "categorical-pixels": counted(lambda shape, num: CategoricalPixels(num), 256),
    "multinomial": counted(lambda shape, total: Multinomial(total), None),
    "poisson": plain(lambda shape: Poisson()),
    "negative-binomial": plain(lambda shape: NegativeBinomial()),
    "zero-inflated-poisson": plain(lambda shape: ZeroInflated(Poisson())),
    "zero-inflated-negative-binomial": plain(lambda shape: ZeroInflated(NegativeBinomial())),
    "discretized-logistic": counted(lambda shape, num: DiscretizedLogistic(num), 256),
    "discretized-logistic-mixture": counted(lambda shape, num: DiscretizedLogisticMixture(num), 5),
    "beta": plain(lambda shape: Beta()),
    "log-normal": plain(lambda shape: LogNormal()),
    "mixed": _mixed,
}
