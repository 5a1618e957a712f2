"""tighter diagnose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import announce, print_json


def diagnose(
    run: Annotated[Path, typer.Argument(help="Folder of the run")],
    num_examples: Annotated[
        int | None, typer.Option(help="Training examples, the first ones [all]")
    ] = None,
    num_gaps: Annotated[
        int, typer.Option(help="Test examples whose posterior is optimized on its own")
    ] = 100,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws [the run's]")] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Take the last parameters instead of the best")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """What a run's bound hides: its terms, unused units, codes against the prior, inference gaps.

    Examples:
      tighter diagnose runs/digits-iwae-1

      tighter diagnose runs/mnist --num-examples 10000 --json
    """
    from tighter._errors import InputError
    from tighter.report import write_report
    from tighter.runs.build import build_data, check_autoencoder
    from tighter.runs.folder import check_writable, open_run
    from tighter.runs.measuring import diagnosed
    from tighter.runs.scoring import load_model

    for name, number in (("--num-examples", num_examples), ("--num-gaps", num_gaps)):
        if number is not None and number < 1:
            raise InputError(f"{name} is at least 1, got {number}")
    opened = open_run(run)
    check_writable(run)
    check_autoencoder(opened.configuration, "tighter diagnose")
    model = load_model(opened, which="last" if last else "best")
    splits = build_data(opened.configuration)
    record = diagnosed(
        model, opened, splits,
        num_examples=num_examples, num_gaps=num_gaps, seed=seed,
        which="last" if last else "best", announce=announce,
    )  # fmt: skip
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page)} | record)
        return
    terms, errors = record["surgery"], record["surgery_errors"]
    for name, told in (
        ("elbo", "ELBO = reconstruction − average KL"),
        ("reconstruction", "average reconstruction"),
        ("average_kl", "average KL = the next two"),
        ("index_code_mutual_information", "index-code mutual information"),
        ("marginal_kl", "KL(q(z)‖p(z))"),
    ):
        print(f"{told:36} {terms[name]:9.3f} ± {errors[name]:.3f} nats")
    print(f"{'log of the number of examples':36} {record['log_num_examples']:9.3f}")
    print(f"active units {record['active_units']} of {record['num_units']}")
    for name in ("amortization_gap", "approximation_gap"):
        gap = record["gaps"][name]
        error = gap["standard_error"]
        spread = "" if error is None else f" ± {error:.3f}"
        print(f"{name.replace('_', ' '):36} {gap['mean']:9.3f}{spread} nats")
    for line in record["warnings"]:
        print(f"note: {line}")
    print(f"report {page}")
