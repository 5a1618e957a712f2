"""Where a posterior's support ends: beyond the prior's, or where what is differentiated moves it.

0 = d/dφ ∫ q dz is E[∇ log q] and what crosses the ends. So the score's expectation is zero only
where the ends stay, and an estimator that drops the score, turns it into a path or weighs it by
anything takes that for granted.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints, transforms

from tighter._derivatives import without_derivative
from tighter._errors import InputError
from tighter.distributions._checks import name_of
from tighter.distributions.posterior import draw, stop_parameters
from tighter.distributions.structured import Chain

_WRAPPERS = (dist.Independent, dist.ExpandedDistribution, dist.MaskedDistribution)


def check_fixed_support(posterior: Any, estimator: str, *, points: bool = True) -> None:
    """Refuse derivatives by what the ends of the posterior's support are made of.

    Of numpyro distributions under any wrapper, of chains, and of anything that has a `support`;
    what has none is let pass.

    Args:
        posterior: Of one example.
        estimator: Name of one that takes the score's expectation to be zero.
        points: Whether a point mass, whose draws are its support, must not move either. One whose
            draws go as the bound's weights say has nothing to miss: no score.

    Raises:
        TypeError: When a derivative is taken by what moves an end.
    """
    for part, end in _traced_ends(posterior):
        if not points and _is_point(part):
            continue
        without_derivative(
            jnp.asarray(end, jnp.result_type(float)),
            f"the support of {name_of(part)} moves with a parameter that is differentiated, so "
            f"that {estimator} misses a term: use Reparameterized, or hold the ends "
            "(jax.lax.stop_gradient)",
        )


def has_known_support(posterior: Any) -> bool:
    """Whether the ends of its support are numbers, so that no derivative can move them."""
    return not _traced_ends(posterior)


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
    ends, other = _interval(q), _interval(p)
    if simplex == [False, True] and ends is not None:
        return "vectors off the simplex"
    if simplex == [True, False] and other is not None:
        return "the simplex alone (p: a space of more dimensions)"
    if ends is None or other is None:
        return ""
    whole = [bool(support.is_discrete) for support in (ours, theirs)]
    if whole[0] != whole[1]:
        kinds = {True: "whole numbers", False: "a continuum"}
        return f"{kinds[whole[0]]} (p: {kinds[whole[1]]})"
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


def _traced_ends(posterior: Any) -> list[tuple[Any, Any]]:
    """Ends that are no numbers, and whose."""
    parts = _each_part(posterior)
    return [(part, end) for part in parts for end in _ends(part) if _number(end) is None]


def _each_part(posterior: Any) -> list[Any]:
    """The distributions of a chain's latents, given those before them, held; or it alone."""
    if not isinstance(posterior, Chain):
        return [posterior]
    # Held: an end that is another latent moves with no parameter.
    z = jax.lax.stop_gradient(draw(stop_parameters(posterior), key=jax.random.key(0)))
    return [deep for part in posterior.given(z).values() for deep in _each_part(part)]


def _is_point(distribution: Any) -> bool:
    while isinstance(distribution, (*_WRAPPERS, dist.TransformedDistribution)):
        distribution = distribution.base_dist
    return isinstance(distribution, dist.Delta)


def _interval(distribution: Distribution) -> tuple[float, float] | None:
    """The least and the greatest end; None where they aren't known."""
    ends = [_number(end) for end in _ends(distribution)]
    if not ends or any(end is None for end in ends):
        return None
    return float(min(np.min(end) for end in ends)), float(max(np.max(end) for end in ends))


def _ends(distribution: Any) -> list[Any]:
    """All that the ends of the support are made of: numbers where they are known, or tracers."""
    if isinstance(distribution, _WRAPPERS):
        return _ends(distribution.base_dist)
    if isinstance(distribution, dist.Delta):
        return [distribution.v]
    if isinstance(distribution, dist.MixtureGeneral):
        return [end for part in distribution.component_distributions for end in _ends(part)]
    if isinstance(distribution, dist.TransformedDistribution) and (
        type(distribution).support is dist.TransformedDistribution.support
    ):
        # Its own answer is the last transform's codomain, whatever comes in.
        of_all = transforms.ComposeTransform(distribution.transforms)
        return _moved(_ends(distribution.base_dist), of_all)
    return _ends_of(getattr(distribution, "support", None))


def _ends_of(support: Any) -> list[Any]:
    support = _of_entries(support)
    if isinstance(support, type(constraints.real)):
        return [-math.inf, math.inf]
    if isinstance(support, type(constraints.boolean)):
        return [0.0, 1.0]
    interval = interval_of(support)
    if interval is None:
        return []
    low, high = interval
    return [-math.inf if low is None else low, math.inf if high is None else high]


def _moved(ends: list[Any], transform: Any) -> list[Any]:
    """The ends where a transform takes them."""
    if isinstance(transform, transforms.IndependentTransform):
        return _moved(ends, transform.base_transform)
    if isinstance(transform, transforms.ComposeTransform):
        return functools.reduce(_moved, transform.parts, ends)
    if isinstance(transform, transforms.AffineTransform):
        return [_affine(end, transform) for end in ends] or [transform.loc, transform.scale]
    domain = _ends_of(transform.domain)
    if len(ends) == len(domain) and all(map(_same, ends, domain)):
        return _ends_of(transform.codomain)
    if not ends or transform.domain.event_dim > 0:
        return jax.tree.leaves((ends, transform))
    with jax.ensure_compile_time_eval():
        return [transform(jnp.asarray(end, float)) for end in ends]


def _affine(end: Any, transform: Any) -> Any:
    number = _number(end)
    if number is not None and np.all(number == 0):
        return transform.loc
    if number is not None and np.all(np.isinf(number)):
        return end
    with jax.ensure_compile_time_eval():
        return transform(jnp.asarray(end, float))


def _same(end: Any, other: Any) -> bool:
    numbers = _number(end), _number(other)
    return None not in (numbers[0], numbers[1]) and bool(np.all(numbers[0] == numbers[1]))


def _number(end: Any) -> Any:
    """As a NumPy array; None of a tracer."""
    # NumPy: under jit jax.numpy would make tracers of numbers that are known.
    try:
        return np.asarray(end)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return None


def interval_of(support: Any) -> tuple[Any, Any] | None:
    """The ends of a constraint, None for one that isn't there; None if it is no interval."""
    support = _of_entries(support)
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    return None if low is None and high is None else (low, high)


def _of_entries(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support
