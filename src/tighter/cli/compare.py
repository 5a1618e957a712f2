"""tighter compare."""

from __future__ import annotations

from typing import Annotated

import typer

from tighter.cli._options import Json, Last, Run, Seed, check_least
from tighter.cli._output import announce, print_json, print_lines


def compare(
    run: Run,
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
    seed: Seed = None,
    last: Last = False,
    json: Json = False,
) -> None:
    """Measure which bound, estimator and numbers of draws suit a run's model, and recommend one.

    Examples:
      tighter compare runs/digits-iwae-1

      tighter compare runs/mnist --bound iwae --num-samples 50 --num-backward 4 --num-backward 8
    """
    from tighter.report import write_report
    from tighter.runs.measuring import Measured, compared

    for number in num_samples or []:
        check_least(num_samples=number)
    for number in num_backward or []:
        check_least(num_backward=number)
    measured = Measured.opened(run, what="tighter compare", seed=seed, last=last, announce=announce)
    record, table = compared(
        measured,
        bounds=bound or None,
        gradients=gradient or None,
        num_samples=num_samples or None,
        num_backward=num_backward or None,
        num_replicates=num_replicates,
    )
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page)} | record)
        return
    print_lines(table, f"report {page}")
