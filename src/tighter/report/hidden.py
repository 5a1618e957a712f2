"""The section on what the bound hides: its terms, the units, the codes against the prior."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tighter.report.histograms import draw_histogram
from tighter.report.markup import escaped, figure, plot, remark, section, stats
from tighter.report.measurements import Measurement
from tighter.report.theme import GOOD, INK, POOR, Drawing, draw
from tighter.report.words import count, with_error

_SIZE = {"width": 320, "height": 240}


def hidden(diagnosis: Measurement | None) -> str:
    """The diagnosis, as far as it was made; "" if it wasn't."""
    if diagnosis is None:
        return ""
    title = "What the bound hides"
    if diagnosis.damage:
        return section("hidden", title, remark(escaped(diagnosis.damage)))
    warnings = diagnosis.record.get("warnings")
    notes = "".join(
        remark(escaped(line)) for line in (warnings if isinstance(warnings, list) else [])
    )
    panels = [
        _unit_panel(diagnosis),
        _quantile_panel(diagnosis),
        _gap_panel(diagnosis),
    ]
    shown = "".join(panel for panel in panels if panel)
    return section(
        "hidden", title, stats(_numbers(diagnosis)), notes, f'<div class="three">{shown}</div>'
    )


def _numbers(diagnosis: Measurement) -> list[tuple[str, str, str]]:
    def term(name: str, title: str) -> tuple[str, str, str]:
        error = diagnosis.value("surgery_errors", name)
        return (title, with_error(diagnosis.value("surgery", name), error), "nats")

    def gap(name: str) -> str:
        mean, error = (diagnosis.value("gaps", name, n) for n in ("mean", "standard_error"))
        return with_error(mean, error)

    units = f"of {count(diagnosis.value('num_units'))}"
    most = diagnosis.value("log_num_examples")
    information = term("index_code_mutual_information", "Index-code information")
    most_of = f"{information[2]}, of {most:.2f}" if math.isfinite(most) else information[2]
    gaps = [
        (title, gap(name), "nats")
        for name, title in (
            ("amortization_gap", "Amortization gap"),
            ("approximation_gap", "Approximation gap"),
        )
    ]
    return [
        term("elbo", "ELBO"),
        term("reconstruction", "Reconstruction"),
        (information[0], information[1], most_of),
        term("marginal_kl", "KL(q(z)‖p(z))"),
        ("Active units", count(diagnosis.value("active_units")), units),
        *gaps,
    ]


def _unit_panel(diagnosis: Measurement) -> str:
    divergence = diagnosis.array("unit_average_kl")
    information = diagnosis.array("unit_index_code_mutual_information")
    if divergence is None or information is None or divergence.shape != information.shape:
        return ""
    drawing = _draw_units(divergence, information)
    caption = (
        "Average KL of each latent unit, the largest first:"
        ' <span class="key blue">what the unit tells of the example</span> and'
        ' <span class="key orange">how far its codes are from the prior</span>.'
    )
    return figure(plot(drawing), caption, drawing.note)


def _draw_units(divergence: NDArray[np.float64], information: NDArray[np.float64]) -> Drawing:
    def paint(canvas: Figure) -> str:
        axes = canvas.add_subplot()
        order = np.argsort(-divergence)
        places = np.arange(1, order.size + 1)
        told = np.minimum(information[order], divergence[order])
        rest = np.maximum(divergence[order] - told, 0)
        axes.bar(places, told, color=GOOD, width=0.8)
        axes.bar(places, rest, bottom=told, color=POOR, width=0.8)
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("latent unit, by its KL")
        axes.set_ylabel("nats")
        axes.set_xlim(0.4, order.size + 0.6)
        return ""

    return draw(paint, name="units", label="Average KL of each unit.", **_SIZE)


def _quantile_panel(diagnosis: Measurement) -> str:
    expected = diagnosis.array("theoretical_quantiles", rank=2)
    found = diagnosis.array("sample_quantiles", rank=2)
    if expected is None or found is None or expected.shape != found.shape:
        return ""
    statistic = diagnosis.array("unit_statistic")
    drawing = _draw_quantiles(expected, found, statistic)
    caption = (
        "Quantiles of the codes of all examples against the prior's, a line for each unit; on the"
        " diagonal the aggregated posterior is the prior."
    )
    return figure(plot(drawing), caption, drawing.note)


def _draw_quantiles(
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
    statistic: NDArray[np.float64] | None,
) -> Drawing:
    def paint(canvas: Figure) -> str:
        axes = canvas.add_subplot()
        for unit in range(expected.shape[0]):
            axes.plot(expected[unit], found[unit], color=GOOD, linewidth=1, alpha=0.5)
        ends = [float(np.nanmin(expected)), float(np.nanmax(expected))]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlabel("quantile of the prior")
        axes.set_ylabel("quantile of the codes")
        if statistic is None or statistic.size != expected.shape[0]:
            return ""
        worst = int(np.nanargmax(statistic))
        axes.plot(expected[worst], found[worst], color=POOR, linewidth=2)
        return (
            f"The thick line is the unit farthest off (Kolmogorov–Smirnov distance"
            f" {statistic[worst]:.3f})."
        )

    return draw(paint, name="quantiles", label="Quantiles of codes against the prior.", **_SIZE)


def _gap_panel(diagnosis: Measurement) -> str:
    amortization = diagnosis.array("amortization_gap")
    if amortization is None:
        return ""
    drawing = draw_histogram(amortization, "amortization gap (nats)", name="amortization")
    caption = (
        "What each test example's bound gains from a posterior of its own instead of the encoder's."
    )
    return figure(plot(drawing), caption, drawing.note)
