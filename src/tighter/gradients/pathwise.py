"""Estimators through the path z = z(epsilon, phi): they need a reparameterizable posterior."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds import Bound, as_bound
from tighter.gradients.estimator import (
    Bias,
    BiasKind,
    Coefficients,
    Estimator,
    UnbiasedEstimator,
)
from tighter.gradients.expectations import Draws


class Reparameterized(UnbiasedEstimator):
    r"""Total derivative of the bound through the draws: model a, score −a, path a.

    What automatic differentiation gives with no stop anywhere. Unbiased for every bound. With IWAE
    its signal-to-noise ratio for the posterior falls as $K^{-1/2}$.

    Args:
        draws: For `tighter.expectation` alone: antithetic pairs, or randomized Sobol points, in
            place of independent draws.

    References:
        Kingma & Welling, "Auto-encoding variational Bayes", 2014; Rainforth et al., "Tighter
        variational bounds are not necessarily better", 2018, theorem 1.
    """

    is_total_derivative: ClassVar[bool] = True

    draws: Draws = eqx.field(static=True, default=Draws.INDEPENDENT, kw_only=True, repr=False)

    def __check_init__(self) -> None:
        """Refuse what is no way to draw."""
        if not isinstance(self.draws, Draws):
            raise TypeError(f"draws is one of tighter.gradients.Draws, got {self.draws!r}")

    def asks_own_density(self, bound: Bound) -> bool:
        """No: the total derivative holds for any density."""
        return False

    def path_is_model(self, bound: Bound) -> bool:
        """Yes: a."""
        return True

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, −a, a)."""
        weights = as_bound(bound).weights(log_weights)
        return Coefficients(weights, score=-weights, path=weights)


class StickingTheLanding(Estimator):
    r"""The total derivative without the score of log q: model a, score 0, path a.

    For the ELBO the score's expectation is zero, so that dropping it is free, and at the exact
    posterior no noise is left. For a bound with curvature (IWAE with K > 1) the score counts, and
    without it the posterior follows $-\mathrm{KL}(p(z \mid x) \| q)$ in the limit of many draws.

    References:
        Roeder, Wu & Duvenaud, "Sticking the landing", 2017, eq. 8.
    """

    uses_score: ClassVar[bool] = False

    def path_is_model(self, bound: Bound) -> bool:
        """Yes: a."""
        return True

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, 0, a)."""
        weights = as_bound(bound).weights(log_weights)
        return Coefficients(weights, score=jnp.zeros_like(weights), path=weights)

    def bias(self, bound: Bound) -> Bias:
        """Unbiased for the ELBO alone."""
        if as_bound(bound).is_linear:
            return Bias("the dropped score has expectation zero for the ELBO")
        return Bias(
            "biased for the posterior with more than one draw: it drops a score whose "
            "expectation is not zero (with IWAE it tends to the gradient of −KL(posterior‖q)); "
            "DoublyReparameterized is the unbiased one",
            phi=BiasKind.OTHER_OBJECTIVE,
        )


class DoublyReparameterized(UnbiasedEstimator):
    r"""The score reparameterized once more: model a, score 0, path a − h.

    With IWAE the path's coefficients are the squared normalized weights, with the ELBO 1/K (where
    it is sticking the landing). Unbiased for every bound, if z was drawn from the density whose
    score it is; noiseless at the exact posterior; with IWAE its signal-to-noise ratio for the
    posterior grows as $K^{1/2}$.

    References:
        Tucker, Lawson, Gu & Maddison, "Doubly reparameterized gradient estimators for Monte Carlo
        objectives", 2018, eq. 8.
    """

    uses_score: ClassVar[bool] = False

    def asks_own_density(self, bound: Bound) -> bool:
        """Yes, where the bound has curvature."""
        return not as_bound(bound).is_linear

    def path_is_model(self, bound: Bound) -> bool:
        """Where the bound has no curvature."""
        return as_bound(bound).is_linear

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, 0, a − h)."""
        bound = as_bound(bound)
        weights = bound.weights(log_weights)
        path = weights - bound.curvature(log_weights)
        return Coefficients(weights, score=jnp.zeros_like(weights), path=path)


class GeneralizedDoublyReparameterized(UnbiasedEstimator):
    r"""The double reparameterization of draws that come from another density than they weigh by.

    A draw of an expert q weighed by the mixture m has the score's term $-a\,\nabla_\phi \log m$,
    whose expectation under q is that of
    $-[h\,\nabla_z \ell + a\,\nabla_z(\log q - \log m)] \cdot \dot z_m$, with $\dot z_m$ the motion
    of z at its place in m. Unbiased for every bound; where q is m it is `DoublyReparameterized`.

    References:
        Bauer & Mnih, "Generalized doubly reparameterized gradient estimators", 2021, eq. 8.
    """

    uses_score: ClassVar[bool] = False

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, 0, a − h); for experts the a goes along a draw's own path, the −h along m's."""
        return DoublyReparameterized().coefficients(bound, log_weights)
