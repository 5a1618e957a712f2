"""Where the ELBO loses: to an encoder that is not the best, and to a family that is too small."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import check_counts, require
from tighter._chunks import map_blocks, map_chunks
from tighter._programs import compiled
from tighter._protocols import as_posterior
from tighter._rows import Rows
from tighter._summary import fields_of, mean_of, summary
from tighter.bounds import ELBO
from tighter.diagnostics._free_parameters import check_free_parameters, free_parameters
from tighter.diagnostics._posteriors import (
    check_every_row,
    posterior_of,
    posteriors_of_all,
)
from tighter.distributions import has_known_support, is_reparameterizable
from tighter.gradients import LeaveOneOut, Reparameterized, ScoreFunction, StickingTheLanding
from tighter.objectives.log_weights import log_weight
from tighter.objectives.objective import Objective

# Examples optimized side by side, draws of each in a step, and rows through the decoder at a time
# where draws are weighed.
_EXAMPLES, _STEP_DRAWS, _ROWS = 256, 8, 4096
_LEAST_GRADIENT = 1e-4
# What an example's key is for: steps of the optimizer, and draws that are weighed.
_STEP, _WEIGHED = 0, 1


class GapErrors(NamedTuple):
    """Monte Carlo standard errors, in nats, one an example.

    Those of the gaps are below what the two numbers' own would make, which have draws in common.
    """

    elbo: Float[np.ndarray, " batch"]
    optimized_elbo: Float[np.ndarray, " batch"]
    log_likelihood: Float[np.ndarray, " batch"]
    amortization_gap: Float[np.ndarray, " batch"]
    approximation_gap: Float[np.ndarray, " batch"]

    def __repr__(self) -> str:
        return fields_of(self)


class InferenceGaps(NamedTuple):
    """What lies between the ELBO and log p(x), in nats, one an example; NumPy's mean averages.

    Attributes:
        elbo: Of the encoder's posterior.
        optimized_elbo: Of the best posterior of the family, optimized for the example alone.
        log_likelihood: As it was given; else the IWAE bound of `num_samples` draws of the
            optimized posterior.
        amortization_gap: optimized_elbo − elbo: what the encoder loses.
        approximation_gap: log_likelihood − optimized_elbo: what the family loses.
        ess: Effective sample size behind `log_likelihood`; where it is small, the log-likelihood
            and the approximation gap are too low. NaN where it was given.
        standard_error: Of the five; zero for a log-likelihood that was given.
    """

    elbo: Float[np.ndarray, " batch"]
    optimized_elbo: Float[np.ndarray, " batch"]
    log_likelihood: Float[np.ndarray, " batch"]
    amortization_gap: Float[np.ndarray, " batch"]
    approximation_gap: Float[np.ndarray, " batch"]
    ess: Float[np.ndarray, " batch"]
    standard_error: GapErrors

    def __repr__(self) -> str:
        amortization, approximation = map(mean_of, (self.amortization_gap, self.approximation_gap))
        gaps = f"amortization_gap {amortization}", f"approximation_gap {approximation}"
        return summary(self, *gaps)


def inference_gaps(
    model: Any,
    x: PyTree,
    *,
    num_steps: int = 1000,
    num_samples: int = 1000,
    learning_rate: float = 0.05,
    log_likelihood: ArrayLike | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> InferenceGaps:
    r"""Split the gap between ELBO and log p(x) into the encoder's part and the family's.

    $$\log p(x) - \mathrm{ELBO}[q_\phi] = \underbrace{\log p(x) - \mathrm{ELBO}[q^*]}
        _{\text{approximation}} + \underbrace{\mathrm{ELBO}[q^*] - \mathrm{ELBO}[q_\phi]}
        _{\text{amortization}},$$

    q* the best posterior of the encoder's family for this x alone. It is found by Adam, with a
    rate that falls to zero by a cosine, from where the encoder puts it. All numbers are of fresh
    draws, the same ones for q* and q_φ. An optimization cut short makes the amortization gap too
    small and the approximation gap too large: with twice the steps both should stay.

    Args:
        model: Has `log_joint(x)` and `posterior(x)`. All parameters of the posterior's
            distributions are optimized for each example, constants too, scales and the like
            through their constraints; of other posteriors all floating-point arrays.
        x: Examples; arrays with leading axis N.
        num_steps: Of Adam.
        num_samples: Fresh draws of each posterior that the results are means of.
        learning_rate: Of Adam, at the start.
        log_likelihood: Estimates of log p(x), shape (N,), such as `log_likelihood(...).value`.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Bounds and gaps with their errors, one an example.

    Raises:
        InputError: If a count is below what is needed, the posterior can't be optimized by its
            parameters, `log_likelihood` is of another shape, or a bound is not finite.

    References:
        Cremer, Li & Duvenaud, "Inference suboptimality in variational autoencoders", 2018, eq. 4.
    """
    check_counts(num_steps=num_steps)
    check_counts(least=2, num_samples=num_samples)
    rows_key, check_key = jax.random.split(key)
    rows = posteriors_of_all(model, x, key=rows_key)
    num = rows.keys.shape[0]
    if log_likelihood is not None:
        shape = np.shape(log_likelihood)
        require(
            shape == (num,),
            f"log_likelihood is a number for each of the {num} examples, got shape {shape}",
        )
    posterior = rows.example_posterior()
    require(
        as_posterior(posterior).num_strata is None,
        f"{type(posterior).__name__} draws from its experts in turn: give the same posterior as a "
        "Mixture",
    )
    check_free_parameters(posterior, key=check_key)

    def weigh(taken: Int[Array, " block"]) -> tuple[Array, Array]:
        free = _optimized(rows, taken, num_steps, learning_rate)
        return _log_weights(rows, taken, free, num_samples)

    block = min(_EXAMPLES, num)
    parts = map_blocks(weigh, num, block, "inference gaps", show_progress=show_progress)
    ours, best = (part.astype(np.float64) for part in parts)
    mends = {
        "of the encoder's posterior": "look for such values in it and in the model",
        "after optimizing": "lower learning_rate",
    }
    for log_weights, (where, mend) in zip((ours, best), mends.items(), strict=True):
        finite = np.isfinite(log_weights).all(axis=1)
        check_every_row(finite, f"the ELBO {where} is not finite", mend)
    return _summarized(ours, best, log_likelihood)


@compiled
def _optimized(
    rows: Rows, taken: Int[Array, " block"], num_steps: int, learning_rate: float
) -> PyTree:
    """Free parameters of the best posteriors of some examples."""
    some = rows.take(taken)
    posterior = rows.example_posterior()
    if not is_reparameterizable(posterior):
        estimator = ScoreFunction(LeaveOneOut())
    elif has_known_support(posterior):
        estimator = StickingTheLanding()
    else:  # its ends may be among what is optimized
        estimator = Reparameterized()
    objective = Objective(ELBO(), estimator, num_samples=_STEP_DRAWS)
    # Where q is the posterior, gradients are rounding, which Adam must not take for a direction.
    rate = optax.cosine_decay_schedule(learning_rate, num_steps)
    optimizer = optax.adam(rate, eps=_LEAST_GRADIENT)

    def loss(free: PyTree, x: PyTree, batched: PyTree, key: Key[Array, ""]) -> Array:
        posterior = _rebuilt(rows, batched, free)
        return -objective(rows.log_joint_of(x), posterior, key=key)

    step_keys = jax.vmap(lambda key: jax.random.fold_in(key, _STEP))(some.keys)

    def step(carry: tuple[PyTree, Any], index: Int[Array, ""]) -> tuple[tuple[PyTree, Any], None]:
        free, state = carry
        keys = jax.vmap(jax.random.fold_in, (0, None))(step_keys, index)
        gradients = jax.vmap(jax.grad(loss))(free, some.xs, some.batched, keys)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(free, updates), state), None

    def start(_: Array, batched: PyTree) -> PyTree:
        return free_parameters(posterior_of(rows, batched))[0]

    free = jax.vmap(start)(some.keys, some.batched)
    return jax.lax.scan(step, (free, optimizer.init(free)), jnp.arange(num_steps))[0][0]


@compiled
def _log_weights(
    rows: Rows, taken: Int[Array, " block"], free: PyTree, num_samples: int
) -> tuple[Float[Array, "block draws"], Float[Array, "block draws"]]:
    """Log weights of draws of the encoder's and of the optimized posteriors, from the same keys."""
    some = rows.take(taken)

    def example(
        x: PyTree, batched: PyTree, free: PyTree, key: Key[Array, ""], draw: Int[Array, ""]
    ) -> tuple[Array, Array]:
        key = jax.random.fold_in(jax.random.fold_in(key, _WEIGHED), draw)
        posteriors = posterior_of(rows, batched), _rebuilt(rows, batched, free)
        ours, best = (log_weight(rows.log_joint_of, x, q, key) for q in posteriors)
        return ours, best

    def chunk(draws: Int[Array, " chunk"]) -> tuple[Array, Array]:
        of_draw = jax.vmap(example, (0, 0, 0, 0, None))
        each = jax.vmap(of_draw, (None, None, None, None, 0))
        return each(some.xs, some.batched, free, some.keys, draws)

    ours, best = map_chunks(chunk, num_samples, max(1, _ROWS // taken.size))
    return ours.T, best.T


def _rebuilt(rows: Rows, batched: PyTree, free: PyTree) -> Any:
    return free_parameters(posterior_of(rows, batched))[1](free)


def _summarized(
    ours: Float[np.ndarray, "batch draws"],
    best: Float[np.ndarray, "batch draws"],
    log_likelihood: ArrayLike | None,
) -> InferenceGaps:
    num_samples = ours.shape[1]

    def error(terms: Float[np.ndarray, "batch draws"]) -> Float[np.ndarray, " batch"]:
        return terms.std(axis=1, ddof=1) / math.sqrt(num_samples)

    elbo, optimized = ours.mean(axis=1), best.mean(axis=1)
    if log_likelihood is None:
        largest = best.max(axis=1, keepdims=True)
        weights = np.exp(best - largest)
        evidence = largest[:, 0] + np.log(weights.mean(axis=1))
        # Delta method: the logarithm of a mean moves by each weight over the mean.
        relative = weights / weights.mean(axis=1, keepdims=True)
        ess = num_samples / (relative**2).mean(axis=1)
    else:
        evidence = np.asarray(log_likelihood, np.float64)
        relative, ess = np.zeros_like(best), np.full_like(elbo, np.nan)
    errors = GapErrors(
        error(ours), error(best), error(relative), error(best - ours), error(relative - best)
    )
    return InferenceGaps(
        elbo, optimized, evidence, optimized - elbo, evidence - optimized, ess, errors
    )
