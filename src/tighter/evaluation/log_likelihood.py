"""Log-likelihoods by importance sampling, with their errors, in constant memory."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree
from rich.console import Console
from rich.progress import track

from tighter._errors import InputError
from tighter._rows import Rows, rows_of_batch
from tighter.evaluation.psis import pareto_k, tail_size
from tighter.objective import log_weight

# Rows through the decoder at a time: large enough for the matrix products, small enough for the
# cache. Draws of one example stay together, so that the largest weights are sorted out seldom.
_ROWS = 4096
_DRAWS = 512


class LogLikelihood(NamedTuple):
    """Importance-sampling estimates of log p(x), a row an example.

    Attributes:
        value: log of the mean of K weights, in nats: the IWAE bound of K draws.
        standard_error: Monte Carlo standard error of `value`, in nats (delta method); NaN at K = 1.
        ess: Effective sample size of the weights, between 1 and K.
        pareto_k: Shape of the weights' tail; above 0.7 neither value nor error is to be trusted.
            NaN with fewer than 25 draws.
    """

    value: Float[np.ndarray, " batch"]
    standard_error: Float[np.ndarray, " batch"]
    ess: Float[np.ndarray, " batch"]
    pareto_k: Float[np.ndarray, " batch"]


class _Sums(NamedTuple):
    """Streaming sums of the weights, relative to the largest so far."""

    largest: Float[Array, "batch tail_and_one"]
    log_scale: Float[Array, " batch"]
    first: Float[Array, " batch"]
    second: Float[Array, " batch"]


def log_likelihood(
    model: Any,
    x: PyTree,
    *,
    num_samples: int = 5000,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> LogLikelihood:
    r"""Estimate $\log p(x) \approx \log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$ for each example.

    Biased downward by about half the squared standard error. Draws are streamed: memory does not
    grow with K (but for the 3√K largest weights), and the result does not depend on the chunk
    size, to rounding.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`.
        x: Examples; arrays with leading axis N.
        num_samples: K, draws an example.
        chunk_size: Draws of an example at a time; None for a size that suits the machine.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Estimates with their errors, in nats a datum, one row an example.

    Raises:
        InputError: If `num_samples` or `chunk_size` is below 1, or there are no examples.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5; Vehtari et
        al., "Pareto smoothed importance sampling", 2024.
    """
    for name, number in (("num_samples", num_samples), ("chunk_size", chunk_size)):
        if number is not None and number < 1:
            raise InputError(f"{name} is at least 1, got {number}")
    rows = rows_of_all(model, x, key=key)
    chunk = min(chunk_size or _DRAWS, num_samples)
    block = max(1, min(_ROWS // chunk, rows.keys.shape[0]))
    parts = []
    starts = range(0, rows.keys.shape[0], block)
    shown = sys.stderr.isatty() if show_progress is None else show_progress
    console = Console(stderr=True)
    for start in track(
        starts, "log-likelihood", console=console, transient=True, disable=not shown
    ):
        # The last block is filled up with earlier rows, so that one program serves all.
        taken = jnp.minimum(jnp.arange(start, start + block), rows.keys.shape[0] - 1)
        sums = _stream(rows, taken, num_samples, chunk)
        parts.append(jax.device_get(sums))
    gathered = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return _summarize(jax.tree.map(lambda leaf: leaf[: rows.keys.shape[0]], gathered), num_samples)


def rows_of_all(model: Any, x: PyTree, *, key: Key[Array, ""]) -> Rows:
    """The posteriors of all examples, computed once."""
    return eqx.filter_jit(rows_of_batch)(model, x, key=key)


@eqx.filter_jit
def _stream(rows: Rows, taken: Int[Array, " batch"], num_samples: int, chunk: int) -> _Sums:
    """Sums over all draws of some examples, a chunk at a time."""
    some = rows.take(taken)
    num_batch = taken.shape[0]

    def log_weights(start: Int[Array, ""], size: int) -> Float[Array, "batch draws"]:
        draws = jnp.broadcast_to(start + jnp.arange(size), (num_batch, size))
        return some.evaluate(log_weight, draws)

    dtype = jax.eval_shape(lambda: log_weights(jnp.asarray(0), 1)).dtype
    lowest = jnp.full((num_batch, tail_size(num_samples) + 1), -jnp.inf, dtype)
    zeros = jnp.zeros(num_batch, dtype)
    sums = _Sums(lowest, jnp.full(num_batch, -jnp.inf, dtype), zeros, zeros)
    full = num_samples // chunk

    def step(i: Int[Array, ""], sums: _Sums) -> _Sums:
        return _add(sums, log_weights(i * chunk, chunk))

    sums = jax.lax.fori_loop(0, full, step, sums)
    if full * chunk < num_samples:
        sums = _add(sums, log_weights(jnp.asarray(full * chunk), num_samples - full * chunk))
    return sums


def _add(sums: _Sums, log_weights: Float[Array, "batch draws"]) -> _Sums:
    """The sums with some more draws."""
    size = sums.largest.shape[1]
    both = jnp.concatenate([sums.largest, log_weights], axis=1)
    largest = jax.lax.top_k(both, size)[0]
    log_scale = jnp.maximum(sums.log_scale, jnp.max(log_weights, axis=1))
    finite = jnp.where(jnp.isfinite(log_scale), log_scale, 0)
    shrink = jnp.exp(sums.log_scale - finite)
    weights = jnp.exp(log_weights - finite[:, None])
    return _Sums(
        largest,
        log_scale,
        sums.first * shrink + jnp.sum(weights, axis=1),
        sums.second * shrink**2 + jnp.sum(weights**2, axis=1),
    )


def _summarize(sums: _Sums, num_samples: int) -> LogLikelihood:
    first, second, log_scale = (
        np.asarray(leaf, np.float64) for leaf in (sums.first, sums.second, sums.log_scale)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        value = log_scale + np.log(first) - np.log(num_samples)
        relative_variance = np.maximum(second / first**2 - 1 / num_samples, 0)
        standard_error = np.sqrt(relative_variance * num_samples / np.float64(num_samples - 1))
        ess = first**2 / second
    return LogLikelihood(value, standard_error, ess, pareto_k(np.asarray(sums.largest)))
