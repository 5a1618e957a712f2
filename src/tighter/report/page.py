"""The page as a whole: head, title, sections in the order in which a reader asks for them."""

from tighter.report.choice import choice
from tighter.report.diffusion import bound_and_terms, is_diffusion
from tighter.report.gallery import latent_plane, reconstructions, samples
from tighter.report.hidden import hidden
from tighter.report.markup import escaped
from tighter.report.measurements import read_measurement
from tighter.report.records import RunRecord, number, section
from tighter.report.sections import answer, footer, making, reliability, training
from tighter.report.stylesheet import STYLESHEET
from tighter.report.table import is_table, table_sections
from tighter.report.topics import is_topics, lead, score, topics
from tighter.report.topics_slider import POLICY, SCRIPT, STYLE
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
    if is_topics(record):
        return _topics_page(record)
    sections = _of_diffusion(record) if is_diffusion(record) else _of_autoencoder(record)
    body = "\n".join([_header(record, described(record)), *sections, making(record)])
    return _document(record, body)


def _topics_page(record: RunRecord) -> str:
    """The report of a run of topics, with a slider where they are."""
    words = topics(record)
    parts = [_header(record, lead(record)), score(record), words, training(record)]
    parts += [reliability(record)] if record.examples else []
    body = "\n".join([*parts, making(record)])
    if 'id="ranked"' not in words:
        return _document(record, body, style=STYLE)
    return _document(record, f"{body}\n<script>{SCRIPT}</script>", style=STYLE, policy=POLICY)


def _document(record: RunRecord, body: str, *, style: str = "", policy: str = "") -> str:
    """The whole document; `policy` lets something run that is not from a file of the run."""
    policy = f"{_POLICY}; {policy}" if policy else _POLICY
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(record.name)} · tighter report</title>
<style>
{STYLESHEET}{style}</style>
</head>
<body>
<main>
{body}
</main>
{footer(record)}
</body>
</html>
"""


def _of_autoencoder(record: RunRecord) -> list[str]:
    drawn = (
        table_sections(record) if is_table(record) else [samples(record), reconstructions(record)]
    )
    return [
        answer(record),
        training(record),
        *drawn,
        latent_plane(record),
        reliability(record),
        truth(record.directory),
        hidden(read_measurement(record.directory, "diagnosis")),
        choice(read_measurement(record.directory, "comparison")),
    ]


def _of_diffusion(record: RunRecord) -> list[str]:
    title, caption = "Samples", "What the model makes up, from noise alone."
    drawn = [samples(record, title=title, caption=caption)]
    return [
        bound_and_terms(record),
        training(record),
        *(table_sections(record) if is_table(record) else drawn),
    ]


def _header(record: RunRecord, told: str) -> str:
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
        f'<p class="lead">{escaped(told)}.</p>{line}</header>'
    )
