"""Numbers put into words: formats, the run in one line, and whether its estimate can be trusted."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from tighter.report.records import RunRecord, number, section

_ACRONYMS = {
    word.lower(): word
    for word in ("MLP", "CNN", "ResNet", "VAE", "ELBO", "IWAE", "CIWAE", "MIWAE", "CUBO", "Rényi")
} | {"renyi": "Rényi", "vimco": "VIMCO", "ovis": "OVIS"}

# Vehtari et al. (2024): k̂ above 0.7 makes error bars unreliable at any number of
# draws that one can afford, and below it min(1 − 1/log10(S), 0.7) is asked for, which is 0.7 from
# about 2,200 draws.
_DRAWS_FOR_KHAT = 2200
_FEW, _MANY = 0.05, 0.2


class Verdict(NamedTuple):
    """Whether an estimate can be trusted."""

    level: Literal["good", "fair", "poor", "unknown"]
    title: str
    text: str


def signed(value: float | int, decimals: int) -> str:
    """A number with a true minus sign, thousands apart."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{decimals}f}".replace("-", "−")


def decimals(error: float | int) -> int:
    """How many decimals show two digits of an error, from none to five; two if it isn't known."""
    if not math.isfinite(error) or error <= 0:
        return 2
    return min(5, max(0, 1 - math.floor(math.log10(error))))


def count(value: float | int) -> str:
    """A count, with thousands apart and no decimals."""
    return signed(value, 0)


def counted(number: int, one: str, several: str) -> str:
    """A count with the words that agree with it: "1 epoch lies" but "2 epochs lie"."""
    return f"{count(number)} {one if number == 1 else several}"


def percent(share: float | int) -> str:
    """A share as a percentage."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{signed(100 * share, 1)}%"


def moment(value: object) -> str:
    """A time stamp as people write it; what can't be read as one is given back as it stands."""
    text = str(value)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    if when.tzinfo is None:
        return f"{when.day} {when:%B %Y, %H:%M}"
    when = when.astimezone(UTC)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def described(record: RunRecord) -> str:
    """What was trained, in one line, from whatever the configuration tells."""
    settings = section(record.configuration, "configuration")
    model, data = section(settings, "model"), section(settings, "data")
    objective, training = section(settings, "objective"), section(settings, "training")

    if model.get("kind") == "diffusion":
        return _diffusion_described(section(settings, "diffusion"), data, training)
    line = f"{_name(model['network'])} model" if model.get("network") else "A model"
    if model.get("latent") is not None:
        line += f" with {model['latent']} latent dimensions"
    if data.get("source"):
        line += f", trained on {data['source']}"
    if objective.get("bound"):
        line += f" by the {_name(objective['bound'])} bound"
        if objective.get("num_samples") is not None:
            line += f" (K = {objective['num_samples']})"
        if objective.get("form", "log-weights") != "log-weights":
            line += f", {_form(objective)},"
    if objective.get("gradient"):
        joint = " with" if objective.get("bound") else ", trained with"
        line += f"{joint} the {_name(objective['gradient'])} gradient"
    if training.get("epochs") is not None:
        line += f", {training['epochs']} epochs"
    return "A run of tighter" if line == "A model" else line


def _diffusion_described(
    chosen: Mapping[str, Any], data: Mapping[str, Any], training: Mapping[str, Any]
) -> str:
    steps = chosen.get("steps")
    line = f"A diffusion model in {f'{steps} steps' if steps else 'continuous time'}"
    line += f", {chosen.get('denoiser')} denoiser, {chosen.get('schedule')} schedule"
    if data.get("source"):
        line += f", trained on {data['source']}"
    return line + (f", {training['epochs']} epochs" if training.get("epochs") is not None else "")


def tail_share(record: RunRecord) -> float:
    """The share of examples with k̂ > 0.7: as recorded, else counted, else NaN."""
    share = number((record.evaluation or {}).get("share_pareto_k_above_0.7"))
    khat = record.examples.get("pareto_k")
    if math.isnan(share) and khat is not None and np.isfinite(khat).any():
        # A k̂ of infinity counts against the estimate; NaN means that it couldn't be told.
        return float(np.mean(khat[~np.isnan(khat)] > 0.7))
    return share


def verdict(evaluation: Mapping[str, Any], share: float) -> Verdict:
    """Judge an estimated log-likelihood by the tails of its importance weights.

    Args:
        evaluation: The recorded evaluation.
        share: The share of examples with k̂ > 0.7, NaN if unknown.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto Smoothed Importance Sampling", JMLR 25,
        2024.
    """
    if not math.isfinite(number(evaluation.get("log_likelihood"))):
        return Verdict(
            "poor",
            "The estimate isn't a finite number.",
            "At least one example has no usable importance weight; look for it in evaluation.npz.",
        )
    if not math.isfinite(share):
        return Verdict(
            "unknown",
            "It can't be told whether this estimate can be trusted.",
            "No k̂ was recorded. Evaluate again to have one computed for each example.",
        )
    none = "No example has k̂ above 0.7"
    some = f"{percent(share)} of the examples have k̂ above 0.7"
    tail = (none if share == 0 else some) + (
        ", the value from which importance sampling stops being reliable (Vehtari et al., 2024)."
    )
    low = (
        "Where it errs, it errs low, and its Monte Carlo error is understated: the true value is"
        " more likely above than below."
    )
    more = "More importance samples, or an encoder that fits better, would help."
    if share > _MANY:
        title = "Don't quote this estimate yet."
        return Verdict("poor", title, f"{tail} {low} {more}")
    if share > _FEW:
        title = "Read this estimate with care."
        return Verdict("fair", title, f"{tail} {low} {more}")
    noise = number(evaluation.get("monte_carlo_error"))
    spread = number(evaluation.get("standard_error"))
    if noise > spread:
        return Verdict(
            "fair",
            "Sound, but noisy.",
            f"{tail} But the sampling noise exceeds the standard error over examples. {more}",
        )
    draws = number(evaluation.get("num_samples"))
    if draws < _DRAWS_FOR_KHAT:
        tail += f" With only {count(draws)} importance samples, k̂ is a rough guide itself."
    return Verdict("good", "This estimate can be trusted.", tail)


def _name(word: object) -> str:
    return _ACRONYMS.get(str(word).lower(), str(word))


def _form(objective: Mapping[str, Any]) -> str:
    """Which part of the ELBO is in closed form, and what the KL's weight is."""
    if objective["form"] == "entropy":
        return "its entropy in closed form"
    told = [
        f"{symbol} = {objective[key]:g}"
        for symbol, key, usual in (("β", "beta", 1), ("free bits", "free_bits", 0))
        if objective.get(key, usual) != usual
    ]
    return "its KL in closed form" + (f" ({', '.join(told)})" if told else "")
