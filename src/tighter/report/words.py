"""Numbers put into words: formats, the run in one line, and the verdict as it was recorded."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tighter.report.records import RunRecord, portable, section

_ACRONYMS = {
    word.lower(): word
    for word in ("MLP", "CNN", "ResNet", "VAE", "ELBO", "IWAE", "CIWAE", "MIWAE", "CUBO", "Rényi")
} | {"renyi": "Rényi", "vimco": "VIMCO", "ovis": "OVIS"}

_TITLES = {
    "good": "This estimate can be trusted.",
    "fair": "Read this estimate with care.",
    "poor": "Don't quote this estimate.",
    "unknown": "It can't be told whether this estimate can be trusted.",
}


class Verdict(NamedTuple):
    """Whether an estimate can be trusted."""

    level: str
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


def with_error(value: float, error: float, places: int | None = None) -> str:
    """A number to two digits of its error, and the error: "−20.12 ± 0.43"."""
    if not error >= 0:
        return signed(value, 2 if places is None else places)
    places = decimals(error) if places is None else places
    return f"{signed(value, places)} ± {signed(error, places)}"


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
        line += f", trained on {portable(str(data['source']))}"
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
        line += f", trained on {portable(str(data['source']))}"
    return line + (f", {training['epochs']} epochs" if training.get("epochs") is not None else "")


def verdict(record: Mapping[str, Any]) -> Verdict:
    """What was said when the estimate was made, as it was recorded; nothing is judged here."""
    said, level = record.get("verdict"), record.get("verdict_level")
    if not isinstance(said, str) or not isinstance(level, str) or level not in _TITLES:
        return Verdict("unknown", _TITLES["unknown"], "No verdict was recorded: evaluate again.")
    start = said[:1] if said.startswith("k̂") else said[:1].upper()
    return Verdict(level, _TITLES[level], f"{start}{said[1:]}.")


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
