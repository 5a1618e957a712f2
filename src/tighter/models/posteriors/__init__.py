"""Posterior families q(z|x), and the table of their names."""

from __future__ import annotations

import functools
from collections.abc import Callable

from jaxtyping import Array, Key

from tighter._extras import check_installed
from tighter._names import counted, from_name, plain
from tighter.models._families import PosteriorFamily
from tighter.models.posteriors.constrained import (
    BernoulliPosterior,
    BetaPosterior,
    CategoricalPosterior,
    DirichletPosterior,
    LogitNormalPosterior,
)
from tighter.models.posteriors.real import (
    DiagonalGaussian,
    FullCovarianceGaussian,
    LowRankGaussian,
    MixturePosterior,
    StudentTPosterior,
)
from tighter.models.posteriors.structured import StructuredPosterior

__all__ = [
    "POSTERIORS",
    "BernoulliPosterior",
    "BetaPosterior",
    "CategoricalPosterior",
    "DiagonalGaussian",
    "DirichletPosterior",
    "FullCovarianceGaussian",
    "LogitNormalPosterior",
    "LowRankGaussian",
    "MixturePosterior",
    "PosteriorFamily",
    "StructuredPosterior",
    "StudentTPosterior",
    "posterior_from_name",
]


def posterior_from_name(text: str, num_latent: int, *, key: Key[Array, ""]) -> PosteriorFamily:
    """A posterior family from its name and, after a colon, its one number: `full`, `low-rank:5`.

    The number is the rank of a low-rank Gaussian, the layers of a flow, the components of a
    mixture, and the categories of a categorical.

    Args:
        text: A name of `POSTERIORS`, or such a name, a colon and a whole number.
        num_latent: Dimensions of z.
        key: Random key, for families with networks of their own.

    Raises:
        InputError: If there is no such family, or the number isn't one that it takes.
    """
    return from_name("posterior", text, POSTERIORS, num_latent, key=key)


def _low_rank(num_latent: int, rank: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
    return LowRankGaussian(min(5, num_latent) if rank is None else rank)


def _flow(kind: str, num_latent: int, num_layers: int, *, key: Key[Array, ""]) -> PosteriorFamily:
    check_installed("flowjax")
    from tighter.models.flows import FlowPosterior

    return FlowPosterior.create(kind, num_latent, num_layers=num_layers, key=key)


# Called with the dimensions of z, a number or None, and a key. Adding a family here enrols it in
# the tests, the command line and the docs. "flow" is the kind that gains most for what it costs.
POSTERIORS: dict[str, Callable[..., PosteriorFamily]] = {
    "diagonal": plain(lambda num_latent: DiagonalGaussian()),
    "full": plain(lambda num_latent: FullCovarianceGaussian()),
    "low-rank": counted(_low_rank, None),
    "student-t": plain(lambda num_latent: StudentTPosterior()),
    "mixture": counted(lambda num_latent, num, key: MixturePosterior(num), 3),
    "flow": counted(functools.partial(_flow, "coupling"), 4),
    "coupling": counted(functools.partial(_flow, "coupling"), 4),
    "masked-autoregressive": counted(functools.partial(_flow, "masked-autoregressive"), 4),
    "neural-spline": counted(functools.partial(_flow, "neural-spline"), 4),
    "beta": plain(lambda num_latent: BetaPosterior()),
    "logit-normal": plain(lambda num_latent: LogitNormalPosterior()),
    "dirichlet": plain(lambda num_latent: DirichletPosterior()),
    "bernoulli": plain(lambda num_latent: BernoulliPosterior()),
    "categorical": counted(lambda num_latent, num, key: CategoricalPosterior(num), 10),
}
