"""The page of a table: its columns beside the model's samples, by name and in their own units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from tighter.report.markup import (
    count,
    escaped,
    figure,
    grid,
    in_columns,
    missing,
    percent,
    plot,
    remark,
    section,
    with_error,
)
from tighter.report.records import (
    PICTURES,
    Measurement,
    RunRecord,
    mappings,
    number,
    numbers,
    read_measurement,
)
from tighter.report.records import section as part
from tighter.report.theme import TRAINING, VALIDATION, drawn

_MOST_PANELS = 60
_LETTERS = 16
_KEY = '<span class="key blue">the data</span> and <span class="key orange">the model\'s</span>'


def table_sections(record: RunRecord) -> list[str]:
    """Columns, pairs, reconstructions and strange examples, as far as they were recorded."""
    made = read_measurement(record.directory, "table")
    if made is None:
        line = missing("The columns have not been drawn yet.", record.remedy(PICTURES))
        return [section("columns", "Columns", line)]
    columns = mappings(made.record.get("columns"))
    if made.damage or not columns:
        line = made.damage or "table.json tells of no column; make it again (tighter evaluate)"
        return [section("columns", "Columns", remark(escaped(line)))]
    return [
        _marginals(made, columns),
        _pairs(made, columns),
        _reconstructions(columns),
        _strange(made),
    ]


def _floats(value: object) -> np.ndarray:
    held = [number(item) for item in value] if isinstance(value, list) else []
    return np.array(held, np.float64)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / max(counts.sum(), 1)


def _marginals(made: Measurement, columns: list[Mapping[str, Any]]) -> str:
    # With many columns, those that the model gets most wrong; in the file's order.
    worst = sorted(range(len(columns)), key=lambda i: -_beyond_chance(columns[i]))[:_MOST_PANELS]
    panels = [_panel(columns[i], i) for i in sorted(worst)]
    total = made.value("num_columns")
    few = f" The {len(worst)} of {count(total)} columns that differ most are shown."
    caption = (
        f"Shares of {_KEY} in each column: {count(made.value('num_rows'))} rows it was trained on,"
        f" and {count(made.value('num_samples'))} samples. Below each, how far apart the two are"
        " (total variation distance), and how far equal ones would be by chance."
        + (few if total > len(worst) else "")
    )
    return section("columns", "Columns", figure(in_columns(panels, "three"), caption))


def _beyond_chance(column: Mapping[str, Any]) -> float:
    distance, chance = numbers(column, "distance", "chance")
    return distance - chance if math.isfinite(distance - chance) else -1.0


def _panel(column: Mapping[str, Any], place: int) -> str:
    ours, theirs = _floats(column.get("data")), _floats(column.get("samples"))
    gaps, rest = numbers(column, "missing", "rest")
    notes = [f"{_apart(column)}."] + ([f"{percent(gaps)} missing in the data."] if gaps > 0 else [])
    levels, edges = column.get("levels"), _floats(column.get("edges"))
    if isinstance(levels, list) and len(ours) == len(theirs) == len(levels) + 1:
        names = [str(level) for level in levels]
        names += [f"{count(rest)} others"] if rest > 0 else []
        content = _bars(names, _shares(ours), _shares(theirs))
    elif len(ours) == len(theirs) == len(edges) + 1 and len(edges) > 1:
        drawing = _draw_histogram(edges, _shares(ours), _shares(theirs), name=f"column{place}")
        content = plot(drawing)
        notes += filter(None, [drawing.note])
    else:
        return ""
    return _titled(escaped(column.get("name")), content, " ".join(notes))


def _titled(title: str, content: str, facts: str) -> str:
    return (
        f'<div class="column"><h3>{title}</h3>{content}<p class="facts">{escaped(facts)}</p></div>'
    )


def _apart(distances: Mapping[str, Any]) -> str:
    distance, chance = numbers(distances, "distance", "chance")
    return f"{percent(distance)} apart, {percent(chance)} by chance"


def _bars(names: Sequence[str], ours: np.ndarray, theirs: np.ndarray) -> str:
    """Bars of shares in HTML, so that words of any length and alphabet can be read."""
    widest = max(ours.max(), theirs.max()) or 1
    rows = "".join(
        f"<li><span>{escaped(name)}</span><b>"
        f'<i style="width:{100 * first / widest:.1f}%"></i>'
        f'<i style="width:{100 * second / widest:.1f}%"></i></b>'
        f"<small>{percent(first)}<br>{percent(second)}</small></li>"
        for name, first, second in zip(names, ours, theirs, strict=False)
    )
    return f'<ul class="bars">{rows}</ul>'


@drawn("column", "Histogram of the data and of samples.", width=320, height=190)
def _draw_histogram(figure: Figure, edges: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> str:
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="x")
    inside = len(edges) - 1
    first, second = 100 * ours[:inside], 100 * theirs[:inside]
    axes.stairs(first, edges, fill=True, color=TRAINING, alpha=0.35)
    axes.stairs(first, edges, color=TRAINING, linewidth=1.5)
    axes.stairs(second, edges, color=VALIDATION, linewidth=2)
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=_few(edges), min_n_ticks=2))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_ylabel("% of rows")
    beyond = [shares[inside:].sum() for shares in (ours, theirs)]
    if not any(beyond):
        return ""
    of_data, of_samples = map(percent, beyond)
    return f"Outside the picture: {of_data} of the data, {of_samples} of the samples."


def _pairs(made: Measurement, columns: list[Mapping[str, Any]]) -> str:
    title = "What the model gets wrong together"
    pairs = enumerate(mappings(made.record.get("pairs")))
    panels = [panel for place, pair in pairs if (panel := _pair(pair, columns, place))]
    searched, total = made.value("num_searched"), made.value("num_columns")
    among = f" Pairs of the first {count(searched)} columns were looked at."
    among = among if searched < total else ""
    if not panels:
        line = "No pair of columns differs from the data by more than its columns alone, or chance."
        return section("pairs", title, remark(line + among)) if total > 1 else ""
    caption = (
        "The pairs of columns whose joint frequencies are furthest from the data's, beyond what"
        f" either column is by itself: rows of {_KEY} samples, side by side. Categories are spread"
        " a little, to be seen." + among
    )
    return section("pairs", title, figure(in_columns(panels, "pairs-of"), caption))


def _pair(pair: Mapping[str, Any], columns: list[Mapping[str, Any]], place: int) -> str:
    chosen = _floats(pair.get("columns"))
    clouds = [_cloud(pair.get(name)) for name in ("data", "samples")]
    known = (chosen >= 0) & (chosen < len(columns))
    if len(chosen) != 2 or not known.all() or not all(map(len, clouds)):
        return ""
    across, up = (columns[int(i)] for i in chosen)
    drawing = _draw_pair(across, up, clouds, name=f"pair{place}")
    alone = " and ".join(percent(share) for share in _floats(pair.get("alone")))
    return _titled(
        f"{escaped(up.get('name'))} against {escaped(across.get('name'))}",
        plot(drawing),
        _apart(pair) + (f"; alone {alone}." if alone else "."),
    )


def _cloud(value: object) -> np.ndarray:
    """Points of the plane that can be drawn; none if there are none."""
    rows = [_floats(row) for row in value] if isinstance(value, list) else []
    cloud = np.array([row for row in rows if row.shape == (2,)]).reshape(-1, 2)
    return cloud[(np.abs(cloud) < 1e100).all(axis=1)]


@drawn("pair", "A pair of columns: rows of the data, and samples.", width=360, height=230)
def _draw_pair(
    figure: Figure, across: Mapping[str, Any], up: Mapping[str, Any], clouds: list[np.ndarray]
) -> str:
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, (max(map(len, clouds)), 2))
    spread = spread * [_has_codes(across), _has_codes(up)]
    looks = (TRAINING, "data"), (VALIDATION, "samples")
    for axes, cloud, (color, title) in zip(panels, clouds, looks, strict=True):
        places = (cloud + spread[: len(cloud)]).T
        axes.plot(*places, "o", color=color, markersize=3, markeredgewidth=0, alpha=0.6)
        axes.set_title(title, fontsize=12, color=color, loc="left")
    # Of what is usual in the data, so that one wild sample doesn't squeeze the rest.
    for which, column in enumerate((across, up)):
        low, high = clouds[0][:, which].min(), clouds[0][:, which].max()
        pad = 0.5 if _has_codes(column) else 0.06 * (high - low) or 0.5
        set_limits = panels[0].set_xlim if which == 0 else panels[0].set_ylim
        set_limits(low - pad, high + pad)
        for axes in panels if which == 0 else panels[:1]:
            _ticks(axes, column, which, clouds[0][:, which])
    low, high = np.transpose([panels[0].get_xlim(), panels[0].get_ylim()])
    beyond = ~((clouds[1] >= low) & (clouds[1] <= high)).all(axis=1)
    return f"{percent(beyond.mean())} of the samples lie outside." if beyond.any() else ""


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
    labels = [str(words[code])[:_LETTERS] if 0 <= code < len(words) else "" for code in codes]
    axis.set_major_locator(FixedLocator([float(code) for code in codes]))
    for text in axis.set_ticklabels(labels):
        text.set_parse_math(False)
        if which == 0:
            text.set_rotation(35)
            text.set_horizontalalignment("right")


def _reconstructions(columns: list[Mapping[str, Any]]) -> str:
    rows = [row for column in columns if (row := _reconstruction(column))]
    if not rows:
        return ""
    note = (
        '<p class="under">What is left of test examples after a way through the latent space: mean'
        " absolute error of a number, in the unit of its column, and the share of categories that"
        " come out wrong, with standard errors. One guess for all is the column's median, or its"
        " commonest category: a column that does no better is not encoded.</p>"
    )
    heads = ("column", "error", "of one guess for all", "less by", "")
    lines = grid("results by-column", heads, rows)
    return section("reconstructions", "Reconstruction by column", note, lines)


def _reconstruction(column: Mapping[str, Any]) -> str:
    """A row of the table: the error of a column, and that of one guess; "" if it has none."""
    keys = ("error", "standard_error", "plain_error", "plain_standard_error")
    errors = np.array(numbers(part(column, "reconstruction"), *keys))
    if math.isnan(errors[0]):
        return ""
    name, words = escaped(column.get("name")), isinstance(column.get("levels"), list)
    error, spread, plain, plain_spread = errors * (100 if words else 1)
    share = percent(1 - errors[0] / errors[2]) if plain > 0 else ""
    return (
        f'<tr><th scope="row">{name}</th><td>{_of_any_size(error, spread)}</td>'
        f"<td>{_of_any_size(plain, plain_spread)}</td><td>{share}</td>"
        f"<td>{'% wrong' if words else f'in units of {name}'}</td></tr>"
    )


def _of_any_size(value: float, error: float) -> str:
    """A number of any size to two digits of its error."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g} ± {error:.1g}" if error >= 0 else f"{value:.3g}"
    return with_error(value, error)


def _strange(made: Measurement) -> str:
    rows = mappings(made.record.get("strange"))
    if not rows:
        return ""
    lines = [
        f"<tr><td>{count(number(row.get('row')) + 1)}</td>"
        f"<td>{with_error(*numbers(row, 'log_likelihood', 'standard_error'))}</td>"
        f"<td>{_reasons(row)}</td></tr>"
        for row in rows
    ]
    note = (
        '<p class="under">The test examples of the lowest log-likelihood. Beside each, the cells'
        " that cost the most nats above what their column usually costs, given what the encoder"
        " makes of the example: slips of the pen, rare cases, or what the model has not"
        " learned.</p>"
    )
    table = grid("results strange", ("test row", "log p (nats)", "what about it"), lines)
    return section("strange", "The strangest examples", note, table)


def _reasons(row: Mapping[str, Any]) -> str:
    reasons = [
        f"<b>{escaped(cell.get('column'))}</b> is {escaped(cell.get('value'))}, where"
        f" {escaped(cell.get('expected'))} is expected"
        f" ({number(cell.get('nats')):.1f} nats more than usual)"
        for cell in mappings(row.get("cells"))
    ]
    return "; ".join(reasons) or "unusual as a whole, no cell more than others"
