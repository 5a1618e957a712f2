"""Reweighted wake-sleep's update of the posterior, which follows another objective."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds import IWAE, Bound, as_bound
from tighter.bounds.power_means import shares
from tighter.gradients._estimator import Bias, BiasKind, Coefficients, Estimator


class WakePhi(Estimator):
    r"""Wake-phase φ of reweighted wake-sleep: model $\tilde w$, score $+\tilde w$, path 0.

    The posterior descends the self-normalized estimate of $\mathrm{KL}(p(z \mid x) \| q)$, whatever
    the bound; the model ascends the importance-weighted bound. Needs no path. Its double
    reparameterization, `doubly_reparameterize(WakePhi())`, has path $\tilde w - \tilde w^2$.

    References:
        Bornschein & Bengio, "Reweighted wake-sleep", 2015, eqs. 5 and 9.
    """

    uses_score: ClassVar[bool] = True
    uses_path: ClassVar[bool] = False

    def asks_own_density(self, bound: Bound) -> bool:
        """No: its score is of the density that the draws are weighed by."""
        return False

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(w̃, w̃, 0)."""
        normalized_weights = shares(log_weights)
        return Coefficients(
            model=normalized_weights,
            score=normalized_weights,
            path=jnp.zeros_like(normalized_weights),
        )

    def bias(self, bound: Bound) -> Bias:
        """Follows another objective."""
        follows_bound = isinstance(as_bound(bound), IWAE)
        return Bias(
            "the posterior follows −KL(posterior‖q) (biased by its self-normalized weights, less "
            "so with more draws)" + ("" if follows_bound else ", and the model the IWAE bound"),
            theta=BiasKind.UNBIASED if follows_bound else BiasKind.OTHER_OBJECTIVE,
            phi=BiasKind.OTHER_OBJECTIVE,
        )
