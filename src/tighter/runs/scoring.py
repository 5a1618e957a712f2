"""The score of a run's model on held-out examples, and the record of it."""

from __future__ import annotations

from typing import Any

from tighter._checks import require
from tighter.data import Dataset
from tighter.runs.build import check_seed, kind_of, load_model
from tighter.runs.folder import RunFolder
from tighter.runs.kind import Announce, Effort

__all__ = ["load_model", "score"]


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


def check_same_shape(data: Dataset, run: RunFolder) -> None:
    """Refuse examples of another shape than those that a run was trained on.

    Raises:
        InputError: If theirs is another.
    """
    require(
        data.shape == run.shape,
        f"the data's examples have shape {data.shape} and the run was trained on {run.shape}: "
        "the data has changed",
    )
