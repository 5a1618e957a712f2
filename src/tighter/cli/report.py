"""tighter report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import print_json


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Draw a run's report from its files alone: one page that needs nothing else.

    Example:
      tighter report runs/digits-iwae-1
    """
    from tighter.report import result_lines, shown_results, write_report

    page = write_report(run)
    if json:
        print_json({"run": str(run), "report": str(page), "shows": shown_results(run)})
        return
    print(f"report {page}")
    for line in result_lines(run):
        print(line)
