"""Sections of what was measured afterwards; a damaged file is one line, and the rest stands."""

import json
from pathlib import Path

import numpy as np
import pytest

from tighter.report import write_report

RNG = np.random.default_rng(0)
SANDWICH = {
    "num_examples": 20, "lower": -25.47, "upper": -25.45, "extrapolated": -25.46,
    "upper_standard_error": 0.51,
    "half_chi_square": 0.53, "standard_error": 0.5, "num_samples": 1024,
    "verdict": "upper − lower is 0.0195 nats on average; closed for all 20",
}  # fmt: skip
ANNEALING = {
    "num_examples": 10, "num_temperatures": 100, "log_likelihood": -25.48,
    "standard_error": 0.9, "acceptance": 0.69, "simulated_gap": 0.031, "simulated_gap_error": 0.012,
    "note": "On <simulated> data",
}  # fmt: skip
DIAGNOSIS = {
    "surgery": {
        "elbo": -25.44, "reconstruction": -24.27, "index_code_mutual_information": 1.03,
        "marginal_kl": 0.15,
    },
    "surgery_errors": {"elbo": 0.08}, "log_num_examples": 6.21, "active_units": 3, "num_units": 4,
    "warnings": ["1 of 4 units carries nothing"],
    "gaps": {
        "amortization_gap": {"mean": 0.34, "standard_error": 0.025},
        "approximation_gap": {"mean": 0.385, "standard_error": 0.031},
    },
}  # fmt: skip
COMPARISON = {
    "num_replicates": 40, "recommended": 1, "recommendation": "ELBO, K = 1 it is",
    "rows": [
        {
            "bound": "IWAE", "num_samples": 5, "gradient": name, "num_backward": None,
            "value": -25.0, "value_error": 0.17, "seconds": 0.001 * rank,
            "bias": {"kind": "unbiased"},
            "phi": {"snr": 1 / rank, "snr_squared_per_second": 1000.0},
            "theta": {"snr": 0.4, "snr_squared_per_second": 160.0},
        }
        for rank, name in ((1, "DoublyReparameterized"), (2, "Reparameterized"))
    ],
}  # fmt: skip
ARRAYS = {
    "sandwich": {"lower": RNG.normal(-25, 2, 20), "upper": RNG.normal(-20, 1, 20)},
    "annealing": {"simulated_lower": np.zeros(10), "simulated_upper": RNG.random(10)},
    "diagnosis": {
        "unit_average_kl": np.array([1.0, 0.5, 0.2, 0.0]),
        "unit_index_code_mutual_information": np.array([0.9, 0.5, 0.1, 0.0]),
        "unit_statistic": np.array([0.1, 0.2, 0.3, 0.0]),
        "theoretical_quantiles": np.sort(RNG.normal(size=(4, 9))),
        "sample_quantiles": np.sort(RNG.normal(size=(4, 9))),
        "amortization_gap": RNG.random(20),
    },
}
RECORDS = {
    "sandwich": SANDWICH, "annealing": ANNEALING, "diagnosis": DIAGNOSIS, "comparison": COMPARISON,
}  # fmt: skip


def page_with(folder: Path, *names: str) -> str:
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(RECORDS[name]))
        if name in ARRAYS:
            np.savez(folder / f"{name}.npz", **ARRAYS[name])
    return write_report(folder).read_text()


def test_every_section_tells_its_numbers(full_run: Path):
    page = page_with(full_run, *RECORDS)
    for words in (
        "How far from the truth", "−25.45 ± 0.51", "Upper − lower is 0.0195 nats", "0.031 ± 0.012",
        "On &lt;simulated&gt; data", "What the bound hides", "0.340 ± 0.025", "0.385 ± 0.031",
        "−25.00 ± 0.17",
        "1 of 4 units carries nothing", "Kolmogorov–Smirnov distance 0.300",
        "Which bound and estimator", "ELBO, K = 1 it is", "<tr class=chosen><td>2</td>",
        "DoublyReparameterized",
    ):  # fmt: skip
        assert words in page
    assert page.count("<svg") == page_with(full_run).count("<svg")


@pytest.mark.parametrize(
    ("name", "value"), [("sandwich", "−24.00 to −23.00 ± 0.50"), ("annealing", "−26.00 ± 0.90")]
)
def test_those_with_other_settings_stand_beside_it(full_run: Path, name: str, value: str):
    assert page_with(full_run, name).count("Measured with several settings") == 0
    moved = {"lower": -24.0, "upper": -23.0} if name == "sandwich" else {}
    other = {
        **RECORDS[name],
        **moved,
        "result": f"{name}-n7",
        "num_examples": 7,
        "log_likelihood": -26.0,
    }
    (full_run / "results").mkdir()
    (full_run / "results" / f"{name}-n7.json").write_text(json.dumps(other))
    page = page_with(full_run)
    assert page.count("Measured with several settings") == 1
    assert f"7 examples</td><td>{value}</td>" in page


def test_no_law_where_weights_have_no_variance(full_run: Path):
    law = {"extrapolated", "half_chi_square"}
    without = {name: value for name, value in SANDWICH.items() if name not in law}
    assert "Extrapolated" in page_with(full_run, "sandwich")
    (full_run / "sandwich.json").write_text(json.dumps(without))
    page = write_report(full_run).read_text()
    assert "Upper bound" in page
    assert "Extrapolated" not in page
    assert "½χ²" not in page


def test_what_was_not_measured_has_no_section(full_run: Path):
    page = page_with(full_run)
    for name in ("truth", "hidden", "choice"):
        assert f'<section id="{name}">' not in page


@pytest.mark.parametrize("name", RECORDS)
def test_one_alone(full_run: Path, name: str):
    assert "<svg" in page_with(full_run, name)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"rows": 3, "surgery": [], "gaps": 1}'])
def test_damaged_ones_leave_the_rest_standing(full_run: Path, name: str, content: str):
    (full_run / f"{name}.json").write_text(content)
    (full_run / f"{name}.npz").write_bytes(b"no archive" if content == "" else b"")
    page = write_report(full_run).read_text()
    assert "How far to trust the estimate" in page
    if content != '{"rows": 3, "surgery": [], "gaps": 1}':
        assert f"{name}.json&#x27; can&#x27;t be read" in page


def test_arrays_of_another_shape_are_left_out(full_run: Path):
    (full_run / "diagnosis.json").write_text(json.dumps(DIAGNOSIS))
    np.savez(full_run / "diagnosis.npz", unit_average_kl=np.zeros((2, 2)), amortization_gap=[])
    assert "What the bound hides" in write_report(full_run).read_text()
