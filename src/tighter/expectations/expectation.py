"""E[f(w)] for w ~ π_γ, and an estimate of its derivative: the general problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution

from tighter._checks import check_counts, require
from tighter._errors import InputError
from tighter.distributions import as_reparameterized, name_of
from tighter.expectations.discrete import antithetic_pairs, enumerated, relaxed
from tighter.expectations.draws import pathwise, score_function
from tighter.expectations.families import can_enumerate, is_bernoulli, is_relaxable
from tighter.expectations.measure_valued import can_measure, measure_valued
from tighter.gradients import (
    ARM,
    DisARM,
    Enumerated,
    Estimator,
    ExpectationEstimator,
    GumbelSoftmax,
    MeasureValued,
    Reparameterized,
    ScoreFunction,
)


def expectation(
    f: Callable[[Any], Array],
    distribution: Any,
    *,
    gradient: Estimator | ExpectationEstimator,
    num_samples: int = 1,
    key: Key[Array, ""] | None = None,
) -> Float[Array, ""]:
    r"""$E_{w \sim \pi_\gamma}[f(w)]$: an unbiased estimate, with an estimate of its gradient.

    γ may stand in the distribution and in f: $\nabla_\gamma E[f] = E[\nabla_\gamma f] +
    \int f\, \nabla_\gamma \pi_\gamma$. The first term is the derivative of f with w held; the
    second is the estimator's.

    Args:
        f: w -> scalar, for one w. Estimators other than `Reparameterized`, `GumbelSoftmax` and the
            delta method never differentiate it with respect to w.
        distribution: A numpyro distribution with empty batch shape (`.to_event` for vectors), or
            any pytree with `log_prob` and `rsample` or `sample`.
        gradient: `ScoreFunction`, `Reparameterized`, `MeasureValued`, `Enumerated`, `DisARM`,
            `ARM` or `GumbelSoftmax`.
        num_samples: Draws; evaluations of f, rounded up to pairs, for `DisARM` and `ARM`.
        key: Random key; only `Enumerated` needs none.

    Returns:
        The mean of f over the draws, whose derivative is the estimate.

    Raises:
        InputError: If the estimator can't do this family (the message says which can), or a number
            or the key is missing or makes no sense.
        ValueError: If f returns no scalar.

    Example:
        >>> def loss(rate):
        ...     return expectation(lambda w: (w - 3.0) ** 2, dist.Poisson(rate),
        ...                        gradient=MeasureValued(), num_samples=10, key=key)
        >>> jax.grad(loss)(2.0)

    References:
        Mohamed, Rosca, Figurnov & Mnih, "Monte Carlo gradient estimation in machine learning",
        2020, eq. 1.
    """
    _check(distribution, gradient, num_samples, key)
    if isinstance(gradient, Enumerated):
        return enumerated(f, distribution)
    assert key is not None
    if isinstance(gradient, ScoreFunction):
        return score_function(f, distribution, gradient.baseline, num_samples, key)
    if isinstance(gradient, Reparameterized):
        return pathwise(f, as_reparameterized(distribution), gradient.draws, num_samples, key)
    if isinstance(gradient, MeasureValued):
        return measure_valued(f, distribution, num_samples, key)
    if isinstance(gradient, GumbelSoftmax):
        return relaxed(f, distribution, gradient, num_samples, key)
    assert isinstance(gradient, DisARM | ARM)
    return antithetic_pairs(f, distribution, gradient, num_samples, key)


def suitable(distribution: Any) -> list[str]:
    """The estimators that can do a distribution."""
    return [kind.__name__ for kind, can in _CAN.items() if can(distribution)]


_CAN: dict[type, Callable[[Any], bool]] = {
    ScoreFunction: lambda d: True,
    Reparameterized: lambda d: as_reparameterized(d) is not None,
    MeasureValued: can_measure,
    Enumerated: can_enumerate,
    DisARM: is_bernoulli,
    ARM: is_bernoulli,
    GumbelSoftmax: is_relaxable,
}


def _check(distribution: Any, gradient: Any, num_samples: Any, key: Any) -> None:
    require(
        type(gradient) in _CAN,
        f"an expectation takes {', '.join(kind.__name__ for kind in _CAN)}, got {gradient!r}",
    )
    if isinstance(distribution, Distribution):
        require(
            distribution.batch_shape == (),
            f"the distribution {name_of(distribution)} has batch shape "
            f"{distribution.batch_shape}, an expectation is over one value: write .to_event() for "
            "a vector, vmap for a batch",
        )
    if not _CAN[type(gradient)](distribution):
        raise InputError(
            f"{type(gradient).__name__} can't do {name_of(distribution)}; what can: "
            f"{', '.join(suitable(distribution))}"
        )
    check_counts(num_samples=0 if num_samples is None else num_samples)
    require(
        key is not None or isinstance(gradient, Enumerated),
        f"{type(gradient).__name__} draws at random: give a key",
    )
