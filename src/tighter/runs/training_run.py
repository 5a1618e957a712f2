"""The main job: configuration to a trained model, its score and its pictures."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from tighter._errors import InputError
from tighter._files import sealed
from tighter._lock import alone_in
from tighter.data import Splits
from tighter.distributions import check_posterior
from tighter.objectives.objective import Objective
from tighter.runs.build import (
    build_data,
    build_model,
    build_optimizer,
    build_transform,
    check_counts,
    is_diffusion,
    resolved,
)
from tighter.runs.build_objective import DISCRETE_GRADIENT, build_objective
from tighter.runs.configuration import Configuration
from tighter.runs.diffusion import diffusion_pictures
from tighter.runs.folder import (
    CONFIGURATION,
    RunFolder,
    check_new,
    open_run,
    versions,
    write_arrays,
    write_json,
)
from tighter.runs.pictures import picture_arrays
from tighter.runs.scoring import score
from tighter.runs.table_record import table_record
from tighter.training import FitResult, Trainable, check_numbers, fit


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        run: Its folder.
        fit: The training's result.
        evaluation: The test log-likelihood's record; None where training was interrupted.
    """

    run: RunFolder
    fit: FitResult
    evaluation: dict[str, Any] | None


def train(
    configuration: Configuration,
    path: Path,
    *,
    resume: bool = False,
    command: str = "",
    announce: Callable[[str], None] = lambda line: None,
    show_progress: bool | None = None,
) -> Outcome:
    """Train, score on the test set, store what a report is drawn from.

    Args:
        configuration: What to do.
        path: The run's folder.
        resume: Go on with the run in it.
        command: The command that asked for it, for the record.
        announce: Told what is going on, a line at a time.
        show_progress: As in `tighter.fit`.

    Returns:
        Folder, training result and score.

    Raises:
        InputError: If the data, the configuration or the folder is not right.
        NonFiniteError: If training meets a value that is not finite.
    """
    _check_folder(path, resume=resume)
    check_counts(configuration)
    build_objective(configuration)
    splits = build_data(configuration)
    chosen = configuration.objective.gradient is None and not is_diffusion(configuration)
    configuration = resolved(configuration, splits)
    training = configuration.training
    shape, schema = splits.train.shape, splits.train.schema
    model = build_model(configuration, shape, splits.train.x, schema)
    epochs = training.epochs or 0
    check_numbers(
        splits.train.x,
        splits.validation.x,
        num_epochs=epochs,
        batch_size=training.batch_size,
        average=training.average,
    )
    num_steps = epochs * (len(splits.train) // training.batch_size)
    optimizer = build_optimizer(configuration, num_steps)
    objective = build_objective(configuration, num_steps=num_steps)
    _check_path(model, objective, shape)
    with alone_in(path):
        _check_folder(path, resume=resume)  # as it is, now that nobody else writes to it
        if not resume:
            _write_configuration(path, configuration, model, splits, command)
        run = open_run(path)
        announce(
            f"{_told(configuration)} on "
            f"{len(splits.train)} examples of {splits.train.name} {shape}, "
            f"{epochs} epochs; run folder {path}"
        )
        if chosen and configuration.objective.gradient == DISCRETE_GRADIENT:
            announce(
                "note: z is discrete, so that its draws carry no derivative: the gradient is vimco"
            )
        if isinstance(objective, Objective) and objective.bias:
            announce(f"note: {objective.bias}")
        result = fit(
            model,
            splits.train,
            objective,
            optimizer=optimizer,
            num_epochs=epochs,
            batch_size=training.batch_size,
            key=jax.random.key(training.seed),
            validation=splits.validation.x[:2000],
            directory=path,
            resume=resume,
            transform=build_transform(configuration),
            average=training.average,
            show_progress=show_progress,
        )
        if result.interrupted:
            return Outcome(run, result, None)
        if not result.steps_taken:
            announce(f"note: {path} was finished before, all {epochs} epochs; it is scored again")
        evaluation = score(result.best_model, splits.test, configuration, run, announce=announce)
        draw_pictures(run, result.best_model, splits)
        return Outcome(run, result, evaluation)


def _check_folder(path: Path, *, resume: bool) -> None:
    """Refuse to start where there is a run, and to go on where there is none."""
    if resume:
        open_run(path)
    else:
        check_new(path)


def draw_pictures(run: RunFolder, model: Any, splits: Splits) -> None:
    """Store the arrays of the report's pictures in the run's folder."""
    key = jax.random.key(run.configuration.training.seed)
    if splits.train.schema is not None:
        try:
            scored = dict(np.load(run.path / "evaluation.npz", allow_pickle=False))
        except (OSError, ValueError):
            scored = {}
        write_json(run.path / "table.json", table_record(model, splits, scored, key=key))
    if is_diffusion(run.configuration):
        arrays = diffusion_pictures(model, splits, key=key)
    else:
        arrays = picture_arrays(model, splits, build_transform(run.configuration), key=key)
    write_arrays(run.path / "pictures.npz", arrays)


def _write_configuration(
    path: Path, configuration: Configuration, model: Any, splits: Splits, command: str
) -> None:
    sizes = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    record = {
        "command": command,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "configuration": configuration.to_dict(),
        "shape": list(splits.train.shape),
        "schema": splits.train.schema and splits.train.schema.to_dict(),
        "data_sizes": sizes,
        "num_parameters": sum(math.prod(leaf.shape) for leaf in arrays),
        "device": str(jax.devices()[0]),
        "versions": versions(),
    }
    write_json(path / CONFIGURATION, sealed(record))


def _check_path(model: Any, objective: Trainable, shape: tuple[int, ...]) -> None:
    """Refuse an estimator that differentiates through draws which have no derivative."""
    gradient: Any = getattr(objective, "gradient", None)
    if gradient is None:
        return

    def check(x: Any) -> None:
        name = type(gradient).__name__
        check_posterior(model.posterior(x), needs_path=gradient.uses_path, estimator=name)

    try:
        jax.eval_shape(check, jax.ShapeDtypeStruct(shape, "float32"))
    except TypeError as error:
        raise InputError(f"[objective]: {error}") from None


def _told(configuration: Configuration) -> str:
    """What is maximized, in a few words."""
    if is_diffusion(configuration):
        chosen = configuration.diffusion
        return f"diffusion model, {chosen.denoiser} denoiser, {chosen.schedule} schedule,"
    objective = configuration.objective
    form = "" if objective.form == "log-weights" else f" as {objective.form}"
    told = f"{objective.bound}{form} with the {objective.gradient} gradient"
    return f"{told}, K = {objective.num_samples},"
