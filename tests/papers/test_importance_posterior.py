"""The experiment on q_EW, small: its sums against brute force, its orderings, its pictures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import Normal
from tests.oracles.quick import quick_jit

from papers import importance_posterior as module
from tighter.diagnostics.importance_posterior import importance_weighted_posterior

pytestmark = pytest.mark.slow  # trains, or measures for long

AXIS = np.linspace(-7.5, 7.5, 61)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "importance"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SIDE", 61)
        patch.setattr(module, "LINE", np.arange(-30.0, 100.0, 0.5))
        patch.setattr(module, "SHOWN", {1: 1, 10: 100})
        patch.setattr(module, "SAMPLES", (1, 2, 10, 100))
        patch.setattr(module, "DRAWS", 400)
        patch.setattr(module, "BOUNDS", 4000)
        patch.setattr(module, "TARGETS", {name: module.TARGETS[name] for name in ("two modes",)})
        module.run(path)
    return path


@pytest.fixture(scope="module")
def target(folder):
    return json.loads((folder / "record.json").read_text())["targets"]["two modes"]


@pytest.fixture(scope="module")
def exact():
    mean, scale, log_total = module.moments(module.two_modes, AXIS)
    return mean, scale, log_total, module.exact_answers(module.two_modes, mean, scale, AXIS)


def test_moments_are_known(exact):
    mean, scale, log_total, _ = exact
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    np.testing.assert_allclose(scale, np.sqrt(np.array([1.5, 0.8]) ** 2 + 0.25), rtol=1e-5)
    np.testing.assert_allclose(log_total, np.log(2 * 2 * np.pi * 0.25), rtol=1e-5)


def test_densities_have_mass_one_and_their_divergence_falls(exact):
    answers = exact[3]
    np.testing.assert_allclose(answers.masses, 1, atol=1e-6)
    assert np.all(np.diff(answers.divergences) < 0)
    assert np.all(np.diff(answers.bounds) > 0)
    assert np.all(answers.bounds < 0)
    # L_K ≤ ELBO[q_EW], with equality at K = 1
    gaps = -answers.bounds - answers.divergences
    np.testing.assert_allclose(gaps[0], 0, atol=1e-12)
    assert np.all(gaps[1:] > 0)


def test_two_draws_by_brute_force(exact):
    mean, scale, _, answers = exact
    points, step = module._grid(AXIS)
    log_p = np.asarray(jax.vmap(module.two_modes)(jnp.asarray(points, float)), np.float64)
    log_q = -0.5 * np.sum(((points - mean) / scale) ** 2, axis=1)
    p, q = (np.exp(heights) / np.exp(heights).sum() for heights in (log_p, log_q))
    weights = p / q
    some = np.arange(0, len(points), 7)
    implied = 2 * p[some] * (q[None] / (weights[some][:, None] + weights[None])).sum(axis=1)
    at = module.SAMPLES.index(2)
    both = 2 * p[:, None] * q[None] / (weights[:, None] + weights[None])
    density = both.sum(axis=1)
    np.testing.assert_allclose(density[some], implied)
    divergence = np.sum(density * np.log(density / p))
    np.testing.assert_allclose(answers.divergences[at], divergence, rtol=1e-6)
    pairs = np.log((weights[:, None] + weights[None]) / 2)
    np.testing.assert_allclose(answers.bounds[at], q @ pairs @ q, rtol=1e-6)
    assert step == pytest.approx(0.25)


def test_the_density_of_many_draws_is_the_library_s(exact):
    mean, scale, log_total, answers = exact
    q = Normal(jnp.asarray(mean, float), jnp.asarray(scale, float)).to_event(1)
    weighted = importance_weighted_posterior(
        lambda z: module.two_modes(z) - log_total, q, num_samples=10
    )
    points, _ = module._grid(AXIS)
    chosen = [int(np.argmin(np.sum((points - z) ** 2, axis=1))) for z in ((1.5, 0.75), (0.0, 0.0))]
    keys = jax.random.split(jax.random.key(0), 20)
    for index in chosen:
        z = jnp.asarray(points[index], float)
        each = jax.vmap(lambda k, z=z: weighted.log_prob(z, num_outer=200, key=k))
        found = np.exp(quick_jit(each)(keys))
        error = found.std(ddof=1) / np.sqrt(len(found))
        density = answers.densities[list(module.SHOWN).index(10), index]
        assert abs(found.mean() - density) < 5 * error


def test_measured_by_draws(target):
    numbers = (1, 2, 10, 100)
    assert [row["K"] for row in target["measured"]] == [1, 10]
    for row in target["measured"]:
        at = numbers.index(row["K"])
        for name in ("divergence", "bound"):
            assert abs(row[name] - target[name][at]) < 5 * row[f"{name}_error"]


def test_told_and_pictures_from_the_files_alone(folder, tmp_path):
    record = json.loads((folder / "record.json").read_text())
    assert any("falls strictly" in line for line in module.summary(record))
    for name in ("record.json", "arrays.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    names = [file.name for file in module.draw(tmp_path)]
    assert names == ["densities.png", "divergence.png"]
