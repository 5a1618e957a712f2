"""The sections of numbers: the answer, training, how far to trust it, how the run was made."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tighter.report.curves import bound_curves, draw_bounds
from tighter.report.histograms import draw_ess, draw_khat, draw_log_likelihoods, finite
from tighter.report.markup import (
    code,
    escaped,
    figure,
    missing,
    plot,
    plots,
    remark,
    section,
    side_by_side,
    stats,
    table,
    verdict_box,
)
from tighter.report.measurements import read_results
from tighter.report.records import (
    EVALUATION,
    EXAMPLES,
    METRICS,
    RunRecord,
    number,
    portable_command,
)
from tighter.report.words import count, decimals, percent, signed, verdict, with_error


def answer(record: RunRecord) -> str:
    """The log-likelihood in big type, its errors, and the verdict."""
    if record.evaluation is None:
        line = missing("There is no log-likelihood yet.", record.remedy(EVALUATION))
        return section("result", "Log-likelihood", line, stats(_best(record)))
    evaluation = record.evaluation
    value, error = (number(evaluation.get(key)) for key in ("log_likelihood", "standard_error"))
    examples, draws = (number(evaluation.get(key)) for key in ("num_examples", "num_samples"))
    places = decimals(error)
    spread = f' <span class="error">± {signed(error, places)}</span>' if error >= 0 else ""
    seed = number(evaluation.get("seed"))
    split = escaped(evaluation.get("split") or "")
    over = f"{count(examples)} {split} examples" if examples >= 0 else f"{split} examples"
    return section(
        "result",
        f"{split.capitalize()} log-likelihood" if split else "Log-likelihood",
        f'<p class="big"><b>{signed(value, places)}</b>{spread} <small>nats per datum</small></p>',
        f'<p class="under">Mean{" ± standard error" if spread else ""} over {over}'
        + (f", each from {count(draws)} importance samples" if draws >= 0 else "")
        + (f" (seed {seed:.0f})" if seed >= 0 else "")
        + ".</p>",
        stats(_errors(evaluation, draws)),
        verdict_box(verdict(evaluation)),
        side_by_side(read_results(record.directory, "evaluation")),
    )


def training(record: RunRecord) -> str:
    """The bound's curves."""
    title = "Training"
    if not record.metrics:
        line = "No epoch has been recorded yet."
        return section("training", title, missing(line, record.remedy(METRICS)))
    curves = bound_curves(record.metrics)
    cut = remark("The last line of metrics.jsonl was cut short and is left out.")
    notes = cut if record.metrics_cut else ""
    summary = stats([*_best(record), *_progress(record)])
    if not curves.drawable:
        line = remark("None of the recorded bounds is a finite number, so there is no curve.")
        return section("training", title, summary, line, notes)
    wide = draw_bounds(curves, width=960, height=340)
    narrow = draw_bounds(curves, width=380, height=300)
    caption = (
        "The bound on the log-likelihood at each epoch; higher is better. In training it is the"
        " mean over the epoch's batches, while the parameters moved"
    )
    caption += (
        "; in validation that of held-out examples, at the parameters after the epoch. So the"
        " shaded gap is not the generalization gap alone: early on training lags behind, and may be"
        " below."
        if curves.best is not None
        else "."
    )
    return section(
        "training", title, summary, figure(plots(wide, narrow), caption, wide.note), notes
    )


def reliability(record: RunRecord) -> str:
    """Histograms over the evaluated examples."""
    title = "How far to trust the estimate"
    panels = []
    for name, drawn, caption in (
        (
            "pareto_k",
            draw_khat,
            "k̂ tells how heavy the tail of an example's importance weights is:"
            ' <span class="key blue">up to 0.5</span> the estimate converges fast,'
            ' <span class="key amber">up to 0.7</span> it is usable,'
            ' <span class="key orange">above</span> it can\'t be relied on: its error is larger'
            " than it says, and it is more likely too low than too high.",
        ),
        (
            "ess",
            draw_ess,
            "The effective sample size is how many independent draws from the true posterior"
            " would serve as well as the weighted ones.",
        ),
        (
            "value",
            draw_log_likelihoods,
            "The estimated log-likelihood of each example. Those far to the left are what the"
            " model finds hardest to explain.",
        ),
    ):
        values = record.examples.get(name)
        if values is None:
            continue
        if not finite(values).size:
            panels.append(remark(f"No value of {name} is finite, so there is no histogram of it."))
            continue
        drawing = drawn(values)
        panels.append(figure(plot(drawing), caption, drawing.note))
    if not panels:
        line = "Nothing was recorded for single examples."
        return section("reliability", title, missing(line, record.remedy(EXAMPLES)))
    return section("reliability", title, f'<div class="three">{"".join(panels)}</div>')


def making(record: RunRecord) -> str:
    """The command, the settings, the versions."""
    recorded = record.configuration
    command = portable_command(str(recorded.get("command") or ""))
    block = (
        f'<p>The command that made this run:</p><pre class="copy"><code>{escaped(command)}</code>'
        "</pre>"
        if command
        else remark("The command that made this run was not recorded.")
    )
    return section(
        "making", "How it was made", block, f'<div class="tables">{_tables(recorded)}</div>'
    )


def _tables(recorded: Mapping[str, Any]) -> str:
    settings = recorded.get("configuration")
    tables = []
    if isinstance(settings, Mapping):
        settings = _used(settings)
        loose = {name: v for name, v in settings.items() if not isinstance(v, Mapping)}
        tables += [table(name, v) for name, v in settings.items() if isinstance(v, Mapping) and v]
        tables += [table("configuration", loose)] if loose else []
    told = ("command", "configuration", "schema")
    rest = {name: v for name, v in recorded.items() if name not in told}
    schema = recorded.get("schema")
    if isinstance(schema, Mapping) and schema.get("columns"):
        rest["columns"] = {column["name"]: column["kind"] for column in schema["columns"]}
    loose = {name: v for name, v in rest.items() if not isinstance(v, Mapping)}
    tables += [table("run", loose)] if loose else []
    tables += [table(name, v) for name, v in rest.items() if isinstance(v, Mapping) and v]
    return "".join(tables)


def _used(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings without those of the other kind of model."""
    model = settings.get("model")
    if not isinstance(model, Mapping) or model.get("kind") != "diffusion":
        return {name: group for name, group in settings.items() if name != "diffusion"}
    used = {name: group for name, group in settings.items() if name != "objective"}
    return {**used, "model": {"kind": "diffusion"}}


def _errors(evaluation: Mapping[str, Any], draws: float) -> list[tuple[str, str, str]]:
    def told(name: str, error: str) -> str:
        return with_error(number(evaluation.get(name)), number(evaluation.get(error)))

    entries = []
    noise = number(evaluation.get("monte_carlo_error"))
    if not math.isnan(noise):
        entries.append(("Monte Carlo error", signed(noise, decimals(noise)), "nats, of the draws"))
    ess = number(evaluation.get("median_ess"))
    if not math.isnan(ess):
        of = f"of {count(draws)} draws" if draws >= 0 else "draws"
        error = number(evaluation.get("median_ess_standard_error"))
        entries.append(("Median effective sample size", with_error(ess, error, 0), of))
    share, examples = (
        number(evaluation.get(key)) for key in ("share_pareto_k_above_0.7", "num_examples")
    )
    if 0 <= share <= 1:
        spread = math.sqrt(share * (1 - share) / examples) if examples > 0 else 0.0
        of = f"± {percent(spread)} of examples" if spread else "of examples"
        entries.append(("k̂ above 0.7", percent(share), of))
    if not math.isnan(number(evaluation.get("bound"))):
        entries.append(("Bound, as trained", told("bound", "bound_standard_error"), "nats"))
    if not math.isnan(number(evaluation.get("bound_gap"))):
        gap = told("bound_gap", "bound_gap_standard_error")
        entries.append(("Log-likelihood − bound", gap, "nats"))
    return entries


def _best(record: RunRecord) -> list[tuple[str, str, str]]:
    curves = bound_curves(record.metrics)
    if curves.best is None:
        return []
    value, epoch = curves.validation[curves.best], curves.epochs[curves.best]
    errors = record.metrics.get("validation_error")
    error = math.nan if errors is None else float(errors[curves.best])
    told = with_error(float(value), error)
    return [("Best validation bound", told, f"nats, epoch {epoch:.0f}")]


def _progress(record: RunRecord) -> list[tuple[str, str, str]]:
    entries = []
    steps = finite(record.metrics.get("step", np.empty(0)))
    epochs = count(len(record.metrics["epoch"]))
    entries.append(("Epochs", epochs, f"{count(steps.max())} steps" if steps.size else ""))
    speeds = finite(record.metrics.get("steps_per_second", np.empty(0)))
    if speeds.size:
        speed = float(np.median(speeds))
        entries.append(("Median speed", signed(speed, 0 if speed >= 10 else 2), "steps/s"))
    return entries


def next_step(record: RunRecord) -> str:
    """What to do next, by what was measured so far."""
    topics = record.configuration.get("kind") == "topics"
    settings = record.configuration.get("configuration")
    model = settings.get("model") if isinstance(settings, Mapping) else None
    diffusion = isinstance(model, Mapping) and model.get("kind") == "diffusion"

    def lacks(name: str) -> bool:
        return not read_results(record.directory, name)

    if record.evaluation is None:
        remedy = record.command("tighter topics --resume") if topics else record.remedy(EVALUATION)
        return f"score it on held-out data: {code(remedy)}"
    if topics:
        unseen = f"{record.command('tighter topics')} --transform new.txt"
        return f"find these topics in other texts: {code(unseen)}"
    if diffusion:
        return f"draw from it: {code(record.command('tighter sample'))}"
    if verdict(record.evaluation).level != "good":
        if lacks("sandwich"):
            bounds = code(record.command("tighter evaluate") + " --method sandwich")
            return f"learn how far off the estimate is, by bounds from both sides: {bounds}"
        wider = code("--posterior flow")
        return f"train again with a wider posterior ({wider}), so that its weights can be trusted"
    for name, why, command in (
        ("diagnosis", "see what the bound hides", "tighter diagnose"),
        ("comparison", "see which bound and estimator suit it", "tighter compare"),
    ):
        if lacks(name):
            return f"{why}: {code(record.command(command))}"
    return f"draw from it: {code(record.command('tighter sample'))}"


def footer(record: RunRecord) -> str:
    """How to draw the page again, and what to do next."""
    again = code(record.command("tighter report"))
    return (
        f"<footer><p>Drawn by tighter from the files in {code(record.place)}, without"
        f" the model. To draw this page again, run {again}</p>"
        "<p>On k̂: Vehtari, Simpson, Gelman, Yao &amp; Gabry, “Pareto Smoothed Importance"
        " Sampling”, Journal of Machine Learning Research 25, 2024.</p>"
        f'<p class="next"><b>Next:</b> {next_step(record)}</p></footer>'
    )
