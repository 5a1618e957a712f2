"""Posterior families by name."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._names import unknown
from tighter.models._families import PosteriorFamily, refuse_number
from tighter.models.posteriors.bounded import (
    BetaPosterior,
    DirichletPosterior,
    LogitNormalPosterior,
)
from tighter.models.posteriors.discrete import BernoulliPosterior, CategoricalPosterior
from tighter.models.posteriors.gaussian import (
    DiagonalGaussian,
    FullCovarianceGaussian,
    LowRankGaussian,
)
from tighter.models.posteriors.mixture import MixturePosterior
from tighter.models.posteriors.student_t import StudentTPosterior

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
    name, _, argument = text.strip().partition(":")
    if name not in POSTERIORS:
        raise unknown("posterior", name, POSTERIORS)
    if argument and not argument.isdecimal():
        raise InputError(f"posterior {text!r}: {argument!r} is no whole number: write {name}:2")
    return POSTERIORS[name](num_latent, int(argument) if argument else None, key=key)


def _flow(kind: str) -> Callable[..., PosteriorFamily]:
    def make(num_latent: int, num_layers: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
        check_installed("flowjax")
        from tighter.models.posteriors.flow import FlowPosterior

        num_layers = 4 if num_layers is None else num_layers
        return FlowPosterior.create(kind, num_latent, num_layers=num_layers, key=key)

    return make


def _plain(family: Callable[[], PosteriorFamily], name: str) -> Callable[..., PosteriorFamily]:
    def make(num_latent: int, number: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
        refuse_number("posterior", name, number)
        return family()

    return make


def _counted(
    family: Callable[[int], PosteriorFamily], usual: int
) -> Callable[..., PosteriorFamily]:
    def make(num_latent: int, number: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
        return family(usual if number is None else number)

    return make


def _low_rank(num_latent: int, rank: int | None, *, key: Key[Array, ""]) -> PosteriorFamily:
    return LowRankGaussian(min(5, num_latent) if rank is None else rank)


# Called with the dimensions of z, a number or None, and a key. Adding a family here enrols it in
# the tests, the command line and the docs. "flow" is the kind that gains most for what it costs.
POSTERIORS: dict[str, Callable[..., PosteriorFamily]] = {
    "diagonal": _plain(DiagonalGaussian, "diagonal"),
    "full": _plain(FullCovarianceGaussian, "full"),
    "low-rank": _low_rank,
    "student-t": _plain(StudentTPosterior, "student-t"),
    "mixture": _counted(MixturePosterior, 3),
    "flow": _flow("coupling"),
    "coupling": _flow("coupling"),
    "masked-autoregressive": _flow("masked-autoregressive"),
    "neural-spline": _flow("neural-spline"),
    "beta": _plain(BetaPosterior, "beta"),
    "logit-normal": _plain(LogitNormalPosterior, "logit-normal"),
    "dirichlet": _plain(DirichletPosterior, "dirichlet"),
    "bernoulli": _plain(BernoulliPosterior, "bernoulli"),
    "categorical": _counted(CategoricalPosterior, 10),
}
