"""tighter reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import announce, print_json


def reproduce(
    what: Annotated[str, typer.Argument(help="gradients: variances of gradient estimators")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder for it [runs/WHAT-N]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON")] = False,
) -> None:
    """Measure again what a paper's figure shows, beside the exact answers.

    Example:
      tighter reproduce gradients
    """
    from tighter._names import unknown
    from tighter.experiments.build import check_seed
    from tighter.experiments.gradients import gradients
    from tighter.report.estimators import draw_gradients

    if what != "gradients":
        raise unknown("experiment", what, ["gradients"])
    path = folder or _free_folder(what)
    record = gradients(path, seed=check_seed(seed), announce=announce)
    pictures = draw_gradients(path)
    if json:
        print_json(record)
        return
    print(f"{'cost':12} {'estimator':16} largest deviation from the exact variance, μ and σ")
    for cost in dict.fromkeys(row["cost"] for row in record["survey"]):
        for name in dict.fromkeys(row["estimator"] for row in record["survey"]):
            rows = [r for r in record["survey"] if (r["cost"], r["estimator"]) == (cost, name)]
            worst = [
                max(_deviation(row["variance"][i], row["exact"][i]) for row in rows) for i in (0, 1)
            ]
            print(f"{cost:12} {name:16} {100 * worst[0]:.1f} %, {100 * worst[1]:.1f} %")
    whole = max(
        abs(row["inside"] + row["missing"] - row["whole"]) / row["standard_error"]
        for row in record["inside"]
    )
    print(f"E[∇g] + E[g ∇log q] is the gradient, within {whole:.1f} standard errors")
    for file in pictures:
        print(f"picture {file}")


def _free_folder(what: str) -> Path:
    number = 1
    while (Path("runs") / f"{what}-{number}").exists():
        number += 1
    return Path("runs") / f"{what}-{number}"


def _deviation(measured: float, exact: float) -> float:
    """Relative, but where the exact variance is zero."""
    return abs(measured - exact) / (exact + 1e-9)
