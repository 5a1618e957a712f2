"""What every gradient estimator is: three coefficients a draw, and a statement of its bias."""

from __future__ import annotations

import abc
import dataclasses
import enum
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from tighter.bounds import Bound


class Coefficients(NamedTuple):
    r"""What multiplies each draw's three gradients, shape (K,) each; never differentiated.

    gradient = $\sum_k$ `model`$_k \nabla_\theta \log p_\theta(x, z_k)$
    + $\sum_k$ `score`$_k \nabla_\phi \log q_\phi(z_k)$ (with $z_k$ held fixed)
    + $\sum_k$ `path`$_k \nabla_z[\log p_\theta(x, z) - \log q_{\bar\phi}(z)]_{z_k}
    \,\partial z_k / \partial \phi$.
    """

    model: Float[Array, " K"]
    score: Float[Array, " K"]
    path: Float[Array, " K"]


class BiasKind(enum.Enum):
    """What an estimator's expectation is, beside the gradient of the bound."""

    UNBIASED = "unbiased"
    BIASED = "biased"
    OTHER_OBJECTIVE = "follows another objective"


@dataclasses.dataclass(frozen=True)
class Bias:
    """What an estimator's expectation is, for θ and for φ; true where it is not the gradient.

    Attributes:
        reason: Why, in words.
        theta: For the parameters of the model.
        phi: For the parameters of the posterior.
    """

    reason: str
    theta: BiasKind = BiasKind.UNBIASED
    phi: BiasKind = BiasKind.UNBIASED

    @property
    def kind(self) -> BiasKind:
        """Of the pair as a whole: unbiased only if it is so for θ and for φ."""
        return self.theta if self.phi is BiasKind.UNBIASED else self.phi

    def __bool__(self) -> bool:
        return self.kind is not BiasKind.UNBIASED

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.reason}"


class Estimator(eqx.Module):
    """An estimator of the gradient of any bound, as coefficients of the draws' gradients."""

    @abc.abstractmethod
    def coefficients(self, bound: Bound, log_weights: Float[Array, " K"]) -> Coefficients:
        """The three coefficients of each draw, functions of the log weights alone."""

    @abc.abstractmethod
    def bias(self, bound: Bound) -> Bias:
        """Whether this estimates the gradient of that bound (with more than one draw)."""

    @property
    def uses_score(self) -> bool:
        """Whether any score coefficient can differ from zero."""
        return True

    @property
    def uses_path(self) -> bool:
        """Whether any path coefficient can differ from zero: z has to be reparameterizable."""
        return True

    def asks_own_density(self, bound: Bound) -> bool:
        """Whether draws have to come from the density that they are weighed by.

        The score function and the plain double reparameterization hold for that density alone.
        """
        return self.uses_score

    @property
    def is_total_derivative(self) -> bool:
        """Whether it is the derivative of the bound of the draws itself.

        The others take it that the score's expectation is zero, as it is where q's support stays.
        """
        return False

    def path_is_model(self, bound: Bound) -> bool:
        """Whether every path coefficient is the model's by construction.

        Then draws need nothing on their way back, and forward-mode derivatives are there too.
        """
        return False

    def bounds(self, bound: Bound) -> tuple[Bound, ...]:
        """All bounds that the coefficients are of, for an objective's bound."""
        return (bound,)

    def min_samples(self, bound: Bound) -> int:
        """The fewest draws for which the pair is defined: what the bound needs, or more."""
        return bound.min_samples


class UnbiasedEstimator(Estimator):
    """An estimator whose expectation is the gradient, whatever the bound."""

    def bias(self, bound: Bound) -> Bias:
        """Unbiased."""
        return Bias("its expectation is the gradient of every bound")
