"""Log-likelihoods by importance sampling, with their errors, in constant memory."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import check_counts
from tighter._chunks import fold_chunks, map_blocks
from tighter._examples import Stored, admitted, admitted_rows, as_floating, num_rows
from tighter._mesh import checked_mesh, over, size_of
from tighter._programs import compiled
from tighter._protocols import as_model
from tighter._rows import Rows, rows_of_batch
from tighter._summary import mean_of, summary
from tighter.evaluation.groups import bootstrap_interval, jackknife
from tighter.evaluation.psis import pareto_tail, tail_size
from tighter.evaluation.verdicts import Verdict, verdict
from tighter.objectives.log_weights import log_weight

# Rows through the decoder at a time: large enough for the matrix products, small enough for the
# cache. Draws of one example stay together, so that the largest weights are sorted out seldom.
_ROWS = 4096
_DRAWS = 512
# Examples whose posteriors are in memory at a time, where they are read by rows.
_EXAMPLES = 4096


# Groups of draws, from whose sums come the bootstrap and the jackknife.
_GROUPS = 64


class LogLikelihood(NamedTuple):
    """Importance-sampling estimates of log p(x), a row an example.

    Attributes:
        value: log of the mean of K weights, in nats: the IWAE bound of K draws.
        standard_error: Monte Carlo standard error of `value`, in nats (delta method); NaN at K = 1.
            Of experts that are drawn in turn it is that of a stratified mean, and it takes two
            turns; so do the jackknife and the bootstrap.
        ess: Effective sample size of the weights, between 1 and K.
        pareto_k: Shape of the weights' tail; above 0.7 neither value nor error is to be trusted.
            NaN with fewer than 25 draws.
        pareto_smoothed: The value with its largest weights replaced by the order statistics of the
            Pareto distribution fitted to them: less noisy, with a bias that k̂ tells.
        jackknife: The value with its bias of order 1/K removed; no lower bound any more. NaN at
            K = 1.
        bootstrap_lower: Lower end of the bootstrap's 95 % interval; NaN at K = 1.
        bootstrap_upper: Its upper end.
    """

    value: Float[np.ndarray, " batch"]
    standard_error: Float[np.ndarray, " batch"]
    ess: Float[np.ndarray, " batch"]
    pareto_k: Float[np.ndarray, " batch"]
    pareto_smoothed: Float[np.ndarray, " batch"]
    jackknife: Float[np.ndarray, " batch"]
    bootstrap_lower: Float[np.ndarray, " batch"]
    bootstrap_upper: Float[np.ndarray, " batch"]

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the normal interval of that level around `value` (delta method), in nats."""
        half = NormalDist().inv_cdf((1 + level) / 2) * self.standard_error
        return self.value - half, self.value + half

    @property
    def verdict(self) -> Verdict:
        """Whether to trust the values, in words."""
        return verdict(self.pareto_k, self.standard_error, self.value)

    def __repr__(self) -> str:
        return summary(self, mean_of(self.value, self.standard_error), str(self.verdict))


class _Sums(NamedTuple):
    """Streaming sums of the weights, relative to the largest so far."""

    largest: Float[Array, "batch tail_and_one"]
    log_scale: Float[Array, " batch"]
    groups: Float[Array, "batch groups"]
    strata: Float[Array, "batch strata"]
    second: Float[Array, " batch"]


def log_likelihood(
    model: Any,
    x: PyTree,
    *,
    num_samples: int = 5000,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    mesh: Mesh | None = None,
    show_progress: bool | None = None,
) -> LogLikelihood:
    r"""Estimate $\log p(x) \approx \log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$ for each example.

    Biased downward by about half the squared standard error. Draws are streamed: memory does not
    grow with K (but for the 3√K largest weights), and the result does not depend on the chunk
    size, to rounding.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`; one with `for_scoring()` is
            replaced by what that returns.
        x: Examples; arrays with leading axis N, or what is read by rows (see `fit`).
        num_samples: K, draws an example.
        chunk_size: Draws of an example at a time; None for a size that suits the machine.
        key: Random key.
        mesh: Devices to compute on: examples are spread over its axis "data", draws over "draws";
            None for one device. The numbers are the same to rounding.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Estimates with their errors, in nats a datum, one row an example.

    Raises:
        InputError: If `num_samples` or `chunk_size` is below 1, or there are no examples.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5; Vehtari et
        al., "Pareto smoothed importance sampling", 2024.
    """
    check_counts(num_samples=num_samples, chunk_size=chunk_size)
    mesh = None if mesh is None else checked_mesh(mesh)
    model, xs, _ = admitted_rows(model, x, "x")
    model, num, keys = (
        as_model(model).for_scoring(),
        num_rows(xs),
        jax.random.split(key, num_rows(xs)),
    )
    chunk = min(chunk_size or _DRAWS * size_of(mesh, "draws"), num_samples)
    at_once = max(1, min(_ROWS * size_of(mesh, "draws") // chunk, num)) * size_of(mesh, "data")
    turns: list[np.ndarray] = []

    def sums_of(rows: Rows, description: str) -> _Sums:
        rows.check_turns(num_samples)
        turns.append(np.asarray(rows.turns()))
        return map_blocks(
            lambda taken: _stream(rows, taken, num_samples, chunk, mesh),
            rows.keys.shape[0],
            at_once,
            description,
            show_progress=show_progress,
        )

    if isinstance(xs, Stored):
        parts = [
            sums_of(
                posteriors(model, xs[part], key=keys[part]),
                f"log-likelihood of {part[0]:,} to {part[-1] + 1:,} of {num:,}",
            )
            for part in np.array_split(np.arange(num), -(-num // _EXAMPLES))
        ]
        sums = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    else:
        sums = sums_of(posteriors(model, xs, key=keys), "log-likelihood")
    return _summarize(sums, num_samples, np.concatenate(turns), jax.random.fold_in(key, 0))


def rows_of_all(model: Any, x: PyTree, *, key: Key[Array, ""]) -> Rows:
    """The posteriors of all examples, computed once, by the model's own q for scoring if any."""
    model, x, _ = admitted(model, x)
    return posteriors(as_model(model).for_scoring(), x, key=key)


@compiled
def posteriors(model: Any, xs: PyTree, *, key: Key[Array, ...]) -> Rows:
    """The posteriors of some examples."""
    return rows_of_batch(model, jax.tree.map(as_floating, xs), key=key)


@compiled
def _stream(
    rows: Rows,
    taken: Int[Array, " batch"],
    num_samples: int,
    chunk: int,
    mesh: Mesh | None = None,
) -> _Sums:
    """Sums over all draws of some examples, a chunk at a time."""
    with over(mesh):
        return _sums(rows.take(taken), taken, num_samples, chunk)


def _sums(some: Rows, taken: Int[Array, " batch"], num_samples: int, chunk: int) -> _Sums:
    num_batch, turns = taken.shape[0], some.turns()
    num_groups = min(_GROUPS, num_samples // some.longest_turn)

    def log_weights(start: Int[Array, ""], size: int) -> Float[Array, "batch draws"]:
        draws = jnp.broadcast_to(start + jnp.arange(size), (num_batch, size))
        return some.evaluate(log_weight, draws)

    dtype = jax.eval_shape(lambda: log_weights(jnp.asarray(0), 1)).dtype
    lowest = jnp.full((num_batch, tail_size(num_samples) + 1), -jnp.inf, dtype)
    zeros = jnp.zeros(num_batch, dtype)
    groups, strata = (jnp.zeros((num_batch, num), dtype) for num in (num_groups, some.longest_turn))
    sums = _Sums(lowest, jnp.full(num_batch, -jnp.inf, dtype), groups, strata, zeros)

    def add(sums: _Sums, start: Int[Array, ""], size: int) -> _Sums:
        return _add(sums, log_weights(start, size), start + jnp.arange(size), turns)

    return fold_chunks(add, sums, num_samples, chunk)


def _add(
    sums: _Sums,
    log_weights: Float[Array, "batch draws"],
    draws: Int[Array, " draws"],
    turns: Int[Array, " batch"],
) -> _Sums:
    """The sums with some more draws: turn t is of group t mod G, with a draw of each stratum."""
    size = sums.largest.shape[1]
    both = jnp.concatenate([sums.largest, log_weights], axis=1)
    largest = jax.lax.top_k(both, size)[0]
    log_scale = jnp.maximum(sums.log_scale, jnp.max(log_weights, axis=1))
    shift = jnp.where(log_scale == -jnp.inf, 0, log_scale)

    def scaled(log_weights: Array, shift: Array) -> Array:
        # The largest is 1, were it infinite.
        return jnp.where(log_weights == shift, 1, jnp.exp(log_weights - shift))

    shrink, weights = scaled(sums.log_scale, shift), scaled(log_weights, shift[:, None])

    def added(old: Float[Array, "batch parts"], part: Int[Array, "batch draws"]) -> Array:
        membership = jax.nn.one_hot(part, old.shape[1], dtype=weights.dtype)
        return old * shrink[:, None] + jnp.einsum("bk,bkp->bp", weights, membership)

    turn = draws[None] // turns[:, None]
    return _Sums(
        largest,
        log_scale,
        added(sums.groups, turn % sums.groups.shape[1]),
        added(sums.strata, draws[None] % turns[:, None]),
        sums.second * shrink**2 + jnp.sum(weights**2, axis=1),
    )


def _summarize(
    sums: _Sums, num_samples: int, turns: Int[np.ndarray, " batch"], key: Key[Array, ""]
) -> LogLikelihood:
    by_group, by_stratum, second, log_scale = (
        np.asarray(leaf, np.float64)
        for leaf in (sums.groups, sums.strata, sums.second, sums.log_scale)
    )
    first, num_turns = by_group.sum(axis=1), num_samples // turns
    tail = pareto_tail(np.asarray(sums.largest))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = log_scale + np.log(first) - np.log(num_samples)
        # Of as many draws of each stratum: only their spread within the strata counts.
        shares = by_stratum / by_stratum.sum(axis=1, keepdims=True)
        within = second / first**2 - (shares**2).sum(axis=1) / num_turns
        within = np.where(num_turns > 1, np.maximum(within, 0), np.nan)
        standard_error = np.sqrt(within * num_turns / (num_turns - 1.0))
        ess = first**2 / second
        # The sum with one tail taken out and the other put in.
        shares = np.exp(np.stack([tail.log_raw, tail.log_smoothed]) - log_scale) / first
        smoothed = value + np.log1p(np.where(np.isnan(shares[0]), 0, shares[1] - shares[0]))
    correction, low, high = (np.full_like(value, np.nan) for _ in range(3))
    num_groups = by_group.shape[1]
    if num_groups > 1:
        # Where the turns are no multiple of G the first groups have one more.
        more = np.arange(num_groups) < (num_turns % num_groups)[:, None]
        sizes = turns[:, None] * (num_turns[:, None] // num_groups + more)
        correction = jackknife(by_group, sizes)
        low, high = bootstrap_interval(by_group, sizes, key=key)
    return LogLikelihood(
        value, standard_error, ess, tail.shape, smoothed,
        value + correction, value + low, value + high,
    )  # fmt: skip
