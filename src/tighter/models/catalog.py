"""Every family that a model is composed of: lists made from the families themselves."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import jax

from tighter.models.networks import NETWORKS
from tighter.models.observations import OBSERVATIONS, Mixed, observation_from_name
from tighter.models.posteriors import POSTERIORS, posterior_from_name
from tighter.models.priors import PRIORS, prior_from_name

KINDS = ("observations", "priors", "posteriors", "networks")
_SECTIONS = ("Args:", "Attributes:", "Raises:", "Example:", "References:")


@dataclasses.dataclass(frozen=True)
class Line:
    """A family.

    Attributes:
        name: What it is called in `VAE.create` and on the command line.
        family: Its class.
        over: The values of x, or of z.
        summary: What it is.
        equation: Its density, and what there is to know.
    """

    name: str
    family: str
    over: str
    summary: str
    equation: str


def of_kind(kind: str) -> list[Line]:
    """The families of one of `KINDS`."""
    key = jax.random.key(0)
    if kind == "observations":
        return [_observation(name) for name in OBSERVATIONS]
    if kind == "networks":
        return [
            _line(name, encoder.func if isinstance(encoder, functools.partial) else encoder, "")
            for name, (encoder, _) in NETWORKS.items()
        ]
    if kind == "priors":
        families = {name: prior_from_name(name, 4, shape=(4,), key=key) for name in PRIORS}
    else:
        families = {name: posterior_from_name(name, 4, key=key) for name in POSTERIORS}
    return [_line(name, family, family.space.value) for name, family in families.items()]


def markdown(kind: str) -> str:
    """The families of a kind as a list for the docs; names of one class together."""
    by_family: dict[str, list[Line]] = {}
    for line in of_kind(kind):
        by_family.setdefault(line.family, []).append(line)
    items = []
    for family, lines in by_family.items():
        names = ", ".join(f"**`{line.name}`**" for line in lines)
        over = f", over {lines[0].over}" if lines[0].over else ""
        items.append(
            f"- {names} (`{family}`{over}): {lines[0].summary} {lines[0].equation}".rstrip()
        )
    return "\n".join(items)


def _observation(name: str) -> Line:
    if name == "mixed":
        return _line(name, Mixed, "what each column holds")
    # Of categories it is the data that say how many.
    family = observation_from_name(name + ":4" * (name == "categorical"), (4,))
    return _line(name, family, str(family.support))


def _line(name: str, family: Any, over: str) -> Line:
    cls = family if isinstance(family, type) else type(family)
    summary, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    kept = []
    for paragraph in rest.split("\n\n"):
        if paragraph.startswith(_SECTIONS):
            break
        kept.append(paragraph)
    flat = " ".join(" ".join(kept).split())
    return Line(name, cls.__name__, over, " ".join(summary.split()), flat)
