"""Where a posterior has mass and a prior has none."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from numpyro.distributions import Distribution, constraints

from tighter._errors import InputError
from tighter.distributions._checks import name_of
from tighter.distributions.structured import Chain


def check_supports(posterior: Any, prior: Any) -> None:
    """Refuse a posterior with mass where the prior has none: log p(x, z) would be −∞ or wrong.

    Distributions are compared, alone or by name as parts of chains; what can't be told is let
    pass.

    Raises:
        InputError: If shapes differ, or supports do; the latent and the place are named.
    """
    for name, q, p in _pairs(posterior, prior):
        latent = f"the latent {name!r}" if name else "z"
        if q.event_shape != p.event_shape:
            raise InputError(
                f"{latent} has shape {q.event_shape} in the posterior {name_of(q)} and "
                f"{p.event_shape} in the prior {name_of(p)}: give both the same"
            )
        beyond = mass_beyond(q, p)
        if beyond:
            raise InputError(
                f"the posterior {name_of(q)} of {latent} has mass at {beyond}, where the prior "
                f"{name_of(p)} has none: transform the posterior to the prior's support"
            )


def mass_beyond(q: Distribution, p: Distribution) -> str:
    """Where q has mass and p has none, in words; empty if nowhere, or if it can't be told."""
    ours, theirs = _of_entries(q.support), _of_entries(p.support)
    simplex = [isinstance(support, type(constraints.simplex)) for support in (ours, theirs)]
    if simplex == [False, True] and _interval(ours) is not None:
        return "vectors off the simplex"
    if simplex == [True, False] and _interval(theirs) is not None:
        return "the simplex alone (p: a space of more dimensions)"
    ends, other = _interval(ours), _interval(theirs)
    if ends is None or other is None:
        return ""
    if ends[2] != other[2]:
        kinds = {True: "whole numbers", False: "a continuum"}
        return f"{kinds[ends[2]]} (p: {kinds[other[2]]})"
    if ends[0] < other[0]:
        return f"z < {other[0]:g}"
    return f"z > {other[1]:g}" if ends[1] > other[1] else ""


def _pairs(posterior: Any, prior: Any) -> list[tuple[str, Distribution, Distribution]]:
    if isinstance(posterior, Distribution) and isinstance(prior, Distribution):
        return [("", posterior, prior)]
    ours, theirs = _parts(posterior), _parts(prior)
    return [
        (name, ours[name], theirs[name])
        for name in ours
        if isinstance(ours[name], Distribution) and isinstance(theirs.get(name), Distribution)
    ]


def _parts(joint: Any) -> dict[str, Any]:
    return dict(zip(joint.names, joint.parts, strict=True)) if isinstance(joint, Chain) else {}


def _of_entries(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _interval(support: Any) -> tuple[float, float, bool] | None:
    """Ends, and whether it is of whole numbers; None where it is no interval known here."""
    whole = bool(getattr(support, "is_discrete", False))
    if isinstance(support, type(constraints.real)):
        return -math.inf, math.inf, whole
    if isinstance(support, type(constraints.boolean)):
        return 0.0, 1.0, True
    low = getattr(support, "lower_bound", None)
    high = getattr(support, "upper_bound", None)
    if low is None and high is None:
        return None
    try:
        # numpy: under jit jax.numpy would make tracers of numbers that are known.
        low = -math.inf if low is None else float(np.min(np.asarray(low)))
        high = math.inf if high is None else float(np.max(np.asarray(high)))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return None
    return low, high, whole
