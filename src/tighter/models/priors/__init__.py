"""Prior families p(z), and the table of their names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from jaxtyping import Array, Key

from tighter._extras import check_installed
from tighter._names import counted, from_name, plain
from tighter.models._families import PriorFamily
from tighter.models.priors.independent import (
    BernoulliPrior,
    CategoricalPrior,
    DiagonalPrior,
    DirichletPrior,
    LaplacePrior,
    StandardNormal,
    UniformPrior,
)
from tighter.models.priors.learned import MixturePrior, VampPrior

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
    return from_name("prior", text, PRIORS, num_latent, shape=tuple(shape), key=key)


def _flow(
    kind: str, num_latent: int, num_layers: int, *, shape: Sequence[int], key: Key[Array, ""]
) -> PriorFamily:
    check_installed("flowjax")
    from tighter.models.flows import FlowPrior

    return FlowPrior.create(kind, num_latent, num_layers=num_layers, key=key)


# Called with the dimensions of z, a number or None, the shape of what the encoder sees and a key.
# Adding a family here enrols it in the tests, the command line and the docs. "flow" is the kind
# that gains most for its cost: all densities take one pass, and autoregressive layers bend most.
PRIORS: dict[str, Callable[..., PriorFamily]] = {
    "standard": plain(StandardNormal),
    "diagonal": plain(DiagonalPrior.create),
    "laplace": plain(LaplacePrior),
    "mixture": counted(
        lambda num_latent, num, shape, key: MixturePrior.create(num, num_latent, key=key), 10
    ),
    "vampprior": counted(
        lambda num_latent, num, shape, key: VampPrior.create(num, shape, key=key), 50
    ),
    "flow": counted(functools.partial(_flow, "masked-autoregressive"), 4),
    "coupling": counted(functools.partial(_flow, "coupling"), 4),
    "masked-autoregressive": counted(functools.partial(_flow, "masked-autoregressive"), 4),
    "neural-spline": counted(functools.partial(_flow, "neural-spline"), 4),
    "uniform": plain(UniformPrior),
    "dirichlet": counted(lambda num_latent, num, shape, key: DirichletPrior(num_latent, num), 1),
    "bernoulli": plain(BernoulliPrior.create),
    "categorical": counted(
        lambda num_latent, num, shape, key: CategoricalPrior(num_latent, num), 10
    ),
}
