"""The papers behind a bound, an estimator or a model, as BibTeX."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

_SOFTWARE = f"""@software{{tighter,
  title = {{tighter: every variational bound, every gradient estimator, on {{JAX}}}},
  author = {{{{The tighter developers}}}},
  version = {{{version("tighter")}}},
}}"""
# How docstrings name a paper: authors, "title", year.
_PAPER = re.compile(r'([^;"]+), "([^"]+)", (\d{4})')


class _Shown(str):
    """Text that has been printed: a prompt has nothing to say of it."""

    def __repr__(self) -> str:
        return ""


def citation(*parts: Any) -> str:
    """Print and return the papers behind objects, from their docstrings' references.

    Args:
        parts: Objectives, bounds, estimators, models or functions; an object stands for all that it
            is made of. None for tighter itself.

    Returns:
        BibTeX entries, a paper once.

    Example:
        >>> entries = citation(Objective(IWAE(), DoublyReparameterized()))
        @misc{burda2016importance,
          title = {{Importance weighted autoencoders}},
          author = {Burda and Grosse and Salakhutdinov},
          year = {2016},
        }
        <BLANKLINE>
        @misc{tucker2018doubly,
          title = {{Doubly reparameterized gradient estimators for Monte Carlo objectives}},
          author = {Tucker and Lawson and Gu and Maddison},
          year = {2018},
        }
    """
    entries = {} if parts else {"tighter": _SOFTWARE}
    for documented in _made_of(parts, set()):
        entries = _entries(inspect.getdoc(documented) or "") | entries
    text = _Shown("\n\n".join(sorted(entries.values())))
    print(text)
    return text


def _made_of(part: Any, seen: set[int]) -> Iterator[Any]:
    """The classes and functions of this package that an object is made of."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, Mapping):
        part = [*part.keys(), *part.values()]
    if isinstance(part, tuple | list | set | frozenset):
        for inner in part:
            yield from _made_of(inner, seen)
    elif inspect.isclass(part) or inspect.isroutine(part):
        yield part
    elif type(part).__module__.startswith("tighter"):
        yield from type(part).__mro__[:-1]
        yield from _made_of(list(vars(part).values()), seen)


def _entries(docstring: str) -> dict[str, str]:
    """The papers of a docstring's section `References:`, by their keys."""
    _, _, section = docstring.partition("References:")
    entries = {}
    for authors, title, year in _PAPER.findall(" ".join(section.split("\n\n")[0].split())):
        names = re.split(r", | & ", authors.strip().replace(" et al.", ", others"))
        first = re.sub(r"\W", "", names[0].split()[-1]).lower()
        word = re.sub(r"\W", "", title.split()[0]).lower()
        entries[f"{first}{year}{word}"] = (
            f"@misc{{{first}{year}{word},\n"
            f"  title = {{{{{title}}}}},\n"
            f"  author = {{{' and '.join(names)}}},\n"
            f"  year = {{{year}}},\n"
            "}"
        )
    return entries
