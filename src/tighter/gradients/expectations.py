"""Estimators of the gradient of an expectation that are none of a bound's: what is chosen.

`tighter.expectation` computes them; here they say what they are.
"""

from __future__ import annotations

import enum

import equinox as eqx

from tighter.bounds import Bound
from tighter.gradients.estimator import Bias, BiasKind


class ExpectationEstimator(eqx.Module):
    r"""An estimator of the gradient of $E_{w \sim \pi}[f(w)]$."""

    def bias(self, bound: Bound | None = None) -> Bias:
        """Whether its expectation is the gradient: of these it is."""
        return Bias("its expectation is the gradient of the expectation")


class MeasureValued(ExpectationEstimator):
    r"""Weak derivatives, coupled: $\nabla_\gamma E[f] = c\,(E_{\pi^+}[f] - E_{\pi^-}[f])$.

    For the location and scale of Normal and LogNormal, the rates of Exponential, Gamma and Poisson,
    the probabilities of Bernoulli and Categorical, and vectors of these by coordinates. f needs no
    derivative. Two evaluations of f for each draw, coordinate and parameter (and category), beside
    the one for the value: 4D + 1 for a Normal of D dimensions.

    References:
        Mohamed, Rosca, Figurnov & Mnih, "Monte Carlo gradient estimation in machine learning",
        2020, sec. 6.
    """


class Enumerated(ExpectationEstimator):
    """The exact sum over a finite support: no noise, and one evaluation of f for each point."""

    def bias(self, bound: Bound | None = None) -> Bias:
        """Exact."""
        return Bias("it is the gradient, with no noise")


class DisARM(ExpectationEstimator):
    r"""Bernoulli vectors by antithetic pairs, with what they don't determine integrated out.

    $\frac12 (f(b) - f(\tilde b))\, (-1)^{\tilde b_i}\, 1[b_i \ne \tilde b_i]\, \sigma(|\alpha_i|)$
    for the logit $\alpha_i$. `num_samples` counts evaluations of f and is rounded up to pairs.

    References:
        Dong, Mnih & Tucker, "DisARM: an antithetic gradient estimator for binary latent
        variables", 2020, eq. 6.
    """


class ARM(ExpectationEstimator):
    r"""Bernoulli vectors by antithetic pairs: $(f(b) - f(\tilde b))(u_i - \frac12)$.

    $b_i = 1[u_i > \sigma(-\alpha_i)]$, $\tilde b_i = 1[u_i < \sigma(\alpha_i)]$. `num_samples`
    counts evaluations of f and is rounded up to pairs. `DisARM` has less variance.

    References:
        Yin & Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", 2019.
    """


class GumbelSoftmax(ExpectationEstimator):
    r"""Relaxed Bernoulli or Categorical draws, $\mathrm{softmax}((\alpha + g) / t)$: biased.

    f is given a point of the simplex (…, C) for a Categorical, and numbers in (0, 1) for Bernoulli.

    Args:
        temperature: t > 0; towards 0 the bias vanishes and the variance grows.
        straight_through: Whether f is given one-hot or binary values, with the relaxed
            derivative.

    Raises:
        ValueError: If the temperature is not above zero.

    References:
        Jang, Gu & Poole, "Categorical reparameterization with Gumbel-softmax", 2017; Maddison,
        Mnih & Teh, "The concrete distribution", 2017.
    """

    temperature: float = eqx.field(static=True, default=1.0, converter=float)
    straight_through: bool = eqx.field(static=True, default=False, kw_only=True)

    def __check_init__(self) -> None:
        """Refuse what is no temperature."""
        if not self.temperature > 0:
            raise ValueError(f"a temperature is above zero, got {self.temperature}")

    def bias(self, bound: Bound | None = None) -> Bias:
        """Biased, or of another objective's value."""
        if self.straight_through:
            return Bias(
                "the value is that of f, the derivative that of its relaxation",
                theta=BiasKind.UNBIASED,
                phi=BiasKind.BIASED,
            )
        other = BiasKind.OTHER_OBJECTIVE
        return Bias("it follows the expectation of f over relaxed draws", theta=other, phi=other)


class Draws(enum.Enum):
    """How the base noise of reparameterized draws is made; only `tighter.expectation` asks."""

    INDEPENDENT = "independent"
    ANTITHETIC = "antithetic"
    SOBOL = "sobol"
