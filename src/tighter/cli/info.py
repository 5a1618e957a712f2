"""tighter info."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from tighter.cli._output import print_json
from tighter.cli._wording import plain_mathematics

# The tables' own width; in a narrower terminal their lines wrap.
_WIDTH = 116
_SIGNS = {"unbiased": "✓", "biased": "biased", "follows another objective": "≠"}


def info(
    what: Annotated[
        str | None,
        typer.Argument(
            help="estimators: what each needs and costs; models: the families to compose",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON")] = False,
) -> None:
    """Versions, devices, and every bound with every estimator: unbiased, biased, or neither.

    Examples:
      tighter info --json

      tighter info estimators

      tighter info models
    """
    if what is not None:
        tables = {"estimators": _tell_estimators, "models": _tell_models}
        if what not in tables:
            from tighter._names import unknown

            raise unknown("table", what, tables)
        tables[what](json=json)
        return
    import jax

    from tighter.bounds import BOUNDS
    from tighter.gradients import ESTIMATORS
    from tighter.runs.folder import versions

    biases = {
        estimator: {bound: make().bias(BOUNDS[bound]()) for bound in BOUNDS}
        for estimator, make in ESTIMATORS.items()
    }
    devices = [str(device) for device in jax.devices()]
    if json:
        pairs = {
            estimator: {
                bound: {
                    "kind": bias.kind.value,
                    "theta": bias.theta.value,
                    "phi": bias.phi.value,
                    "reason": bias.reason,
                }
                for bound, bias in row.items()
            }
            for estimator, row in biases.items()
        }
        sides = {name: make().side.value for name, make in BOUNDS.items()}
        print_json({"versions": versions(), "devices": devices, "bounds": sides, "pairs": pairs})
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, _WIDTH))
    console.print("  ".join(f"{name} {version}" for name, version in versions().items()))
    console.print(f"devices: {', '.join(devices)}")
    table = Table(
        title="estimators × bounds, K > 1:  ✓ unbiased   ≠ follows another objective",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("estimator", no_wrap=True)
    for name, make in BOUNDS.items():
        table.add_column(f"{name}\n{make().side.value}", justify="center", no_wrap=True)
    for estimator, row in biases.items():
        table.add_row(estimator, *(_SIGNS[bias.kind.value] for bias in row.values()))
    console.print(table)
    told: dict[str, list[str]] = {}
    for estimator, row in biases.items():
        for bias in row.values():
            if bias and estimator not in told.setdefault(bias.reason, []):
                told[bias.reason].append(estimator)
    for reason, estimators in told.items():
        console.print(f"{', '.join(estimators)}: {reason}", highlight=False)


def _tell_models(*, json: bool) -> None:
    """Every family of observations, priors and posteriors, and every network."""
    from tighter.models import catalog

    if json:
        print_json(
            {
                kind: [
                    dataclasses.asdict(line) | {"summary": plain_mathematics(line.summary)}
                    for line in catalog.of_kind(kind)
                ]
                for kind in catalog.KINDS
            }
        )
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, _WIDTH))
    for kind in catalog.KINDS:
        table = Table(title=kind, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("name", no_wrap=True)
        table.add_column("over")
        table.add_column("")
        for line in catalog.of_kind(kind):
            table.add_row(line.name, line.over, plain_mathematics(line.summary))
        console.print(table)


def _tell_estimators(*, json: bool) -> None:
    """Needs, costs and bias of every estimator."""
    from tighter.gradients import catalog

    parts = {"bounds": catalog.of_bounds(), "expectations": catalog.of_expectations()}
    if json:
        print_json(
            {name: [dataclasses.asdict(line) for line in part] for name, part in parts.items()}
        )
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, _WIDTH + 24))
    titles = {
        "bounds": "of a bound's gradient, K draws:  ✓ unbiased   ≠ follows another objective",
        "expectations": "of an expectation's gradient, n draws",
    }
    for name, part in parts.items():
        table = Table(title=titles[name], title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("estimator", no_wrap=True)
        for heading in ("needs", "forward", "backward"):
            table.add_column(heading)
        for bound in part[0].bias:
            table.add_column(bound, justify="center", no_wrap=True)
        for line in part:
            told = (line.name, line.needs, line.forward, line.backward, *line.bias.values())
            table.add_row(*told)
        console.print(table)
