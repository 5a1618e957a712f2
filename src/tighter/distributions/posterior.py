"""Drawing from any posterior, with a derivative where there is one, and stopping its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Key, PyTree
from numpyro.distributions import Distribution

from tighter._protocols import Posterior, as_posterior
from tighter.distributions._conditionals import location_scale
from tighter.distributions.gamma import Beta, Dirichlet, Gamma
from tighter.distributions.mixture import Mixture
from tighter.distributions.von_mises import VonMises


def _mixture(mixture: Any) -> Distribution | None:
    components = mixture.component_distribution
    if mixture.batch_shape != () or components.batch_shape != (mixture.mixture_size,):
        return None
    try:
        location_scale(components)
    except TypeError:
        return None
    return Mixture(mixture.mixing_distribution.logits, components)


# numpyro's family -> the same with derivatives that hold; None where this one has none.
_OURS: dict[type, Callable[[Any], Distribution | None]] = {
    dist.Gamma: lambda d: Gamma(d.concentration, d.rate),
    dist.Beta: lambda d: Beta(d.concentration1, d.concentration0),
    dist.Dirichlet: lambda d: Dirichlet(d.concentration),
    dist.VonMises: lambda d: VonMises(d.loc, d.concentration),
    dist.MixtureSameFamily: _mixture,
}


def as_reparameterized(distribution: Any) -> Any | None:
    """The distribution with draws that carry the derivative of every parameter; None without.

    numpyro's Gamma, Beta, Dirichlet, VonMises and mixtures of location-scale families are replaced
    by ours, also under `to_event` and a transform; what else has `rsample` is returned as it is.
    """
    if not isinstance(distribution, Distribution):
        hooks = as_posterior(distribution)
        return None if hooks.rsample is None or not hooks.has_rsample else distribution
    if type(distribution) in _OURS:
        return _OURS[type(distribution)](distribution)
    if isinstance(distribution, dist.Independent | dist.ExpandedDistribution) or (
        type(distribution) is dist.TransformedDistribution
    ):
        base = as_reparameterized(distribution.base_dist)
        same = base is None or base is distribution.base_dist
        return base and (distribution if same else _wrapped_alike(distribution, base))
    return distribution if distribution.has_rsample else None


def _wrapped_alike(distribution: Any, base: Distribution) -> Distribution:
    """Another base with the events, the batch or the transforms of a distribution."""
    if isinstance(distribution, dist.Independent):
        return base.to_event(distribution.reinterpreted_batch_ndims)
    if isinstance(distribution, dist.ExpandedDistribution):
        return base.expand(distribution.batch_shape)
    return dist.TransformedDistribution(base, distribution.transforms)


def is_reparameterizable(posterior: Posterior) -> bool:
    """Whether draws carry a derivative with respect to all of the posterior's parameters.

    For a numpyro distribution its family answers (Gamma, Beta, Dirichlet, VonMises and mixtures of
    location-scale families get our draws); any other posterior says so by having `rsample`.
    """
    return as_reparameterized(posterior) is not None


def check_posterior(posterior: Posterior, *, needs_path: bool, estimator: str) -> None:
    """Refuse a posterior with which the gradient can't be right.

    Args:
        posterior: The posterior of one example.
        needs_path: Whether the estimator differentiates through the draws.
        estimator: Its name, for the message.

    Raises:
        TypeError: If the posterior has no density or draws, isn't a pytree, or has no path where
            the estimator needs one.
        ValueError: If a numpyro posterior has a batch shape.
    """
    name = type(posterior).__name__
    as_posterior(posterior)
    if any(leaf is posterior for leaf in jax.tree.leaves(posterior)):
        raise TypeError(
            f"the posterior {name} is no pytree, so that its parameters can't be told from the "
            "rest: make it an equinox.Module, or register it with jax.tree_util"
        )
    if isinstance(posterior, Distribution) and posterior.batch_shape != ():
        raise ValueError(
            f"the posterior {name} has batch shape {posterior.batch_shape}, a bound is over one "
            "example with one latent: write .to_event() for a vector, vmap for a batch"
        )
    if needs_path and not is_reparameterizable(posterior):
        raise TypeError(
            f"{estimator} differentiates through the draws, and {name} has no reparameterized "
            "ones (rsample): use ScoreFunction, VIMCO or WakePhi"
        )


def draw(posterior: Posterior, *, key: Key[Array, ""]) -> PyTree:
    """One latent, with a derivative where the posterior has one."""
    moving = as_reparameterized(posterior)
    if moving is not None:
        return moving.rsample(key, ())
    return jax.lax.stop_gradient(posterior.sample(key, ()))  # type: ignore[attr-defined]


def stop_parameters(tree: PyTree) -> PyTree:
    """The same pytree with no derivative through its arrays."""
    # Leaf by leaf and not by two trees of halves: a masked distribution's halves would not fit.
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree
    )
