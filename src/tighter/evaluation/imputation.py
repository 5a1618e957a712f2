"""Missing entries filled in by self-normalized importance sampling."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import check_counts, require
from tighter._chunks import fold_chunks, map_blocks
from tighter._examples import admitted, restored
from tighter._programs import compiled
from tighter._protocols import as_model
from tighter._rows import Rows
from tighter._summary import quantity, summary
from tighter.data import Dataset
from tighter.distributions import draw
from tighter.evaluation.log_likelihood import rows_of_all
from tighter.objectives.log_weights import log_weight

_NUMBERS, _DRAWS = 4_000_000, 250
# Effective draws of which a mean is known to a third of a standard deviation.
_FEW = 10
# Beside the keys that a draw of z may split its own into, which are `fold_in(key, i)` from 0 up.
_CHOICE, _COMPLETION = 2**32 - 1, 2**32 - 2


class Imputation(NamedTuple):
    """Completed examples.

    Attributes:
        values: Each missing entry's expectation given the observed ones, E[x_missing | x_observed]
            (the most probable category, of categories); observed entries as they were; (N, *shape).
        draws: Draws of all missing entries together, given the observed ones: (num_draws, N,
            *shape). Their spread says how uncertain the values are.
        ess: Effective number of draws behind each example, (N,).
    """

    values: np.ndarray
    draws: np.ndarray
    ess: np.ndarray

    @property
    def verdict(self) -> str:
        """Whether to trust the values, in words; those of few effective draws are one draw's."""
        few = int(np.sum(self.ess < _FEW))
        if not few:
            return f"every row has {_FEW} effective draws or more"
        return (
            f"{few} of {len(self.ess)} rows have fewer than {_FEW} effective draws, the least "
            f"{self.ess.min():.1f}: not to be trusted there; train longer, with more draws in the "
            "bound, or raise num_samples"
        )

    def __repr__(self) -> str:
        num, shape = self.values.shape[0], tuple(self.values.shape[1:])
        examples = f"{num:,} examples of shape {shape}, {self.draws.shape[0]:,} draws of each"
        return summary(self, examples, f"median ESS {quantity(np.median(self.ess))}", self.verdict)


class _Sums(NamedTuple):
    """Streaming sums of the weights, and the draws that lead so far."""

    log_scale: Float[Array, " batch"]
    first: Float[Array, " batch"]
    second: Float[Array, " batch"]
    statistic: Float[Array, "batch ..."]
    leading: Float[Array, "batch draws"]
    chosen: Int[Array, "batch draws"]


def impute(
    model: Any,
    x: Any,
    *,
    num_samples: int = 1000,
    num_draws: int = 0,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> Imputation:
    r"""Fill in the missing entries of examples, once or several times.

    $\mathrm E[x_m \mid x_o] \approx \sum_k \tilde w_k\, \mathrm E[x_m \mid x_o, z_k]$ with
    $w_k = p(x_o, z_k) / q(z_k \mid x_o)$, self-normalized.

    Multiple imputations are draws z_k with probability w̃_k (sampling importance resampling, by
    Gumbel maxima while the draws stream by), and x_m from p(x_m | x_o, z_k). Memory does not grow
    with the number of samples.

    Args:
        model: A model with `completion(x)`: a VAE whose entries may be missing.
        x: Examples (N, *shape); missing entries NaN.
        num_samples: K, draws of z an example.
        num_draws: Multiple imputations; 0 for none.
        chunk_size: Draws of an example at a time; None for a size that suits the machine.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Expectations, draws, and how many samples were effective.

    Raises:
        InputError: If the model can't fill in entries, or a number is too low.

    Example:
        >>> impute(model, np.array([[1.0, np.nan]]), num_draws=5, key=jax.random.key(0)).values

    References:
        Mattei & Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data
        sets", 2019, sec. 3.
    """
    check_counts(num_samples=num_samples, chunk_size=chunk_size)
    check_counts(least=0, num_draws=num_draws)
    require(
        as_model(model).completion is not None and as_model(model).takes_missing,
        f"{type(model).__name__} was not made for missing entries: train it with "
        "--set model.missing=true, or observation=Missing(...)",
    )
    given = x.x if isinstance(x, Dataset) else x
    model, xs, origin = admitted(model, given)
    x = jnp.asarray(xs)
    rows = rows_of_all(model, x, key=key)
    rows.check_turns(num_samples)
    chunk = min(chunk_size or _DRAWS, num_samples)
    block = max(1, min(_NUMBERS // (chunk * max(1, x[0].size)), x.shape[0]))
    values, drawn, ess = map_blocks(
        lambda taken: _stream(model, rows, x, taken, num_samples, chunk, num_draws),
        x.shape[0],
        block,
        "imputing",
        show_progress=show_progress,
    )
    filled = values, np.moveaxis(drawn, 1, 0)
    if not isinstance(origin, float):  # what was taken away, in double precision
        there = np.asarray(given, np.float64)
        filled = (np.where(np.isnan(there), restored(part, origin), there) for part in filled)
    return Imputation(*filled, ess)


@compiled
def _stream(
    model: Any,
    rows: Rows,
    x: Array,
    taken: Int[Array, " batch"],
    num_samples: int,
    chunk: int,
    num_draws: int,
) -> tuple[Array, Array, Array]:
    """Values, draws and effective sizes of some examples."""
    some, xs = rows.take(taken), x[taken]
    num_batch = taken.shape[0]

    def statistic(_: Any, x: PyTree, posterior: Any, key: Array) -> Array:
        return model.completion(x).statistic(draw(posterior, key=key))

    def noise(_: Any, x: PyTree, posterior: Any, key: Array) -> Array:
        return jax.random.gumbel(jax.random.fold_in(key, _CHOICE), (num_draws,))

    def drawn(_: Any, x: PyTree, posterior: Any, key: Array, imputation: Array) -> Array:
        # Imputations that picked the same z are draws given it, not copies of one.
        own_key = jax.random.fold_in(jax.random.fold_in(key, _COMPLETION), imputation)
        return model.completion(x).draw(draw(posterior, key=key), own_key)

    def add(sums: _Sums, start: Int[Array, ""], size: int) -> _Sums:
        draws = jnp.broadcast_to(start + jnp.arange(size), (num_batch, size))
        log_weights, statistics = some.evaluate(log_weight, draws), some.evaluate(statistic, draws)
        log_scale = jnp.maximum(sums.log_scale, jnp.max(log_weights, axis=1))
        shrink = jnp.exp(sums.log_scale - log_scale)
        weights = jnp.exp(log_weights - log_scale[:, None])
        scores = jnp.swapaxes(some.evaluate(noise, draws), 1, 2) + log_weights[:, None, :]
        best = jnp.max(scores, axis=2)
        better = best > sums.leading
        wide = (slice(None),) + (None,) * (statistics.ndim - 2)
        return _Sums(
            log_scale,
            sums.first * shrink + jnp.sum(weights, axis=1),
            sums.second * shrink**2 + jnp.sum(weights**2, axis=1),
            sums.statistic * shrink[wide] + jnp.einsum("bk,bk...->b...", weights, statistics),
            jnp.where(better, best, sums.leading),
            jnp.where(better, start + jnp.argmax(scores, axis=2), sums.chosen),
        )

    like = jax.eval_shape(lambda: some.evaluate(statistic, jnp.zeros((num_batch, 1), int)))
    zeros = jnp.zeros(num_batch, like.dtype)
    sums = _Sums(
        jnp.full(num_batch, -jnp.inf, like.dtype),
        zeros,
        zeros,
        jnp.zeros((num_batch, *like.shape[2:]), like.dtype),
        jnp.full((num_batch, num_draws), -jnp.inf, like.dtype),
        jnp.zeros((num_batch, num_draws), int),
    )
    sums = fold_chunks(add, sums, num_samples, chunk)
    averages = sums.statistic / sums.first.reshape(-1, *[1] * (sums.statistic.ndim - 1))
    values = jax.vmap(lambda x, average: model.completion(x).point(average))(xs, averages)
    imputations = jnp.broadcast_to(jnp.arange(num_draws), sums.chosen.shape)
    completed = some.evaluate(drawn, sums.chosen, imputations)
    return values, completed, sums.first**2 / sums.second
