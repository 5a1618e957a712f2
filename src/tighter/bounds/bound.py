"""What every bound is: a symmetric function of K log weights, with its first two derivatives."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Side(enum.Enum):
    """On which side of log p(x) the expected bound lies."""

    LOWER = "lower"
    UPPER = "upper"
    NEITHER = "neither"


class Bound(eqx.Module):
    r"""A symmetric function $F(\ell_1 \dots \ell_K)$ of log weights, in nats.

    $\ell_k = \log p(x, z_k) - \log q(z_k \mid x)$ for draws $z_k \sim q$. The first derivative
    $a_k = \partial F / \partial \ell_k$ and the second $h_k = \partial a_k / \partial \ell_k$ are
    all that a gradient estimator asks of a bound.
    """

    @abc.abstractmethod
    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """The bound on log p(x), in nats; larger is better."""

    @abc.abstractmethod
    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""First derivatives $a_k = \partial F / \partial \ell_k$; they add up to one."""

    @abc.abstractmethod
    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        r"""Second derivatives on the diagonal, $h_k = \partial^2 F / \partial \ell_k^2$."""

    @property
    def side(self) -> Side:
        """Whether the expected bound lies below log p(x), above it, or on neither side for sure."""
        return Side.NEITHER

    @property
    def is_linear(self) -> bool:
        """Whether the curvature is zero everywhere, as the ELBO's."""
        return False

    @property
    def min_samples(self) -> int:
        """The fewest draws for which the bound is defined."""
        return 1

    def kept_together(self, num: int) -> int:
        """Of `num` draws, how many stay together wherever a mean weight is of a part of them.

        Where draws are of several experts in turn these have to be whole turns.
        """
        return num


class Custom(Bound):
    """Any callable (K,) -> () as a bound, its derivatives by automatic differentiation.

    Args:
        function: A symmetric, twice differentiable function of the log weights.
    """

    function: Callable[[Float[Array, " K"]], Float[Array, ""]]

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """The function's value, checked to be a scalar."""
        value = jnp.asarray(self.function(log_weights))
        if value.shape != ():
            raise ValueError(
                f"a bound maps (K,) log weights to a scalar, got shape {value.shape} from "
                f"{self.function}: reduce it over the draws"
            )
        return value

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The gradient."""
        return jax.grad(self)(log_weights)

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """The Hessian's diagonal, one Hessian-vector product a draw."""
        return diagonal_derivative(self.weights, log_weights)


def as_bound(bound: Bound | Callable[[Float[Array, " K"]], Float[Array, ""]]) -> Bound:
    """A bound as it is, any other callable (K,) -> () as a `Custom` one.

    Raises:
        TypeError: If it can't be called, or is a class where an object is wanted.
    """
    if isinstance(bound, Bound):
        return bound
    if isinstance(bound, type) and issubclass(bound, Bound):
        raise TypeError(f"bound is the class {bound.__name__}: write {bound.__name__}(...)")
    if not callable(bound):
        raise TypeError(
            f"a bound is a tighter.bounds object or a callable (K,) -> (), got {bound!r}"
        )
    return Custom(bound)


def diagonal_derivative(
    function: Callable[[Float[Array, " K"]], Float[Array, " K"]], at: Float[Array, " K"]
) -> Float[Array, " K"]:
    r"""$\partial f_k / \partial \ell_k$ for every k, by K forward-mode derivatives."""

    def derivative_along(basis: Float[Array, " K"]) -> Float[Array, ""]:
        return jnp.sum(basis * jax.jvp(function, (at,), (basis,))[1])

    return jax.vmap(derivative_along)(jnp.eye(at.shape[0], dtype=at.dtype))


def num_draws(log_weights: Float[Array, " K"], *, at_least: int = 1) -> int:
    """How many log weights there are.

    Raises:
        ValueError: If they are no vector, or fewer than `at_least`.
    """
    if log_weights.ndim != 1 or log_weights.shape[0] < at_least:
        raise ValueError(
            f"a bound takes a vector of {at_least} or more log weights, got shape "
            f"{log_weights.shape}: draw more samples, and vmap over any other axis"
        )
    return log_weights.shape[0]
