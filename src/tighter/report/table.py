"""The page of a table: its columns beside the model's samples, by name and in their own units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from tighter.report.markup import escaped, figure, missing, plot, remark, section
from tighter.report.measurements import Measurement, read_measurement
from tighter.report.records import PICTURES, RunRecord, number
from tighter.report.records import section as part
from tighter.report.theme import TRAINING, VALIDATION, Drawing, draw
from tighter.report.words import count, percent, with_error

_MOST_PANELS = 60
_LETTERS = 16
_KEY = '<span class="key blue">the data</span> and <span class="key orange">the model\'s</span>'


def is_table(record: RunRecord) -> bool:
    """Whether the run is of a table with named columns."""
    return bool(part(record.configuration, "schema").get("columns"))


def table_sections(record: RunRecord) -> list[str]:
    """Columns, pairs, reconstructions and strange examples, as far as they were recorded."""
    made = read_measurement(record.directory, "table")
    if made is None:
        line = missing("The columns have not been drawn yet.", record.remedy(PICTURES))
        return [section("columns", "Columns", line)]
    columns = _mappings(made.record.get("columns"))
    if made.damage or not columns:
        told = made.damage or "table.json tells of no column; make it again (tighter evaluate)"
        return [section("columns", "Columns", remark(escaped(told)))]
    return [
        _marginals(made, columns),
        _pairs(made, columns),
        _reconstructions(columns),
        _strange(made),
    ]


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _floats(value: object) -> np.ndarray:
    held = [number(item) for item in value] if isinstance(value, list) else []
    return np.array(held, np.float64)


def _marginals(made: Measurement, columns: list[Mapping[str, Any]]) -> str:
    # With many columns, those that the model gets most wrong; in the file's order.
    worst = sorted(range(len(columns)), key=lambda i: -_beyond_chance(columns[i]))[:_MOST_PANELS]
    panels = "".join(_panel(columns[i], i) for i in sorted(worst))
    total = made.value("num_columns")
    few = f" The {len(worst)} of {count(total)} columns that differ most are shown."
    caption = (
        f"Shares of {_KEY} in each column: {count(made.value('num_rows'))} rows it was trained on,"
        f" and {count(made.value('num_samples'))} samples. Below each, how far apart the two are"
        " (total variation distance), and how far equal ones would be by chance."
        + (few if total > len(worst) else "")
    )
    return section("columns", "Columns", figure(f'<div class="three">{panels}</div>', caption))


def _beyond_chance(column: Mapping[str, Any]) -> float:
    beyond = number(column.get("distance")) - number(column.get("chance"))
    return beyond if math.isfinite(beyond) else -1.0


def _panel(column: Mapping[str, Any], place: int) -> str:
    ours, theirs = _floats(column.get("data")), _floats(column.get("samples"))
    gaps = number(column.get("missing"))
    notes = [f"{_apart(column)}."] + ([f"{percent(gaps)} missing in the data."] if gaps > 0 else [])
    levels = column.get("levels")
    edges = _floats(column.get("edges"))
    if isinstance(levels, list) and len(ours) == len(theirs) == len(levels) + 1:
        rest = number(column.get("rest"))
        names = [str(level) for level in levels]
        shown = len(names) + (rest > 0)
        content = _bars([*names, f"{count(rest)} others"][:shown], ours, theirs)
    elif len(ours) == len(theirs) == len(edges) + 1 and len(edges) > 1:
        drawing = _histogram(edges, ours, theirs, name=f"column{place}")
        content = plot(drawing)
        notes += [drawing.note] if drawing.note else []
    else:
        return ""
    return (
        f'<div class="column"><h3>{escaped(column.get("name"))}</h3>{content}'
        f'<p class="facts">{escaped(" ".join(notes))}</p></div>'
    )


def _apart(told: Mapping[str, Any]) -> str:
    distance, chance = number(told.get("distance")), number(told.get("chance"))
    return f"{percent(distance)} apart, {percent(chance)} by chance"


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / max(counts.sum(), 1)


def _bars(names: Sequence[str], ours: np.ndarray, theirs: np.ndarray) -> str:
    """Bars of shares in HTML, so that words of any length and alphabet can be read."""
    first, second = _shares(ours), _shares(theirs)
    widest = max(first.max(), second.max()) or 1
    rows = "".join(
        f"<li><span>{escaped(name)}</span><b>"
        f'<i style="width:{100 * first[i] / widest:.1f}%"></i>'
        f'<i style="width:{100 * second[i] / widest:.1f}%"></i></b>'
        f"<small>{percent(first[i])}<br>{percent(second[i])}</small></li>"
        for i, name in enumerate(names)
    )
    return f'<ul class="bars">{rows}</ul>'


def _histogram(edges: np.ndarray, ours: np.ndarray, theirs: np.ndarray, *, name: str) -> Drawing:
    def paint(canvas: Figure) -> str:
        axes = canvas.add_subplot()
        axes.grid(visible=False, axis="x")
        inside = slice(0, len(edges) - 1)
        first, second = 100 * _shares(ours)[inside], 100 * _shares(theirs)[inside]
        axes.stairs(first, edges, fill=True, color=TRAINING, alpha=0.35)
        axes.stairs(first, edges, color=TRAINING, linewidth=1.5)
        axes.stairs(second, edges, color=VALIDATION, linewidth=2)
        axes.set_xlim(edges[0], edges[-1])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=_few(edges), min_n_ticks=2))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.set_ylabel("% of rows")
        outside = [part[len(edges) - 1 :].sum() / max(part.sum(), 1) for part in (ours, theirs)]
        if not any(outside):
            return ""
        return (
            f"Outside the picture: {percent(outside[0])} of the data, {percent(outside[1])} of the"
            " samples."
        )

    label = "Histogram of the data and of samples."
    return draw(paint, name=name, label=label, width=320, height=190)


def _pairs(made: Measurement, columns: list[Mapping[str, Any]]) -> str:
    title = "What the model gets wrong together"
    panels = "".join(
        _pair(pair, columns, place)
        for place, pair in enumerate(_mappings(made.record.get("pairs")))
    )
    searched, total = made.value("num_searched"), made.value("num_columns")
    among = (
        f" Pairs of the first {count(searched)} columns were looked at." if searched < total else ""
    )
    if not panels:
        line = "No pair of columns differs from the data by more than its columns alone, or chance."
        return section("pairs", title, remark(line + among)) if total > 1 else ""
    caption = (
        "The pairs of columns whose joint frequencies are furthest from the data's, beyond what"
        f" either column is by itself: rows of {_KEY} samples, side by side. Categories are spread"
        " a little, to be seen." + among
    )
    return section("pairs", title, figure(f'<div class="pairs-of">{panels}</div>', caption))


def _pair(pair: Mapping[str, Any], columns: list[Mapping[str, Any]], place: int) -> str:
    chosen = pair.get("columns")
    if not isinstance(chosen, list) or len(chosen) != 2:
        return ""
    places = [int(number(item)) if number(item) >= 0 else len(columns) for item in chosen]
    clouds = [_cloud(pair.get(name)) for name in ("data", "samples")]
    if max(places) >= len(columns) or any(cloud is None for cloud in clouds):
        return ""
    across, up = (columns[i] for i in places)
    drawing = _draw_pair(across, up, [c for c in clouds if c is not None], name=f"pair{place}")
    alone = [percent(share) for share in _floats(pair.get("alone"))]
    told = f"{_apart(pair)}; alone {' and '.join(alone)}." if alone else f"{_apart(pair)}."
    return (
        f'<div class="column"><h3>{escaped(up.get("name"))} against {escaped(across.get("name"))}'
        f'</h3>{plot(drawing)}<p class="facts">{escaped(told)}</p></div>'
    )


def _cloud(value: object) -> np.ndarray | None:
    rows = [_floats(row) for row in value] if isinstance(value, list) else []
    cloud = np.array([row for row in rows if row.shape == (2,)]).reshape(-1, 2)
    cloud = cloud[(np.abs(cloud) < 1e100).all(axis=1)]
    return cloud if len(cloud) else None


def _draw_pair(
    across: Mapping[str, Any], up: Mapping[str, Any], clouds: list[np.ndarray], *, name: str
) -> Drawing:
    def paint(canvas: Figure) -> str:
        panels = canvas.subplots(1, 2, sharex=True, sharey=True)
        spread = np.random.default_rng(0).uniform(-0.3, 0.3, (max(map(len, clouds)), 2))
        for axes, cloud, color, title in zip(
            panels, clouds, (TRAINING, VALIDATION), ("data", "samples"), strict=True
        ):
            shift = spread[: len(cloud)] * [_has_codes(across), _has_codes(up)]
            places = cloud + shift
            axes.plot(*places.T, "o", color=color, markersize=3, markeredgewidth=0, alpha=0.6)
            axes.set_title(title, fontsize=12, color=color, loc="left")
        # Of what is usual in the data, so that one wild sample doesn't squeeze the rest.
        for which, column in enumerate((across, up)):
            low, high = clouds[0][:, which].min(), clouds[0][:, which].max()
            pad = 0.5 if _has_codes(column) else 0.06 * (high - low) or 0.5
            set_limits = panels[0].set_xlim if which == 0 else panels[0].set_ylim
            set_limits(low - pad, high + pad)
            for axes in panels if which == 0 else panels[:1]:
                _ticks(axes, column, which, clouds[0][:, which])
        beyond = ~_within(clouds[1], panels[0])
        if not beyond.any():
            return ""
        return f"{percent(beyond.mean())} of the samples lie outside."

    label = "A pair of columns: rows of the data, and samples."
    return draw(paint, name=name, label=label, width=360, height=230)


def _within(cloud: np.ndarray, axes: Axes) -> np.ndarray:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    inside = (cloud >= [left, low]) & (cloud <= [right, high])
    return inside[:, 0] & inside[:, 1]


def _has_codes(column: Mapping[str, Any]) -> bool:
    """Whether its values are few whole numbers, codes or not, that lie on one another."""
    return isinstance(column.get("words"), list) or _few(_floats(column.get("edges")))


def _few(edges: np.ndarray) -> bool:
    """Whether the bins are those of single whole numbers."""
    return len(edges) > 1 and bool(edges[1] - edges[0] == 1 and edges[0] % 1 == 0.5)


def _ticks(axes: Axes, column: Mapping[str, Any], which: int, values: np.ndarray) -> None:
    axis = axes.xaxis if which == 0 else axes.yaxis
    words = column.get("words")
    if not isinstance(words, list):
        whole = _has_codes(column)
        axis.set_major_locator(MaxNLocator(nbins=5 if whole else 3, integer=whole))
        return
    codes = np.unique(values.astype(int))
    if len(codes) > 8:
        codes = codes[np.linspace(0, len(codes) - 1, 8).astype(int)]
    told = [str(words[code])[:_LETTERS] if 0 <= code < len(words) else "" for code in codes]
    axis.set_major_locator(FixedLocator([float(code) for code in codes]))
    for text in axis.set_ticklabels(told):
        text.set_parse_math(False)
        if which == 0:
            text.set_rotation(35)
            text.set_horizontalalignment("right")


def _reconstructions(columns: list[Mapping[str, Any]]) -> str:
    rows = ""
    for column in columns:
        told = part(column, "reconstruction")
        error, plain = number(told.get("error")), number(told.get("plain_error"))
        if math.isnan(error):
            continue
        words = isinstance(column.get("levels"), list)
        scale = 100 if words else 1
        shown = [
            _told(scale * number(told.get(f"{kind}error")), scale * number(told.get(spread)))
            for kind, spread in (("", "standard_error"), ("plain_", "plain_standard_error"))
        ]
        unit = "% wrong" if words else f"in units of {escaped(column.get('name'))}"
        share = percent(1 - error / plain) if plain > 0 else ""
        rows += (
            f'<tr><th scope="row">{escaped(column.get("name"))}</th><td>{shown[0]}</td>'
            f"<td>{shown[1]}</td><td>{share}</td><td>{unit}</td></tr>"
        )
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("column", "error", "of one guess for all", "less by", "")
    )
    note = (
        '<p class="under">What is left of test examples after a way through the latent space: mean'
        " absolute error of a number, in the unit of its column, and the share of categories that"
        " come out wrong, with standard errors. One guess for all is the column's median, or its"
        " commonest category: a column that does no better is not encoded.</p>"
    )
    return section(
        "reconstructions",
        "Reconstruction by column",
        note,
        f'<div class="wide"><table class="results by-column"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
    )


def _told(value: float, error: float) -> str:
    """A number of any size to two digits of its error."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g} ± {error:.1g}" if error >= 0 else f"{value:.3g}"
    return with_error(value, error)


def _strange(made: Measurement) -> str:
    rows = _mappings(made.record.get("strange"))
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{count(number(row.get('row')) + 1)}</td>"
        f"<td>{_nats(row)}</td><td>{_reasons(row)}</td></tr>"
        for row in rows
    )
    note = (
        '<p class="under">The test examples of the lowest log-likelihood. Beside each, the cells'
        " that cost the most nats above what their column usually costs, given what the encoder"
        " makes of the example: slips of the pen, rare cases, or what the model has not"
        " learned.</p>"
    )
    return section(
        "strange",
        "The strangest examples",
        note,
        '<div class="wide"><table class="results strange"><thead><tr><th scope="col">test row</th>'
        '<th scope="col">log p (nats)</th><th scope="col">what about it</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>",
    )


def _nats(row: Mapping[str, Any]) -> str:
    return with_error(number(row.get("log_likelihood")), number(row.get("standard_error")))


def _reasons(row: Mapping[str, Any]) -> str:
    reasons = [
        f"<b>{escaped(cell.get('column'))}</b> is {escaped(cell.get('value'))}, where"
        f" {escaped(cell.get('expected'))} is expected"
        f" ({number(cell.get('nats')):.1f} nats more than usual)"
        for cell in _mappings(row.get("cells"))
    ]
    return "; ".join(reasons) or "unusual as a whole, no cell more than others"
