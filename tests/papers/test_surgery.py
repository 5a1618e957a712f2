"""The experiment on ELBO surgery, small: the identity, the toy's exact ends, its pictures."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from papers import surgery as module

pytestmark = pytest.mark.slow  # trains, or measures for long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "surgery"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LATENTS", (2, 10))
        patch.setattr(module, "HIDDEN", (32,))
        patch.setattr(module, "EVALUATED", 200)
        module.run(path, epochs=20)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


def test_the_identity_and_the_limits(record):
    small, large = record["rows"]
    for row in (small, large):
        parts = row["index_code_mutual_information"] + row["marginal_kl"]
        assert abs(row["average_kl"] - parts) < 1e-4
        assert abs(row["elbo"] - row["reconstruction"] + row["average_kl"]) < 1e-4
        assert 0 <= row["index_code_mutual_information"] <= record["log_num_examples"]
    assert record["log_num_examples"] == pytest.approx(math.log(record["num_examples"]))
    assert large["index_code_mutual_information"] > small["index_code_mutual_information"]


def test_terms_of_codes_that_are_known():
    same = {"mean": jnp.zeros(2), "log_scale": jnp.zeros(2)}
    parts = module.terms(same)
    np.testing.assert_allclose(parts["mutual_information"], 0, atol=1e-6)
    np.testing.assert_allclose(parts["marginal_kl"], 0, atol=1e-6)
    log_likelihood = -(1.5**2 + 1) / (2 * 0.5) - 0.5 * math.log(2 * math.pi * 0.5)
    np.testing.assert_allclose(parts["reconstruction"], log_likelihood, rtol=1e-6)
    apart = {"mean": jnp.array([-3.0, 3.0]), "log_scale": jnp.full(2, math.log(0.3))}
    parts = module.terms(apart)
    np.testing.assert_allclose(parts["mutual_information"], math.log(2), rtol=1e-4)
    # Then the average KL, of either code, is log 2 and the marginal KL.
    average = 0.5 * (0.09 + 9 - 1) - math.log(0.3)
    np.testing.assert_allclose(parts["marginal_kl"] + math.log(2), average, rtol=1e-4)


def test_where_each_term_drives_the_codes(record):
    toy = record["toy"]
    for name, part, sign in (
        ("reconstruction", "reconstruction", 1),
        ("− mutual information", "mutual_information", -1),
        ("− marginal KL", "marginal_kl", -1),
    ):
        assert np.all(sign * np.diff(toy[name][part]) > -1e-5), name  # it climbs
    squeezed, merged, spread, elbo = (
        {key: np.array(toy[name][key][-1]) for key in ("mean", "scale")} for name in module.TERMS
    )
    before = {key: np.array(toy["reconstruction"][key][0]) for key in ("mean", "scale")}
    assert np.all(squeezed["scale"] < before["scale"])
    assert np.ptp(squeezed["mean"]) > np.ptp(before["mean"])
    assert np.ptp(merged["mean"]) < 1e-3
    assert np.ptp(merged["scale"]) < 1e-3
    assert toy["− mutual information"]["mutual_information"][-1] < 1e-5
    assert np.all(spread["scale"] > before["scale"])
    assert np.ptp(spread["mean"]) > 0.5
    # All three lead to the exact posteriors N(∓1, ⅓), and the bound to log p(x).
    np.testing.assert_allclose(elbo["mean"], [-1, 1], atol=1e-3)
    np.testing.assert_allclose(elbo["scale"], math.sqrt(1 / 3), atol=1e-3)
    end = toy["all three, the ELBO"]
    bound = end["reconstruction"][-1] - end["mutual_information"][-1] - end["marginal_kl"][-1]
    evidence = -(1.5**2) / (2 * 1.5) - 0.5 * math.log(2 * math.pi * 1.5)
    np.testing.assert_allclose(bound, evidence, atol=1e-4)


def test_the_reconstruction_flows_as_its_solution(record):
    # dm/dt = (x − m) / (2 · ½), ds/dt by log s: −s² / (2 · ½), of the mean over two codes
    toy = record["toy"]["reconstruction"]
    time = toy["time"][-1]
    start = np.array(module.START["mean"])
    ends = np.array([-1.5, 1.5])
    exact = ends + (start - ends) * math.exp(-time)
    np.testing.assert_allclose(toy["mean"][-1], exact, atol=0.01)
    squares = np.exp(-2 * np.array(module.START["log_scale"])) + 2 * time
    np.testing.assert_allclose(toy["scale"][-1], 1 / np.sqrt(squares), rtol=0.01)


def test_told_and_pictures_from_the_record_alone(folder, record, tmp_path):
    lines = module.summary(record)
    assert not any("published" in line for line in lines)
    assert any("(-129.6)" in line for line in module.summary({**record, "num_examples": 54_000}))
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    assert [file.name for file in module.draw(tmp_path)] == ["terms.png", "toy.png"]
