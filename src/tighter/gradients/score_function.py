"""Estimators through the score of q: they need draws and densities, and no path."""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter.bounds import IWAE, Bound, as_bound
from tighter.bounds.bound import num_draws
from tighter.bounds.power_means import shares
from tighter.gradients.estimator import (
    Bias,
    BiasKind,
    Coefficients,
    Estimator,
    UnbiasedEstimator,
)


class Baseline(eqx.Module):
    """A control variate b_k for the k-th draw, a function of the other draws alone."""

    @abc.abstractmethod
    def __call__(self, bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The baseline of each draw, in nats."""

    def min_samples(self, bound: Bound) -> int:
        """The fewest draws for which the baseline is defined."""
        return bound.min_samples


class LeaveOneOut(Baseline):
    r"""The bound of the other K − 1 draws, $b_k = F(\ell_{-k})$.

    References:
        Mnih & Rezende, "Variational inference for Monte Carlo objectives", 2016, sec. 2.5 (its
        arithmetic-mean variant, for IWAE); Kool, van Hoof & Welling, "Buy 4 REINFORCE samples, get
        a baseline for free!", 2019, for the ELBO.
    """

    def __call__(self, bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The bound without each draw in turn."""
        num = log_weights.shape[0]
        others = np.array([[j for j in range(num) if j != k] for k in range(num)], int)
        return jax.vmap(bound)(log_weights[others])

    def min_samples(self, bound: Bound) -> int:
        """One more than the bound needs."""
        return bound.min_samples + 1


class Constant(Baseline):
    """The same number for every draw.

    Args:
        value: The number, in nats (for an expectation, in the units of f).
    """

    value: Float[Array, ""] | float

    def __call__(self, bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The number, for each draw."""
        return jnp.full_like(log_weights, self.value)


class RunningMean(Baseline):
    r"""A mean of earlier values, with exponentially falling weights.

    It holds its state and never changes it: `updated(value)` returns the next one.

    Args:
        mean: Of the values so far; 0 before the first.
        decay: What is left of a value's weight after the next one, in [0, 1).

    Example:
        >>> baseline = RunningMean()
        >>> gradient = ScoreFunction(baseline=baseline)
        >>> baseline = baseline.updated(value)  # after each step
    """

    mean: Float[Array, ""] | float = 0.0
    decay: float = eqx.field(static=True, default=0.99, converter=float)
    weight: Float[Array, ""] | float = 0.0

    def __check_init__(self) -> None:
        """Refuse what is no decay."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"a decay is in [0, 1), got {self.decay}")

    def __call__(self, bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The mean, for each draw."""
        return jnp.full_like(log_weights, self.mean)

    def updated(self, value: Float[Array, ""] | float) -> RunningMean:
        """The mean with one more value."""
        value = jax.lax.stop_gradient(jnp.asarray(value))
        weight = self.decay * self.weight + (1 - self.decay)
        mean = self.mean + (1 - self.decay) / weight * (value - self.mean)
        return RunningMean(mean, self.decay, weight)


class DeltaMethod(Baseline):
    r"""Second-order expansion of f at the mean, with the exact gradient of its expectation.

    $b(w) = f(m) + \nabla f^\top (w - m) + \frac12 (w - m)^\top \nabla^2 f\, (w - m)$, whose
    expectation is known from mean and covariance. For `tighter.expectation` alone, over a Normal
    or MultivariateNormal; f is differentiated at the mean.

    References:
        Paisley, Blei & Jordan, "Variational Bayesian inference with stochastic search", 2012,
        sec. 4.
    """

    def __call__(self, bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Nothing: the log weights don't tell f."""
        raise ValueError(
            "the delta method needs a function of the draws, and a bound has none: use "
            "LeaveOneOut(), or tighter.expectation"
        )


class ScoreFunction(UnbiasedEstimator):
    r"""Score-function estimator (REINFORCE): model a, score $(F - b_k) - a_k$, path 0.

    The integrand's dependence on q gives −a, the draws' dependence F − b_k. Needs no path, so it
    works for any q; log p is not differentiated with respect to z.

    Args:
        baseline: Control variate of each draw: None for none, `LeaveOneOut()`, or any `Baseline`.

    References:
        Williams, "Simple statistical gradient-following algorithms", 1992; Paisley, Blei & Jordan,
        "Variational Bayesian inference with stochastic search", 2012, eq. 4.
    """

    uses_path: ClassVar[bool] = False

    baseline: Baseline | None = None

    def __check_init__(self) -> None:
        """Refuse what is no baseline."""
        if not (self.baseline is None or isinstance(self.baseline, Baseline)):
            raise TypeError(
                f"baseline is None or an object such as LeaveOneOut(), got {self.baseline!r}"
            )

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, F − b − a, 0)."""
        bound = as_bound(bound)
        signal = bound(log_weights)
        if self.baseline is not None:
            signal = signal - _finite_or_none(self.baseline(bound, log_weights))
        return _from_signal(signal, bound.weights(log_weights))

    def min_samples(self, bound: Bound) -> int:
        """What the baseline needs."""
        return bound.min_samples if self.baseline is None else self.baseline.min_samples(bound)


class VIMCO(UnbiasedEstimator):
    r"""Score function with a leave-one-out of K terms: model a, score $F - F_{-k} - a_k$, path 0.

    $F_{-k}$ is the bound with $\ell_k$ replaced by the mean of the others (the geometric mean of
    their weights), so that it keeps K terms.

    References:
        Mnih & Rezende, "Variational inference for Monte Carlo objectives", 2016, eqs. 9-10.
    """

    uses_path: ClassVar[bool] = False

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, F − F_{−k} − a, 0)."""
        bound = as_bound(bound)
        num = num_draws(log_weights, at_least=2)
        same = jnp.eye(num, dtype=bool)
        mean_of_others = jnp.sum(jnp.where(same, 0, log_weights), axis=1) / (num - 1)
        replaced = jnp.where(same, mean_of_others[:, None], log_weights)
        signal = bound(log_weights) - _finite_or_none(jax.vmap(bound)(replaced))
        return _from_signal(signal, bound.weights(log_weights))

    def min_samples(self, bound: Bound) -> int:
        """Two at least: the baseline is made of the other draws."""
        return max(2, bound.min_samples)


class OVIS(UnbiasedEstimator):
    r"""Score function with its best control variate: model a, score $F - a_k - c_k$, path 0.

    $c_k$ estimates $E[F - a_k]$ over $z_k$ from the other draws, so that the noise of the score
    that comes with the common part of all draws is gone: with IWAE the posterior's
    signal-to-noise ratio grows as $K^{1/2}$, with no path. In its asymptotic form
    $c_k = \log \frac{1}{K - \gamma} \sum_{j \ne k} w_j$; in its Monte Carlo form the mean of
    $F - a_k$ with each of the other log weights in the place of $\ell_k$ (K − 1 evaluations of the
    bound a draw, no more of the model). Unbiased for every bound.

    Args:
        gamma: γ in [0, 1]: 0 is best where the weights are even, 1 where one has it all.
        monte_carlo: Whether to take the Monte Carlo form, which suits any bound and has no γ.

    Raises:
        ValueError: If γ is not in [0, 1].

    References:
        Liévin, Dittadi, Christensen & Winther, "Optimal variance control of the score-function
        gradient estimator for importance-weighted bounds", 2020, sec. 4.
    """

    uses_path: ClassVar[bool] = False

    gamma: float = eqx.field(static=True, default=0.0, converter=float)
    monte_carlo: bool = eqx.field(static=True, default=False, kw_only=True)

    def __check_init__(self) -> None:
        """Refuse what is no γ."""
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is in [0, 1], got {self.gamma}")

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(a, F − a − c, 0)."""
        bound = as_bound(bound)
        num = num_draws(log_weights, at_least=2)
        weights = bound.weights(log_weights)
        control = (
            _from_the_others(bound, log_weights)
            if self.monte_carlo
            else _of_the_others(log_weights) - jnp.log(num - self.gamma)
        )
        score = bound(log_weights) - weights - _finite_or_none(control)
        return Coefficients(weights, score, path=jnp.zeros_like(weights))

    def min_samples(self, bound: Bound) -> int:
        """Two at least: the control variate is made of the other draws."""
        return max(2, bound.min_samples)


class WakePhi(Estimator):
    r"""Wake-phase φ of reweighted wake-sleep: model $\tilde w$, score $+\tilde w$, path 0.

    The posterior descends the self-normalized estimate of $\mathrm{KL}(p(z \mid x) \| q)$, whatever
    the bound; the model ascends the importance-weighted bound. Needs no path. Its double
    reparameterization, `doubly_reparameterize(WakePhi())`, has path $\tilde w - \tilde w^2$.

    References:
        Bornschein & Bengio, "Reweighted wake-sleep", 2015, eqs. 5 and 9.
    """

    uses_path: ClassVar[bool] = False

    def asks_own_density(self, bound: Bound) -> bool:
        """No: its score is of the density that the draws are weighed by."""
        return False

    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """(w̃, w̃, 0)."""
        normalized = shares(log_weights)
        return Coefficients(normalized, score=normalized, path=jnp.zeros_like(normalized))

    def bias(self, bound: Bound) -> Bias:
        """Follows another objective."""
        follows_bound = isinstance(as_bound(bound), IWAE)
        return Bias(
            "the posterior follows −KL(posterior‖q) (biased by its self-normalized weights, less "
            "so with more draws)" + ("" if follows_bound else ", and the model the IWAE bound"),
            theta=BiasKind.UNBIASED if follows_bound else BiasKind.OTHER_OBJECTIVE,
            phi=BiasKind.OTHER_OBJECTIVE,
        )


def _finite_or_none(baselines: Float[Array, " K"]) -> Float[Array, " K"]:
    """Control variates, 0 where infinite: of other draws whose weights are all zero.

    Whether one is infinite depends on the other draws alone, so that the expectation stays.
    """
    return jnp.where(jnp.isinf(baselines), 0, baselines)


def _from_signal(signal: Array, weights: Float[Array, " K"]) -> Coefficients:
    return Coefficients(weights, score=signal - weights, path=jnp.zeros_like(weights))


def _of_the_others(log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Log of the sum of the other draws' weights."""
    same = jnp.eye(log_weights.shape[0], dtype=bool)
    return jax.nn.logsumexp(jnp.where(same, -jnp.inf, log_weights[None, :]), axis=1)


def _from_the_others(bound: Bound, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
    """Mean over j ≠ k of F − a_k with ℓ_j in the place of ℓ_k."""
    num = log_weights.shape[0]

    def with_other(k: Array, j: Array) -> Array:
        replaced = log_weights.at[k].set(log_weights[j])
        return bound(replaced) - bound.weights(replaced)[k]

    index = jnp.arange(num)
    values = jax.vmap(lambda k: jax.vmap(lambda j: with_other(k, j))(index))(index)
    return jnp.sum(jnp.where(jnp.eye(num, dtype=bool), 0, values), axis=1) / (num - 1)
