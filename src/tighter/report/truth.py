"""The section on how far the estimates are from the truth: bounds from both sides, annealing."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tighter.report.histograms import draw_histogram
from tighter.report.markup import escaped, figure, plot, remark, section, side_by_side, stats
from tighter.report.measurements import Measurement, read_measurement, read_results
from tighter.report.theme import GOOD, POOR, Drawing, draw, plain_logarithmic
from tighter.report.words import count, with_error

_SIZE = {"width": 380, "height": 260}


def truth(directory: Path) -> str:
    """Bounds from both sides and annealing, as far as they were measured; "" if neither was."""
    numbers, panels = "", ""
    for name, tell in (("sandwich", _sandwich), ("annealing", _annealing)):
        measurement = read_measurement(directory, name)
        if measurement is None:
            continue
        if measurement.damage:
            numbers += remark(escaped(measurement.damage))
            continue
        told, panel = tell(measurement)
        numbers += told + side_by_side(read_results(directory, name))
        panels += panel
    if not numbers:
        return ""
    return section("truth", "How far from the truth", numbers, f'<div class="two">{panels}</div>')


def _sandwich(measured: Measurement) -> tuple[str, str]:
    """Its numbers, and its picture."""

    def told(name: str, error: str) -> str:
        return with_error(measured.value(name), measured.value(error))

    chi_square = told("half_chi_square", "half_chi_square_standard_error")
    numbers = [
        ("Lower bound", told("lower", "standard_error"), "nats"),
        ("Upper bound", told("upper", "upper_standard_error"), "nats"),
    ]
    if np.isfinite(measured.value("extrapolated")):  # not where weights have no variance
        extrapolated = told("extrapolated", "extrapolated_standard_error")
        numbers += [
            ("Extrapolated", extrapolated, "nats, no bound"),
            ("½χ² of the posterior from q", chi_square, "median"),
        ]
    lower, upper = measured.array("lower"), measured.array("upper")
    panel = ""
    if lower is not None and upper is not None and lower.shape == upper.shape:
        drawing = _draw_gaps(lower, upper)
        caption = (
            "Each example's gap between the evidence upper bound and the importance-weighted lower"
            f" bound, {count(measured.value('num_examples'))} test examples and up to"
            f" {count(measured.value('num_samples'))} draws each."
        )
        panel = figure(plot(drawing), caption, drawing.note)
    verdict = measured.text("verdict")
    said = f"<p>{escaped(verdict[:1].upper() + verdict[1:])}.</p>" if verdict else ""
    return stats(numbers) + said, panel


def _annealing(measured: Measurement) -> tuple[str, str]:
    """Its numbers, and its picture."""

    def told(name: str, error: str) -> str:
        return with_error(measured.value(name), measured.value(error))

    over = f"nats, {count(measured.value('num_examples'))} examples"
    numbers = [
        ("By annealing", told("log_likelihood", "standard_error"), over),
        ("Gap on simulated data", told("simulated_gap", "simulated_gap_error"), "nats"),
        ("Temperatures", count(measured.value("num_temperatures")), ""),
        ("Acceptance", told("acceptance", "acceptance_error"), "of moves"),
    ]
    lower, upper = measured.array("simulated_lower"), measured.array("simulated_upper")
    panel = ""
    if lower is not None and upper is not None and lower.shape == upper.shape:
        drawing = draw_histogram(
            upper - lower, "upper − lower, simulated data (nats)", name="annealing", **_SIZE
        )
        caption = (
            "Annealing backward from an exact posterior draw bounds log p(x) from above, forward"
            " from below. " + escaped(measured.text("note"))
        )
        panel = figure(plot(drawing), caption, drawing.note)
    return stats(numbers), panel


def _draw_gaps(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Drawing:
    """Gaps against the lower bound, on a logarithmic axis."""

    def paint(canvas: Figure) -> str:
        axes = canvas.add_subplot()
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

    return draw(paint, name="gaps", label="Gap between the bounds by example.", **_SIZE)
