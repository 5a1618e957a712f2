"""Training a model by maximizing a bound, in a way that nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from tighter._errors import InputError
from tighter._examples import admitted, check_one_device, moved_back
from tighter._lock import alone_in
from tighter._protocols import as_model
from tighter._summary import quantity, summary
from tighter.objectives.objective import Objective
from tighter.training.arrays import digest, named_arrays, save_parameters, with_arrays
from tighter.training.checkpoints import Checkpoints, achieved_in
from tighter.training.examples import check_numbers, leading_size, named_parts
from tighter.training.fingerprint import differences, made_of
from tighter.training.interruption import Interruption
from tighter.training.metrics import Metrics
from tighter.training.non_finite import explain
from tighter.training.progress import ProgressDisplay
from tighter.training.steps import (
    GradientTransformation,
    State,
    Steps,
    Trainable,
    Transform,
    keys_of,
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


@dataclasses.dataclass
class _Best:
    arrays: PyTree
    bound: float = -math.inf
    epoch: int = 0


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
    scalars = as_model(model).minibatch_log_joint is not None
    given = model
    model, xs, origin = admitted(model, data, "data", scalars=scalars)
    held_out = None
    if validation is not None:
        held_out = admitted(given, validation, "validation", scalars=scalars).xs
    check_numbers(xs, held_out, num_epochs=num_epochs, batch_size=batch_size, average=average)
    if held_out is not None and scalars:
        raise InputError(
            f"the latents of {type(model).__name__} belong to the data that it is trained on, so a "
            "bound of other data says nothing: leave validation out, and measure the predictive "
            "density of held-out data"
        )
    if scalars:
        _check_minibatches(objective, batch_size, leading_size(xs))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    # A copy of its own, lest two places of the model share one array.
    arrays = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), arrays)
    num_examples = leading_size(xs)
    last = jnp.asarray(num_epochs * (num_examples // batch_size))
    steps = Steps(static, objective, optimizer, transform, batch_size, last, keys_of(key), average)
    fingerprint = {}
    if directory is not None:
        fingerprint = {
            "format": _FORMAT,
            "objective": made_of(objective),
            "optimizer": made_of(optimizer),
            "model": made_of(static),
            "transform": made_of(transform),
            "batch_size": batch_size,
            "num_epochs": num_epochs,
            "average": average,
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "data": digest(named_parts(xs)),
            "validation": None if held_out is None else digest(named_parts(held_out)),
        }
    with contextlib.nullcontext() if directory is None else alone_in(Path(directory)):
        run = _Run(directory, fingerprint, origin, resume=resume)
        return _trained(
            run, steps, arrays, xs, held_out,
            num_epochs=num_epochs, checkpoint_seconds=checkpoint_seconds,
            show_progress=show_progress,
        )  # fmt: skip


def _trained(
    run: _Run,
    steps: Steps,
    arrays: PyTree,
    xs: PyTree,
    held_out: PyTree,
    *,
    num_epochs: int,
    checkpoint_seconds: float,
    show_progress: bool | None,
) -> FitResult:
    """Take the steps that the run lacks, and store what is to be stored on the way."""
    static, objective, num_examples = steps.static, steps.objective, leading_size(xs)
    per_epoch = num_examples // steps.batch_size
    num_steps = num_epochs * per_epoch
    state, best = run.restore(steps.initial(arrays), _Best(arrays))
    pace, began, saved = 0.0, time.monotonic(), time.monotonic()
    first = step = int(state.step)
    on_device = jax.tree.map(jnp.asarray, xs)
    order, ordered = None, 0
    device_validation = None if held_out is None else jax.tree.map(jnp.asarray, held_out)

    with (
        Interruption() as interruption,
        ProgressDisplay(num_epochs, num_steps, step, show=show_progress) as progress,
    ):
        while step < num_steps and not interruption.requested:
            epoch, start, chunk_began = step // per_epoch + 1, step, time.monotonic()
            chunk = max(1, int(_SECONDS_A_CHUNK / pace)) if pace else 1
            until = min(step + chunk, epoch * per_epoch)
            if order is None or ordered != epoch:
                order, ordered = jnp.asarray(steps.order(epoch - 1, num_examples)), epoch
            new_state, finite = steps.run(state, on_device, order, jnp.asarray(until))
            step = int(new_state.step)
            if not finite:
                state = steps.before_fault(state, on_device, order, step)
                fault = int(state.step)
                if fault:
                    run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
                    run.save_parameters(static, state, best)
                rows = jnp.asarray(steps.rows_of(fault, num_examples))
                batch, step_key = steps.batch(on_device, rows, jnp.asarray(fault))
                raise explain(
                    eqx.combine(state.arrays, static), objective.at(jnp.asarray(fault)), batch,
                    rows=rows, num_examples=num_examples, step=fault, kept=run.kept(fault),
                    key=step_key,
                )  # fmt: skip
            state = new_state
            now = time.monotonic()
            # The first chunk holds the compilation and says nothing of the pace.
            measured = (now - chunk_began) / (step - start)
            compiled = start == first
            pace = 0.0 if compiled else measured
            in_epoch = step - (epoch - 1) * per_epoch
            bound = float(state.bound_sum) / in_epoch
            if in_epoch == per_epoch:
                row = {"epoch": epoch, "step": step, "bound": bound}
                judged = bound
                if device_validation is not None:
                    compiled |= start < first + per_epoch
                    judged, error = map(float, steps.mean_bound(state.judged, device_validation))
                    row["validation_bound"], row["validation_error"] = judged, error
                if judged > best.bound or not math.isfinite(best.bound):
                    best = _Best(state.judged, judged, epoch)
                row["steps_per_second"] = 1 / measured
                row["seconds"] = run.seconds_before + now - began
                run.metrics.append(row)
            newest = run.metrics.rows[-1].get("validation_bound") if run.metrics.rows else None
            progress.update(step, epoch, bound, newest, 1 / measured, compiled=compiled)
            if time.monotonic() - saved >= checkpoint_seconds:
                run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
                saved = time.monotonic()
    run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
    run.save_parameters(static, state, best)
    return FitResult(
        moved_back(eqx.combine(state.judged, static), run.origin),
        run.metrics.rows,
        moved_back(eqx.combine(best.arrays, static), run.origin),
        best.epoch,
        interrupted=step < num_steps,
        steps_taken=step - first,
    )


def _check_minibatches(objective: Trainable, batch_size: int, num_examples: int) -> None:
    """Refuse scaled log weights of a batch inside a bound that is not linear: it is none then."""
    if batch_size == num_examples or not isinstance(objective, Objective):
        return
    if objective.num_samples > 1 and not objective.bound.is_linear:
        raise InputError(
            f"{type(objective.bound).__name__} of the scaled log weights of a batch of "
            f"{batch_size} is no bound on those of all {num_examples} examples: take ELBO(), "
            f"num_samples=1, or batch_size={num_examples}"
        )


class _Run:
    """The run's folder, or none."""

    def __init__(
        self,
        directory: str | Path | None,
        fingerprint: dict[str, Any],
        origin: Any,
        *,
        resume: bool,
    ):
        self.origin = origin
        self.directory = None if directory is None else Path(directory)
        self.fingerprint = fingerprint
        self.resume = resume
        self.seconds_before = 0.0
        self.checkpoints: Checkpoints | None = None
        if self.directory is None:
            self.metrics = Metrics(None)
            if resume:
                raise InputError("resume=True needs the directory of the run that it is to resume")
            return
        self.metrics = Metrics(self.directory / "metrics.jsonl")
        self.checkpoints = Checkpoints(self.directory / "checkpoints")
        if not resume and achieved_in(self.directory):
            raise InputError(
                f"{directory} already holds a run: resume it (--resume, resume=True), or take "
                "another folder"
            )

    def restore(self, state: State, best: _Best) -> tuple[State, _Best]:
        if not self.resume or self.checkpoints is None:
            return state, best
        held = {"state": state, "best": best.arrays}
        restored = self.checkpoints.restore(named_arrays(held))
        if restored is None:
            self.metrics.restore([])
            return state, best
        for warning in restored.warnings:
            warnings.warn(f"{warning}: going on from that of step {restored.step}", stacklevel=4)
        differing = differences(restored.info["fingerprint"], self.fingerprint)
        if differing:
            raise InputError(f"the run in {self.directory} was another one: {'; '.join(differing)}")
        held = with_arrays(held, restored.arrays)
        self.metrics.restore(restored.info["history"])
        self.seconds_before = restored.info["seconds"]
        bound = restored.info["best_bound"]
        epoch = restored.info["best_epoch"]
        return held["state"], _Best(held["best"], -math.inf if bound is None else bound, epoch)

    def save(self, state: State, best: _Best, *, seconds: float) -> None:
        if self.checkpoints is None:
            return
        info = {
            "fingerprint": self.fingerprint,
            "best_bound": best.bound if math.isfinite(best.bound) else None,
            "best_epoch": best.epoch,
            "seconds": seconds,
            "history": self.metrics.rows,
        }
        self.checkpoints.save(
            int(state.step), named_arrays({"state": state, "best": best.arrays}), info
        )

    def save_parameters(self, static: PyTree, state: State, best: _Best) -> None:
        if self.directory is None:
            return
        save_parameters(
            self.directory / "last.safetensors",
            moved_back(eqx.combine(state.judged, static), self.origin),
        )
        save_parameters(
            self.directory / "best.safetensors",
            moved_back(eqx.combine(best.arrays, static), self.origin),
        )

    def kept(self, step: int) -> str:
        if self.directory is None:
            return "nothing was stored, for want of a directory"
        if not step:
            return "nothing was stored, as no step was taken"
        return f"the state after step {step} is stored in {self.directory}"
