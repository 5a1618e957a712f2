"""tighter compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import announce, print_json


def compare(
    run: Annotated[Path, typer.Argument(help="Folder of the run")],
    bound: Annotated[
        list[str] | None, typer.Option(help="A bound, as often as wanted [elbo and the run's]")
    ] = None,
    gradient: Annotated[
        list[str] | None,
        typer.Option(help="An estimator, as often as wanted [those that suit the posterior]"),
    ] = None,
    num_samples: Annotated[
        list[int] | None, typer.Option(help="A number of draws K [1 and the run's]")
    ] = None,
    num_backward: Annotated[
        list[int] | None, typer.Option(help="Draws backpropagated, beside all of them [8]")
    ] = None,
    num_replicates: Annotated[int, typer.Option(help="Gradients of each row")] = 100,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws [the run's]")] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Take the last parameters instead of the best")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Measure which bound, estimator and numbers of draws suit a run's model, and recommend one.

    Examples:
      tighter compare runs/digits-iwae-1

      tighter compare runs/mnist --bound iwae --num-samples 50 --num-backward 4 --num-backward 8
    """
    from tighter._errors import InputError
    from tighter.report import write_report
    from tighter.runs.build import build_data, check_autoencoder
    from tighter.runs.folder import check_writable, open_run
    from tighter.runs.measuring import compared
    from tighter.runs.scoring import load_model

    for name, numbers in (("--num-samples", num_samples), ("--num-backward", num_backward)):
        if numbers and min(numbers) < 1:
            raise InputError(f"{name} is at least 1, got {min(numbers)}")
    opened = open_run(run)
    check_writable(run)
    check_autoencoder(opened.configuration, "tighter compare")
    model = load_model(opened, which="last" if last else "best")
    splits = build_data(opened.configuration)
    record, text = compared(
        model, opened, splits,
        bounds=bound or None, gradients=gradient or None, num_samples=num_samples or None,
        num_backward=num_backward or None, num_replicates=num_replicates, seed=seed,
        which="last" if last else "best", announce=announce,
    )  # fmt: skip
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page)} | record)
        return
    print(text)
    print(f"report {page}")
