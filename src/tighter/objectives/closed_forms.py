"""The ELBO with a part of it in closed form: the same value in expectation, other noise.

Three forms of one bound, L = log p(x) - KL(q(z|x) || p(z|x)):

    E_q[log p(x, z) - log q(z|x)]                  `Objective(ELBO())`: all from draws
    E_q[log p(x, z)] + H(q)                        `AnalyticEntropy`
    E_q[log p(x|z)] - KL(q(z|x) || p(z))           `AnalyticKL`

None has the least noise everywhere. At q = posterior the log weights are constant, so that the
first form has no noise at all, and the others have; far from it a closed form saves noise.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Distribution, Independent

from tighter._checks import require
from tighter._derivatives import with_gradient_of
from tighter._errors import InputError
from tighter._protocols import as_model, prior_if_any
from tighter._rows import Rows, check_scalar, rows_of_batch
from tighter.bounds import ELBO
from tighter.distributions import Posterior, draw, entropy, kl, name_of
from tighter.gradients import Bias, Estimator, Reparameterized
from tighter.objectives.base import AnyObjective, check_enough, check_whole
from tighter.objectives.log_weights import check_drawn

Schedule = Callable[[Array], Any]


class _ClosedForm(AnyObjective):
    """Draws of a part of the ELBO, and the rest without."""

    @property
    @abc.abstractmethod
    def gradient(self) -> Estimator:
        """Estimator of the derivative of the part that is drawn."""

    @property
    @abc.abstractmethod
    def chunk_size(self) -> int | None:
        """Draws of an example in memory at a time."""

    @property
    def bias(self) -> Bias:
        """What the estimator says of the ELBO."""
        return self.gradient.bias(ELBO())

    def __check_init__(self) -> None:
        """Refuse what can't be right, when it is built."""
        if not isinstance(self.gradient, Estimator) or self.gradient.bias(ELBO()):
            raise TypeError(
                "an ELBO in closed form takes an estimator that is unbiased for the ELBO "
                f"(Reparameterized, ScoreFunction), got {self.gradient!r}"
            )
        check_whole(num_samples=self.num_samples)
        check_whole(chunk_size=self.chunk_size, optional=True)
        check_enough(ELBO(), self.gradient, self.num_samples)

    def _expected(self, rows: Rows) -> Float[Array, " batch"]:
        """Mean of a function of z over the draws, with the estimate of its derivative.

        The coefficients are those of the ELBO with the function as log weight, less the derivative
        of the −log q in a weight.
        """
        check_drawn(
            rows.example_posterior(),
            self.gradient,
            ELBO(),
            self.num_samples,
            is_total_derivative=self.gradient.uses_path,
        )
        num = self.num_samples
        draws = jnp.broadcast_to(jnp.arange(num), (rows.keys.shape[0], num))
        if self.gradient.uses_path:
            return jnp.mean(rows.in_chunks(_moving, draws, chunk_size=self.chunk_size), axis=1)
        values, log_density = rows.in_chunks(_held, draws, chunk_size=self.chunk_size)
        model, score, _ = jax.vmap(lambda f: self.gradient.coefficients(ELBO(), f))(
            jax.lax.stop_gradient(values)
        )
        return with_gradient_of(
            jax.lax.stop_gradient(jnp.mean(values, axis=1)),
            jnp.sum(model * values + (score + model) * log_density, axis=1),
        )


class AnalyticEntropy(_ClosedForm):
    r"""The ELBO as $\frac1K\sum_k \log p(x, z_k) + H(q)$, the entropy in closed form.

    Used wherever an `Objective` is. Sticking the landing has no place here, as log q of a draw does
    not occur: every estimator through the path is the total derivative.

    Args:
        gradient: Of the expected log joint: an estimator that is unbiased for the ELBO.
        num_samples: K, draws of an example.
        chunk_size: Draws of an example in memory at a time; None for all.

    Raises:
        InputError: When used, if the posterior has no entropy in closed form.

    Example:
        >>> AnalyticEntropy().batch(model, xs, key=jax.random.key(0))  # (B,)

    References:
        Roeder, Wu & Duvenaud, "Sticking the landing", 2017, eq. 2.
    """

    gradient: Estimator = Reparameterized()
    num_samples: int = eqx.field(default=1, static=True)
    chunk_size: int | None = eqx.field(default=None, static=True)

    def __call__(
        self, log_joint: Callable[[Any], Array], posterior: Posterior, *, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """The bound for one example, in nats.

        Args:
            log_joint: z -> log p(x, z), a scalar.
            posterior: q(z|x), with empty batch shape and an entropy.
            key: Random key.
        """
        return self._bounds(Rows(lambda _: log_joint, None, None, posterior, key[None]))[0]

    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The bound for each example of a batch, in nats."""
        return self._bounds(rows_of_batch(model, xs, key=key))

    def _bounds(self, rows: Rows) -> Float[Array, " batch"]:
        return self._expected(rows) + _for_each(rows, _entropy)


class AnalyticKL(_ClosedForm):
    r"""The ELBO as $\frac1K\sum_k \log p(x \mid z_k) - \beta\,\mathrm{KL}(q \| p(z))$.

    Used wherever an `Objective` is, for models with a `prior` and `log_likelihood(x)`. With β = 1
    and no free bits it is the ELBO. A β above 1 is still a lower bound and presses harder towards
    the prior; below 1 it is no bound.

    Args:
        beta: Weight of the divergence: a number, or a function of the step (an optax schedule such
            as `optax.linear_schedule(0.0, 1.0, 2000)`, for warm-up).
        free_bits: Nats of each latent unit for which nothing is paid: the unit's mean divergence
            over the batch is replaced by this where it is less (Kingma et al.). Units are those of
            a factorized posterior and prior; otherwise z is one unit.
        gradient: Of the expected log likelihood: an estimator that is unbiased for the ELBO.
        num_samples: K, draws of an example.
        chunk_size: Draws of an example in memory at a time; None for all.

    Raises:
        InputError: When used, if there is no closed form, or `beta` is a schedule and no step has
            been named (`objective.at(step)`, which `fit` does).

    Example:
        >>> AnalyticKL(beta=4.0, free_bits=0.1).batch(model, xs, key=jax.random.key(0))  # (B,)

    References:
        Kingma & Welling, "Auto-encoding variational Bayes", 2014, eq. 7; Higgins et al., "β-VAE",
        2017, eq. 4; Kingma et al., "Improved variational inference with inverse autoregressive
        flow", 2016, eq. 15 (free bits); Bowman et al., "Generating sentences from a continuous
        space", 2016, sec. 3.1 (warm-up).
    """

    beta: Any = 1.0
    free_bits: float = eqx.field(default=0.0, static=True, converter=float)
    gradient: Estimator = Reparameterized()
    num_samples: int = eqx.field(default=1, static=True)
    chunk_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        """Refuse what can't be right, when it is built."""
        require(
            not isinstance(self.beta, int | float) or self.beta >= 0,
            f"beta is a weight of at least 0, or a schedule, got {self.beta}",
        )
        require(
            self.free_bits >= 0,
            f"free_bits is in nats a unit, at least 0, got {self.free_bits}",
        )

    def at(self, step: Any) -> AnalyticKL:
        """The objective of one step of training: a schedule of `beta` replaced by its value."""
        return dataclasses.replace(self, beta=self.beta(step)) if callable(self.beta) else self

    def __call__(
        self,
        log_likelihood: Callable[[Any], Array],
        posterior: Posterior,
        prior: Distribution,
        *,
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """The bound for one example, in nats.

        Args:
            log_likelihood: z -> log p(x|z), a scalar.
            posterior: q(z|x), with empty batch shape.
            prior: p(z), with empty batch shape.
            key: Random key.
        """
        return self._bounds(
            Rows(lambda _: log_likelihood, None, None, posterior, key[None]), prior
        )[0]

    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The bound for each example of a batch, in nats."""
        prior, log_likelihood = prior_if_any(model), as_model(model).log_likelihood
        if prior is None or log_likelihood is None:
            raise InputError(
                f"AnalyticKL needs a model with prior and log_likelihood(x), and "
                f"{type(model).__name__} has no {'prior' if prior is None else 'log_likelihood'}: "
                "derive it from LatentVariableModel, or take Objective(ELBO())"
            )
        rows = rows_of_batch(model, xs, key=key)
        return self._bounds(
            dataclasses.replace(rows, log_joint_of=model.log_likelihood), model.prior
        )

    def _bounds(self, rows: Rows, prior: Any) -> Float[Array, " batch"]:
        require(
            not callable(self.beta), "beta is a schedule: objective.at(step) is the bound at a step"
        )
        divergences = _for_each(rows, lambda posterior: _by_unit(posterior, prior))
        free = jnp.mean(divergences, axis=0, keepdims=True) <= self.free_bits
        paid = jnp.sum(jnp.where(free, self.free_bits, divergences), axis=1)
        return self._expected(rows) - self.beta * paid


def _for_each(rows: Rows, function: Callable[[Any], Array]) -> Array:
    """A function of each example's posterior."""
    num = rows.keys.shape[0]
    of_each = jax.vmap(lambda batched: function(eqx.combine(batched, rows.shared)), axis_size=num)
    return of_each(rows.batched)


def _entropy(posterior: Any) -> Float[Array, ""]:
    try:
        return entropy(posterior)
    except (NotImplementedError, AttributeError):
        raise InputError(
            f"{name_of(posterior)} has no entropy in closed form: take Objective(ELBO()), which "
            "draws it"
        ) from None


def _by_unit(posterior: Any, prior: Any) -> Float[Array, " units"]:
    """KL(q‖p) of each latent unit where both factorize; of z as a whole otherwise."""
    require(
        isinstance(posterior, Distribution) and isinstance(prior, Distribution),
        "AnalyticKL needs a posterior and a prior that are numpyro distributions, got "
        f"{type(posterior).__name__} and {type(prior).__name__}: take Objective(ELBO())",
    )
    q, p = posterior, prior
    if isinstance(q, Independent) and isinstance(p, Independent) and q.event_shape == p.event_shape:
        units = q.base_dist, p.base_dist
        q, p = units if units[0].event_shape == units[1].event_shape else (q, p)
    return jnp.reshape(kl(q, p), -1)


def _moving(log_likelihood_of, x, posterior, key):
    return _density(log_likelihood_of, x, draw(posterior, key=key))


def _held(log_likelihood_of, x, posterior, key):
    z = jax.lax.stop_gradient(draw(posterior, key=key))
    return _density(log_likelihood_of, x, z), posterior.log_prob(z)


def _density(log_likelihood_of: Any, x: PyTree, z: PyTree) -> Float[Array, ""]:
    return check_scalar(log_likelihood_of(x)(z), "the log density", "sum the log densities")
