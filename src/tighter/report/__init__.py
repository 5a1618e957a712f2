"""Run folders turned into one self-contained page, from their files alone: no model, no JAX.

    >>> from tighter.report import write_report
    >>> write_report(Path("runs/mnist"))  # doctest: +SKIP
    PosixPath('runs/mnist/report.html')

`records` reads and checks the files; `theme`, `curves`, `histograms`, `latent`, `vectors` and
`images` draw; `words` puts numbers into sentences; `sections`, `page` and `stylesheet` make the
HTML.
"""

import os
import tempfile
from pathlib import Path

from tighter._errors import InputError
from tighter.report.images import write_picture
from tighter.report.measurements import shown_results, told_results
from tighter.report.page import render_page
from tighter.report.records import RunRecord, read_run

__all__ = [
    "RunRecord",
    "read_run",
    "shown_results",
    "told_results",
    "write_picture",
    "write_report",
]


def write_report(directory: Path) -> Path:
    """Draw a run's report and put it into the run's folder as `report.html`.

    The page is either whole or absent: it is written beside its place and then moved there. The
    same files give the same bytes.

    Args:
        directory: The run's folder, with at least `configuration.json`.

    Returns:
        The path of the page.

    Raises:
        InputError: If the folder is no run, a file in it is damaged, or it can't be written to.
    """
    directory = Path(directory)
    page = render_page(read_run(directory))
    target = directory / "report.html"
    try:
        _replace(target, page)
    except OSError as error:
        raise InputError(
            f"the report can't be written to '{target}': {error.strerror or error}; "
            "make the folder writable or free some space"
        ) from error
    return target


def _replace(target: Path, text: str) -> None:
    """Write `text` to `target` so that no reader ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".report-", suffix=".html")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner reads; a report is made to be shown.
        temporary.chmod(0o644)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
