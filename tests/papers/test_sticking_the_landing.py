"""The experiment on sticking the landing, small: against the exact variances and plateaus."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles.quick import quick_jit

from papers import sticking_the_landing as module

pytestmark = pytest.mark.slow  # trains, or measures for long

REPLICATES = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "sticking"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPLICATES", REPLICATES)
        patch.setattr(module, "DISTANCES", (0.0, 0.125, 1.0))
        patch.setattr(module, "STEPS", 400)
        patch.setattr(module, "CHAINS", 2000)
        patch.setattr(module, "NETWORK_REPLICATES", 40)
        patch.setattr(module, "HIDDEN", 16)
        module.run(path, epochs=2)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


def test_exact_variances_at_the_optimum():
    known = {
        "total derivative": (2, 2, 0),
        "sticking the landing": (0, 0, 0),
        "analytic entropy": (2, 2, 0.5),
        "analytic KL": (0.5, 0.78125, 0.40625),
    }
    for form, values in known.items():
        exact = module.exact_variances(form, 0.0)
        np.testing.assert_allclose(list(exact.values()), values, atol=1e-12)


def test_measured_variances_are_the_exact_ones(record):
    # Of a squared normal the kurtosis is 15, and none of the terms has more.
    error = math.sqrt(14 / REPLICATES)
    for row in record["noise"]:
        for part, exact in row["exact"].items():
            assert abs(row[part] - exact) < 5 * error * exact + 1e-12, (row, part)


def test_divergence_is_the_closed_form():
    for distance in (0.0, 0.003, 0.1, 1.0):
        model = module.OneGaussian.at(distance)
        ratio = math.exp(distance)
        exact = 0.5 * (ratio - 1 - math.log(ratio)) + 0.5 * distance**2
        np.testing.assert_allclose(module.divergence(model), exact, rtol=1e-3, atol=1e-13)


def test_the_mean_gradient_is_that_of_the_divergence():
    model = module.OneGaussian.at(1.0)
    exact = jax.grad(module.divergence)(model)
    keys = jax.random.split(jax.random.key(0), 4000)
    x = jnp.full((1, 1), module.OBSERVED)
    for form in module.FORMS.values():
        _, gradient = quick_jit(lambda form=form: module._gradients(form, model, x, keys))()
        for part in ("mean", "log_scale"):
            values = np.asarray(getattr(gradient, part))
            error = values.std(ddof=1) / math.sqrt(len(values))
            assert abs(values.mean() + getattr(exact, part)[0]) < 5 * error


def test_where_phi_ends(record):
    arrival = record["arrival"]
    late = {
        name: np.mean(values[len(values) // 2 :]) for name, values in arrival["divergence"].items()
    }
    assert arrival["divergence"]["sticking the landing"][-1] < 1e-11
    assert late["analytic entropy"] == pytest.approx(late["total derivative"], rel=1e-3)
    rate = arrival["learning_rate"]
    for name in ("total derivative", "analytic KL"):
        exact = arrival["plateau"][name]
        # Of the next order in the rate, and the error of 2000 chains, a percent or two.
        assert abs(late[name] / exact - 1) < 5 * rate, name
    assert arrival["plateau"]["total derivative"] == pytest.approx(rate / (1 - rate))


def test_networks(record):
    networks = record["networks"]
    assert [row["epoch"] for row in networks["noise"]] == [1, 2]
    for row in networks["noise"]:
        assert set(row["variance"]) == set(networks["training"])
        assert row["variance"]["sticking the landing"] < row["variance"]["total derivative"]
    for trained in networks["training"].values():
        assert trained["history"][-1][1] > trained["history"][0][1]


def test_told_and_pictures_from_the_record_alone(folder, record, tmp_path):
    assert any("learning rate 0.02" in line for line in module.summary(record))
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    names = [file.name for file in module.draw(tmp_path)]
    assert names == ["noise.png", "arrival.png", "networks.png"]
