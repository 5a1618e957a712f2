"""Log p(x) between a lower and an upper bound, with draws doubled until they are near."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree
from scipy.special import logsumexp

from tighter._checks import require
from tighter._programs import compiled
from tighter._progress import follow
from tighter._rows import Rows
from tighter._summary import mean_of, quantity, summary
from tighter.evaluation.jensen_gap import JensenGap, fit_jensen_gap
from tighter.evaluation.log_likelihood import rows_of_all
from tighter.evaluation.psis import pareto_k, tail_size
from tighter.evaluation.verdicts import TRUSTED
from tighter.objectives.log_weights import log_weight

# Groups of draws, the mean of each of which is a bound's weight.
_GROUPS = 32
# Log weights in memory at a time.
_NUMBERS = 2**23
# Rows through the decoder at a time.
_ROWS = 4096


class Sandwich(NamedTuple):
    """Bounds on log p(x) from below and above, a row an example, in nats.

    Attributes:
        lower: IWAE of all N draws; its expectation is below log p(x).
        lower_standard_error: Its Monte Carlo error.
        upper: The evidence upper bound of K = N/32 draws, estimated by importance sampling.
        upper_standard_error: Its Monte Carlo error.
        cubo: The χ upper bound of order 2 of K draws, looser where the weights vary much.
        cubo_standard_error: Its Monte Carlo error.
        num_samples: N, the draws that it took.
        pareto_k: k̂ of the weights; above 0.7 neither bound can be trusted.
        closed: Whether upper − lower and twice its error are below the gap asked for, and the
            weights' tail is one to trust.
        jensen_gap: log p(x) extrapolated by the law of the gap, and its half χ²; the law
            is of weights with a variance, and not to be trusted where k̂ is above 0.7.
        gap: What was asked for, in nats.
    """

    lower: Float[np.ndarray, " batch"]
    lower_standard_error: Float[np.ndarray, " batch"]
    upper: Float[np.ndarray, " batch"]
    upper_standard_error: Float[np.ndarray, " batch"]
    cubo: Float[np.ndarray, " batch"]
    cubo_standard_error: Float[np.ndarray, " batch"]
    num_samples: Int[np.ndarray, " batch"]
    pareto_k: Float[np.ndarray, " batch"]
    closed: np.ndarray
    jensen_gap: JensenGap
    gap: float

    @property
    def verdict(self) -> str:
        """Whether the gap is closed, and why not where it isn't."""
        num, still = self.closed.size, ~self.closed
        gap, error = self.upper - self.lower, self.upper_standard_error
        most = f"{self.num_samples.max():,} draws"
        head = f"upper − lower is {gap.mean():.3g} nats on average, {gap.max():.3g} at most; "
        if not still.any():
            return head + f"closed for all {num:,} with {most} or fewer"
        head += f"open for {still.sum():,} of {num:,} after {most}: "
        heavy = int((still & (self.pareto_k > TRUSTED)).sum())
        if heavy:
            return head + (
                f"for {heavy:,} of them k̂ is above {TRUSTED}, so that the weights' second moment "
                "can't be trusted and more draws will not close it; a wider posterior or annealing "
                "will"
            )
        if (2 * error > gap)[still].mean() > 0.5:
            factor = ((2 * error[still] + gap[still]) / self.gap).max() ** 2
            return head + (
                f"what is left is Monte Carlo error, {error[still].max():.2g} nats at most, which "
                f"falls with the root of the draws: take about {_round(factor)} times as many"
            )
        factor = (gap[still] / self.gap).max() * 1.5
        return head + f"the gaps fall like 1/draws: take about {_round(factor)} times as many"

    def __repr__(self) -> str:
        lower, upper = mean_of(self.lower, self.lower_standard_error), quantity(np.mean(self.upper))
        return summary(self, f"lower {lower}", f"upper {upper}", self.verdict)


def sandwich(
    model: Any,
    x: PyTree,
    *,
    gap: float = 0.1,
    num_samples: int = 1024,
    max_samples: int = 2**16,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> Sandwich:
    r"""Bound log p(x) from both sides, doubling the draws until the bounds are within `gap`.

    With $W$ the mean of K weights,

    - lower: $\mathrm{E} \log W \le \log p(x)$ (IWAE, of all draws);
    - upper: $\mathrm{E}[W \log W] / \mathrm{E}\,W \ge \log p(x)$: the evidence upper bound of K
      draws, that is $\log W$ with one of the draws from the posterior;
    - `cubo`: $\frac12 \log \mathrm{E}\,W^2 \ge \log p(x)$.

    All close like χ²(p(z|x)‖q)/K. The upper ones are estimated from the same draws of q, with the
    jackknife over 32 groups: they hold as far as q covers the posterior, which k̂ tells, but for a
    mode that no draw has met.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`.
        x: Examples; arrays with leading axis N.
        gap: Where to stop, in nats: upper − lower of each example, and twice its error.
        num_samples: Draws of an example to start with, a multiple of 32. Where experts are drawn in
            turn they are rounded down to 32 groups of whole turns, four or more a group.
        max_samples: Where to give up.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Bounds with their errors, a row an example, and the extrapolated log-likelihood.

    Raises:
        InputError: If a number makes no sense, or there are no examples.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016; Sobolev & Vetrov,
        "Importance weighted hierarchical variational inference", 2019, sec. 4; Dieng, Tran,
        Ranganath, Paisley & Blei, "Variational inference via χ upper bound minimization", 2017.
    """
    require(gap > 0, f"gap is in nats, above zero, got {gap}")
    require(
        4 * _GROUPS <= num_samples <= max_samples and num_samples % _GROUPS == 0,
        f"num_samples is a multiple of {_GROUPS} from {4 * _GROUPS} to max_samples, got "
        f"{num_samples} and {max_samples}",
    )
    rows = rows_of_all(model, x, key=key)
    turn = rows.num_strata
    least = _GROUPS * turn
    num_samples = max(4 * least, num_samples // least * least)
    require(
        num_samples <= max_samples,
        f"draws are of experts in turns of {turn}, and {_GROUPS} groups of whole turns take "
        f"{num_samples} draws, got max_samples={max_samples}: raise it",
    )
    num = rows.keys.shape[0]
    block = max(1, min(_ROWS // num_samples, _NUMBERS // max_samples, num))
    starts = range(0, num, block)
    parts = []
    for start in follow(starts, "sandwich", show_progress=show_progress):
        examples = np.minimum(np.arange(start, start + block), num - 1)
        parts += _close(rows, examples, num_samples, max_samples, gap, turn)[: num - start]
    columns: Any = [np.array(column) for column in zip(*(part[0] for part in parts), strict=True)]
    fit = fit_jensen_gap([part[1] for part in parts], turn=turn)
    return Sandwich(*columns, jensen_gap=fit, gap=gap)


def _close(
    rows: Rows,
    examples: np.ndarray,
    num_samples: int,
    max_samples: int,
    gap: float,
    turn: int,
) -> list[tuple[tuple, Float[np.ndarray, "groups turns"]]]:
    """Of some examples: each one's numbers, and the log mean weights of its turns in groups."""
    held = np.zeros((examples.size, 0))
    results: dict[int, tuple] = {}
    chunk = max(1, min(num_samples, _ROWS // examples.size))
    while len(results) < examples.size:
        wanted = max(num_samples, 2 * held.shape[1])
        pieces = [held]
        for start in range(held.shape[1], wanted, chunk):
            drawn = _draw(rows, jnp.asarray(examples), jnp.asarray(start), chunk)
            pieces.append(np.asarray(drawn, float))
        held = np.concatenate(pieces, axis=1)[:, :wanted]
        for i in range(examples.size):
            if i in results:
                continue
            row = _of_turns(held[i], turn).reshape(-1, _GROUPS).T
            numbers = _bounds(row)
            error = np.hypot(numbers[1], numbers[3])
            closed = bool(numbers[2] - numbers[0] + 2 * error < gap)
            if closed or 2 * wanted > max_samples:
                k = pareto_k(np.sort(held[i])[None, -tail_size(wanted) - 1 :])[0]
                results[i] = (*numbers, wanted, k, closed and not k > TRUSTED), row
    return [results[i] for i in range(examples.size)]


@compiled
def _draw(
    rows: Rows, examples: Int[Array, " batch"], start: Int[Array, ""], size: int
) -> Float[Array, "batch draws"]:
    draws = jnp.broadcast_to(start + jnp.arange(size), (examples.shape[0], size))
    return rows.take(examples).evaluate(log_weight, draws)


def _of_turns(log_weights: Float[np.ndarray, " draws"], num: int) -> Float[np.ndarray, " turns"]:
    """Log mean weights of turns, which are independent and alike as draws in turn are not."""
    if num == 1:
        return log_weights
    with np.errstate(divide="ignore"):
        return np.logaddexp.reduce(log_weights.reshape(-1, num), axis=1) - np.log(num)


def _bounds(log_weights: Float[np.ndarray, "groups draws"]) -> tuple[float, ...]:
    """Lower bound, evidence upper bound and χ upper bound, each with its error."""
    shift = log_weights.max()
    if not np.isfinite(shift):
        return (float(shift), np.nan, np.inf, np.nan, np.inf, np.nan)
    means = np.exp(logsumexp(log_weights - shift, axis=1)) / log_weights.shape[1]
    products = means * np.log(np.where(means > 0, means, 1))
    num = means.size

    def bounds_of(w: Any, w_log_w: Any, w_squared: Any) -> np.ndarray:
        return np.stack([np.log(w), w_log_w / w, 0.5 * np.log(w_squared)])

    columns = (means, products, means**2)
    whole = bounds_of(*(column.mean() for column in columns))
    without = bounds_of(*((column.sum() - column) / (num - 1) for column in columns))
    corrected = num * whole - (num - 1) * without.mean(axis=1)
    error = np.sqrt((num - 1) * without.var(axis=1))
    lower = whole[0]  # as it is: corrected, it would be no lower bound
    uppers = np.maximum(corrected[1:], lower)
    return (
        lower + shift, error[0], uppers[0] + shift, error[1], uppers[1] + shift, error[2],
    )  # fmt: skip


def _round(number: float) -> int:
    """To one digit."""
    size = 10 ** int(np.floor(np.log10(max(number, 1))))
    return int(np.ceil(number / size) * size)
