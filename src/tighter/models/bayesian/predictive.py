"""What a posterior says of data: draws of them, and the density of data held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter._checks import require
from tighter._examples import checked_examples
from tighter._programs import compiled
from tighter._protocols import as_model
from tighter._summary import quantity, summary
from tighter.models.bayesian.parameters import leading_axis

# Likelihoods in memory at a time.
_NUMBERS = 4_000_000


def posterior_predictive(
    draws: PyTree, sample: Callable[[PyTree, Key[Array, ""]], PyTree], *, key: Key[Array, ""]
) -> PyTree:
    """Data drawn anew, one set for each draw of the parameters.

    Args:
        draws: Parameters with leading axis S.
        sample: (parameters, key) -> data.
        key: Random key.

    Returns:
        Data with leading axis S.

    Example:
        >>> sample = lambda parameters, key: dist.Normal(parameters["mean"], 1.0).sample(key, (9,))
        >>> posterior_predictive(model.draws(1000, key=key), sample, key=other_key)  # (1000, 9)
    """
    keys = jax.random.split(key, num_draws(draws))
    return jax.jit(jax.vmap(sample))(draws, keys)


class LogPredictive(NamedTuple):
    r"""Log density of data held out, $\log \frac1S \sum_s p(d_n \mid \theta_s)$.

    Attributes:
        value: Of each datum, in nats, shape (N,).
        standard_error: Its Monte Carlo standard error (delta method).
        mean: Mean of `value`, nats a datum.
        mean_error: Monte Carlo standard error of the mean: all data have the same draws.
    """

    value: Float[np.ndarray, " N"]
    standard_error: Float[np.ndarray, " N"]
    mean: float
    mean_error: float

    def __repr__(self) -> str:
        mean = f"{quantity(self.mean, self.mean_error)} nats, mean of {self.value.size:,} data"
        return summary(self, mean, "the error is that of the draws")


def log_predictive(model: Any, draws: PyTree, data: PyTree) -> LogPredictive:
    """Log predictive density of each datum, with its Monte Carlo error.

    Args:
        model: Has `log_likelihoods(parameters, data)`.
        draws: Parameters with leading axis S, such as `model.draws(1000, key=key)` or
            importance-resampled ones.
        data: Held-out data, arrays with leading axis N.

    Raises:
        InputError: If there is one draw only; if the data are none, not finite, or their leading
            axes differ.
    """
    num = num_draws(draws)
    require(num >= 2, "a predictive density and its error take 2 draws or more, got 1")
    values, errors, influence = [], [], np.zeros(num)
    for block in likelihood_blocks(model, draws, data):
        top = block.max(axis=0)
        likelihoods = np.exp(block - top)
        mean = likelihoods.mean(axis=0)
        relative = likelihoods / mean - 1
        values.append(top + np.log(mean))
        errors.append(relative.std(axis=0, ddof=1) / math.sqrt(num))
        influence += relative.sum(axis=1)
    value = np.concatenate(values)
    error = influence.std(ddof=1) / math.sqrt(num) / value.size
    return LogPredictive(value, np.concatenate(errors), float(value.mean()), float(error))


def likelihood_blocks(model: Any, draws: PyTree, data: PyTree) -> Any:
    """Log-likelihoods (S, some of N) of all data in turn, doubles, in bounded memory.

    Raises:
        InputError: If the data are none, not finite, or their leading axes differ.
    """
    data = checked_examples(data, "data", missing=as_model(model).takes_missing, scalars=True)
    num_data = len(jax.tree.leaves(data)[0])
    size = max(1, min(num_data, _NUMBERS // num_draws(draws)))
    data = jax.tree.map(jnp.asarray, data)
    for start in range(0, num_data, size):
        # The last block is filled up with earlier rows, so that one program serves all.
        rows = jnp.minimum(jnp.arange(start, start + size), num_data - 1)
        some = jax.tree.map(lambda leaf: leaf[rows], data)  # noqa: B023
        kept = min(size, num_data - start)
        yield np.asarray(_likelihoods(model, draws, some), np.float64)[:, :kept]


def num_draws(draws: PyTree) -> int:
    """How many draws there are.

    Raises:
        InputError: If their leading axes differ.
    """
    return leading_axis(draws, "draws are parameters")


@compiled
def _likelihoods(model: Any, draws: PyTree, data: PyTree) -> Float[Array, "S N"]:
    return jax.vmap(lambda parameters: model.log_likelihoods(parameters, data))(draws)
