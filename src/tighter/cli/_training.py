"""What train, topics and impute have in common: a run, trained or resumed, that may be stopped."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from tighter.cli._output import announce


def check_same(path: Path, ours: Any, theirs: Any, *, otherwise: str) -> None:
    """Refuse to resume a run with another configuration.

    Raises:
        InputError: With what differs.
    """
    from tighter._checks import require

    differences = ours.differences(theirs)
    require(
        not differences,
        f"{path} was started with another configuration: {'; '.join(differences)}; leave these "
        f"out to resume it, or {otherwise}",
    )


def train_run(
    configuration: Any, path: Path, *, resume: bool, command: str, devices: str | None = None
) -> Any:
    """Train and score a run; one that is stopped says how to go on, and exits with status 130."""
    from tighter.runs.folder import is_run
    from tighter.runs.training_run import train

    resumption = f"go on with:  tighter {command} --resume {shlex.quote(str(path))}"
    try:
        outcome = train(
            configuration,
            path,
            resume=resume,
            command=shlex.join(["tighter", *sys.argv[1:]]),
            devices=devices,
            announce=announce,
            show_progress=True,
        )
    except KeyboardInterrupt:
        if not is_run(path):
            raise
        announce(f"stopped; what was trained is stored; {resumption}")
        sys.exit(130)
    if outcome is None:
        return None
    if outcome.evaluation is None:
        last = outcome.fit.history[-1]["epoch"] if outcome.fit.history else 0
        plural = "" if last == 1 else "s"
        announce(f"stopped after {last} whole epoch{plural}; everything is stored; {resumption}")
        sys.exit(130)
    return outcome
