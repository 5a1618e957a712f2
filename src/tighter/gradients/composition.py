"""Estimators made of estimators: double reparameterization, and one bound for each of θ and φ."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds import Bound, as_bound
from tighter.bounds.bound import diagonal_derivative
from tighter.gradients.estimator import Bias, BiasKind, Coefficients, Estimator
from tighter.gradients.pathwise import DoublyReparameterized, GeneralizedDoublyReparameterized


class _ScoreTurnedToPath(Estimator):
    """`doubly_reparameterize` of an estimator."""

    uses_score: ClassVar[bool] = False

    estimator: Estimator

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(model, 0, path + ∂score_k/∂ℓ_k)."""
        bound = as_bound(bound)
        model, score, path = self.estimator.coefficients(bound, log_weights)
        turned = diagonal_derivative(
            lambda at: self.estimator.coefficients(bound, at).score, log_weights
        )
        return Coefficients(model, score=jnp.zeros_like(score), path=path + turned)

    def bias(self, bound: Bound) -> Bias:
        """That of the estimator, whose expectation it keeps."""
        return self.estimator.bias(bound)

    def asks_own_density(self, bound: Bound) -> bool:
        """Yes: a score becomes a path only for the density that the draw is of."""
        return True

    def bounds(self, bound: Bound) -> tuple[Bound, ...]:
        """Those of the estimator."""
        return self.estimator.bounds(bound)

    def min_samples(self, bound: Bound) -> int:
        """That of the estimator."""
        return self.estimator.min_samples(bound)


def doubly_reparameterize(estimator: Estimator) -> Estimator:
    r"""The estimator with its score coefficients turned into path coefficients.

    A score coefficient $s_k(\ell)$ has the expectation of a path coefficient
    $\partial s_k / \partial \ell_k$, where $z_k$ was drawn from the density that the score is of.
    So the expectation stays, for any bound, and the variance falls, mostly. Of `Reparameterized`,
    of `ScoreFunction` and of `VIMCO` it makes `DoublyReparameterized`; of `WakePhi` the doubly
    reparameterized reweighted wake-sleep.

    Args:
        estimator: Any estimator; one without a score term is returned as it is.

    Returns:
        An estimator that needs a reparameterizable posterior.

    References:
        Tucker, Lawson, Gu & Maddison, "Doubly reparameterized gradient estimators for Monte Carlo
        objectives", 2018, eq. 6.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(f"an estimator is a tighter.gradients object, got {estimator!r}")
    return _ScoreTurnedToPath(estimator) if estimator.uses_score else estimator


Part = Estimator | Bound | Callable | tuple[Bound | Callable, Estimator]


class _Part(eqx.Module):
    """An estimator and the bound that it is to follow: None for the objective's own."""

    bound: Bound | None
    estimator: Estimator

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        return self.estimator.coefficients(self.bound or bound, log_weights)

    def bias(self, bound: Bound) -> Bias:
        if self.bound is None or self.bound == bound:
            return self.estimator.bias(bound)
        other = BiasKind.OTHER_OBJECTIVE
        return Bias(f"follows {self.bound}, not {bound}", theta=other, phi=other)


def _as_part(part: Part | _Part) -> _Part:
    if isinstance(part, _Part):
        return part
    if isinstance(part, Estimator):
        return _Part(None, part)
    if isinstance(part, tuple):
        bound, estimator = part
        if not isinstance(estimator, Estimator):
            raise TypeError(f"a part of Split is (bound, estimator), got {part!r}")
        return _Part(as_bound(bound), estimator)
    return _Part(as_bound(part), DoublyReparameterized())


class Split(Estimator):
    r"""One estimator for the model's parameters θ and another for the posterior's φ.

    The model coefficients are those of `theta`, score and path those of `phi`. A part is an
    estimator (for the objective's bound), a bound (with `DoublyReparameterized`), or a pair of
    both. PIWAE, where θ follows the IWAE bound of M·K draws and φ the mean of M bounds of K:

        Objective(IWAE(), Split(theta=IWAE(), phi=Grouped(IWAE(), M)), num_samples=M * K)

    Args:
        theta: What the model follows.
        phi: What the posterior follows.

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, sec. 4.
    """

    theta: _Part = eqx.field(converter=_as_part)
    phi: _Part = eqx.field(converter=_as_part)

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(model of theta, score of phi, path of phi)."""
        bound = as_bound(bound)
        _, score, path = self.phi.coefficients(bound, log_weights)
        return Coefficients(self.theta.coefficients(bound, log_weights).model, score, path)

    def bias(self, bound: Bound) -> Bias:
        """θ's from one part, φ's from the other; a bound of its own is another objective."""
        theta, phi = self.theta.bias(as_bound(bound)), self.phi.bias(as_bound(bound))
        reasons = [f"theta: {theta.reason}"] if theta.theta is not BiasKind.UNBIASED else []
        reasons += [f"phi: {phi.reason}"] if phi.phi is not BiasKind.UNBIASED else []
        reason = "; ".join(reasons) or "both parts are unbiased for this bound"
        return Bias(reason, theta=theta.theta, phi=phi.phi)

    @property
    def uses_score(self) -> bool:
        """If phi's part does."""
        return self.phi.estimator.uses_score

    @property
    def uses_path(self) -> bool:
        """If phi's part does."""
        return self.phi.estimator.uses_path

    @property
    def is_total_derivative(self) -> bool:
        """If phi's part is."""
        return self.phi.estimator.is_total_derivative

    def asks_own_density(self, bound: Bound) -> bool:
        """If phi's part does; the generalized one has another path only where it is alone."""
        estimator = self.phi.estimator
        alone = not isinstance(estimator, GeneralizedDoublyReparameterized)
        return (estimator if alone else DoublyReparameterized()).asks_own_density(
            self.phi.bound or bound
        )

    def bounds(self, bound: Bound) -> tuple[Bound, ...]:
        """Those of both parts."""
        parts = (self.theta, self.phi)
        return tuple(b for part in parts for b in part.estimator.bounds(part.bound or bound))

    def min_samples(self, bound: Bound) -> int:
        """The most that the bound or a part needs."""
        parts = (self.theta, self.phi)
        needed = [part.estimator.min_samples(part.bound or bound) for part in parts]
        return max(bound.min_samples, *needed)
