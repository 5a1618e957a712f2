"""The experiment on signal-to-noise ratios, small: against the exact limits and the ELBO's laws."""

import json
import math

import numpy as np
import pytest

from papers import snr as module

pytestmark = pytest.mark.slow  # trains, or measures for long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "snr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPLICATES", {1: 2000, 64: 1000})
        patch.setattr(module, "OUTER", {4: 400})
        patch.setattr(module, "OF_OUTER", 64)
        since = {name: (law, 1) for name, (law, _) in module.LAWS.items()}
        patch.setattr(module, "LAWS", since)
        module.run(path)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


def row(rows, name, **numbers):
    (found,) = [
        row
        for row in rows
        if row["estimator"] == name and all(row[key] == value for key, value in numbers.items())
    ]
    return found


def near(measured, error, exact):
    return abs(measured - exact) < 5 * error


def test_one_draw_is_the_elbo(record):
    # The gradient of −KL(q‖p) by b is −2 × .15; the total derivative is −2(b + σε), of variance
    # 4 × ⅔; sticking the landing's is −2(b + σε) + ε/σ.
    total = row(record["of_draws"], "total derivative", K=1)
    landing = row(record["of_draws"], "sticking the landing", K=1)
    scale = math.sqrt(2 / 3)
    for found, spread in ((total, 2 * scale), (landing, abs(1 / scale - 2 * scale))):
        assert near(found["mean"], found["mean_error"], -0.3)
        assert near(found["snr"], found["snr_error"], 0.3 / spread)
    wake = row(record["of_draws"], "wake-φ", K=1)
    assert near(wake["mean"], wake["mean_error"], 0)
    assert wake["snr"] < 5 * wake["snr_error"]


def test_many_draws_are_near_the_published_values_and_the_limits(record):
    tabled = {"total derivative": 0.031, "doubly reparameterized": 1.36}
    for name, ratio in tabled.items():
        found = row(record["of_draws"], name, K=64)
        last_digit = 0.5 * (1e-3 if ratio < 1 else 1e-2)
        assert abs(found["snr"] - ratio) < 5 * found["snr_error"] + last_digit
    for name, mean in (("sticking the landing", -0.227), ("wake-φ", -0.218)):
        found = row(record["of_draws"], name, K=64)
        assert abs(found["mean"] - mean) < 5 * found["mean_error"] + 5e-4


def test_exact_limits():
    limits = module.exact_limits(np.full(20, 2.0))
    for name in ("sticking the landing", "wake-φ"):  # −∇KL(posterior‖q) = −.15 / ⅔
        assert limits[name]["mean"] == pytest.approx(-0.225)
    # −∂_b Var(r) / 2 with E r² = Π v / √(p(2v − p)) exp(δ² / (2v − p)), p = ½, v = ⅔
    v, p, shift = 2 / 3, 1 / 2, 0.15
    second = (v / math.sqrt(p * (2 * v - p)) * math.exp(shift**2 / (2 * v - p))) ** 20
    assert limits["total derivative"]["mean_times_k"] == pytest.approx(
        -second * shift / (2 * v - p)
    )
    # Of θ: Σ w̃ (z − μ) has variance E[r² (z − E z)²] / K
    moved = limits["θ"]["coefficient"]
    assert module.exact_limits(np.full(20, 4.0))["θ"]["coefficient"] == pytest.approx(2 * moved)


def test_slopes_in_the_number_of_bounds_are_one_half(record):
    slopes = [slope for slope in record["slopes"] if slope["over"] == "M"]
    assert len(slopes) == 5
    for slope in slopes:
        assert near(slope["slope"], slope["error"], 0.5)


def test_what_falls_and_what_rises_with_the_draws(record):
    slopes = {s["estimator"]: s["slope"] for s in record["slopes"] if s["over"] == "K"}
    assert slopes.pop("total derivative") < -0.4
    assert all(slope > 0.1 for slope in slopes.values())


def test_the_line_through_exact_powers_is_found():
    rows = [
        {"estimator": "a", "K": k, "snr": 3 * k**-0.5, "snr_error": 0.01 * k**-0.5}
        for k in (1, 4, 16)
    ]
    fit = module._fitted(rows, "a", "K", 1)
    assert fit["slope"] == pytest.approx(-0.5)
    assert fit["intercept"] == pytest.approx(math.log(3))
    # Of three points log 4 apart with errors of 1/300 each
    assert fit["error"] == pytest.approx(1 / 300 / math.log(4) / math.sqrt(2))


def test_told_and_pictures_from_the_record_alone(folder, record, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPLICATES", {1: 0, 64: 0})
        patch.setattr(module, "_TABLED", {})
        patch.setattr(module, "_TABLED_MEANS", {"wake-φ": (0, -0.218)})
        assert any("law −0.5" in line.replace("-", "−") for line in module.summary(record))
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    assert [file.name for file in module.draw(tmp_path)] == ["snr.png", "means.png"]
