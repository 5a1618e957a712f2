"""log p − log q of one draw, and the ways in which its derivative goes.

One pass over a draw makes its log weight; the coefficients of the estimator are functions of all
log weights, and come after it. So a pass gives whatever they will multiply (`Drawn`), and
`surrogate` is the number whose derivative is the estimate:

    sum_k model_k grad_theta log p(x, z_k) + score_k grad_phi log q(z_k)
        + path_k grad_z[log p(x, z) - log q(z)] dz_k/dphi.

Model and path share one way back through log p, with model_k in front. Where path_k differs, the
draw goes through `tap`: path_k / model_k arrives there with the cotangent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tighter._derivatives import tap, with_gradient_of
from tighter._protocols import as_posterior
from tighter._rows import check_scalar
from tighter.bounds import Bound
from tighter.distributions import (
    Posterior,
    check_fixed_support,
    check_posterior,
    draw,
    stop_parameters,
)
from tighter.gradients import (
    Coefficients,
    Estimator,
    GeneralizedDoublyReparameterized,
    Reparameterized,
)


class Drawn(NamedTuple):
    """What a pass over draws gives.

    Attributes:
        log_weight: log p(x, z) − log q(z|x) in nats, with the derivatives that the model's
            coefficient multiplies (and the path's, in proportion).
        log_density: log q(z|x) of the draw held fixed, with the derivative by q's parameters that
            the score's coefficient multiplies; None where there is no score.
        tapped: Zeros in whose places path / model and 1 come back to the draw; None without a tap.
    """

    log_weight: Float[Array, ...]
    log_density: Float[Array, ...] | None = None
    tapped: tuple[Float[Array, ...], Float[Array, ...]] | None = None


def check_drawn(
    posterior: Posterior,
    estimator: Estimator,
    bound: Bound,
    num_samples: int | None,
    *,
    is_total_derivative: bool,
) -> None:
    """Refuse a posterior with whose draws the gradient of a bound can't be right.

    Args:
        posterior: Of one example.
        estimator: Of the gradient.
        bound: That it follows.
        num_samples: Draws in a bound; None for a number that is drawn.
        is_total_derivative: Whether nothing is dropped or turned, so that the ends of the
            posterior's support may move.

    Raises:
        TypeError: If the posterior can't serve this estimator; when differentiated, if its support
            moves and must not.
        ValueError: If it draws from several experts in turn, and the draws give them unequal turns,
            or the bound takes a part of a turn by itself.
    """
    name = type(estimator).__name__
    check_posterior(posterior, needs_path=estimator.uses_path, estimator=name)
    if not is_total_derivative:
        check_fixed_support(posterior, name, points=not estimator.path_is_model(bound))
    strata = as_posterior(posterior).num_strata
    if strata is None:
        return
    if num_samples is None:
        raise ValueError(
            f"draws are of {strata} experts in turn, and a random number of them gives unequal "
            "turns: take an Objective, or a Mixture of the experts"
        )
    if num_samples % strata:
        raise ValueError(
            f"draws are of experts in turn: num_samples is a multiple of {strata}, got "
            f"{num_samples}"
        )
    for each in (bound, *estimator.bounds(bound)):
        if each.kept_together(num_samples) % strata:
            raise ValueError(
                f"{type(each).__name__} takes means of {num_samples} draws' weights over parts of "
                f"a turn of {type(posterior).__name__}, which is of {strata} draws: take whole "
                "turns to a group, IWAE, or the same posterior as a Mixture"
            )
    if estimator.asks_own_density(bound):
        raise TypeError(
            f"{name} holds for draws of the density that they are weighed by, and "
            f"{type(posterior).__name__} draws from one expert and weighs by the mixture: use "
            "GeneralizedDoublyReparameterized or Reparameterized"
        )


def log_weight(log_joint_of, x, posterior, key):
    """Log p(x, z) − log q(z|x) at one draw z, in nats, with no derivative through the draw."""
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    return _log_joint(log_joint_of, x, z) - _density(posterior, z)


def way_of(estimator: Estimator, bound: Bound) -> Way:
    """How a draw is evaluated for an estimator that gets every draw in its one pass."""
    # (a, −a, a) is the derivative of a (log p − log q) with no stop: one term for all three.
    if isinstance(estimator, Reparameterized):
        return Way(total)
    return path_of(estimator, bound, score=estimator.uses_score)


def path_of(estimator: Estimator, bound: Bound, *, score: bool) -> Way:
    """How a draw is evaluated whose path is apart from its score, with the score or without."""
    if not estimator.uses_path:
        return Way(held if score else held_model)
    if isinstance(estimator, GeneralizedDoublyReparameterized):
        return Way(generalized, taps=True)
    if estimator.path_is_model(bound):
        return Way(functools.partial(moving, score=score))
    return Way(functools.partial(tapped, score=score), taps=True)


class Way(NamedTuple):
    """A function of one draw, and whether it takes two zeros for `tap`."""

    function: Callable[..., Drawn]
    taps: bool = False

    def zeros(self, like: Array) -> tuple[Array, ...]:
        """What the function takes beside the draw: nothing, or two zeros like something."""
        zeros = jnp.where(False, jax.lax.stop_gradient(like), 0)  # noqa: FBT003
        return (zeros, zeros) if self.taps else ()


def with_axes_of_coefficients(
    log_weight: Float[Array, ""], estimator: Estimator, bound: Bound, num: int
) -> Float[Array, ""]:
    """A number with the axes of every `vmap` around that log weights or coefficients have.

    Zeros for `tap` need them all: without one, what comes back in their places would be the sum
    over it. Nothing else needs the number, so that the compiler leaves it out.

    Args:
        log_weight: Its value does not matter.
        estimator: Whose coefficients they are.
        bound: The bound that they follow.
        num: Draws in a bound.
    """
    held = jax.lax.stop_gradient(log_weight)
    coefficients = estimator.coefficients(bound, jnp.broadcast_to(held, (num,)))
    return jax.lax.stop_gradient(held + sum(jnp.sum(c) for c in coefficients))


def surrogate(drawn: Drawn, coefficients: Coefficients) -> Float[Array, ...]:
    """Each draw's share of a number whose derivative is the coefficients' sum."""
    model, score, path = coefficients
    if drawn.tapped is None:
        shares = model * drawn.log_weight
    else:
        model, ratio = path_ratio(model, path)
        shares = model * drawn.log_weight + (ratio * drawn.tapped[0] + drawn.tapped[1])
    return shares if drawn.log_density is None else shares + score * drawn.log_density


def path_ratio(model: Array, path: Array) -> tuple[Array, Array]:
    """Model coefficients, and how many times as far their draws are to move."""
    # A draw with a path but no weight in the model would be divided by zero: it gets a weight far
    # below rounding instead.
    least = jnp.abs(path) * jnp.finfo(model.dtype).eps ** 2
    model = jnp.where(jnp.abs(model) < least, least, model)
    return model, path / jnp.where(model == 0, 1, model)


def held(log_joint_of, x, posterior, key):
    """The draw held fixed: derivatives by the model's parameters, and by q's in log q."""
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    log_density = _density(posterior, z)
    log_p = _log_joint(log_joint_of, x, z)
    return Drawn(log_p - jax.lax.stop_gradient(log_density), log_density)


def held_model(log_joint_of, x, posterior, key):
    """The draw held fixed: derivatives by the model's parameters alone."""
    drawn = held(log_joint_of, x, stop_parameters(posterior), key)
    return drawn._replace(log_density=None)


def total(log_joint_of, x, posterior, key):
    """Nothing is stopped."""
    z = draw(posterior, key=key)
    return Drawn(_log_joint(log_joint_of, x, z) - _density(posterior, z))


def moving(log_joint_of, x, posterior, key, *, score=False):
    """The draw moves with q, and q's density does not."""
    z = draw(posterior, key=key)
    value = _log_joint(log_joint_of, x, z) - _density(stop_parameters(posterior), z)
    return Drawn(value, _score(posterior, z) if score else None)


def tapped(log_joint_of, x, posterior, key, *zeros, score=False):
    """The same, the draw moving path / model times as far."""
    drawn = draw(posterior, key=key)
    z, zeros = _tap(jax.lax.stop_gradient(drawn), drawn, zeros)
    value = _log_joint(log_joint_of, x, z) - _density(stop_parameters(posterior), z)
    return Drawn(value, _score(posterior, drawn) if score else None, zeros)


def generalized(log_joint_of, x, posterior, key, *zeros):
    """A draw of another density than it is weighed by: −h goes along a path of its own."""
    if as_posterior(posterior).drawn_log_prob is None:  # drawn from what it is weighed by
        return tapped(log_joint_of, x, posterior, key, *zeros)
    z = draw(posterior, key=key)
    stopped, other = stop_parameters(posterior), posterior.carry(z)
    z, (a, b) = _tap(z, other, zeros)
    value = _log_joint(log_joint_of, x, z) - _density(stopped, z)
    apart = stopped.drawn_log_prob(other) - _density(stopped, other)
    # The draw's own path has the model's coefficient, the other one path − model.
    return Drawn(with_gradient_of(value, value - apart), tapped=(a, b - a))


def _score(posterior: Posterior, z: PyTree) -> Float[Array, ""]:
    """Log q of the draw held fixed."""
    return _density(posterior, jax.lax.stop_gradient(z))


def _tap(z: PyTree, other: PyTree, zeros: tuple) -> tuple[PyTree, tuple]:
    """`tap` of the floating-point leaves."""
    floating, rest = eqx.partition(z, eqx.is_inexact_array)
    floating, a, b = tap(floating, eqx.filter(other, eqx.is_inexact_array), *zeros)
    return eqx.combine(floating, rest), (a, b)


def _log_joint(log_joint_of: Callable[[Any], Callable], x: PyTree, z: PyTree) -> Float[Array, ""]:
    return check_scalar(log_joint_of(x)(z), "log_joint(z)", "sum the log densities")


def _density(posterior: Posterior, z: PyTree) -> Float[Array, ""]:
    return check_scalar(
        posterior.log_prob(z), "posterior.log_prob(z)", "write .to_event() for a vector"
    )
