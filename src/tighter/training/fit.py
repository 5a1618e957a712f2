"""Training a model by maximizing a bound, in a way that nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from tighter._checks import check_counts, require
from tighter._examples import admitted, check_one_device, moved_back
from tighter._lock import alone_in
from tighter._protocols import as_model
from tighter._summary import quantity, summary
from tighter.objectives.objective import Objective
from tighter.training.arrays import digest
from tighter.training.fingerprint import made_of
from tighter.training.interruption import Interruption
from tighter.training.non_finite import explain
from tighter.training.progress import ProgressDisplay
from tighter.training.record import Best, RunRecord
from tighter.training.steps import (
    GradientTransformation,
    Steps,
    Trainable,
    Transform,
    keys_of,
    leading_size,
)

_SECONDS_A_CHUNK = 0.5
# To be raised where the order of examples, or of what is drawn, changes: no run goes on in another.
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about.

    Attributes:
        model: The model after the last step.
        history: A row an epoch: epoch, step, bound, validation_bound (nats a datum, larger is
            better) and its standard error over the examples, validation_error; steps_per_second,
            seconds.
        best_model: The model after the epoch with the largest validation bound (training bound,
            where there is no validation set).
        best_epoch: That epoch, from 1; 0 if no epoch was finished.
        interrupted: Whether Ctrl-C stopped it before the last epoch.
        steps_taken: Steps of this call; fewer than in all where it resumed a run, and none where
            that was finished.
    """

    model: Any
    history: list[dict[str, Any]]
    best_model: Any
    best_epoch: int
    interrupted: bool
    steps_taken: int

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        parts = [f"{len(self.history):,} epochs{', interrupted' if self.interrupted else ''}"]
        for name in ("bound", "validation_bound"):
            parts += [f"last {name} {quantity(last[name])} nats"] if name in last else []
        return summary(self, *parts, f"best epoch {self.best_epoch}")


def fit(
    model: Any,
    data: Any,
    objective: Trainable,
    *,
    optimizer: GradientTransformation,
    num_epochs: int,
    batch_size: int,
    key: Key[Array, ""],
    validation: Any = None,
    directory: str | Path | None = None,
    resume: bool = False,
    transform: Transform | None = None,
    average: float | None = None,
    checkpoint_seconds: float = 20.0,
    show_progress: bool | None = None,
) -> FitResult:
    """Maximize the objective's mean bound over the data.

    Each epoch shuffles the data anew and leaves out the last, incomplete batch. Ctrl-C stops
    after the step in progress. With a directory, checkpoints lie in it, and a run that was killed
    at any moment resumes to the same parameters, bit for bit, as one that never stopped.

    Where the latents belong to the whole data set (`BayesianModel`), a batch stands for all of it,
    the bound is that of all the data, and there is no validation.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`; all its inexact arrays are
            trained. what else it may have (batch statistics, minibatches) is in docs/models.md.
        data: Training examples: an array with leading axis N, a `Dataset`, or a pytree of arrays
            with the same leading axis, where an example has several parts.
        objective: The bound and the estimator of its gradient: an `Objective`, or an ELBO in closed
            form (`AnalyticKL`, `AnalyticEntropy`).
        optimizer: An optax transformation, learning rate included.
        num_epochs: Passes over the data.
        batch_size: Examples a step.
        key: Random key: with the same one the run comes out the same.
        validation: Further examples, on which the same bound is measured after each epoch.
        directory: Where to keep metrics.jsonl, checkpoints and parameters; None to keep nothing.
        resume: Go on from the newest checkpoint in the directory, or start, if there is none.
        transform: `transform(batch, key=key)`, applied to each batch anew: binarization, for
            instance.
        average: Decay of an exponential moving average of the parameters, such as .999; the models
            given back, stored and validated are the averages then. None for none.
        checkpoint_seconds: Seconds between checkpoints.
        show_progress: None for a bar on terminals; True for a bar or lines anywhere; or False.

    Returns:
        The last and the best model, and a row of numbers an epoch.

    Raises:
        InputError: If the data can't be trained on, a number makes no sense, the directory holds
            a run and `resume` is off, or the run in it was another one; if the latents belong to
            the whole data set and the bound of a batch's weights would be none.
        NonFiniteError: If a bound, a parameter or what the optimizer keeps becomes one that is not
            finite, as they do by a gradient that is not, unless the optimizer makes it finite
            (`optax.clip`, `optax.apply_if_finite`). The state before is kept.

    Example:
        >>> result = tt.fit(model, xs, objective, optimizer=optax.adam(1e-3), num_epochs=20,
        ...                 batch_size=100, key=jax.random.key(0))
    """
    check_one_device(model, "model")
    of_whole_set = as_model(model).minibatch_log_joint is not None
    given = model
    model, xs, origin = admitted(given, data, "data", scalars=of_whole_set)
    held_out = None
    if validation is not None:
        held_out = admitted(given, validation, "validation", scalars=of_whole_set).xs
    num_examples = leading_size(xs)
    check_numbers(xs, held_out, num_epochs=num_epochs, batch_size=batch_size, average=average)
    if of_whole_set:
        _check_minibatches(model, objective, held_out, batch_size, num_examples)
    per_epoch = num_examples // batch_size
    num_steps = num_epochs * per_epoch
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    # A copy of its own, lest two places of the model share one array.
    arrays = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), arrays)
    steps = Steps(
        static, objective, optimizer, transform, batch_size, jnp.asarray(num_steps), keys_of(key),
        average,
    )  # fmt: skip
    folder = None if directory is None else Path(directory)

    def store() -> tuple[Any, Any]:
        """Keep the state, and the parameters of the last model and of the best."""
        record.save(state, best)
        last, best_model = (
            moved_back(eqx.combine(arrays, static), origin)
            for arrays in (state.reported, best.arrays)
        )
        record.save_models(last=last, best=best_model)
        return last, best_model

    with contextlib.nullcontext() if folder is None else alone_in(folder):
        fingerprint = {} if folder is None else _fingerprint(steps, key, xs, held_out, num_epochs)
        record = RunRecord(folder, fingerprint, resume=resume)
        state, best = record.restore(steps.initial(arrays), Best(arrays))
        first = step = int(state.step)
        on_device, validation = jax.tree.map(jnp.asarray, (xs, held_out))
        pace, order = 0.0, None  # seconds a step, 0 while it is unknown
        with (
            Interruption() as interruption,
            ProgressDisplay(num_epochs, num_steps, step, show=show_progress) as progress,
        ):
            while step < num_steps and not interruption.requested:
                start, began, epoch = step, time.monotonic(), step // per_epoch + 1
                if order is None or step % per_epoch == 0:
                    order = jnp.asarray(steps.order(epoch - 1, num_examples))
                chunk = max(1, int(_SECONDS_A_CHUNK / pace)) if pace else 1
                until = min(step + chunk, epoch * per_epoch)
                new_state, finite = steps.run(state, on_device, order, jnp.asarray(until))
                step = int(new_state.step)
                if not finite:
                    state = steps.before_fault(state, on_device, order, step)
                    if int(state.step):
                        store()
                    raise explain(steps, state, on_device, kept=record.kept(int(state.step)))
                state = new_state
                elapsed, seconds = record.seconds, (time.monotonic() - began) / (step - start)
                # The first chunk holds the compilation and says nothing of the pace.
                compiled = start == first
                pace = 0.0 if compiled else seconds
                bound = float(state.bound_sum) / (step - (epoch - 1) * per_epoch)
                if step == epoch * per_epoch:
                    row = {"epoch": epoch, "step": step, "bound": bound}
                    reached = bound
                    if held_out is not None:
                        compiled |= start < first + per_epoch
                        reached, error = map(float, steps.mean_bound(state.reported, validation))
                        row |= {"validation_bound": reached, "validation_error": error}
                    if reached > best.bound or not math.isfinite(best.bound):
                        best = Best(state.reported, reached, epoch)
                    row |= {"steps_per_second": 1 / seconds, "seconds": elapsed}
                    record.metrics.append(row)
                progress.update(
                    step, epoch, bound, record.newest_validation, 1 / seconds, compiled=compiled
                )
                record.save(state, best, after_seconds=checkpoint_seconds)
        last, best_model = store()
    interrupted, taken = step < num_steps, step - first
    return FitResult(last, record.metrics.rows, best_model, best.epoch, interrupted, taken)


def check_numbers(
    xs: PyTree,
    held_out: PyTree,
    *,
    num_epochs: int,
    batch_size: int,
    average: float | None = None,
) -> None:
    """Refuse what `fit` can't train on, before anything is written."""
    num = leading_size(xs)
    require(
        average is None or 0 <= average < 1,
        f"average is the decay of a mean, 0 or more and below 1, got {average}",
    )
    check_counts(num_epochs=num_epochs, batch_size=batch_size)
    require(
        batch_size <= num,
        f"a batch of {batch_size} is larger than the data of {num} examples: take a batch_size of "
        f"at most {num}",
    )
    require(
        num_epochs * (num // batch_size) < 2**31,
        f"{num_epochs} epochs are more steps than can be counted: give fewer",
    )
    ours, theirs = (jax.tree.map(lambda part: part.shape[1:], tree) for tree in (xs, held_out))
    require(
        held_out is None or ours == theirs,
        f"validation examples have shape {theirs}, training examples {ours}",
    )


def _check_minibatches(
    model: Any, objective: Trainable, held_out: PyTree, batch_size: int, num_examples: int
) -> None:
    """Refuse what can't be done where the latents belong to the whole data set."""
    require(
        held_out is None,
        f"the latents of {type(model).__name__} belong to the data that it is trained on, so a "
        "bound of other data says nothing: leave validation out, and measure the predictive "
        "density of held-out data",
    )
    if batch_size == num_examples or not isinstance(objective, Objective):
        return
    # Scaled log weights of a batch inside a bound that is not linear make none.
    require(
        objective.num_samples == 1 or objective.bound.is_linear,
        f"{type(objective.bound).__name__} of the scaled log weights of a batch of {batch_size} is "
        f"no bound on those of all {num_examples} examples: take ELBO(), num_samples=1, or "
        f"batch_size={num_examples}",
    )


def _fingerprint(
    steps: Steps, key: Key[Array, ""], xs: PyTree, held_out: PyTree, num_epochs: int
) -> dict[str, Any]:
    """What a run is made of, as a checkpoint tells it: a run goes on from none but its own."""

    def examples(tree: PyTree) -> str:
        parts, _ = jax.tree.flatten_with_path(tree)
        return digest({"x" + jax.tree_util.keystr(path): part for path, part in parts})

    return {
        "format": _FORMAT,
        "objective": made_of(steps.objective),
        "optimizer": made_of(steps.optimizer),
        "model": made_of(steps.static),
        "transform": made_of(steps.transform),
        "batch_size": steps.batch_size,
        "num_epochs": num_epochs,
        "average": steps.average,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "data": examples(xs),
        "validation": None if held_out is None else examples(held_out),
    }
