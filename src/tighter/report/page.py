"""The page as a whole: head, title, sections in the order in which a reader asks for them."""

from tighter.report.choice import choice
from tighter.report.gallery import latent_plane, reconstructions, samples
from tighter.report.hidden import hidden
from tighter.report.markup import escaped
from tighter.report.measurements import read_measurement
from tighter.report.records import RunRecord, number, section
from tighter.report.sections import answer, footer, making, reliability, training
from tighter.report.stylesheet import STYLESHEET
from tighter.report.truth import truth
from tighter.report.words import count, described, moment

# Nothing may be loaded and nothing may run, whatever a file of the run contains.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_page(record: RunRecord) -> str:
    """The report of a run as one HTML document that needs nothing but itself.

    Args:
        record: What the run's folder holds.

    Returns:
        HTML, the same for the same record.
    """
    body = "\n".join(
        [
            _header(record),
            answer(record),
            training(record),
            samples(record),
            reconstructions(record),
            latent_plane(record),
            reliability(record),
            truth(*(read_measurement(record.directory, n) for n in ("sandwich", "annealing"))),
            hidden(read_measurement(record.directory, "diagnosis")),
            choice(read_measurement(record.directory, "comparison")),
            making(record),
        ]
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(record.name)} · tighter report</title>
<style>
{STYLESHEET}</style>
</head>
<body>
<main>
{body}
</main>
{footer(record)}
</body>
</html>
"""


def _header(record: RunRecord) -> str:
    recorded = record.configuration
    facts = []
    parameters = number(recorded.get("num_parameters"))
    if parameters >= 0:
        facts.append(f"{count(parameters)} parameters")
    sizes = section(recorded, "data_sizes")
    split = [f"{count(number(size))} {name}" for name, size in sizes.items() if number(size) >= 0]
    if split:
        facts.append(" / ".join(split) + " examples")
    if recorded.get("device"):
        facts.append(f"on {recorded['device']}")
    if recorded.get("started"):
        facts.append(f"started {moment(recorded['started'])}")
    line = f'<p class="facts">{escaped(" · ".join(facts))}</p>' if facts else ""
    return (
        f'<header><p class="brand">tighter report</p><h1>{escaped(record.name)}</h1>'
        f'<p class="lead">{escaped(described(record))}.</p>{line}</header>'
    )
