"""The sections of a diffusion model's report: its bound, and the terms that it is made of."""

import math
from collections.abc import Mapping
from typing import Any

from tighter.report.markup import escaped, missing, section, side_by_side
from tighter.report.measurements import read_results
from tighter.report.records import EVALUATION, RunRecord, number
from tighter.report.words import count, decimals, signed

_TERMS = {
    "reconstruction": ("Reconstruction", "E[log p(x|z₀)], exact; larger is better"),
    "prior_kl": ("Prior KL", "of the noisiest latent from N(0, 1), exact; smaller is better"),
    "diffusion": ("Diffusion", "KL of all steps between, estimated; smaller is better"),
}


def is_diffusion(record: RunRecord) -> bool:
    """Whether the run is of a diffusion model."""
    settings = record.configuration.get("configuration")
    model = settings.get("model") if isinstance(settings, Mapping) else None
    return isinstance(model, Mapping) and model.get("kind") == "diffusion"


def bound_and_terms(record: RunRecord) -> str:
    """The bound in big type, in bits per dimension where pixels have levels, and its terms."""
    evaluation = record.evaluation
    if evaluation is None:
        line = missing("The bound was not measured yet.", record.remedy(EVALUATION))
        return section("result", "Bound", line)
    value, error = (number(evaluation.get(name)) for name in ("bound", "standard_error"))
    bits = evaluation.get("bits_per_dimension")
    nats = f"{_value(value, error)} <small>nats per datum</small>"
    big = nats
    if isinstance(bits, Mapping):
        big = f"{_both(bits)} <small>bits per dimension</small>"
    split = escaped(evaluation.get("split") or "")
    examples, times = (number(evaluation.get(name)) for name in ("num_examples", "num_times"))
    under = f"Mean ± standard error over {count(examples)} {split} examples"
    under += f", {count(times)} times each" if times >= 0 else ""
    levels = number(evaluation.get("levels"))
    if isinstance(bits, Mapping):
        under += f"; pixels of {count(levels)} levels, dequantized: {nats}"
    return section(
        "result",
        f"{split.capitalize()} bound",
        f'<p class="big">{big}</p>',
        f'<p class="under">{under}.</p>',
        _table(evaluation.get("terms")),
        side_by_side(read_results(record.directory, "evaluation")),
    )


def _table(terms: Any) -> str:
    if not isinstance(terms, Mapping):
        return ""
    rows = "".join(
        f"<tr><th>{name}</th><td>{_both(terms[key])}</td><td>{what}</td></tr>"
        for key, (name, what) in _TERMS.items()
        if isinstance(terms.get(key), Mapping)
    )
    return (
        '<table class="terms"><caption>The bound is the reconstruction less the other two, in nats'
        f" per datum</caption><tbody>{rows}</tbody></table>"
    )


def _both(term: Mapping[str, Any]) -> str:
    return _value(number(term.get("mean")), number(term.get("standard_error")))


def _value(value: float, error: float) -> str:
    if not math.isfinite(error):
        return f"<b>{signed(value, 2)}</b>"
    places = decimals(error)
    spread = f' <span class="error">± {signed(error, places)}</span>'
    return f"<b>{signed(value, places)}</b>{spread}"
