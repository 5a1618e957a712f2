"""Training a model by maximizing a bound, in a way that nothing is lost."""

from __future__ import annotations

import dataclasses
import math
import re
import time
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from tighter._errors import InputError
from tighter.data import Dataset
from tighter.training.arrays import digest, named_arrays, save_parameters, with_arrays
from tighter.training.checkpoints import Checkpoints
from tighter.training.interruption import Interruption
from tighter.training.metrics import Metrics
from tighter.training.non_finite import explain
from tighter.training.progress import ProgressDisplay
from tighter.training.steps import State, Steps, Trainable, Transform, keys_of

_SECONDS_A_CHUNK = 0.5


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about.

    Attributes:
        model: The model after the last step.
        history: A row an epoch: epoch, step, bound, validation_bound (nats a datum, larger is
            better), steps_per_second, seconds.
        best_model: The model after the epoch with the largest validation bound (training bound,
            where there is no validation set).
        best_epoch: That epoch, from 1; 0 if no epoch was finished.
        interrupted: Whether Ctrl-C stopped it before the last epoch.
    """

    model: Any
    history: list[dict[str, Any]]
    best_model: Any
    best_epoch: int
    interrupted: bool


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
    optimizer: optax.GradientTransformation,
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
            trained. `Steps` tells what else it may have: batch statistics, minibatches.
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
            a run and `resume` is off, or the run in it was another one.
        NonFiniteError: If a bound or a gradient is not finite. The state before is kept.

    Example:
        >>> result = tt.fit(model, xs, objective, optimizer=optax.adam(1e-3), num_epochs=20,
        ...                 batch_size=100, key=jax.random.key(0))
    """
    taken = {
        "missing": bool(getattr(model, "takes_missing", False)),
        "scalars": hasattr(model, "minibatch_log_joint"),
    }
    xs = _examples(data, "data", **taken)
    held_out = None if validation is None else _examples(validation, "validation", **taken)
    check_numbers(xs, held_out, num_epochs=num_epochs, batch_size=batch_size, average=average)
    if held_out is not None and hasattr(model, "minibatch_log_joint"):
        raise InputError(
            f"the latents of {type(model).__name__} belong to the data that it is trained on, so a "
            "bound of other data says nothing: leave validation out, and measure the predictive "
            "density of held-out data"
        )
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    # A copy of its own, lest two places of the model share one array.
    arrays = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), arrays)
    num_examples = leading_size(xs)
    per_epoch = num_examples // batch_size
    num_steps = num_epochs * per_epoch
    last = jnp.asarray(num_steps)
    steps = Steps(static, objective, optimizer, transform, batch_size, last, keys_of(key), average)
    state, best = steps.initial(arrays), _Best(arrays)
    fingerprint = {
        # Without the addresses of functions (schedules), which differ from process to process.
        "objective": re.sub(r" at 0x[0-9a-f]+", "", repr(objective)),
        "batch_size": batch_size,
        "num_epochs": num_epochs,
        "average": average,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "data": digest(_named(xs)),
    }
    run = _Run(directory, fingerprint, resume=resume)
    state, best = run.restore(state, best)
    pace, began, saved = 0.0, time.monotonic(), time.monotonic()
    step, on_device = int(state.step), jax.tree.map(jnp.asarray, xs)
    device_validation = None if held_out is None else jax.tree.map(jnp.asarray, held_out)

    with (
        Interruption() as interruption,
        ProgressDisplay(num_epochs, num_steps, step, show=show_progress) as progress,
    ):
        while step < num_steps and not interruption.requested:
            epoch, start, chunk_began = step // per_epoch + 1, step, time.monotonic()
            chunk = max(1, int(_SECONDS_A_CHUNK / pace)) if pace else 1
            until = min(step + chunk, epoch * per_epoch)
            new_state, finite = steps.run(state, on_device, jnp.asarray(until))
            step = int(new_state.step)
            if not finite:
                if step - 1 > start:
                    state, _ = steps.run(state, on_device, jnp.asarray(step - 1))
                run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
                run.save_parameters(static, state, best)
                rows = steps.rows_of(step - 1, num_examples)
                batch, step_key = steps.batch(on_device, rows, jnp.asarray(step - 1))
                raise explain(
                    eqx.combine(state.arrays, static), objective.at(jnp.asarray(step - 1)), batch,
                    rows=rows, num_examples=num_examples, step=step - 1, kept=run.kept(step - 1),
                    key=step_key,
                )  # fmt: skip
            state = new_state
            now = time.monotonic()
            # The first chunk holds the compilation and says nothing of the pace.
            measured = (now - chunk_began) / (step - start)
            pace = measured if start > 0 or step > 1 else 0.0
            in_epoch = step - (epoch - 1) * per_epoch
            bound = float(state.bound_sum) / in_epoch
            if in_epoch == per_epoch:
                row = {"epoch": epoch, "step": step, "bound": bound}
                judged = bound
                if device_validation is not None:
                    judged = float(steps.mean_bound(state.judged, device_validation))
                    row["validation_bound"] = judged
                if judged > best.bound or not math.isfinite(best.bound):
                    best = _Best(state.judged, judged, epoch)
                row["steps_per_second"] = 1 / measured
                row["seconds"] = run.seconds_before + now - began
                run.metrics.append(row)
            newest = run.metrics.rows[-1].get("validation_bound") if run.metrics.rows else None
            progress.update(step, epoch, bound, newest, 1 / measured)
            if time.monotonic() - saved >= checkpoint_seconds:
                run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
                saved = time.monotonic()
    run.save(state, best, seconds=run.seconds_before + time.monotonic() - began)
    run.save_parameters(static, state, best)
    return FitResult(
        eqx.combine(state.judged, static),
        run.metrics.rows,
        eqx.combine(best.arrays, static),
        best.epoch,
        interrupted=step < num_steps,
    )


class _Run:
    """The run's folder, or none."""

    def __init__(self, directory: str | Path | None, fingerprint: dict[str, Any], *, resume: bool):
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
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {directory} can't be made: {error.strerror}") from None
        self.metrics = Metrics(self.directory / "metrics.jsonl")
        self.checkpoints = Checkpoints(self.directory / "checkpoints")
        if not resume and (self.checkpoints.steps() or self.metrics.path.exists()):  # type: ignore[union-attr]
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
            self.metrics.restore(-1)
            return state, best
        for warning in restored.warnings:
            warnings.warn(f"{warning}: going on from that of step {restored.step}", stacklevel=3)
        theirs = restored.info["fingerprint"]
        differing = [
            f"{name} was {theirs.get(name)} and is {ours}"
            for name, ours in self.fingerprint.items()
            if theirs.get(name) != ours
        ]
        if differing:
            raise InputError(f"the run in {self.directory} was another one: {'; '.join(differing)}")
        held = with_arrays(held, restored.arrays)
        self.metrics.restore(restored.step)
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
        }
        self.checkpoints.save(
            int(state.step), named_arrays({"state": state, "best": best.arrays}), info
        )

    def save_parameters(self, static: PyTree, state: State, best: _Best) -> None:
        if self.directory is None:
            return
        save_parameters(self.directory / "last.safetensors", eqx.combine(state.judged, static))
        save_parameters(self.directory / "best.safetensors", eqx.combine(best.arrays, static))

    def kept(self, step: int) -> str:
        if self.directory is None:
            return "nothing was stored, for want of a directory"
        return f"the state after step {step} is stored in {self.directory}"


def _examples(data: Any, name: str, *, missing: bool, scalars: bool) -> PyTree:
    """Finite numbers with one leading axis; NaN where the model takes missing entries.

    A datum of a Bayesian model may be a scalar.
    """
    data = data.x if isinstance(data, Dataset) else data
    parts, structure = jax.tree.flatten_with_path(data, is_leaf=lambda leaf: isinstance(leaf, list))
    whole = [(name + jax.tree_util.keystr(path), np.asarray(part)) for path, part in parts]
    if not whole:
        raise InputError(f"{name} holds no array: give an array of examples (N, ...)")
    arrays = [
        _checked(part, place, missing=missing, alone=len(whole) == 1 and not scalars)
        for place, part in whole
    ]
    sizes = {place: len(array) for (place, _), array in zip(whole, arrays, strict=True)}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{place} has {size}" for place, size in sizes.items())
        raise InputError(f"the parts of an example have as many rows each, but {told}")
    return jax.tree.unflatten(structure, arrays)


def _checked(xs: np.ndarray, name: str, *, missing: bool, alone: bool) -> np.ndarray:
    if xs.ndim < (2 if alone else 1) or xs.shape[0] == 0:
        raise InputError(f"{name} is an array of examples (N, ...), got shape {xs.shape}")
    if not np.isdtype(xs.dtype, ("bool", "integral", "real floating")):
        raise InputError(f"{name} has to be real numbers, got {xs.dtype}")
    wrong = np.isinf(xs) if missing else ~np.isfinite(xs)
    if wrong.any():
        bad = np.any(wrong.reshape(xs.shape[0], -1), axis=1)
        raise InputError(
            f"{name} has values that are not finite in {bad.sum()} of {xs.shape[0]} examples, row "
            f"{int(bad.argmax())} first: drop these rows or fill them"
        )
    return xs if np.issubdtype(xs.dtype, np.floating) else xs.astype(np.float32)


def check_numbers(
    xs: PyTree,
    held_out: PyTree,
    *,
    num_epochs: int,
    batch_size: int,
    average: float | None = None,
) -> None:
    """Refuse what `fit` can't train on, before anything is written."""
    if average is not None and not 0 <= average < 1:
        raise InputError(f"average is the decay of a mean, 0 or more and below 1, got {average}")
    if num_epochs < 1 or batch_size < 1:
        raise InputError(
            f"num_epochs and batch_size are at least 1, got {num_epochs} and {batch_size}"
        )
    if batch_size > leading_size(xs):
        raise InputError(
            f"a batch of {batch_size} is larger than the data of {leading_size(xs)} examples: take "
            f"a batch_size of at most {leading_size(xs)}"
        )
    ours, theirs = (jax.tree.map(lambda part: part.shape[1:], tree) for tree in (xs, held_out))
    if held_out is not None and ours != theirs:
        raise InputError(f"validation examples have shape {theirs}, training examples {ours}")


def _named(xs: PyTree) -> dict[str, np.ndarray]:
    parts, _ = jax.tree.flatten_with_path(xs)
    return {"x" + jax.tree_util.keystr(path): part for path, part in parts}


def leading_size(xs: PyTree) -> int:
    """How many examples there are."""
    return jax.tree.leaves(xs)[0].shape[0]
