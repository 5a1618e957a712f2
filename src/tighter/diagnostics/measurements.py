"""What was measured of one bound, estimator and number of draws; and what was not, and why."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
from jaxtyping import Float

from tighter._summary import quantity, summary
from tighter.bounds import Bound
from tighter.diagnostics.gradient_noise import Measured, PooledNoise
from tighter.gradients import Bias, BiasKind, Estimator
from tighter.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Row(Measured):
    """One line of a comparison.

    Attributes:
        objective: Bound, estimator and numbers of draws.
        values: The mean bound in nats: of all replicates, then with each group left out.
        theta: Noise of the parameters that log p(x, z) depends on; None if there are none.
        phi: Noise of those that q(z|x) depends on; None if there are none.
        timings: Seconds of one gradient, round by round, in turn with the other rows.
    """

    objective: Objective
    values: Float[np.ndarray, " all_and_groups"]
    theta: PooledNoise | None
    phi: PooledNoise | None
    timings: Float[np.ndarray, " rounds"]

    @property
    def bound(self) -> str:
        """The bound's name."""
        return label(self.objective.bound)

    @property
    def gradient(self) -> str:
        """The estimator's name."""
        return label(self.objective.gradient)

    @property
    def num_samples(self) -> int:
        """Draws in the bound, K."""
        return self.objective.num_samples

    @property
    def num_backward(self) -> int | None:
        """Draws backpropagated, None for all."""
        return self.objective.num_backward

    @property
    def bias(self) -> Bias:
        """What the estimator's expectation is, for θ and for φ."""
        return self.objective.bias

    @property
    def is_finite(self) -> bool:
        """Whether the noise is a number."""
        pools = self.pools.values()
        return all(pool is None or bool(np.isfinite(pool.variances).all()) for pool in pools)

    def shares_bound(self, other: Row) -> bool:
        """Whether the other estimates the same gradient: of the same bound, and K but for the ELBO.

        More draws make the ELBO less noisy, and no tighter.
        """
        bound = self.objective.bound
        same = bool(bound == other.objective.bound)
        return same and (bound.is_linear or self.num_samples == other.num_samples)

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON takes it."""
        record: dict[str, Any] = {
            "bound": self.bound,
            "gradient": self.gradient,
            "num_samples": self.num_samples,
            "num_backward": self.num_backward,
            "value": self.value,
            "value_error": self.value_error,
            "seconds": self.seconds,
            "bias": {
                "kind": self.bias.kind.value,
                "theta": self.bias.theta.value,
                "phi": self.bias.phi.value,
                "reason": self.bias.reason,
            },
        }
        for name, pool in self.pools.items():
            record[name] = pool and {
                "num_coordinates": pool.num_coordinates,
                "snr": pool.snr,
                "snr_interval": list(pool.snr_interval),
                "mean_snr": pool.mean_snr,
                "variance": pool.variance,
                "variance_interval": list(pool.variance_interval),
                "snr_squared_per_second": self.snr_squared_per_second(name),
            }
        return record

    def __repr__(self) -> str:
        name = f"{self.bound}, K = {self.num_samples}, {self.gradient}"
        return summary(self, name, f"bound {quantity(self.value, self.value_error)} nats")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A combination that isn't in the table.

    Attributes:
        bound: The bound's name.
        gradient: The estimator's name.
        num_samples: Draws in the bound.
        num_backward: Draws backpropagated, None for all.
        reason: Why not.
    """

    bound: str
    gradient: str
    num_samples: int
    num_backward: int | None
    reason: str


def with_common_signals(rows: list[Row]) -> list[Row]:
    """The rows with the signal of each bound taken from its least noisy unbiased estimator.

    Unbiased estimators of one bound have one mean gradient. Of these the least noisy one tells its
    size best, so that the others' ratios are known better than from their own replicates; and
    ranking them by SNR² per second is ranking them by variance times seconds.
    """
    for role in ("theta", "phi"):
        rows = [_with_common_signal(row, role, rows) for row in rows]
    return rows


def label(part: Bound | Estimator | Any) -> str:
    """A bound or an estimator in few words: its name, and what isn't as it is by default."""
    if not dataclasses.is_dataclass(part):
        return part.__name__ if inspect.isroutine(part) or inspect.isclass(part) else str(part)
    settings = []
    for field in dataclasses.fields(part):
        value = vars(part)[field.name]
        if field.repr and not (type(value) is type(field.default) and value == field.default):
            settings.append(field.name if value is True else label(value))
    return type(part).__name__.lstrip("_") + (f"({', '.join(settings)})" if settings else "")


def _with_common_signal(row: Row, role: str, rows: list[Row]) -> Row:
    """The row with the signal of θ or of φ from the least noisy one that shares it."""
    own = row.pools[role]
    if own is None or not _is_unbiased(row, role):
        return row
    sharing = [
        pool
        for other in rows
        if _is_unbiased(other, role) and row.shares_bound(other)
        for pool in [other.pools[role]]
        if pool is not None
    ]
    signals = min(sharing, key=lambda pool: pool.variance).signals
    pools: Any = {role: dataclasses.replace(own, signals=signals)}
    return dataclasses.replace(row, **pools)


def _is_unbiased(row: Row, role: str) -> bool:
    return {"theta": row.bias.theta, "phi": row.bias.phi}[role] is BiasKind.UNBIASED
