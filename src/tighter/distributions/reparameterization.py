"""Which distributions have draws with a derivative, numpyro's own or ours in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpyro.distributions as dist
from numpyro.distributions import Distribution

from tighter._protocols import as_posterior
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
    if isinstance(distribution, dist.Independent):
        base = as_reparameterized(distribution.base_dist)
        if base is None or base is distribution.base_dist:
            return distribution if base is not None else None
        return base.to_event(distribution.reinterpreted_batch_ndims)
    if isinstance(distribution, dist.ExpandedDistribution):
        base = as_reparameterized(distribution.base_dist)
        if base is None or base is distribution.base_dist:
            return distribution if base is not None else None
        return base.expand(distribution.batch_shape)
    if type(distribution) is dist.TransformedDistribution:
        base = as_reparameterized(distribution.base_dist)
        if base is None:
            return None
        if base is not distribution.base_dist:
            return dist.TransformedDistribution(base, distribution.transforms)
    return distribution if distribution.has_rsample else None
