"""Training a model by maximizing a bound, in a way that nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from tighter._checks import check_counts, require
from tighter._examples import (
    Stored,
    admitted_rows,
    check_one_device,
    moved_back,
    num_rows,
    shapes_of,
)
from tighter._lock import alone_in
from tighter._mesh import check_divides, checked_mesh, layout, size_of
from tighter._precision import check_precision
from tighter._protocols import as_model
from tighter._summary import quantity, summary
from tighter.data.source import Arrays
from tighter.objectives.objective import Objective
from tighter.training.arrays import digest
from tighter.training.feed import InMemory, Streamed
from tighter.training.fingerprint import made_of
from tighter.training.interruption import Interruption
from tighter.training.non_finite import explain
from tighter.training.order import Order
from tighter.training.processes import (
    agreed,
    arrays_of_first,
    by_first,
    is_first,
    on_host,
    peers_that_go,
    told_by_first,
)
from tighter.training.progress import ProgressDisplay
from tighter.training.record import Best, RunRecord
from tighter.training.steps import (
    GradientTransformation,
    State,
    Steps,
    Trainable,
    Transform,
    keys_of,
)

_SECONDS_A_CHUNK = 0.5
# Of what is read by rows, those that tell it from another source.
_ROWS_TOLD = 64
# To be raised where the order of examples, or of what is drawn, changes: no run goes on in another.
_FORMAT = 2


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
    mesh: Mesh | None = None,
    precision: str = "float32",
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
            with the same leading axis, where an example has several parts. What is not in memory
            (memory maps, HDF5, zarr, sparse matrices, anything with a length that gives rows or
            one example at a time) is read a block at a time, while the device works on another.
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
        mesh: Devices to compute on: examples are spread over its axis "data", the K draws of an
            example over "draws" and wide layers over "model", where it has these; None for one
            device. The numbers are the same to rounding.
        precision: Of the products in networks: "float32", or "bfloat16", where these are quick;
            sums, parameters and densities stay in float32.
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
    check_precision(precision)
    of_whole_set = as_model(model).minibatch_log_joint is not None
    given = model
    model, xs, origin = admitted_rows(given, data, "data", scalars=of_whole_set)
    held_out = None
    if validation is not None:
        held_out = admitted_rows(given, validation, "validation", scalars=of_whole_set).xs
    num_examples = num_rows(xs)
    check_numbers(xs, held_out, num_epochs=num_epochs, batch_size=batch_size, average=average)
    if of_whole_set:
        _check_minibatches(model, objective, held_out, batch_size, num_examples)
    told = xs, held_out
    if jax.process_count() > 1 and mesh is None:
        mesh = Mesh(np.asarray(jax.devices()), ("data",))
    if mesh is not None:
        mesh = checked_mesh(mesh)
        check_divides(batch_size, size_of(mesh, "data"))
        xs, held_out = (part if part is None else _by_rows(part) for part in (xs, held_out))
    per_epoch = num_examples // batch_size
    num_steps = num_epochs * per_epoch
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    # A copy of its own, lest two places of the model share one array.
    arrays = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), arrays)
    if mesh is not None:
        arrays = jax.device_put(arrays, layout(mesh, arrays))
    steps = Steps(
        static, objective, optimizer, transform, batch_size, num_examples, jnp.asarray(num_steps),
        keys_of(key), average, mesh, precision,
    )  # fmt: skip
    order = Order(steps.keys.permutation, num_examples, batch_size)
    folder = None if directory is None else Path(directory)

    def store(*, checkpoint_alone: bool = False) -> tuple[Any, Any]:
        """Keep the state, and the parameters of the last model and of the best."""
        last_state, best_there = on_host(state), best._replace(arrays=on_host(best.arrays))
        last, best_model = (
            moved_back(eqx.combine(arrays, static), origin)
            for arrays in (last_state.reported, best_there.arrays)
        )
        by_first(lambda: record.save(last_state, best_there))
        if not checkpoint_alone:
            by_first(lambda: record.save_models(last=last, best=best_model))
        return last, best_model

    def opened() -> RunRecord:
        """The folder and what it holds."""
        if folder is None:
            return RunRecord(None, {}, resume=resume)
        held.enter_context(alone_in(folder))
        return RunRecord(folder, _fingerprint(steps, key, *told, num_epochs), resume=resume)

    with contextlib.ExitStack() as held, peers_that_go(folder):
        record = by_first(opened) or RunRecord(None, {}, resume=False)
        state, best = _restored(record, steps.initial(arrays), Best(arrays), mesh)
        first = step = int(state.step)
        feed = Streamed(xs, order, mesh) if isinstance(xs, Stored | Arrays) else InMemory(xs, order)
        mean_bound = _mean_bound(steps, held_out)
        pace = 0.0  # seconds a step, 0 while it is unknown
        with (
            contextlib.closing(feed),
            Interruption() as interruption,
            ProgressDisplay(
                num_epochs, num_steps, step, show=show_progress if is_first() else False
            ) as progress,
        ):
            while step < num_steps:
                start, began, epoch = step, time.monotonic(), step // per_epoch + 1
                block, end = feed.block(step)
                chunk = max(1, int(_SECONDS_A_CHUNK / pace)) if pace else 1
                until, is_due, stops = agreed(
                    min(step + chunk, end),
                    record.is_due(checkpoint_seconds),
                    interruption.requested,
                )
                if stops:
                    break
                new_state, finite = steps.run(state, block, jnp.asarray(until))
                step = int(new_state.step)
                if not finite:
                    state = steps.before_fault(state, block, step)
                    if int(state.step):
                        store()
                    kept = record.kept(int(state.step))
                    raise explain(steps, on_host(state), block, order, kept=kept)
                state = new_state
                elapsed, seconds = record.seconds, (time.monotonic() - began) / (step - start)
                # The first chunk holds the compilation and says nothing of the pace.
                compiled = start == first
                pace = 0.0 if compiled else seconds
                bound = float(state.bound_sum) / (step - (epoch - 1) * per_epoch)
                if step == epoch * per_epoch:
                    row = {"epoch": epoch, "step": step, "bound": bound}
                    reached = bound
                    if mean_bound is not None:
                        compiled |= start < first + per_epoch
                        reached, error = map(float, mean_bound(state.reported))
                        row |= {"validation_bound": reached, "validation_error": error}
                    if reached > best.bound or not math.isfinite(best.bound):
                        best = Best(state.reported, reached, epoch)
                    row |= {"steps_per_second": 1 / seconds, "seconds": elapsed}
                    record.metrics.append(row)
                progress.update(
                    step, epoch, bound, record.newest_validation, 1 / seconds, compiled=compiled
                )
                if is_due:
                    store(checkpoint_alone=True)
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
    num = num_rows(xs)
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
    if held_out is not None:
        ours, theirs = shapes_of(xs), shapes_of(held_out)
        require(
            ours == theirs, f"validation examples have shape {theirs}, training examples {ours}"
        )


def _restored(record: RunRecord, state: State, best: Best, mesh: Mesh | None) -> tuple[State, Best]:
    """The state and the best arrays to go on from, the same in all processes."""
    if jax.process_count() == 1:
        return record.restore(state, best)
    held = on_host((state, best.arrays))
    found = by_first(lambda: record.restore(held[0], Best(held[1])))
    arrays = arrays_of_first(held if found is None else (found[0], found[1].arrays))
    bound, epoch = told_by_first(None if found is None else [found[1].bound, found[1].epoch])
    state, of_best = jax.device_put(arrays, layout(cast("Mesh", mesh), arrays))
    return state, Best(of_best, bound, epoch)


def _by_rows(xs: Any) -> Any:
    """Arrays in memory as what is read by rows."""
    return xs if isinstance(xs, Stored) else Arrays(jax.tree.map(np.asarray, xs))


def _mean_bound(steps: Steps, held_out: Any) -> Callable[[PyTree], tuple[Any, Any]] | None:
    """The mean bound on held-out examples and its standard error, as a function of parameters."""
    if held_out is None:
        return None
    if isinstance(held_out, Stored | Arrays):
        return lambda arrays: steps.mean_bound_by_rows(arrays, held_out, len(held_out))
    on_device = jax.tree.map(jnp.asarray, held_out)
    return lambda arrays: steps.mean_bound(arrays, on_device)


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
        if isinstance(tree, Stored | Arrays):  # its size, and some of its rows
            some = np.unique(np.linspace(0, len(tree) - 1, _ROWS_TOLD).astype(int))
            tree = {"size": np.asarray(len(tree)), "some": tree[some]}
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
        "precision": steps.precision,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "data": examples(xs),
        "validation": None if held_out is None else examples(held_out),
    }
