"""What a kind of model does in a run: what it is made from, built, scored and drawn."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Array

from tighter._checks import require
from tighter._names import unknown
from tighter.data import Dataset, Schema
from tighter.evaluation import LogLikelihood
from tighter.runs.folder import RunFolder
from tighter.training import SCHEDULES, Trainable

Announce = Callable[[str], None]
Shape = tuple[int, ...]
Transform = Callable[..., Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run is made from, when all that was left out is decided.

    Attributes:
        configuration: The resolved one.
        source: Training examples, as `fit` takes them.
        xs: The same as one array, in memory or read by rows.
        validation: Some of the examples held out.
        test: Those to score the model on.
        data: All of it, as `draw` takes it.
        shape: Shape of one example.
        schema: The columns of a table.
        average: Decay of the moving average of the parameters.
        facts: What configuration.json says of the data.
        files: What else is stored before training, JSON by its name.
        about: What is trained on what, in a line that goes on with the epochs.
        notes: What else is to be said before training.
    """

    configuration: Any
    source: Any
    xs: Any
    validation: Any
    test: Any
    data: Any
    shape: Shape
    schema: Schema | None = None
    average: float | None = None
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    about: str
    notes: tuple[str, ...] = ()

    @property
    def sample(self) -> Any:
        """Training examples in memory: all, or where they are read by rows, some."""
        return self.source.sample() if isinstance(self.source, Dataset) else self.xs


class Effort(NamedTuple):
    """How a run is scored.

    Attributes:
        num_samples: Draws an example.
        num_examples: Test examples, the first ones.
        seed: Of all draws.
        which: Which parameters these are, "best" or "last", for the record.
    """

    num_samples: int
    num_examples: int
    seed: int
    which: str


class Kind(abc.ABC):
    """A kind of model, and what it does in a run.

    Attributes:
        unfit: Why what is asked of q(z|x) and p(x|z) isn't asked of it; empty where it is.
    """

    unfit: str = ""

    def check(self, configuration: Any) -> None:
        """Refuse what can be told before the data are read."""
        check_seed(configuration.training.seed)
        self.objective(configuration, num_steps=0)

    @abc.abstractmethod
    def prepare(self, configuration: Any, stored: RunFolder | None) -> Prepared:
        """Read the data and decide what was left out; `stored` is the run to go on with."""

    @abc.abstractmethod
    def build(self, configuration: Any, shape: Shape, xs: Any, schema: Any = None) -> Any:
        """The model before training; of examples None, parameters are about to be loaded."""

    @abc.abstractmethod
    def objective(self, configuration: Any, *, num_steps: int) -> Trainable:
        """What is maximized, in a training of so many steps."""

    def optimizer(self, configuration: Any, num_steps: int) -> optax.GradientTransformation:
        """Adam with the configuration's schedule."""
        training, rate = configuration.training, configuration.training.learning_rate
        if training.schedule not in SCHEDULES:
            raise unknown("schedule", training.schedule, SCHEDULES)
        within = 0 < rate < float("inf")
        require(within, f"training.learning_rate is above zero and finite, got {rate}")
        schedule = SCHEDULES[training.schedule](rate, num_steps)
        return optax.adam(schedule, eps=training.adam_epsilon)

    def check_together(self, model: Any, objective: Any, shape: Shape) -> None:  # noqa: B027
        """Refuse an objective that the model can't be trained by."""

    def transform(self, configuration: Any) -> Transform | None:
        """What examples go through a batch at a time, in training and evaluation alike."""
        return None

    @abc.abstractmethod
    def score(
        self, model: Any, test: Any, run: RunFolder, effort: Effort, announce: Announce
    ) -> dict[str, Any]:
        """Measure the model on test examples and store the record."""

    @abc.abstractmethod
    def draw(self, run: RunFolder, model: Any, data: Any) -> dict[str, Any]:
        """Store what a report's pictures are drawn from; what of it is to be printed."""

    @abc.abstractmethod
    def folder_name(self, configuration: Any) -> str:
        """Of a new run, before its number."""


def check_seed(seed: int) -> int:
    """The seed, if it is one that every generator takes.

    Raises:
        InputError: If it is negative, or 2³² or more.
    """
    require(0 <= seed < 2**32, f"a seed is a whole number from 0 to 4294967295, got {seed}")
    return seed


def error_of_mean(values: np.ndarray) -> float | None:
    """Standard error of a mean over examples; None of one."""
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None


def error_of_median(values: np.ndarray) -> float | None:
    """Standard error of a median over examples, by the order statistics about it; None of one."""
    count = values.size
    if count < 2:
        return None
    ends = np.quantile(values, np.clip(0.5 + np.array([-0.5, 0.5]) / np.sqrt(count), 0, 1))
    return finite(float(ends[1] - ends[0]) / 2)


def monte_carlo_error(errors: np.ndarray) -> float | None:
    """Monte Carlo error of a mean over examples, from each one's."""
    return finite(float(np.sqrt((errors**2).sum()) / errors.size))


def finite(number: float) -> float | None:
    """The number, or None where it is not finite, as JSON has it."""
    return number if np.isfinite(number) else None


def summary(estimates: LogLikelihood) -> dict[str, Any]:
    """Mean log-likelihood with both of its errors, and whether it can be trusted."""
    known = estimates.pareto_k[~np.isnan(estimates.pareto_k)]
    verdict = estimates.verdict
    return {
        "log_likelihood": float(estimates.value.mean()),
        "standard_error": error_of_mean(estimates.value),
        "monte_carlo_error": monte_carlo_error(estimates.standard_error),
        "pareto_smoothed": float(estimates.pareto_smoothed.mean()),
        "jackknife": finite(float(estimates.jackknife.mean())),
        "median_ess": float(np.median(estimates.ess)),
        "median_ess_standard_error": error_of_median(estimates.ess),
        "share_pareto_k_above_0.7": float((known > 0.7).mean()) if known.size else None,
        "verdict": str(verdict),
        "verdict_level": verdict.level,
    }
