"""The page as a whole: head, title, sections in the order in which a reader asks for them."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tighter.report.estimate import answer, diffusion_answer, reliability
from tighter.report.gallery import latent_plane, reconstructions, samples
from tighter.report.markup import (
    code,
    count,
    escaped,
    in_columns,
    moment,
    remark,
    section,
    settings_table,
    verdict,
)
from tighter.report.measured import choice, hidden, truth
from tighter.report.records import (
    EVALUATION,
    RunRecord,
    number,
    portable,
    portable_command,
    read_results,
)
from tighter.report.records import section as part
from tighter.report.table import table_sections
from tighter.report.topics import lead, score, topics
from tighter.report.training import training

_HERE = Path(__file__).parent
# One column of at most 1,000 pixels, light and dark, for screens and print.
_STYLE, _TOPICS_STYLE, _SLIDER = (
    (_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "topics.css", "topics.js")
)
_SCRIPT = f"\n{_SLIDER}"
# Nothing may be loaded and nothing may run, whatever a file of the run contains; but for the
# slider of topics, which is told by its bytes.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()

_ACRONYMS = {
    word.lower(): word
    for word in ("MLP", "CNN", "ResNet", "VAE", "ELBO", "IWAE", "CIWAE", "MIWAE", "CUBO", "Rényi")
} | {"renyi": "Rényi", "vimco": "VIMCO", "ovis": "OVIS"}


def render_page(record: RunRecord) -> str:
    """The report of a run as one HTML document that needs nothing but itself.

    Args:
        record: What the run's folder holds.

    Returns:
        HTML, the same for the same record.
    """
    sections = {"vae": _of_autoencoder, "diffusion": _of_diffusion, "topics": _of_topics}
    body = "\n".join([_header(record), *sections[record.kind](record), _making(record)])
    style, policy = _STYLE, _POLICY
    if record.kind == "topics":
        style += _TOPICS_STYLE
        if 'id="ranked"' in body:
            body += f"\n<script>{_SCRIPT}</script>"
            policy += f"; script-src 'sha256-{_DIGEST}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(record.name)} · tighter report</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
{_footer(record)}
</body>
</html>
"""


def _of_topics(record: RunRecord) -> list[str]:
    parts = [score(record), topics(record), training(record)]
    return parts + ([reliability(record)] if record.examples else [])


def _of_autoencoder(record: RunRecord) -> list[str]:
    images = [samples, reconstructions]
    drawn = table_sections(record) if record.is_table else [draw(record) for draw in images]
    return [
        answer(record),
        training(record),
        *drawn,
        latent_plane(record),
        reliability(record),
        truth(record.directory),
        hidden(record.directory),
        choice(record.directory),
    ]


def _of_diffusion(record: RunRecord) -> list[str]:
    title, caption = "Samples", "What the model makes up, from noise alone."
    drawn = (
        table_sections(record)
        if record.is_table
        else [samples(record, title=title, caption=caption)]
    )
    return [diffusion_answer(record), training(record), *drawn]


def _header(record: RunRecord) -> str:
    recorded = record.configuration
    facts = []
    parameters = number(recorded.get("num_parameters"))
    if parameters >= 0:
        facts.append(f"{count(parameters)} parameters")
    sizes = {name: number(size) for name, size in part(recorded, "data_sizes").items()}
    split = [f"{count(size)} {name}" for name, size in sizes.items() if size >= 0]
    facts += [f"{' / '.join(split)} examples"] if split else []
    facts += [f"on {recorded['device']}"] if recorded.get("device") else []
    facts += [f"started {moment(recorded['started'])}"] if recorded.get("started") else []
    line = f'<p class="facts">{escaped(" · ".join(facts))}</p>' if facts else ""
    described = {"vae": _described, "diffusion": _diffusion_described, "topics": lead}
    return (
        f'<header><p class="brand">tighter report</p><h1>{escaped(record.name)}</h1>'
        f'<p class="lead">{escaped(described[record.kind](record))}.</p>{line}</header>'
    )


def _described(record: RunRecord) -> str:
    """What was trained, in one line, from whatever the configuration tells."""
    model, objective = part(record.settings, "model"), part(record.settings, "objective")
    line = f"{_name(model['network'])} model" if model.get("network") else "A model"
    if model.get("latent") is not None:
        line += f" with {model['latent']} latent dimensions"
    line += _trained_on(record)
    if objective.get("bound"):
        line += f" by the {_name(objective['bound'])} bound"
        if objective.get("num_samples") is not None:
            line += f" (K = {objective['num_samples']})"
        if objective.get("form", "log-weights") != "log-weights":
            line += f", {_form(objective)},"
    if objective.get("gradient"):
        joint = " with" if objective.get("bound") else ", trained with"
        line += f"{joint} the {_name(objective['gradient'])} gradient"
    line += _epochs(record)
    return "A run of tighter" if line == "A model" else line


def _diffusion_described(record: RunRecord) -> str:
    chosen = part(record.settings, "diffusion")
    steps = chosen.get("steps")
    line = f"A diffusion model in {f'{steps} steps' if steps else 'continuous time'}"
    line += f", {chosen.get('denoiser')} denoiser, {chosen.get('schedule')} schedule"
    return line + _trained_on(record) + _epochs(record)


def _trained_on(record: RunRecord) -> str:
    source = part(record.settings, "data").get("source")
    return f", trained on {portable(str(source))}" if source else ""


def _epochs(record: RunRecord) -> str:
    epochs = part(record.settings, "training").get("epochs")
    return "" if epochs is None else f", {epochs} epochs"


def _name(word: object) -> str:
    return _ACRONYMS.get(str(word).lower(), str(word))


def _form(objective: Mapping[str, Any]) -> str:
    """Which part of the ELBO is in closed form, and what the KL's weight is."""
    if objective["form"] == "entropy":
        return "its entropy in closed form"
    changed = [
        f"{symbol} = {objective[key]:g}"
        for symbol, key, usual in (("β", "beta", 1), ("free bits", "free_bits", 0))
        if objective.get(key, usual) != usual
    ]
    return "its KL in closed form" + (f" ({', '.join(changed)})" if changed else "")


def _making(record: RunRecord) -> str:
    """The command, the settings, the versions."""
    command = portable_command(str(record.configuration.get("command") or ""))
    block = (
        f'<p>The command that made this run:</p><pre class="copy"><code>{escaped(command)}</code>'
        "</pre>"
        if command
        else remark("The command that made this run was not recorded.")
    )
    return section("making", "How it was made", block, in_columns(_settings(record), "tables"))


def _settings(record: RunRecord) -> list[str]:
    """Tables of all settings, without those of the other kind of model, and of the rest."""
    settings = dict(record.settings)
    if record.kind == "diffusion":
        settings.pop("objective", None)
        settings["model"] = {"kind": "diffusion"}
    else:
        settings.pop("diffusion", None)
    elsewhere = ("command", "configuration", "schema")
    rest = {name: v for name, v in record.configuration.items() if name not in elsewhere}
    if record.is_table:
        columns = part(record.configuration, "schema")["columns"]
        rest["columns"] = {column["name"]: column["kind"] for column in columns}
    groups, loose = _groups(settings)
    tables = groups + ([settings_table("configuration", loose)] if loose else [])
    groups, loose = _groups(rest)
    return tables + ([settings_table("run", loose)] if loose else []) + groups


def _groups(values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """A table of each mapping among some values, and the values that are none."""
    tables = [settings_table(name, v) for name, v in values.items() if isinstance(v, Mapping) and v]
    return tables, {name: v for name, v in values.items() if not isinstance(v, Mapping)}


def _footer(record: RunRecord) -> str:
    """How to draw the page again, and what to do next."""
    again = code(record.command("tighter report"))
    return (
        f"<footer><p>Drawn by tighter from the files in {code(record.place)}, without"
        f" the model. To draw this page again, run {again}</p>"
        "<p>On k̂: Vehtari, Simpson, Gelman, Yao &amp; Gabry, “Pareto Smoothed Importance"
        " Sampling”, Journal of Machine Learning Research 25, 2024.</p>"
        f'<p class="next"><b>Next:</b> {_next_step(record)}</p></footer>'
    )


def _next_step(record: RunRecord) -> str:
    """What to do next, by what was measured so far."""

    def lacks(name: str) -> bool:
        return not read_results(record.directory, name)

    def do(why: str, words: str, options: str = "") -> str:
        return f"{why}: {code(record.command(words) + options)}"

    if record.evaluation is None:
        return f"score it on held-out data: {code(record.remedy(EVALUATION))}"
    if record.kind == "topics":
        return do("find these topics in other texts", "tighter topics", " --transform new.txt")
    if record.kind == "vae" and verdict(record.evaluation).level != "good":
        if lacks("sandwich"):
            why = "learn how far off the estimate is, by bounds from both sides"
            return do(why, "tighter evaluate", " --method sandwich")
        wider = code("--posterior flow")
        return f"train again with a wider posterior ({wider}), so that its weights can be trusted"
    if record.kind == "vae" and lacks("diagnosis"):
        return do("see what the bound hides", "tighter diagnose")
    if record.kind == "vae" and lacks("comparison"):
        return do("see which bound and estimator suit it", "tighter compare")
    return do("draw from it", "tighter sample")
