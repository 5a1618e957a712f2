"""tighter evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import announce, print_json, score_line


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run")],
    num_samples: Annotated[int | None, typer.Option(help="Draws an example, K [5000]")] = None,
    num_examples: Annotated[int | None, typer.Option(help="Test examples, the first ones")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws [the run's]")] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Take the last parameters instead of the best")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Estimate the test log-likelihood of a run, with its error, and draw its report anew.

    Examples:
      tighter evaluate runs/digits-iwae-1

      tighter evaluate runs/digits-iwae-1 --num-samples 50000 --json
    """
    from tighter._errors import InputError
    from tighter.experiments.build import build_data
    from tighter.experiments.folder import open_run
    from tighter.experiments.scoring import load_model, score
    from tighter.experiments.training_run import draw_pictures
    from tighter.report import write_report

    for name, number in (("--num-samples", num_samples), ("--num-examples", num_examples)):
        if number is not None and number < 1:
            raise InputError(f"{name} is at least 1, got {number}")
    opened = open_run(run)
    which = "last" if last else "best"
    model = load_model(opened, which=which)
    splits = build_data(opened.configuration)
    record = score(
        model,
        splits.test,
        opened.configuration,
        opened,
        num_samples=num_samples,
        num_examples=num_examples,
        seed=seed,
        which=which,
        announce=announce,
    )
    draw_pictures(opened, model, splits)
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page)} | record)
    else:
        print(score_line(record))
        print(f"report {page}")
