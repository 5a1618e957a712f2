"""The section on which bound and estimator to take: the comparison's table and picture."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tighter.report.markup import escaped, figure, plots, remark, section
from tighter.report.measurements import Measurement
from tighter.report.records import number
from tighter.report.records import section as part
from tighter.report.theme import CATEGORIES, INK, Drawing, draw, plain_logarithmic
from tighter.report.words import count, with_error

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def choice(comparison: Measurement | None) -> str:
    """The comparison, if one was made; "" if not."""
    if comparison is None:
        return ""
    title = "Which bound and estimator"
    if comparison.damage:
        return section("choice", title, remark(escaped(comparison.damage)))
    held = comparison.record.get("rows")
    rows = [row for row in held if isinstance(row, Mapping)] if isinstance(held, list) else []
    if not rows:
        return section("choice", title, remark("The comparison holds no rows."))
    recommended = comparison.record.get("recommended")
    said = escaped(comparison.text("recommendation"))
    caption = (
        "Signal-to-noise ratio of the gradient of φ against the time that it takes,"
        f" {count(comparison.value('num_replicates'))} gradients of each; above and to the left is"
        " better. Numbers are the table's rows, where ratios have their 95 % intervals."
    )
    wide, narrow = _draw(rows, 960, 320), _draw(rows, 380, 300)
    picture = figure(plots(wide, narrow), caption, wide.note) if wide.svg else ""
    return section(
        "choice", title, f"<p>{said}</p>" if said else "", picture, _table(rows, recommended)
    )


def _name(row: Mapping[str, Any]) -> str:
    backward = row.get("num_backward")
    m = "" if backward is None else f", m = {backward}"
    return f"{row.get('bound')}, K = {row.get('num_samples')}, {row.get('gradient')}{m}"


def _draw(rows: list[Mapping[str, Any]], width: int, height: int) -> Drawing:
    places = [
        (i + 1, 1000 * number(row.get("seconds")), number(part(row, "phi").get("snr")), row)
        for i, row in enumerate(rows)
    ]
    places = [place for place in places if place[1] > 0 and place[2] > 0]
    if not places:
        return Drawing("")
    kinds = list(dict.fromkeys((row.get("bound"), row.get("num_samples")) for *_, row in places))

    def paint(canvas: Figure) -> str:
        axes = canvas.add_subplot()
        for rank, milliseconds, snr, row in places:
            kind = kinds.index((row.get("bound"), row.get("num_samples")))
            axes.plot(
                milliseconds, snr, _MARKS[kind % len(_MARKS)], markersize=8,
                color=CATEGORIES[kind % len(CATEGORIES)],
            )  # fmt: skip
            axes.annotate(
                str(rank), (milliseconds, snr), xytext=(7, -4), textcoords="offset points",
                fontsize=11, color=INK,
            )  # fmt: skip
        for i, (bound, samples) in enumerate(kinds):
            axes.plot(
                [], [], _MARKS[i % len(_MARKS)], color=CATEGORIES[i % len(CATEGORIES)],
                label=f"{bound}, K = {samples}",
            )  # fmt: skip
        plain_logarithmic(axes, "x")
        plain_logarithmic(axes, "y")
        axes.margins(0.08, 0.12)
        axes.set_xlabel("time of one gradient (ms)")
        axes.set_ylabel("SNR of φ (no unit)")
        axes.legend(loc="best")
        return ""

    label = "Signal-to-noise ratio against time."
    return draw(paint, name=f"choice{width}", label=label, width=width, height=height)


def _table(rows: list[Mapping[str, Any]], recommended: object) -> str:
    heads = ("", "bound", "K", "estimator", "m", "nats", "ms", "SNR φ", "SNR²/s φ", "SNR θ",
             "SNR²/s θ", "bias")  # fmt: skip
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    lines = "".join(
        f"<tr{' class=chosen' if i == recommended else ''}>{_cells(i + 1, row)}</tr>"
        for i, row in enumerate(rows)
    )
    return (
        '<div class="wide"><table class="grid"><thead><tr>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cells(rank: int, row: Mapping[str, Any]) -> str:
    phi, theta = part(row, "phi"), part(row, "theta")
    backward = row.get("num_backward")
    cells = [
        str(rank), row.get("bound"), row.get("num_samples"), row.get("gradient"),
        "all" if backward is None else backward,
        with_error(number(row.get("value")), number(row.get("value_error"))),
        _short(1000 * number(row.get("seconds"))), _ratio(phi),
        _short(phi.get("snr_squared_per_second")), _ratio(theta),
        _short(theta.get("snr_squared_per_second")), part(row, "bias").get("kind"),
    ]  # fmt: skip
    return "".join(f"<td>{escaped('' if cell is None else cell)}</td>" for cell in cells)


def _ratio(pooled: Mapping[str, Any]) -> str:
    """A signal-to-noise ratio with its 95 % interval."""
    ends = pooled.get("snr_interval")
    told = [_short(end) for end in ends] if isinstance(ends, list) else []
    return _short(pooled.get("snr")) + (f" ({told[0]} to {told[1]})" if len(told) == 2 else "")


def _short(value: object) -> str:
    """A number in three digits."""
    held = number(value)
    if not math.isfinite(held):
        return ""
    return f"{held:,.0f}" if abs(held) >= 100 else f"{held:.3g}"
