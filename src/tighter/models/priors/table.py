"""Prior families by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._names import unknown
from tighter.models._families import PriorFamily, refuse_number
from tighter.models.priors.independent import (
    BernoulliPrior,
    CategoricalPrior,
    DiagonalPrior,
    DirichletPrior,
    LaplacePrior,
    StandardNormal,
    UniformPrior,
)
from tighter.models.priors.mixture import MixturePrior
from tighter.models.priors.vamp import VampPrior

__all__ = [
    "PRIORS",
    "BernoulliPrior",
    "CategoricalPrior",
    "DiagonalPrior",
    "DirichletPrior",
    "LaplacePrior",
    "MixturePrior",
    "PriorFamily",
    "StandardNormal",
    "UniformPrior",
    "VampPrior",
    "prior_from_name",
]


def prior_from_name(
    text: str, num_latent: int, *, shape: Sequence[int], key: Key[Array, ""]
) -> PriorFamily:
    """A prior family from its name and, after a colon, its one number: `standard`, `mixture:10`.

    The number is the components of a mixture or a VampPrior, the layers of a flow, the
    concentration of a Dirichlet, and the categories of a categorical.

    Args:
        text: A name of `PRIORS`, or such a name, a colon and a whole number.
        num_latent: Dimensions of z.
        shape: Shape of what the encoder sees of one example (`observation.features_shape`).
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


def _plain(family: Callable[[int], PriorFamily], name: str) -> Callable[..., PriorFamily]:
    def make(num_latent: int, number: int | None, **_: Any) -> PriorFamily:
        refuse_number("prior", name, number)
        return family(num_latent)

    return make


def _mixture(num_latent: int, number: int | None, *, key: Key[Array, ""], **_: Any) -> PriorFamily:
    return MixturePrior.create(10 if number is None else number, num_latent, key=key)


def _vamp(
    num_latent: int, number: int | None, *, shape: Sequence[int], key: Key[Array, ""]
) -> PriorFamily:
    return VampPrior.create(50 if number is None else number, shape, key=key)


def _flow(kind: str) -> Callable[..., PriorFamily]:
    def make(num_latent: int, number: int | None, *, key: Key[Array, ""], **_: Any) -> PriorFamily:
        check_installed("flowjax")
        from tighter.models.priors.flow import FlowPrior

        num_layers = 4 if number is None else number
        return FlowPrior.create(kind, num_latent, num_layers=num_layers, key=key)

    return make


def _dirichlet(num_latent: int, number: int | None, **_: Any) -> PriorFamily:
    return DirichletPrior(num_latent, 1 if number is None else number)


def _categorical(num_latent: int, number: int | None, **_: Any) -> PriorFamily:
    return CategoricalPrior(num_latent, 10 if number is None else number)


# Called with the dimensions of z, a number or None, the shape of what the encoder sees and a key.
# Adding a family here enrols it in the tests, the command line and the docs. "flow" is the kind
# that gains most for its cost: all densities take one pass, and autoregressive layers bend most.
PRIORS: dict[str, Callable[..., PriorFamily]] = {
    "standard": _plain(StandardNormal, "standard"),
    "diagonal": _plain(DiagonalPrior.create, "diagonal"),
    "laplace": _plain(LaplacePrior, "laplace"),
    "mixture": _mixture,
    "vampprior": _vamp,
    "flow": _flow("masked-autoregressive"),
    "coupling": _flow("coupling"),
    "masked-autoregressive": _flow("masked-autoregressive"),
    "neural-spline": _flow("neural-spline"),
    "uniform": _plain(UniformPrior, "uniform"),
    "dirichlet": _dirichlet,
    "bernoulli": _plain(BernoulliPrior.create, "bernoulli"),
    "categorical": _categorical,
}
