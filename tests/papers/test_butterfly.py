"""The butterfly, small: exact answers against other ways to them, bounds against exact answers."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from papers import butterfly as module

pytestmark = pytest.mark.slow  # trains, or measures for long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "butterfly"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DATA": 50, "POINTS": 4, "DRAWS": 40_000}.items():
            patch.setattr(module, name, value)
        patch.setattr(module, "SAMPLES", (1, 2000))
        module.run(path, seed=1)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


def gap_of(record, point, proposal, k):
    (row,) = [
        row
        for row in record["bounds_of_points"]
        if (row["point"], row["proposal"], row["k"]) == (point, proposal, k)
    ]
    return row["gap"], row["standard_error"]


def test_the_scale_at_zero_and_near_the_zeros_of_the_sine():
    near, at = module.decode(jnp.array([1e-3, 0.0]))[1]
    np.testing.assert_allclose(at, [1 / 3, 1])
    np.testing.assert_allclose(near, at, rtol=1e-6)
    slopes = jax.vmap(jax.grad(lambda z: module.decode(z)[1].sum()))(jnp.array([0.0, math.pi]))
    assert jnp.all(jnp.isfinite(slopes))
    np.testing.assert_allclose(module.decode(np.array(math.pi))[1], [1e-3 / 3, 1e-3])
    z = np.array([-4.0, 0.7, 3.0])
    np.testing.assert_allclose(module.decode(z)[1][:, 1], np.abs(np.sin(z) / z))


def test_evidence_by_another_quadrature():
    x = np.array([5.0, 4.7])
    mass, _ = quad(
        lambda z: math.exp(module.log_joint(x, np.array([z]))[0]), 0.5, 1.4, epsrel=1e-10
    )
    answers = module.exact_answers(x)
    np.testing.assert_allclose(answers["log_evidence"], math.log(mass), atol=2 * answers["unseen"])
    assert answers["floor_effect"] < 1e-9
    # Without the floor p(x) has a pole at the tip; with it, it is finite.
    tip = np.array([0.0, -20.0])
    assert module.exact_answers(tip + np.array([0, 1e-4]))["floor_effect"] > 0.1


def test_evidence_by_simple_monte_carlo():
    x = np.array([0.0, 2.5])
    z = np.random.default_rng(0).standard_normal(200_000)
    weights = np.exp(module.log_joint(x, z) + 0.5 * z**2 + 0.5 * math.log(2 * math.pi))
    answers = module.exact_answers(x)
    error = weights.std() / math.sqrt(len(z))
    assert abs(weights.mean() - math.exp(answers["log_evidence"])) < 5 * error
    # Its relative variance is χ² of the posterior from the prior.
    relative = (weights / math.exp(answers["log_evidence"]) - 1) ** 2
    error = relative.std() / math.sqrt(len(z))
    assert abs(relative.mean() - answers["chi_square_prior"]) < 5 * error


def test_the_best_gaussian_is_a_maximum():
    x = np.array([0.0, 2.5])
    best = module.exact_answers(x)
    joint = module.log_joint(x, module.LINE)
    posterior = joint - best["log_evidence"]

    def divergence(mean, scale):
        log_q = -0.5 * ((module.LINE - mean) / scale) ** 2 - math.log(
            scale * math.sqrt(2 * math.pi)
        )
        return np.sum(np.exp(log_q) * (log_q - posterior)) * (module.LINE[1] - module.LINE[0])

    at = divergence(best["mean"], best["scale"])
    np.testing.assert_allclose(at, best["elbo_gap"], rtol=1e-9)
    for mean, scale in ((1.02, 1), (0.98, 1), (1, 1.02), (1, 0.98)):
        assert divergence(mean * best["mean"], scale * best["scale"]) > at


@pytest.mark.parametrize("point", ["body", "between the wings", "shoulder", "edge of a wing"])
def test_bounds_are_the_exact_ones(record, point):
    (exact,) = [row for row in record["points"] if row["name"] == point]
    gap, error = gap_of(record, point, "best Gaussian", 1)
    assert abs(gap - exact["elbo_gap"]) < 5 * error
    for proposal, law in (("Gaussian and a wide one", "mixture"), ("the prior", "prior")):
        gap, error = gap_of(record, point, proposal, 2000)
        limit = exact[f"chi_square_{law}"] / 2 / 2000
        assert abs(gap - limit) < 5 * error
        assert gap < 3 * limit


def test_a_gaussian_alone_stands_still_at_what_it_does_not_reach(record):
    (exact,) = [row for row in record["points"] if row["name"] == "tip"]
    gap, error = gap_of(record, "tip", "best Gaussian", 2000)
    assert exact["unseen"] > 0.5
    assert abs(gap - exact["unseen_gap"]) < 5 * error + 1e-3


def test_pictures_are_drawn_from_the_files_alone(folder, tmp_path, record):
    for name in ("record.json", "arrays.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert "log p(x) − bound" in module.summary(record)[0]
