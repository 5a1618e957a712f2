"""Draws to log weights to a bound to its gradient.

One pass over the draws gives their log weights; from these follow the bound and the estimator's
coefficients, which go back through the same pass (`tighter.objectives.log_weights`). Only where
few of the draws are backpropagated there are two passes: all draws forward, then the few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import require
from tighter._derivatives import with_gradient_of
from tighter._protocols import Model, prior_if_any
from tighter._resampling import systematic
from tighter._rows import Rows, rows_of_batch
from tighter.bounds import ELBO, IWAE, Bound, Custom, as_bound
from tighter.distributions import Posterior, check_supports, stop_parameters
from tighter.gradients import (
    Bias,
    Coefficients,
    DoublyReparameterized,
    Draws,
    Estimator,
    Reparameterized,
)
from tighter.objectives.base import AnyObjective, check_enough, check_whole
from tighter.objectives.log_weights import (
    Drawn,
    Way,
    check_drawn,
    held,
    held_model,
    log_weight,
    path_of,
    surrogate,
    way_of,
    with_axes_of_coefficients,
)

LogJoint = Callable[[Any], Array]


class Objective(AnyObjective):
    """A bound, an estimator of its gradient, and how many draws they take.

    The value is the bound in nats (larger is better), exactly, whatever the estimator; the
    derivative with respect to everything that `log_joint` and `posterior` were made from is the
    estimate of the bound's gradient. First derivatives only, and by `jax.grad` or `jax.vjp`;
    `jax.jvp` is there for estimators whose path has the model's coefficients, or that have none.

    Args:
        bound: A `tighter.bounds` object, or any callable (K,) log weights -> scalar.
        gradient: A `tighter.gradients` object.
        num_samples: K, the draws in a bound.
        num_outer: M; the value is the mean of M independent bounds (MIWAE).
        num_backward: Of the K draws of each bound, how many are backpropagated through log p,
            resampled so that the gradient stays unbiased; None for all.
        chunk_size: Draws of an example in memory at a time, at the cost of computing the forward
            pass again on the way back; None for all.

    Raises:
        ValueError: If a number is below what the bound or the estimator needs, or
            `num_backward` > `num_samples`.
        TypeError: If a number is no whole number, or `gradient` no estimator.

    Example:
        >>> objective = Objective(IWAE(), DoublyReparameterized(), num_samples=50)
        >>> bounds = objective.batch(model, xs, key=jax.random.key(0))  # (B,)
    """

    bound: Bound = eqx.field(default=ELBO(), converter=as_bound)
    gradient: Estimator = DoublyReparameterized()
    num_samples: int = eqx.field(default=1, static=True)
    num_outer: int = eqx.field(default=1, static=True)
    num_backward: int | None = eqx.field(default=None, static=True)
    chunk_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        """Refuse what can't be right, when it is built."""
        if not isinstance(self.gradient, Estimator):
            raise TypeError(
                f"gradient is a tighter.gradients object such as DoublyReparameterized(), got "
                f"{self.gradient!r}"
            )
        if isinstance(self.gradient, Reparameterized):
            draws = self.gradient.draws
            require(
                draws is Draws.INDEPENDENT,
                f"a bound takes independent draws, got {draws.value} ones: leave draws out "
                "(tighter.expectation takes them)",
            )
        check_whole(num_samples=self.num_samples, num_outer=self.num_outer)
        check_whole(num_backward=self.num_backward, chunk_size=self.chunk_size, optional=True)
        check_enough(self.bound, self.gradient, self.num_samples)
        require(
            (self.num_backward or 0) <= self.num_samples,
            f"num_backward is at most num_samples, got {self.num_backward} of {self.num_samples}: "
            "lower it, or leave it out to backpropagate every draw",
        )

    @property
    def bias(self) -> Bias:
        """What the estimator says of this bound with this many draws."""
        return self.gradient.bias(self.followed)

    def __call__(
        self, log_joint: LogJoint, posterior: Posterior, *, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """The bound on log p(x) for one example, in nats.

        Args:
            log_joint: z -> log p(x, z), a scalar.
            posterior: q(z | x): a numpyro distribution with empty batch shape, or any pytree with
                `rsample(key, sample_shape)` (or `sample`) and `log_prob(z)`.
            key: Random key.

        Returns:
            The bound, whose derivative is the estimate of its gradient.

        Raises:
            TypeError: If the posterior can't serve this estimator.
            ValueError: If `log_joint` or `log_prob` returns no scalar.
        """
        require(
            callable(log_joint),
            "an objective takes a function z -> log p(x, z) and a posterior, got "
            f"{type(log_joint).__name__}; for a model and a batch: objective.batch(model, xs, "
            "key=key)",
        )
        rows = Rows(lambda _: log_joint, None, None, posterior, key[None])
        return self._bounds(rows)[0]

    def batch(self, model: Model, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The bound for each example of a batch, the draws of all flattened to rows.

        The same numbers as `vmap` of a call an example, with keys `jax.random.split(key, B)`, and
        faster: log p is evaluated by one `vmap` over B·K rows.

        Args:
            model: Has `log_joint(x)` and `posterior(x)`.
            xs: Examples; a pytree of arrays with leading axis B.
            key: Random key.

        Returns:
            The bounds in nats, shape (B,).

        Raises:
            TypeError: If the posterior can't serve this estimator.
            ValueError: If the batch is empty, `log_joint` or `log_prob` returns no scalar, or the
                posterior has mass where the model's prior has none.
        """
        rows = rows_of_batch(model, xs, key=key)
        check_supports(rows.example_posterior(), prior_if_any(model))
        return self._bounds(rows)

    def _bounds(self, rows: Rows) -> Float[Array, " batch"]:
        check_drawn(
            rows.example_posterior(),
            self.gradient,
            self.followed,
            self.num_samples,
            is_total_derivative=self.gradient.is_total_derivative,
        )
        num_batch, num_draws = rows.keys.shape[0], self.num_outer * self.num_samples
        draws = jnp.broadcast_to(jnp.arange(num_draws), (num_batch, num_draws))
        if self.num_backward is None or self.num_backward == self.num_samples:
            way = way_of(self.gradient, self.followed)
            drawn = self._over_draws(rows, way, draws, self._axes(rows) if way.taps else 0.0)
            values, coefficients = self._coefficients(drawn.log_weight)
            return with_gradient_of(values, jnp.sum(surrogate(drawn, coefficients), axis=1))

        # All draws forward, with their score; few of them again, to go back through log p.
        scored = Way(held if self.gradient.uses_score else held_model)
        log_weights, log_density, _ = self._over_draws(_with_model_held(rows), scored, draws, 0.0)
        values, (model, score, path) = self._coefficients(log_weights)
        picked, factor = self._resample(rows.keys, model, path)
        model, path = (factor * jnp.take_along_axis(c, picked, axis=1) for c in (model, path))
        way = path_of(self.gradient, self.followed, score=False)
        like = (
            jnp.take_along_axis(jax.lax.stop_gradient(log_weights), picked, axis=1) + model + path
        )
        drawn = self._over_draws(rows, way, picked, like)
        shares = surrogate(drawn, Coefficients(model, score, path))
        total = jnp.sum(shares, axis=1)
        if log_density is not None:
            total = total + jnp.sum(score * log_density, axis=1)
        return with_gradient_of(values, total)

    @property
    def followed(self) -> Bound:
        """The bound, or the ELBO where one draw makes them the same."""
        parts = jax.tree.leaves(self.bound, is_leaf=lambda part: isinstance(part, Custom))
        if self.num_samples == 1 and not any(isinstance(part, Custom) for part in parts):
            return ELBO()
        return self.bound

    def _coefficients(
        self, log_weights: Float[Array, "batch draws"]
    ) -> tuple[Float[Array, " batch"], Coefficients]:
        """Each example's bound, and the estimator's coefficients of its draws."""
        groups = (log_weights.shape[0], self.num_outer, self.num_samples)
        grouped = jax.lax.stop_gradient(log_weights).reshape(groups)
        # Of one draw IWAE is the ELBO, to the last bit, and dearer.
        bound = self.followed if isinstance(self.bound, IWAE) else self.bound
        values = jnp.mean(jax.vmap(jax.vmap(bound))(grouped), axis=1)
        of_bounds = jax.vmap(jax.vmap(lambda ell: self.gradient.coefficients(bound, ell)))(grouped)
        return values, jax.tree.map(
            lambda c: (c / self.num_outer).reshape(log_weights.shape), of_bounds
        )

    def _over_draws(
        self, rows: Rows, way: Way, draws: Int[Array, "batch draws"], like: Array | float
    ) -> Drawn:
        """What the draws named give, a chunk of them (of all examples) at a time."""
        zeros = way.zeros(jnp.broadcast_to(like, draws.shape))
        return rows.in_chunks(way.function, draws, *zeros, chunk_size=self.chunk_size)

    def _axes(self, rows: Rows) -> Float[Array, ""]:
        """A number with all axes that log weights and coefficients have, of one draw."""
        first = stop_parameters(rows).take(jnp.zeros(1, int))
        one = first.evaluate(log_weight, jnp.zeros((1, 1), int))[0, 0]
        return with_axes_of_coefficients(one, self.gradient, self.bound, self.num_samples)

    def _resample(
        self,
        keys: Key[Array, " batch"],
        model: Float[Array, "batch draws"],
        path: Float[Array, "batch draws"],
    ) -> tuple[Int[Array, "batch drawn"], Float[Array, "batch drawn"]]:
        """Within each of the M bounds, `num_backward` draws and one over their expected counts."""
        num = self.num_backward or self.num_samples
        groups = (keys.shape[0], self.num_outer, self.num_samples)
        magnitudes = jnp.maximum(jnp.abs(model), jnp.abs(path)).reshape(groups)
        keys = jax.vmap(lambda key: jax.random.split(_resampling_key(key), self.num_outer))(keys)
        resample = jax.vmap(jax.vmap(lambda m, key: systematic(m, num, key=key)))
        picked, factor = resample(magnitudes, keys)
        picked = picked + self.num_samples * jnp.arange(self.num_outer)[None, :, None]
        return picked.reshape(groups[0], -1), factor.reshape(groups[0], -1)


def _with_model_held(rows: Rows) -> Rows:
    """The rows with no derivative but by the posteriors."""
    return dataclasses.replace(rows, log_joint_of=stop_parameters(rows.log_joint_of))


def _resampling_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """A key that no draw has: draws take `fold_in(key, i)` from 0 up."""
    return jax.random.fold_in(key, 2**32 - 1)
