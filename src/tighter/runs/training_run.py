"""The main job: configuration to a trained model, its score and its pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from tighter._checks import require
from tighter._files import sealed
from tighter._lock import alone_in
from tighter._mesh import check_divides, mesh_of, size_of
from tighter._precision import check_precision
from tighter.data import Dataset
from tighter.objectives.objective import Objective
from tighter.runs.build import check_same_shape, check_seed, kind_of
from tighter.runs.folder import (
    CONFIGURATION,
    RunFolder,
    check_new,
    free_folder,
    open_run,
    versions,
    write_json,
)
from tighter.runs.kind import Announce, Effort, Prepared
from tighter.runs.topics_configuration import TOPICS
from tighter.training import FitResult, check_numbers, fit
from tighter.training.processes import by_first, is_first


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        run: Its folder.
        fit: The training's result.
        evaluation: The record of the score on held-out examples; None where training was
            interrupted.
        topics: The record of the topics, of a run that has some.
    """

    run: RunFolder
    fit: FitResult
    evaluation: dict[str, Any] | None
    topics: dict[str, Any]


def train(
    configuration: Any,
    path: Path,
    *,
    resume: bool = False,
    command: str = "",
    devices: str | None = None,
    announce: Announce = lambda line: None,
    show_progress: bool | None = None,
) -> Outcome | None:
    """Train, score on the test set, store what a report is drawn from.

    Args:
        configuration: What to do, a `Configuration` or a `TopicsConfiguration`.
        path: The run's folder.
        resume: Go on with the run in it.
        command: The command that asked for it, for the record.
        devices: How many devices examples are spread over, or "all"; none for one.
        announce: Told what is going on, a line at a time.
        show_progress: As in `tighter.fit`.

    Returns:
        Folder, training result and score; None in all of several processes but the first.

    Raises:
        InputError: If the data, the configuration or the folder is not right.
        NonFiniteError: If training meets a value that is not finite.
    """
    kind, of_topics = kind_of(configuration), configuration.kind == TOPICS

    def opened() -> RunFolder | None:
        """The run to go on with; a new one is refused where there is one."""
        return open_run(path, of_topics=of_topics) if resume else check_new(path)

    mesh = None if devices is None else mesh_of(devices)
    stored = opened()
    kind.check(configuration)
    prepared = kind.prepare(configuration, stored)
    configuration = prepared.configuration
    training, epochs = configuration.training, configuration.training.epochs or 0
    model = kind.build(configuration, prepared.shape, prepared.sample, prepared.schema)
    check_numbers(
        prepared.xs,
        prepared.validation,
        num_epochs=epochs,
        batch_size=training.batch_size,
        average=prepared.average,
    )
    check_precision(training.precision)
    check_divides(training.batch_size, size_of(mesh, "data"))
    num_steps = epochs * (len(prepared.xs) // training.batch_size)
    optimizer = kind.optimizer(configuration, num_steps)
    objective = kind.objective(configuration, num_steps=num_steps)
    kind.check_together(model, objective, prepared.shape)

    def begun() -> None:
        held.enter_context(alone_in(path))
        opened()  # as it is, now that nobody else writes to it
        if not resume:
            _write_configuration(path, prepared, model, command)

    with contextlib.ExitStack() as held:
        by_first(begun)
        announce = announce if is_first() else (lambda line: None)
        run = open_run(path, of_topics=of_topics)
        announce(f"{prepared.about}, {epochs} epochs; run folder {path}")
        bias = objective.bias if isinstance(objective, Objective) else None
        for note in (*prepared.notes, *([bias] if bias else [])):
            announce(f"note: {note}")
        result = fit(
            model,
            prepared.source,
            objective,
            optimizer=optimizer,
            num_epochs=epochs,
            batch_size=training.batch_size,
            key=jax.random.key(training.seed),
            validation=prepared.validation[:2000],
            directory=path,
            resume=resume,
            transform=kind.transform(configuration),
            average=prepared.average,
            mesh=mesh,
            precision=training.precision,
            show_progress=show_progress,
        )
        if not is_first():
            return None
        if result.interrupted:
            return Outcome(run, result, None, {})
        if not result.steps_taken:
            announce(f"note: {path} was finished before, all {epochs} epochs; it is scored again")
        evaluation = score(result.best_model, prepared.test, run, announce=announce)
        return Outcome(run, result, evaluation, kind.draw(run, result.best_model, prepared.data))


def score(
    model: Any,
    test: Any,
    run: RunFolder,
    *,
    num_samples: int | None = None,
    num_examples: int | None = None,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Estimate the test log-likelihood of a run's model and store it in the run's folder.

    Args:
        model: The trained model.
        test: The test examples.
        run: Where to store the record.
        num_samples: Draws an example; the configuration's if left out.
        num_examples: Test examples, the first ones; the configuration's if left out.
        seed: Of binarization and draws; the configuration's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, in nats a datum.
    """
    if isinstance(test, Dataset):
        check_same_shape(test, run)
        require(
            test.schema == run.schema,
            "the data's columns are not those that the run was trained on: the data has changed",
        )
    configuration = run.configuration
    effort = Effort(
        num_samples or configuration.evaluation.num_samples,
        min(num_examples or configuration.evaluation.num_examples, len(test)),
        check_seed(configuration.training.seed if seed is None else seed),
        which,
    )
    return kind_of(configuration).score(model, test, run, effort, announce)


def new_run_path(configuration: Any) -> Path:
    """The first free folder runs/NAME-BOUND-N."""
    return free_folder(kind_of(configuration).folder_name(configuration))


def _write_configuration(path: Path, prepared: Prepared, model: Any, command: str) -> None:
    for name, content in prepared.files.items():
        write_json(path / name, content)
    configuration = prepared.configuration
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    record = {
        "command": command,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **({"kind": TOPICS} if configuration.kind == TOPICS else {}),
        "configuration": configuration.to_dict(),
        **prepared.facts,
        "num_parameters": sum(math.prod(leaf.shape) for leaf in arrays),
        "device": str(jax.devices()[0]),
        "versions": versions(),
    }
    write_json(path / CONFIGURATION, sealed(record))
