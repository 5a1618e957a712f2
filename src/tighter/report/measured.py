"""The sections on what was measured besides: the truth, what the bound hides, what to take."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.estimate import histogram_panel
from tighter.report.markup import (
    count,
    escaped,
    figure,
    for_screens,
    grid,
    in_columns,
    panel,
    remark,
    section,
    side_by_side,
    stats,
    with_error,
)
from tighter.report.records import (
    Measurement,
    mappings,
    number,
    numbers,
    read_measurement,
    read_results,
)
from tighter.report.records import section as part
from tighter.report.theme import (
    CATEGORIES,
    DASHED,
    GOOD,
    INK,
    MARKERS,
    POOR,
    drawn,
    plain_logarithmic,
    write_at,
)

Entry = tuple[str, str, str]
_SIZE = {"width": 380, "height": 260}
_HEADS = (
    *("", "bound", "K", "estimator", "m", "nats", "ms"),
    *("SNR φ", "SNR²/s φ", "SNR θ", "SNR²/s θ", "bias"),
)


def truth(directory: Path) -> str:
    """Bounds from both sides and annealing, as far as they were measured; "" if neither was."""
    text, panels = "", []
    tellers: dict[str, Callable] = {"sandwich": _sandwich, "annealing": _annealing}
    for name, tell in tellers.items():
        measurement = read_measurement(directory, name)
        if measurement is None:
            continue
        if measurement.damage:
            text += remark(escaped(measurement.damage))
            continue
        entries, picture = tell(measurement)
        text += entries + side_by_side(read_results(directory, name))
        panels.append(picture)
    return text and section("truth", "How far from the truth", text, in_columns(panels, "two"))


def hidden(directory: Path) -> str:
    """The diagnosis, as far as it was made; "" if it wasn't."""
    title, diagnosis = "What the bound hides", read_measurement(directory, "diagnosis")
    if diagnosis is None:
        return ""
    if diagnosis.damage:
        return section("hidden", title, remark(escaped(diagnosis.damage)))
    warnings = diagnosis.record.get("warnings")
    lines = warnings if isinstance(warnings, list) else []
    notes = "".join(remark(escaped(line)) for line in lines)
    panels = [_unit_panel(diagnosis), _quantile_panel(diagnosis), _gap_panel(diagnosis)]
    return section("hidden", title, stats(_surgery(diagnosis)), notes, in_columns(panels, "three"))


def choice(directory: Path) -> str:
    """The comparison of bounds and estimators, if one was made; "" if not."""
    title, comparison = "Which bound and estimator", read_measurement(directory, "comparison")
    if comparison is None:
        return ""
    rows = mappings(comparison.record.get("rows"))
    if not rows:
        line = escaped(comparison.damage) or "The comparison holds no rows."
        return section("choice", title, remark(line))
    advice = comparison.text("recommendation")
    advice = f"<p>{escaped(advice)}</p>" if advice else ""
    caption = (
        "Signal-to-noise ratio of the gradient of φ against the time that it takes,"
        f" {count(comparison.value('num_replicates'))} gradients of each; above and to the left is"
        " better. Numbers are the table's rows, where ratios have their 95 % intervals."
    )
    places = [
        (i, 1000 * number(row.get("seconds")), number(part(row, "phi").get("snr")), _kind(row))
        for i, row in enumerate(rows, start=1)
    ]
    places = [place for place in places if place[1] > 0 and place[2] > 0]
    picture = ""
    if places:
        drawing, note = for_screens(_draw_choice, places, name="choice", heights=(320, 300))
        picture = figure(drawing, caption, note)
    recommended = comparison.record.get("recommended")
    lines = [
        f"<tr{' class=chosen' if i == recommended else ''}>{_cells(i + 1, row)}</tr>"
        for i, row in enumerate(rows)
    ]
    return section("choice", title, advice, picture, grid("grid", _HEADS, lines))


def _value(measured: Measurement, name: str, error: str) -> str:
    """A number of a measurement with its error."""
    return with_error(measured.value(name), measured.value(error))


def _sandwich(measured: Measurement) -> tuple[str, str]:
    """Its numbers, and its picture."""
    entries = [
        ("Lower bound", _value(measured, "lower", "standard_error"), "nats"),
        ("Upper bound", _value(measured, "upper", "upper_standard_error"), "nats"),
    ]
    if np.isfinite(measured.value("extrapolated")):  # not where weights have no variance
        extrapolated = _value(measured, "extrapolated", "extrapolated_standard_error")
        chi_square = _value(measured, "half_chi_square", "half_chi_square_standard_error")
        entries += [
            ("Extrapolated", extrapolated, "nats, no bound"),
            ("½χ² of the posterior from q", chi_square, "median"),
        ]
    bounds, picture = measured.alike("lower", "upper"), ""
    if bounds is not None:
        caption = (
            "Each example's gap between the evidence upper bound and the importance-weighted lower"
            f" bound, {count(measured.value('num_examples'))} test examples and up to"
            f" {count(measured.value('num_samples'))} draws each."
        )
        picture = panel(_draw_gaps(*bounds), caption)
    verdict = measured.text("verdict")
    sentence = f"<p>{escaped(verdict[:1].upper() + verdict[1:])}.</p>" if verdict else ""
    return stats(entries) + sentence, picture


def _annealing(measured: Measurement) -> tuple[str, str]:
    """Its numbers, and its picture."""
    over = f"nats, {count(measured.value('num_examples'))} examples"
    entries = [
        ("By annealing", _value(measured, "log_likelihood", "standard_error"), over),
        (
            "Gap on simulated data",
            _value(measured, "simulated_gap", "simulated_gap_error"),
            "nats",
        ),
        ("Temperatures", count(measured.value("num_temperatures")), ""),
        ("Acceptance", _value(measured, "acceptance", "acceptance_error"), "of moves"),
    ]
    bounds, picture = measured.alike("simulated_lower", "simulated_upper"), ""
    if bounds is not None:
        caption = (
            "Annealing backward from an exact posterior draw bounds log p(x) from above, forward"
            " from below. " + escaped(measured.text("note"))
        )
        label = "upper − lower, simulated data (nats)"
        picture = histogram_panel(bounds[1] - bounds[0], label, caption, name="annealing", **_SIZE)
    return stats(entries), picture


@drawn("gaps", "Gap between the bounds by example.", **_SIZE)
def _draw_gaps(figure: Figure, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """Gaps against the lower bound, on a logarithmic axis."""
    axes = figure.add_subplot()
    gap = upper - lower
    shown = (gap > 0) & (gap < 1e100) & (np.abs(lower) < 1e100)
    axes.plot(lower[shown], gap[shown], "o", color=GOOD, markersize=4, alpha=0.7)
    if shown.any():
        axes.axhline(np.median(gap[shown]), color=POOR, linewidth=1.5)
        plain_logarithmic(axes, "y")
    axes.set_xlabel("lower bound on log p(x) (nats)")
    axes.set_ylabel("upper − lower (nats)")
    left_out = int((~shown).sum())
    note = "The line is the median."
    return note + (f" {left_out} without a finite gap are left out." if left_out else "")


def _surgery(diagnosis: Measurement) -> list[Entry]:
    def term(title: str, name: str, unit: str = "nats") -> Entry:
        error = diagnosis.value("surgery_errors", name)
        return title, with_error(diagnosis.value("surgery", name), error), unit

    def gap(title: str, name: str) -> Entry:
        mean, error = (diagnosis.value("gaps", name, n) for n in ("mean", "standard_error"))
        return title, with_error(mean, error), "nats"

    units = f"of {count(diagnosis.value('num_units'))}"
    most = diagnosis.value("log_num_examples")
    most_of = f"nats, of {most:.2f}" if math.isfinite(most) else "nats"
    return [
        term("ELBO", "elbo"),
        term("Reconstruction", "reconstruction"),
        term("Index-code information", "index_code_mutual_information", most_of),
        term("KL(q(z)‖p(z))", "marginal_kl"),
        ("Active units", count(diagnosis.value("active_units")), units),
        gap("Amortization gap", "amortization_gap"),
        gap("Approximation gap", "approximation_gap"),
    ]


def _unit_panel(diagnosis: Measurement) -> str:
    parts = diagnosis.alike("unit_average_kl", "unit_index_code_mutual_information")
    caption = (
        "Average KL of each latent unit, the largest first:"
        ' <span class="key blue">what the unit tells of the example</span> and'
        ' <span class="key orange">how far its codes are from the prior</span>.'
    )
    return "" if parts is None else panel(_draw_units(*parts), caption)


@drawn("units", "Average KL of each unit.")
def _draw_units(
    figure: Figure, divergence: NDArray[np.float64], information: NDArray[np.float64]
) -> None:
    axes = figure.add_subplot()
    order = np.argsort(-divergence)
    places = np.arange(1, order.size + 1)
    of_example = np.minimum(information[order], divergence[order])
    rest = np.maximum(divergence[order] - of_example, 0)
    axes.bar(places, of_example, color=GOOD, width=0.8)
    axes.bar(places, rest, bottom=of_example, color=POOR, width=0.8)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("latent unit, by its KL")
    axes.set_ylabel("nats")
    axes.set_xlim(0.4, order.size + 0.6)


def _quantile_panel(diagnosis: Measurement) -> str:
    quantiles = diagnosis.alike("theoretical_quantiles", "sample_quantiles", rank=2)
    caption = (
        "Quantiles of the codes of all examples against the prior's, a line for each unit; on the"
        " diagonal the aggregated posterior is the prior."
    )
    if quantiles is None:
        return ""
    return panel(_draw_quantiles(*quantiles, diagnosis.array("unit_statistic")), caption)


@drawn("quantiles", "Quantiles of codes against the prior.")
def _draw_quantiles(
    figure: Figure,
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
    statistic: NDArray[np.float64] | None,
) -> str:
    axes = figure.add_subplot()
    for of_prior, of_codes in zip(expected, found, strict=True):
        axes.plot(of_prior, of_codes, color=GOOD, linewidth=1, alpha=0.5)
    ends = [float(np.nanmin(expected)), float(np.nanmax(expected))]
    axes.plot(ends, ends, color=INK, **DASHED)
    axes.set_xlabel("quantile of the prior")
    axes.set_ylabel("quantile of the codes")
    if statistic is None or statistic.size != expected.shape[0]:
        return ""
    worst = int(np.nanargmax(statistic))
    axes.plot(expected[worst], found[worst], color=POOR, linewidth=2)
    distance = f"Kolmogorov–Smirnov distance {statistic[worst]:.3f}"
    return f"The thick line is the unit farthest off ({distance})."


def _gap_panel(diagnosis: Measurement) -> str:
    gaps = diagnosis.array("amortization_gap")
    caption = (
        "What each test example's bound gains from a posterior of its own instead of the encoder's."
    )
    if gaps is None:
        return ""
    return histogram_panel(gaps, "amortization gap (nats)", caption, name="amortization")


def _kind(row: Mapping[str, Any]) -> str:
    return f"{row.get('bound')}, K = {row.get('num_samples')}"


@drawn("choice", "Signal-to-noise ratio against time.")
def _draw_choice(figure: Figure, places: list[tuple[int, float, float, str]]) -> None:
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(kind for *_, kind in places))
    looks: dict[str, dict[str, Any]] = {
        kind: {"marker": MARKERS[i % 8], "linestyle": "", "color": CATEGORIES[i % len(CATEGORIES)]}
        for i, kind in enumerate(kinds)
    }
    for rank, milliseconds, snr, kind in places:
        axes.plot(milliseconds, snr, markersize=8, **looks[kind])
        write_at(axes, str(rank), (milliseconds, snr), (7, -4), fontsize=11, color=INK)
    for kind, look in looks.items():
        axes.plot([], [], label=kind, **look)
    plain_logarithmic(axes, "x")
    plain_logarithmic(axes, "y")
    axes.margins(0.08, 0.12)
    axes.set_xlabel("time of one gradient (ms)")
    axes.set_ylabel("SNR of φ (no unit)")
    axes.legend(loc="best")


def _cells(rank: int, row: Mapping[str, Any]) -> str:
    phi, theta = part(row, "phi"), part(row, "theta")
    backward = row.get("num_backward")
    cells = [
        str(rank), row.get("bound"), row.get("num_samples"), row.get("gradient"),
        "all" if backward is None else backward,
        with_error(*numbers(row, "value", "value_error")),
        _short(1000 * number(row.get("seconds"))), _ratio(phi),
        _short(phi.get("snr_squared_per_second")), _ratio(theta),
        _short(theta.get("snr_squared_per_second")), part(row, "bias").get("kind"),
    ]  # fmt: skip
    return "".join(f"<td>{escaped('' if cell is None else cell)}</td>" for cell in cells)


def _ratio(pooled: Mapping[str, Any]) -> str:
    """A signal-to-noise ratio with its 95 % interval."""
    ends = pooled.get("snr_interval")
    interval = [_short(end) for end in ends] if isinstance(ends, list) else []
    return _short(pooled.get("snr")) + (f" ({' to '.join(interval)})" if len(interval) == 2 else "")


def _short(value: object) -> str:
    """A number in three digits."""
    held = number(value)
    if not math.isfinite(held):
        return ""
    return f"{held:,.0f}" if abs(held) >= 100 else f"{held:.3g}"
