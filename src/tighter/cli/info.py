"""tighter info."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

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
    tables = {None: _show_pairs, "estimators": _show_estimators, "models": _show_models}
    if what not in tables:
        from tighter._names import unknown

        raise unknown("table", str(what), [name for name in tables if name])
    tables[what](json=json)


def _show_pairs(*, json: bool) -> None:
    """Versions, devices, and the bias of every bound with every estimator."""
    import jax

    from tighter.bounds import BOUNDS
    from tighter.gradients import ESTIMATORS
    from tighter.runs.folder import versions

    biases = {
        estimator: {bound: make().bias(BOUNDS[bound]()) for bound in BOUNDS}
        for estimator, make in ESTIMATORS.items()
    }
    devices = [str(device) for device in jax.devices()]
    sides = {name: make().side.value for name, make in BOUNDS.items()}
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
        print_json({"versions": versions(), "devices": devices, "bounds": sides, "pairs": pairs})
        return
    console = _console(_WIDTH)
    console.print("  ".join(f"{name} {version}" for name, version in versions().items()))
    console.print(f"devices: {', '.join(devices)}")
    _print_table(
        console,
        "estimators × bounds, K > 1:  ✓ unbiased   ≠ follows another objective",
        ["estimator"],
        [f"{name}\n{side}" for name, side in sides.items()],
        (
            (estimator, *(_SIGNS[bias.kind.value] for bias in row.values()))
            for estimator, row in biases.items()
        ),
    )
    reasons: dict[str, list[str]] = {}
    for estimator, row in biases.items():
        for bias in row.values():
            if bias and estimator not in reasons.setdefault(bias.reason, []):
                reasons[bias.reason].append(estimator)
    for reason, estimators in reasons.items():
        console.print(f"{', '.join(estimators)}: {reason}", highlight=False)


def _show_models(*, json: bool) -> None:
    """Every family of observations, priors and posteriors, and every network."""
    from tighter.models import catalog

    parts = {
        kind: [
            dataclasses.replace(line, summary=plain_mathematics(line.summary))
            for line in catalog.of_kind(kind)
        ]
        for kind in catalog.KINDS
    }
    if json:
        print_json(
            {kind: [dataclasses.asdict(line) for line in part] for kind, part in parts.items()}
        )
        return
    console = _console(_WIDTH)
    for kind, part in parts.items():
        rows = ((line.name, line.over, line.summary) for line in part)
        _print_table(console, kind, ["name", "over", ""], [], rows)


def _show_estimators(*, json: bool) -> None:
    """Needs, costs and bias of every estimator."""
    from tighter.gradients import catalog

    parts = {"bounds": catalog.of_bounds(), "expectations": catalog.of_expectations()}
    if json:
        print_json(
            {name: [dataclasses.asdict(line) for line in part] for name, part in parts.items()}
        )
        return
    console = _console(_WIDTH + 24)
    titles = {
        "bounds": "of a bound's gradient, K draws:  ✓ unbiased   ≠ follows another objective",
        "expectations": "of an expectation's gradient, n draws",
    }
    for name, part in parts.items():
        headings = ["estimator", "needs", "forward", "backward"]
        rows = (
            (line.name, line.needs, line.forward, line.backward, *line.bias.values())
            for line in part
        )
        _print_table(console, titles[name], headings, list(part[0].bias), rows)


def _console(width: int) -> Any:
    """A terminal of at least the tables' own width."""
    from rich.console import Console

    return Console(width=max(Console().width, width))


def _print_table(
    console: Any, title: str, headings: list[str], signs: list[str], rows: Iterable[Sequence[str]]
) -> None:
    """Columns of words, the first of which doesn't wrap, then columns of signs."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, no_wrap=place == 0)
    for heading in signs:
        table.add_column(heading, justify="center", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
