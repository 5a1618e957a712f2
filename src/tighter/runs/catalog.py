"""The experiments by name: a line here enrols one in the command line and its tests."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tighter._errors import InputError
from tighter._lock import alone_in
from tighter._names import unknown

EXPERIMENTS: dict[str, str] = {
    "gradients": "variances of the score function, the path and measure-valued derivatives",
    "butterfly": "exact posteriors of a bent latent, and bounds closing in on the exact log p(x)",
    "manifold": "a plane of latents on images, decoded, and how the encodings lie in it",
    "proposals": "simple Monte Carlo against importance sampling as the proposal moves",
    "iwae-table": "VAE and IWAE by their number of draws: test log-likelihood, active units",
    "dreg": "plain IWAE, sticking the landing, DReG and wake-φ by steps and by seconds",
    "snr": "signal and noise of gradients against the draws K and the bounds M averaged",
    "sticking-the-landing": "noise near the optimum, and how φ arrives without the score term",
    "importance-posterior": "the posterior that importance weighting implies, on three targets",
    "logistic": "four estimators on Bayesian logistic regression: noise, and how they arrive",
    "surgery": "mutual information and marginal KL of 2, 10, 20 latents, and a toy of two codes",
    "faithful-inversion": "what an encoder's graph costs in nats, on a tree and a hierarchy",
}

Announce = Callable[[str], None]


def run_experiment(
    name: str, path: Path, *, seed: int, announce: Announce, **settings: Any
) -> dict[str, Any]:
    """Run an experiment and store its record.

    Args:
        name: One of `EXPERIMENTS`.
        path: The folder, new or empty.
        seed: Of everything random.
        announce: Told what is going on, a line at a time.
        settings: `epochs`, `data`, where the experiment takes them; None where left out.

    Returns:
        The record, as it stands in the folder's record.json.

    Raises:
        InputError: If there is no such experiment, it takes no such setting, or the folder holds
            a record already.
    """
    module = experiment_module(name)
    given = {key: value for key, value in settings.items() if value is not None}
    taken = inspect.signature(module.run).parameters
    for key in given:
        if key not in taken:
            can = [name for name in settings if name in taken]
            raise InputError(
                f"the experiment {name!r} takes no --{key}"
                + (f" (it takes: {', '.join('--' + name for name in can)})" if can else "")
            )
    with alone_in(path):
        return module.run(path, seed=seed, announce=announce, **given)


def lines_of(name: str, record: dict[str, Any]) -> list[str]:
    """What came out, in a few lines."""
    return experiment_module(name).told(record)


def experiment_module(name: str) -> Any:
    """The file of an experiment: its docstring says paper, figure, command, time and numbers."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return importlib.import_module(f"tighter.runs.{name.replace('-', '_')}")
