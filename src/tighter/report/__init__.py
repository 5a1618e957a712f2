"""Run folders turned into one self-contained page, from their files alone: no model, no JAX.

    >>> from tighter.report import write_report
    >>> write_report(Path("runs/mnist"))  # doctest: +SKIP
    PosixPath('runs/mnist/report.html')

`records` reads and checks the files; `markup` has the page's words and building blocks, `theme` the
look of all figures. `estimate`, `training`, `gallery` (with `images` and `latent`), `table`,
`measured` and `topics` (with `topics_map`) make the sections, and `page` puts them in order.
"""

from pathlib import Path

from tighter._extras import check_installed
from tighter._files import writing

check_installed("matplotlib")

from tighter.report.images import write_picture  # noqa: E402
from tighter.report.page import render_page  # noqa: E402
from tighter.report.records import RunRecord, read_run, result_lines, shown_results  # noqa: E402

__all__ = [
    "RunRecord",
    "read_run",
    "result_lines",
    "shown_results",
    "write_picture",
    "write_report",
]


def write_report(directory: Path) -> Path:
    """Draw a run's report and put it into the run's folder as `report.html`.

    The page is either whole or absent. The same files give the same bytes.

    Args:
        directory: The run's folder, with at least `configuration.json`.

    Returns:
        The path of the page.

    Raises:
        InputError: If the folder is no run, a file in it is damaged, or it can't be written to.
    """
    page = render_page(read_run(directory))
    target = Path(directory) / "report.html"
    with writing(target) as place:
        place.write_bytes(page.encode("utf-8"))
    return target
