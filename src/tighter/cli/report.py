"""tighter report."""

from __future__ import annotations

from tighter.cli._options import Json, Run
from tighter.cli._output import print_json, print_lines


def report(
    run: Run,
    json: Json = False,
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
    print_lines(f"report {page}", *result_lines(run))
