"""The page's building blocks. Whatever comes from a file is escaped here."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tighter.report.measurements import Result
from tighter.report.records import portable
from tighter.report.theme import Drawing
from tighter.report.words import Verdict

_SYMBOLS = {"good": "✓", "fair": "!", "poor": "✕", "unknown": "?"}


def escaped(value: object) -> str:
    """Any value as text that HTML can't take for markup."""
    return html.escape(str(value), quote=True)


def code(text: str) -> str:
    """A command inside a sentence."""
    return f"<code>{escaped(text)}</code>"


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page with its heading."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{name}">\n<h2>{title}</h2>\n{body}\n</section>'


def missing(what: str, command: str) -> str:
    """One line in the place of what a run doesn't have yet, with the command that makes it."""
    return f'<p class="missing">{what} Run {code(command)}</p>'


def remark(text: str) -> str:
    """One line in the place of what can't be shown, with the reason."""
    return f'<p class="missing">{text}</p>'


def figure(content: str, caption: str, *notes: str, style: str = "") -> str:
    """A figure above its caption. Notes that are empty are left out."""
    words = " ".join([caption, *(note for note in notes if note)])
    return (
        f'<figure class="{style}">{content}<figcaption>{words}</figcaption></figure>'
        if style
        else f"<figure>{content}<figcaption>{words}</figcaption></figure>"
    )


def plot(drawing: Drawing) -> str:
    """A figure's SVG in the box that scales it."""
    return f'<div class="plot">{drawing.svg}</div>'


def plots(wide: Drawing, narrow: Drawing) -> str:
    """Two drawings of the same figure, of which a screen shows the one that fits."""
    return (
        f'<div class="plot on-wide">{wide.svg}</div><div class="plot on-narrow">{narrow.svg}</div>'
    )


def stats(entries: Iterable[tuple[str, str, str]]) -> str:
    """A row of numbers: (what it is, its value, its unit or a remark), all plain text."""
    cells = "".join(
        f"<div><dt>{escaped(term)}</dt><dd>{escaped(value)}"
        f"{f' <small>{escaped(unit)}</small>' if unit else ''}</dd></div>"
        for term, value, unit in entries
    )
    return f'<dl class="stats">{cells}</dl>' if cells else ""


def verdict_box(judged: Verdict) -> str:
    """A verdict with the sign of its level."""
    return (
        f'<p class="verdict {judged.level}"><span class="symbol" aria-hidden="true">'
        f"{_SYMBOLS[judged.level]}</span><span><b>{escaped(judged.title)}</b>"
        f" {escaped(judged.text)}</span></p>"
    )


def side_by_side(results: Sequence[Result]) -> str:
    """What was measured with several settings, in rows; "" if there is one alone."""
    if len(results) < 2:
        return ""
    rows = "".join(
        f"<tr{' class=chosen' if result.shown else ''}><td>{escaped(result.settings)}</td>"
        f"<td>{escaped(result.value)}</td><td>{_SYMBOLS.get(result.level, '')}</td></tr>"
        for result in results
    )
    return (
        '<div class="wide"><table class="results"><caption>Measured with several settings; the'
        f" page shows the one marked</caption><tbody>{rows}</tbody></table></div>"
    )


def table(title: str, values: Mapping[str, Any]) -> str:
    """Settings as rows of name and value; those nested deeper get dotted names."""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{_cell(value)}</td></tr>'
        for name, value in _flat(values)
    )
    return f"<table><caption>{escaped(title)}</caption><tbody>{rows}</tbody></table>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    if value is None:
        return '<span class="none">none</span>'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or '<span class="none">empty</span>'
    if isinstance(value, Mapping):
        return ", ".join(f"{escaped(k)}: {_cell(v)}" for k, v in value.items()) or (
            '<span class="none">empty</span>'
        )
    return escaped(portable(value) if isinstance(value, str) else value)
