"""tighter diagnose."""

from __future__ import annotations

from typing import Annotated

import typer

from tighter.cli._options import Json, Last, Run, Seed, check_least
from tighter.cli._output import announce, plus_minus, print_json, print_lines

_TERMS = {
    "elbo": "ELBO = reconstruction − average KL",
    "reconstruction": "average reconstruction",
    "average_kl": "average KL = the next two",
    "index_code_mutual_information": "index-code mutual information",
    "marginal_kl": "KL(q(z)‖p(z))",
}


def diagnose(
    run: Run,
    num_examples: Annotated[
        int | None, typer.Option(help="Training examples, the first ones [all]")
    ] = None,
    num_gaps: Annotated[
        int, typer.Option(help="Test examples whose posterior is optimized on its own")
    ] = 100,
    seed: Seed = None,
    last: Last = False,
    json: Json = False,
) -> None:
    """What a run's bound hides: its terms, unused units, codes against the prior, inference gaps.

    Examples:
      tighter diagnose runs/digits-iwae-1

      tighter diagnose runs/mnist --num-examples 10000 --json
    """
    from tighter.report import write_report
    from tighter.runs.measuring import Measured, diagnosed

    check_least(num_examples=num_examples, num_gaps=num_gaps)
    measured = Measured.opened(
        run, what="tighter diagnose", seed=seed, last=last, announce=announce
    )
    record = diagnosed(measured, num_examples=num_examples, num_gaps=num_gaps)
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page)} | record)
        return
    terms, errors, gaps = record["surgery"], record["surgery_errors"], record["gaps"]
    print_lines(
        *(
            f"{text:36} {terms[name]:9.3f}{plus_minus(errors[name], 3)} nats"
            for name, text in _TERMS.items()
        ),
        f"{'log of the number of examples':36} {record['log_num_examples']:9.3f}",
        f"active units {record['active_units']} of {record['num_units']}",
        *(
            f"{name.replace('_', ' '):36} {gaps[name]['mean']:9.3f}"
            f"{plus_minus(gaps[name]['standard_error'], 3)} nats"
            for name in ("amortization_gap", "approximation_gap")
        ),
        *(f"note: {warning}" for warning in record["warnings"]),
        f"report {page}",
    )
