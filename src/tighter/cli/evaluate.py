"""tighter evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tighter.cli._output import announce, print_json, score_line

METHODS = ("importance", "pareto", "ais", "sandwich")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run")],
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

      tighter evaluate runs/digits-iwae-1 --method sandwich --gap 0.2
    """
    from tighter._errors import InputError
    from tighter._names import unknown
    from tighter.runs.build import build_data, check_autoencoder
    from tighter.runs.folder import check_writable, open_run
    from tighter.runs.scoring import load_model

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    numbers = {
        "--num-samples": num_samples, "--num-examples": num_examples,
        "--num-temperatures": num_temperatures, "--num-chains": num_chains,
    }  # fmt: skip
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f"{name} is at least 1, got {number}")
    if num_samples is not None and method in ("ais", "sandwich"):
        raise InputError(
            f"--num-samples is for importance sampling; {method} takes "
            + ("--num-temperatures and --num-chains" if method == "ais" else "--gap")
        )
    opened = open_run(run)
    check_writable(run)
    if method != "importance":
        check_autoencoder(opened.configuration, f"--method {method}")
    which = "last" if last else "best"
    model = load_model(opened, which=which)
    splits = build_data(opened.configuration)
    given: dict[str, Any] = {
        "num_examples": num_examples, "seed": seed, "which": which, "announce": announce,
    }  # fmt: skip
    if method == "ais":
        given |= {"num_temperatures": num_temperatures, "num_chains": num_chains}
    elif method == "sandwich":
        given |= {"gap": gap}
    else:
        given |= {"num_samples": num_samples}
    record, lines = _measure(method, model, opened, splits, given)
    from tighter.report import result_lines, shown_results, write_report

    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page), "shows": shown_results(run)} | record)
        return
    for line in lines:
        print(line)
    print(f"report {page}")
    for line in result_lines(run):
        print(line)


def _measure(
    method: str, model: Any, run: Any, splits: Any, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The record, and what to print of it."""
    from tighter.runs.measuring import annealed, sandwiched
    from tighter.runs.results import shown_result
    from tighter.runs.scoring import score
    from tighter.runs.training_run import draw_pictures

    if method == "ais":
        record = annealed(model, run, splits, **given)
        return record, [
            f"test log-likelihood {record['log_likelihood']:.2f}{_plus(record)} nats by annealing "
            f"({record['num_temperatures']} temperatures, {record['num_chains']} chains, "
            f"{record['num_examples']} examples; acceptance {record['acceptance']:.2f})",
            f"upper − lower on simulated data: {record['simulated_gap']:.3f}"
            f"{_plus(record, 'simulated_gap_error', 3)} nats",
            record["note"],
        ]
    if method == "sandwich":
        record = sandwiched(model, run, splits, **given)
        return record, [
            f"test log-likelihood between {record['lower']:.2f}{_plus(record)} and "
            f"{record['upper']:.2f}{_plus(record, 'upper_standard_error')} nats over "
            f"{record['num_examples']} examples; {_extrapolated(record)}",
            record["verdict"],
        ]
    record = score(model, splits.test, run.configuration, run, **given)
    shown = shown_result(run.path, "evaluation")
    if shown is None or shown.get("result") == record["result"]:
        draw_pictures(run, model, splits)
    line = score_line(record)
    if "verdict" not in record:
        return record, [line]
    if method == "pareto":
        smoothed = f"{record['pareto_smoothed']:.2f} nats"
        line = f"Pareto-smoothed test log-likelihood {smoothed}; plain: {line}"
    return record, [line, record["verdict"]]


def _extrapolated(record: dict[str, Any]) -> str:
    if "extrapolated" not in record:
        return "not extrapolated, which takes k̂ of .7 at most"
    told = _plus(record, "extrapolated_standard_error")
    return f"extrapolated {record['extrapolated']:.2f}{told}"


def _plus(record: dict[str, Any], name: str = "standard_error", places: int = 2) -> str:
    error = record[name]
    return "" if error is None else f" ± {error:.{places}f}"
