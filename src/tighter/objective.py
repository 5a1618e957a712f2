"""Draws to log weights to a bound to its gradient: the one place that forms log p - log q.

In two passes over the draws. First the log weights, with no gradient; from them the bound and the
estimator's coefficients. Then a surrogate whose derivative is

    sum_k model_k grad_theta log p(x, z_k) + score_k grad_phi log q(z_k)
        + path_k grad_z[log p(x, z) - log q(z)] dz_k/dphi.

The model's and the path's part share one backward pass through log p: the coefficient in front is
model_k, and the cotangent of z_k is multiplied by path_k / model_k on its way back. Where all draws
are kept, the second pass repeats the first one's computation and XLA merges the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._chunks import map_chunks
from tighter._derivatives import scale_derivative, with_gradient_of, with_second_path
from tighter._resampling import systematic
from tighter._rows import Rows, check_scalar, rows_of_batch
from tighter.bounds import ELBO, Bound, Custom, as_bound
from tighter.distributions import (
    Posterior,
    check_posterior,
    check_supports,
    draw,
    stop_parameters,
)
from tighter.gradients import (
    Bias,
    Coefficients,
    DoublyReparameterized,
    Draws,
    Estimator,
    GeneralizedDoublyReparameterized,
    Reparameterized,
)

LogJoint = Callable[[Any], Array]


@runtime_checkable
class Model(Protocol):
    """What `Objective.batch` asks of a model, for one example x."""

    def log_joint(self, x: Any) -> LogJoint:
        """Z -> log p(x, z), a scalar in nats."""
        ...

    def posterior(self, x: Any) -> Posterior:
        """q(z | x)."""
        ...


class Objective(eqx.Module):
    """A bound, an estimator of its gradient, and how many draws they take.

    The value is the bound in nats (larger is better), exactly, whatever the estimator; the
    derivative with respect to everything that `log_joint` and `posterior` were made from is the
    estimate of the bound's gradient. First derivatives only.

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
        draws = getattr(self.gradient, "draws", Draws.INDEPENDENT)
        if draws is not Draws.INDEPENDENT:
            raise ValueError(
                f"a bound takes independent draws, got {draws.value} ones: leave draws out "
                "(tighter.expectation takes them)"
            )
        for name in ("num_samples", "num_outer", "num_backward", "chunk_size"):
            value = getattr(self, name)
            optional = name in ("num_backward", "chunk_size")
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a whole number, got {value!r}")
            if value < 1:
                raise ValueError(
                    f"{name} is at least 1{', or None for all draws' if optional else ''}, "
                    f"got {value}"
                )
        needed = self.gradient.min_samples(self.bound)
        if self.num_samples < needed:
            raise ValueError(
                f"{type(self.bound).__name__} with {type(self.gradient).__name__} needs "
                f"num_samples of {needed} or more, got {self.num_samples}"
            )
        if self.num_backward is not None and self.num_backward > self.num_samples:
            raise ValueError(
                f"num_backward is at most num_samples, got {self.num_backward} of "
                f"{self.num_samples}: lower it, or leave it out to backpropagate every draw"
            )

    @property
    def bias(self) -> Bias:
        """What the estimator says of this bound with this many draws."""
        one_draw = self.num_samples == 1 and not isinstance(self.bound, Custom)
        return self.gradient.bias(ELBO() if one_draw else self.bound)

    def at(self, step: Any) -> Objective:
        """The same at every step of training."""
        return self

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
        check_supports(rows.example_posterior(), getattr(model, "prior", None))
        return self._bounds(rows)

    def _bounds(self, rows: Rows) -> Float[Array, " batch"]:
        check_posterior(
            rows.example_posterior(),
            needs_path=self.gradient.uses_path,
            estimator=type(self.gradient).__name__,
        )
        self._check_strata(rows.example_posterior())
        num_batch, num_draws = rows.keys.shape[0], self.num_outer * self.num_samples
        all_draws = jnp.broadcast_to(jnp.arange(num_draws), (num_batch, num_draws))

        log_weights = self._over_draws(stop_parameters(rows), log_weight, all_draws)
        log_weights = jax.lax.stop_gradient(log_weights)
        log_weights = log_weights.reshape(num_batch, self.num_outer, self.num_samples)
        values = jnp.mean(jax.vmap(jax.vmap(self.bound))(log_weights), axis=1)

        coefficients = jax.vmap(jax.vmap(self._outer_coefficients))(log_weights)
        model, score, path = (c.reshape(num_batch, num_draws) for c in coefficients)
        draws, surrogate = all_draws, 0.0
        resampled = self.num_backward is not None and self.num_backward < self.num_samples
        # (a, -a, a) is the derivative of a (log p - log q) with no stop: one term for all three.
        total = isinstance(self.gradient, Reparameterized) and not resampled
        if self.gradient.uses_score and not total:
            scores = self._over_draws(rows, _score_term, all_draws, score, remat=True)
            surrogate = jnp.sum(scores, axis=1)
        if resampled:
            draws, factor = self._resample(rows.keys, model, path)
            model, path = (factor * jnp.take_along_axis(c, draws, axis=1) for c in (model, path))
        if total:
            term = total_term
        elif isinstance(self.gradient, GeneralizedDoublyReparameterized):
            term = _generalized_term
        else:
            term = path_term if self.gradient.uses_path else _model_term
        terms = self._over_draws(rows, term, draws, model, path, remat=True)
        return with_gradient_of(values, surrogate + jnp.sum(terms, axis=1))

    def _check_strata(self, posterior: Posterior) -> None:
        """Refuse an estimator that doesn't hold where draws are of one expert in turn."""
        strata = getattr(posterior, "num_strata", None)
        if strata is None:
            return
        if self.num_samples % strata:
            raise ValueError(
                f"draws are of experts in turn: num_samples is a multiple of {strata}, "
                f"got {self.num_samples}"
            )
        if self.gradient.asks_own_density(self.bound):
            raise TypeError(
                f"{type(self.gradient).__name__} holds for draws of the density that they are "
                f"weighed by, and {type(posterior).__name__} draws from one expert and weighs by "
                "the mixture: use GeneralizedDoublyReparameterized or Reparameterized"
            )

    def _outer_coefficients(self, log_weights: Float[Array, " K"]) -> Coefficients:
        """The estimator's coefficients for one of the M bounds, whose mean is taken."""
        coefficients = self.gradient.coefficients(self.bound, log_weights)
        return Coefficients(*(c / self.num_outer for c in coefficients))

    def _over_draws(
        self,
        rows: Rows,
        function: Callable[..., Array],
        draws: Int[Array, "batch draws"],
        *columns: Float[Array, "batch draws"],
        remat: bool = False,
    ) -> Float[Array, "batch draws"]:
        """`function` of every draw, a chunk of draws (of all examples) at a time."""

        def chunk(positions: Int[Array, " chunk"]) -> Float[Array, "chunk batch"]:
            taken = (column[:, positions] for column in columns)
            return rows.evaluate(function, draws[:, positions], *taken).T

        num = draws.shape[1]
        chunked = self.chunk_size is not None and self.chunk_size < num
        if remat and chunked:
            chunk = jax.checkpoint(chunk)
        return map_chunks(chunk, num, self.chunk_size).T

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


def _evaluate(log_joint_of: Callable[[Any], LogJoint], x: PyTree, z: PyTree) -> Float[Array, ""]:
    return check_scalar(log_joint_of(x)(z), "log_joint(z)", "sum the log densities")


def _density(posterior: Posterior, z: PyTree) -> Float[Array, ""]:
    return check_scalar(
        posterior.log_prob(z), "posterior.log_prob(z)", "write .to_event() for a vector"
    )


def log_weight(log_joint_of, x, posterior, key):
    """Log p(x, z) − log q(z|x) at one draw z, in nats, with no derivative through the draw."""
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    return _evaluate(log_joint_of, x, z) - _density(posterior, z)


def _score_term(log_joint_of, x, posterior, key, score):
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    return score * _density(posterior, z)


def _model_term(log_joint_of, x, posterior, key, model, path):
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    return model * _evaluate(log_joint_of, x, z)


def total_term(log_joint_of, x, posterior, key, model, path):
    """A draw's share of the surrogate of (a, −a, a), model = a: nothing is stopped."""
    z = draw(posterior, key=key)
    return model * (_evaluate(log_joint_of, x, z) - _density(posterior, z))


def path_term(log_joint_of, x, posterior, key, model, path):
    """A draw's share of the surrogate but for the score: z moves path / model times as far."""
    # A draw with a path but no weight in the model would be divided by zero: it gets a weight far
    # below rounding instead.
    least = jnp.sqrt(jnp.finfo(model.dtype).tiny)
    model = jnp.where((jnp.abs(model) < least) & (path != 0), least, model)
    ratio = path / jnp.where(model == 0, 1, model)
    z = draw(posterior, key=key)
    z = jax.tree.map(
        lambda leaf: scale_derivative(leaf, ratio) if eqx.is_inexact_array(leaf) else leaf, z
    )
    return model * (_evaluate(log_joint_of, x, z) - _density(stop_parameters(posterior), z))


def _generalized_term(log_joint_of, x, posterior, key, model, path):
    if not hasattr(posterior, "drawn_log_prob"):  # drawn from what it is weighed by
        return path_term(log_joint_of, x, posterior, key, model, path)
    z = draw(posterior, key=key)
    held, other = stop_parameters(posterior), posterior.carry(z)
    moving = with_second_path(z, other, (path - model) / jnp.where(model == 0, 1, model))
    own = model * (_evaluate(log_joint_of, x, moving) - _density(held, moving))
    return own - model * (held.drawn_log_prob(other) - _density(held, other))


def _resampling_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """A key that no draw has: draws take `fold_in(key, i)` from 0 up."""
    return jax.random.fold_in(key, 2**32 - 1)
