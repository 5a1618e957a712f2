"""tighter evaluate."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tighter.cli._options import Json, Last, Run, Seed, check_least
from tighter.cli._output import announce, plus_minus, print_json, print_lines, score_line

METHODS = ("importance", "pareto", "ais", "sandwich")


def evaluate(
    run: Run,
    method: Annotated[
        str, typer.Option(help="importance, pareto (smoothed), ais (annealing) or sandwich")
    ] = "importance",
    num_samples: Annotated[int | None, typer.Option(help="Draws an example, K [5000]")] = None,
    num_examples: Annotated[
        int | None, typer.Option(help="Test examples, the first ones [100 for ais and sandwich]")
    ] = None,
    num_temperatures: Annotated[int, typer.Option(help="Steps of annealing, for ais")] = 1000,
    num_chains: Annotated[int, typer.Option(help="Chains an example, for ais")] = 16,
    gap: Annotated[float, typer.Option(help="Nats between the bounds, for sandwich")] = 0.5,
    seed: Seed = None,
    last: Last = False,
    json: Json = False,
) -> None:
    """Estimate the test log-likelihood of a run, with its error, and draw its report anew.

    Examples:
      tighter evaluate runs/digits-iwae-1

      tighter evaluate runs/digits-iwae-1 --num-samples 50000 --json

      tighter evaluate runs/digits-iwae-1 --method sandwich --gap 0.2
    """
    from tighter._checks import require
    from tighter._names import unknown
    from tighter.report import result_lines, shown_results, write_report
    from tighter.runs.measuring import Measured

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    check_least(
        num_samples=num_samples, num_examples=num_examples, num_temperatures=num_temperatures,
        num_chains=num_chains,
    )  # fmt: skip
    instead = {"ais": "--num-temperatures and --num-chains", "sandwich": "--gap"}
    require(
        num_samples is None or method not in instead,
        f"--num-samples is for importance sampling; {method} takes {instead.get(method)}",
    )
    what = None if method == "importance" else f"--method {method}"
    measured = Measured.opened(run, what=what, seed=seed, last=last, announce=announce)
    if method == "ais":
        record, lines = _annealed(measured, num_examples, num_temperatures, num_chains)
    elif method == "sandwich":
        record, lines = _sandwiched(measured, num_examples, gap)
    else:
        record, lines = _scored(measured, num_examples, num_samples, smoothed=method == "pareto")
    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page), "shows": shown_results(run)} | record)
        return
    print_lines(*lines, f"report {page}", *result_lines(run))


def _annealed(
    measured: Any, num_examples: int | None, num_temperatures: int, num_chains: int
) -> tuple[dict[str, Any], list[str]]:
    from tighter.runs.measuring import annealed

    record = annealed(
        measured,
        num_examples=num_examples,
        num_temperatures=num_temperatures,
        num_chains=num_chains,
    )
    error = plus_minus(record["standard_error"])
    return record, [
        f"test log-likelihood {record['log_likelihood']:.2f}{error} nats by annealing "
        f"({record['num_temperatures']} temperatures, {record['num_chains']} chains, "
        f"{record['num_examples']} examples; acceptance {record['acceptance']:.2f})",
        f"upper − lower on simulated data: {record['simulated_gap']:.3f}"
        f"{plus_minus(record['simulated_gap_error'], 3)} nats",
        record["note"],
    ]


def _sandwiched(
    measured: Any, num_examples: int | None, gap: float
) -> tuple[dict[str, Any], list[str]]:
    from tighter.runs.measuring import sandwiched

    record = sandwiched(measured, gap=gap, num_examples=num_examples)
    extrapolated = "not extrapolated, which takes k̂ of .7 at most"
    if "extrapolated" in record:
        error = plus_minus(record["extrapolated_standard_error"])
        extrapolated = f"extrapolated {record['extrapolated']:.2f}{error}"
    return record, [
        f"test log-likelihood between {record['lower']:.2f}{plus_minus(record['standard_error'])} "
        f"and {record['upper']:.2f}{plus_minus(record['upper_standard_error'])} nats over "
        f"{record['num_examples']} examples; {extrapolated}",
        record["verdict"],
    ]


def _scored(
    measured: Any, num_examples: int | None, num_samples: int | None, *, smoothed: bool
) -> tuple[dict[str, Any], list[str]]:
    from tighter.runs.build import kind_of
    from tighter.runs.results import shown_result
    from tighter.runs.training_run import score

    run, model, splits = measured.run, measured.model, measured.splits
    record = score(
        model,
        splits.test,
        run,
        num_samples=num_samples,
        num_examples=num_examples,
        seed=measured.seed,
        which=measured.which,
        announce=announce,
    )
    shown = shown_result(run.path, "evaluation")
    if shown is None or shown.get("result") == record["result"]:
        kind_of(run.configuration).draw(run, model, splits)
    line = score_line(record)
    if smoothed:
        value = f"{record['pareto_smoothed']:.2f} nats"
        line = f"Pareto-smoothed test log-likelihood {value}; plain: {line}"
    return record, [line, *([record["verdict"]] if "verdict" in record else [])]
