"""What numpyro.distributions lacks, and what a posterior has to be able to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tighter._extras import check_installed
from tighter._protocols import Posterior
from tighter.distributions._checks import name_of
from tighter.distributions.base_noise import from_uniform, num_noise
from tighter.distributions.gamma import Beta, Dirichlet, Gamma
from tighter.distributions.kl import entropy, has_closed_form, kl
from tighter.distributions.mixture import Mixture
from tighter.distributions.posterior import (
    as_reparameterized,
    check_posterior,
    draw,
    is_reparameterizable,
    stop_parameters,
)
from tighter.distributions.structured import Chain, Experts
from tighter.distributions.support import (
    check_fixed_support,
    check_supports,
    has_known_support,
    mass_beyond,
)
from tighter.distributions.von_mises import VonMises

if TYPE_CHECKING:
    from tighter.distributions.flow import FLOWS, Flow, flow_bijection

__all__ = [
    "FLOWS",
    "Beta",
    "Chain",
    "Dirichlet",
    "Experts",
    "Flow",
    "Gamma",
    "Mixture",
    "Posterior",
    "VonMises",
    "as_reparameterized",
    "check_fixed_support",
    "check_posterior",
    "check_supports",
    "draw",
    "entropy",
    "flow_bijection",
    "from_uniform",
    "has_closed_form",
    "has_known_support",
    "is_reparameterizable",
    "kl",
    "mass_beyond",
    "name_of",
    "num_noise",
    "stop_parameters",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tighter.distributions' has no attribute {name!r}")
    check_installed("flowjax")
    from tighter.distributions import flow

    return vars(flow)[name]
