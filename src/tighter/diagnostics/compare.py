"""Bounds × estimators × numbers of draws on a given model, ranked by SNR² per second."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from tighter._checks import require
from tighter._examples import admitted
from tighter._progress import follow
from tighter._protocols import as_posterior
from tighter._rows import rows_of_batch
from tighter._summary import summary
from tighter.bounds import ELBO, IWAE, Bound
from tighter.diagnostics.gradient_noise import check_replicates, summarize, value_statistics
from tighter.diagnostics.measurements import LeftOut, Row, label, with_common_signals
from tighter.diagnostics.parameter_roles import parameter_roles
from tighter.diagnostics.recommendation import Recommendation, recommend
from tighter.diagnostics.replicates import NUM_GROUPS, Gradient, interleaved_seconds, replicate
from tighter.distributions import is_reparameterizable
from tighter.gradients import (
    OVIS,
    VIMCO,
    BiasKind,
    DoublyReparameterized,
    Estimator,
    GeneralizedDoublyReparameterized,
    LeaveOneOut,
    Reparameterized,
    ScoreFunction,
    StickingTheLanding,
    WakePhi,
)
from tighter.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was measured, ranked, with a recommendation; `print` it for a table.

    Attributes:
        rows: Ranked by SNR² per second for φ (for θ, where there is no φ).
        left_out: Combinations that can't be, or repeat another one, with the reason.
        num_examples: Examples in the batch.
        num_replicates: Gradients of each row.
    """

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    num_examples: int
    num_replicates: int

    @property
    def rows_by_theta(self) -> tuple[Row, ...]:
        """The rows ranked by SNR² per second for θ."""
        return _ranked(self.rows, "theta")

    @functools.cached_property
    def recommendation(self) -> Recommendation:
        """Which row to train with, and why: `str` of it is one sentence with its reasons."""
        return recommend(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        by_theta = self.rows_by_theta
        recommended = self.recommendation.row
        return {
            "num_examples": self.num_examples,
            "num_replicates": self.num_replicates,
            "rows": [
                {
                    **row.to_dict(),
                    "phi_rank": None if row.phi is None else i + 1,
                    "theta_rank": None if row.theta is None else 1 + _index(by_theta, row),
                }
                for i, row in enumerate(self.rows)
            ],
            "left_out": [dataclasses.asdict(line) for line in self.left_out],
            "recommended": None if recommended is None else _index(self.rows, recommended),
            "recommendation": str(self.recommendation),
        }

    def __str__(self) -> str:
        parts = [
            f"{self.num_replicates} gradients each, of the mean bound of {self.num_examples} "
            "examples; SNR² per second compares estimators of one bound and K",
            _table(self),
        ]
        reasons: dict[str, list[str]] = {}
        for line in self.left_out:
            backward = "" if line.num_backward is None else f" m = {line.num_backward}"
            name = f"{line.bound} K = {line.num_samples} {line.gradient}{backward}"
            reasons.setdefault(line.reason, []).append(name)
        lines = [f"left out: {_some(names)}: {reason}" for reason, names in reasons.items()]
        parts += ["\n".join(lines)] if lines else []
        return "\n\n".join([*parts, f"Recommended: {self.recommendation}"])

    def __repr__(self) -> str:
        size = f"{len(self.rows)} rows of {self.num_replicates:,} replicates"
        return summary(self, size, f"recommended: {self.recommendation}")


def compare(
    model: Any,
    x: PyTree,
    *,
    bounds: Sequence[Bound | Callable] = (ELBO(), IWAE()),
    gradients: Sequence[Estimator] | None = None,
    num_samples: Sequence[int] = (1, 5, 50),
    num_backward: Sequence[int | None] = (None, 8),
    num_replicates: int = 100,
    phi: Callable[[Any], Any] | PyTree | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> Comparison:
    r"""Measure every legal pair of bound and estimator on this model, data and parameters.

    All rows have the same keys and their times are taken in turn, so that they are compared draw
    by draw and call by call. Combinations that can't be are left out, with the reason, as are
    those whose coefficients are another's.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`, at the parameters of
            interest: what is best may change in training.
        x: A batch, as in training; arrays with leading axis N.
        bounds: Which bounds.
        gradients: Which estimators; None for those that suit the posterior.
        num_samples: Numbers of draws K.
        num_backward: Numbers of draws backpropagated; None stands for all.
        num_replicates: Gradients of each row, at least 40; rounded up to a multiple of 20.
        phi: Which parameters are φ, as in `gradient_noise`.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        The rows, what was left out, and a recommendation.

    Raises:
        InputError: If there are fewer than 40 replicates, nothing to compare, or no legal pair.

    Example:
        >>> comparison = compare(model, xs, num_samples=(50,), key=jax.random.key(0))
        >>> print(comparison)
        >>> comparison.recommendation.row.objective

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018; Tucker et
        al., "Doubly reparameterized gradient estimators for Monte Carlo objectives", 2018.
    """
    check_replicates(num_replicates)
    model, x, _ = admitted(model, x)
    roles = parameter_roles(model, x, phi=phi, key=key)
    posterior = rows_of_batch(model, x, key=key).example_posterior()
    choices = {
        "num_samples": num_samples,
        "bounds": bounds,
        "gradients": suitable_gradients(posterior) if gradients is None else gradients,
        "num_backward": num_backward,
    }
    for name, entries in choices.items():
        require(len(entries) > 0, f"{name} has one entry at least, got none")
    all_choices = follow(
        list(itertools.product(*choices.values())), "compiling", show_progress=show_progress
    )
    candidates, left_out = _compiled(model, x, posterior, all_choices, key=key)
    timings = interleaved_seconds([gradient for _, gradient in candidates], key=key)
    rows = []
    for (objective, gradient), seconds in zip(
        follow(candidates, "gradient noise", show_progress=show_progress), timings, strict=True
    ):
        groups = replicate(gradient, num_replicates, key=key)
        theta, phi_pool, _ = summarize(groups, roles)
        row = Row(objective, value_statistics(groups), theta, phi_pool, seconds)
        if row.is_finite:
            rows.append(row)
        else:
            left_out.append(_without(objective, "its gradient is not finite here"))
    require(rows, "no combination has a finite gradient at these parameters and examples")
    return Comparison(
        _ranked(with_common_signals(rows), "phi" if rows[0].phi else "theta"),
        tuple(left_out),
        jax.tree.leaves(x)[0].shape[0],
        NUM_GROUPS * groups.size,
    )


def suitable_gradients(posterior: Any) -> tuple[Estimator, ...]:
    """The estimators worth comparing for a posterior: through the path where it has one."""
    if as_posterior(posterior).num_strata is not None:
        return Reparameterized(), GeneralizedDoublyReparameterized()
    if is_reparameterizable(posterior):
        return Reparameterized(), StickingTheLanding(), DoublyReparameterized()
    return ScoreFunction(LeaveOneOut()), VIMCO(), OVIS(), WakePhi()


def _compiled(
    model: Any, x: PyTree, posterior: Any, choices: Iterable[tuple], *, key: Key[Array, ""]
) -> tuple[list[tuple[Objective, Gradient]], list[LeftOut]]:
    """The combinations that can be and differ from each other, compiled; and the others."""
    compiled, left_out = [], []
    seen: dict[tuple, Objective] = {}
    for number, bound, estimator, backward in choices:
        try:
            objective = Objective(bound, estimator, number, num_backward=backward)
            signature = _signature(objective, posterior)
            if signature not in seen:
                gradient = Gradient(model, x, objective)
                gradient.program(key[None])
                compiled.append((objective, gradient))
        except (TypeError, ValueError) as error:
            names = label(bound), label(estimator)
            left_out.append(LeftOut(*names, number, backward, reason=str(error)))
            continue
        twin = seen.setdefault(signature, objective)
        if twin is not objective:
            same = f"{label(twin.bound)} with {label(twin.gradient)}"
            left_out.append(_without(objective, f"the same as {same}"))
    first = left_out[0].reason if left_out else ""
    require(compiled, f"no combination can be measured: {first}")
    return compiled, left_out


def _signature(objective: Objective, posterior: Any) -> tuple:
    """What tells apart estimates that differ: bound and coefficients at some log weights."""
    log_weights = jnp.asarray(np.random.default_rng(0).normal(size=objective.num_samples), float)
    coefficients = objective.gradient.coefficients(objective.bound, log_weights)
    numbers = [np.ravel(part) for part in (objective.bound(log_weights), *coefficients)]
    backward = objective.num_backward or objective.num_samples
    generalized = isinstance(objective.gradient, GeneralizedDoublyReparameterized)
    in_turn = generalized and as_posterior(posterior).num_strata is not None
    rounded = tuple(np.round(np.concatenate(numbers).astype(float), 5))
    return objective.num_samples, min(backward, objective.num_samples), in_turn, rounded


def _without(objective: Objective, reason: str) -> LeftOut:
    names = label(objective.bound), label(objective.gradient)
    return LeftOut(*names, objective.num_samples, objective.num_backward, reason)


def _ranked(rows: Iterable[Row], role: str) -> tuple[Row, ...]:
    """From the most SNR² per second to the least; rows without such parameters keep their order."""
    return tuple(sorted(rows, key=lambda row: -(row.snr_squared_per_second(role) or 0)))


def _table(comparison: Comparison) -> str:
    """The rows in aligned columns."""
    header = ["φ", "θ", "bound", "K", "gradient", "m", "nats", "ms"]
    header += [f"{name} {symbol}" for symbol in "φθ" for name in ("SNR", "variance", "SNR²/s")]
    lines = [[*header, "bias"]]
    by_theta = comparison.rows_by_theta
    for place, row in enumerate(comparison.rows, start=1):
        line = ["" if row.phi is None else str(place)]
        line += ["" if row.theta is None else str(1 + _index(by_theta, row))]
        line += [row.bound, str(row.num_samples), row.gradient, str(row.num_backward or "all")]
        line += [f"{row.value:.2f} ± {row.value_error:.2f}", f"{1e3 * row.seconds:.3g}"]
        for pool in (row.phi, row.theta):
            if pool is None:
                line += [""] * 3
                continue
            low, high = pool.snr_interval
            line += [f"{pool.snr:.3g} ± {(high - low) / 2:.1g}", f"{pool.variance:.3g}"]
            line += [f"{pool.snr**2 / row.seconds:.3g}"]
        biases = {"φ": row.bias.phi, "θ": row.bias.theta}
        biased = [(s, kind) for s, kind in biases.items() if kind is not BiasKind.UNBIASED]
        lines.append([*line, ", ".join(f"{symbol} {kind.value}" for symbol, kind in biased)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _index(rows: Sequence[Row], row: Row) -> int:
    """Where a row stands: the very object, for arrays can't be compared by ==."""
    return next(i for i, other in enumerate(rows) if other is row)
