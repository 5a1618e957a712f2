"""A prior and a posterior that go together."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter.models._space import Space
from tighter.models.posteriors.table import PosteriorFamily, posterior_from_name
from tighter.models.priors.table import PriorFamily, prior_from_name

# The families taken over a space, where one of the two is left out.
_USUAL_PRIOR = {
    Space.REAL: "standard",
    Space.BOX: "uniform",
    Space.SIMPLEX: "dirichlet",
    Space.BITS: "bernoulli",
    Space.CATEGORIES: "categorical",
}
_USUAL_POSTERIOR = {
    Space.REAL: "diagonal",
    Space.BOX: "beta",
    Space.SIMPLEX: "dirichlet",
    Space.BITS: "bernoulli",
    Space.CATEGORIES: "categorical",
    Space.ANY: "diagonal",
}


def latent_families(
    posterior: str | PosteriorFamily | None,
    prior: str | PriorFamily | None,
    num_latent: int,
    *,
    shape: Sequence[int],
    key: Key[Array, ""],
) -> tuple[PosteriorFamily, PriorFamily]:
    """Posterior and prior family of one z, from names or as they are, over the same space.

    Args:
        posterior: A family or its name; if left out, the usual one over the prior's space.
        prior: A family or its name; if left out, the usual one over the posterior's space.
        num_latent: Dimensions of z.
        shape: Shape of what the encoder sees of one example (`observation.features_shape`).
        key: Random key.

    Raises:
        InputError: If a name is unknown, or the two are over different spaces.
    """
    of_posterior, of_prior = jax.random.fold_in(key, 2), jax.random.fold_in(key, 3)
    if isinstance(prior, str):
        prior = prior_from_name(prior, num_latent, shape=shape, key=of_prior)
    if posterior is None:
        posterior = _USUAL_POSTERIOR[Space.REAL]
        if prior is not None:
            posterior = _counted(_USUAL_POSTERIOR[prior.space], prior.latent_shape(num_latent))
    if isinstance(posterior, str):
        posterior = posterior_from_name(posterior, num_latent, key=of_posterior)
    if prior is None:
        usual = _counted(_USUAL_PRIOR[posterior.space], posterior.latent_shape(num_latent))
        prior = prior_from_name(usual, num_latent, shape=shape, key=of_prior)
    _check(posterior, prior, num_latent)
    return posterior, prior


def _counted(name: str, latent_shape: tuple[int, ...]) -> str:
    """The name with the number of categories, where z has them."""
    return ":".join([name, *(str(size) for size in latent_shape[1:])])


def _check(posterior: PosteriorFamily, prior: PriorFamily, num_latent: int) -> None:
    if prior.space is Space.ANY:
        return
    if prior.space is not posterior.space:
        raise InputError(
            f"the prior {type(prior).__name__} is over {prior.space.value} and the posterior "
            f"{type(posterior).__name__} over {posterior.space.value}: take the prior "
            f"{_USUAL_PRIOR[posterior.space]!r} or the posterior {_USUAL_POSTERIOR[prior.space]!r}"
        )
    shapes = prior.latent_shape(num_latent), posterior.latent_shape(num_latent)
    if shapes[0] != shapes[1]:
        raise InputError(
            f"z has shape {shapes[0]} in the prior {type(prior).__name__} and {shapes[1]} in the "
            f"posterior {type(posterior).__name__}: give both the same number"
        )
