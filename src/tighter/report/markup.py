"""The page's words and building blocks. Whatever comes from a file is escaped here."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tighter.report.records import Result, number, numbers, portable
from tighter.report.theme import Drawing

_TITLES = {
    "good": "This estimate can be trusted.",
    "fair": "Read this estimate with care.",
    "poor": "Don't quote this estimate.",
    "unknown": "It can't be told whether this estimate can be trusted.",
}
_SYMBOLS = {"good": "✓", "fair": "!", "poor": "✕", "unknown": "?"}


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


def with_error(value: float, error: float, *, places: int | None = None) -> str:
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
    return "<0.1%" if 0 < share < 0.0005 else f"{signed(100 * share, 1)}%"


def moment(value: object) -> str:
    """A time stamp as people write it; what can't be read as one is given back as it stands."""
    text = str(value)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = "" if when.tzinfo is None else " UTC"
    when = when.astimezone(UTC) if zone else when
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


class Verdict(NamedTuple):
    """Whether an estimate can be trusted."""

    level: str
    title: str
    text: str


def verdict(record: Mapping[str, Any]) -> Verdict:
    """What was said when the estimate was made, as it was recorded; nothing is judged here."""
    text, level = record.get("verdict"), record.get("verdict_level")
    if not isinstance(text, str) or not isinstance(level, str) or level not in _TITLES:
        return Verdict("unknown", _TITLES["unknown"], "No verdict was recorded: evaluate again.")
    start = text[:1] if text.startswith("k̂") else text[:1].upper()
    return Verdict(level, _TITLES[level], f"{start}{text[1:]}.")


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


def remark(text: str) -> str:
    """One line in the place of what can't be shown, with the reason."""
    return f'<p class="missing">{text}</p>'


def missing(what: str, command: str) -> str:
    """One line in the place of what a run doesn't have yet, with the command that makes it."""
    return remark(f"{what} Run {code(command)}")


def big(unit: str, value: float, error: float) -> str:
    """A result in big type."""
    return f'<p class="big">{bold(value, error)} <small>{unit}</small></p>'


def bold(value: float, error: float) -> str:
    """A number to two digits of its error, which stands behind it in smaller type."""
    places = decimals(error)
    spread = f' <span class="error">± {signed(error, places)}</span>' if error >= 0 else ""
    return f"<b>{signed(value, places)}</b>{spread}"


def figure(content: str, caption: str, *notes: str) -> str:
    """A figure above its caption. Notes that are empty are left out."""
    words = " ".join([caption, *filter(None, notes)])
    return f"<figure>{content}<figcaption>{words}</figcaption></figure>"


def plot(drawing: Drawing) -> str:
    """A figure's SVG in the box that scales it."""
    return f'<div class="plot">{drawing.svg}</div>'


def panel(drawing: Drawing, caption: str) -> str:
    """A drawing above its caption and its note."""
    return figure(plot(drawing), caption, drawing.note)


def for_screens(
    draw: Callable[..., Drawing], *given: Any, name: str, heights: tuple[int, int]
) -> tuple[str, str]:
    """Two drawings of a figure, of which a screen shows the one that fits, and the note.

    Args:
        draw: As `drawn` makes it.
        given: What it draws.
        name: Of the figure; each drawing's has its width behind.
        heights: Of the wide drawing and of the narrow one.
    """
    wide, narrow = (
        draw(*given, name=f"{name}{width}", width=width, height=height)
        for width, height in zip((960, 380), heights, strict=True)
    )
    both = (
        f'<div class="plot on-wide">{wide.svg}</div><div class="plot on-narrow">{narrow.svg}</div>'
    )
    return both, wide.note


def in_columns(several: Sequence[str], style: str) -> str:
    """Parts beside one another: "two", "three", or as the style says."""
    return f'<div class="{style}">{"".join(several)}</div>'


def stats(entries: Iterable[tuple[str, str, str]]) -> str:
    """A row of numbers: (what it is, its value, its unit or a remark), all plain text."""
    cells = "".join(
        f"<div><dt>{escaped(term)}</dt><dd>{escaped(value)}"
        f"{f' <small>{escaped(unit)}</small>' if unit else ''}</dd></div>"
        for term, value, unit in entries
    )
    return f'<dl class="stats">{cells}</dl>' if cells else ""


def verdict_box(record: Mapping[str, Any]) -> str:
    """A record's verdict with the sign of its level."""
    level, title, text = verdict(record)
    return (
        f'<p class="verdict {level}"><span class="symbol" aria-hidden="true">{_SYMBOLS[level]}'
        f"</span><span><b>{escaped(title)}</b> {escaped(text)}</span></p>"
    )


def side_by_side(results: Sequence[Result]) -> str:
    """What was measured with several settings, in rows; "" if there is one alone."""
    if len(results) < 2:
        return ""
    rows = "".join(
        f"<tr{' class=chosen' if result.shown else ''}><td>{escaped(result.settings)}</td>"
        f"<td>{escaped(_outcome(result.record))}</td>"
        f"<td>{_SYMBOLS.get(str(result.record.get('verdict_level')), '')}</td></tr>"
        for result in results
    )
    return (
        '<div class="wide"><table class="results"><caption>Measured with several settings; the'
        f" page shows the one marked</caption><tbody>{rows}</tbody></table></div>"
    )


def _outcome(record: Mapping[str, Any]) -> str:
    """A result's number with its error; "" if it has none of its own."""
    ends = numbers(record, "lower", "upper")
    keys = [key for key in ("perplexity", "log_likelihood", "bound") if key in record]
    error = number(record.get("perplexity_standard_error", record.get("standard_error")))
    values = ends if "lower" in record and "upper" in record else numbers(record, *keys[:1])
    if not values or values[0] != values[0]:
        return ""
    text = " to ".join(signed(value, decimals(error)) for value in values)
    return text + (f" ± {signed(error, decimals(error))}" if error >= 0 else "")


def grid(kind: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    """A table that may be wider than the page; its rows are HTML."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def settings_table(title: str, values: Mapping[str, Any]) -> str:
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
    if isinstance(value, list | tuple | Mapping):
        parts = (
            [f"{escaped(k)}: {_cell(v)}" for k, v in value.items()]
            if isinstance(value, Mapping)
            else map(_cell, value)
        )
        return ", ".join(parts) or '<span class="none">empty</span>'
    return escaped(portable(value) if isinstance(value, str) else value)
