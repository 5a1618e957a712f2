"""Four estimators in turns, small: as `fit` trains them, bounds, noise, pictures."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tighter as tt
from papers import dreg as module
from papers._images import binary_images
from papers.manifold import exact_log_likelihood
from tighter.diagnostics import replicates
from tighter.training import fit

pytestmark = pytest.mark.slow  # trains, or measures for long

SMALL = {
    "HIDDEN": (16,),
    "LATENT": 2,
    "SAMPLES": 4,
    "BATCH": 300,
    "TURNS": 3,
    "HELD_OUT": 30,
    "REPLICATES": 40,
    "TRAINED": {name: module.TRAINED[name] for name in ("plain IWAE", "DReG")},
    "MEASURED": {name: module.MEASURED[name] for name in ("wake-φ, DReG", "wake-φ")},
}


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(module, name, value)
        patch.setattr(replicates, "_SECONDS", 0.1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "dreg"
    module.run(path, epochs=4)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


@pytest.fixture(scope="module")
def parts():
    splits, transform = binary_images("digits", seed=0)
    binary_key, bound_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 1), 3)
    held_out = transform(jnp.asarray(splits.validation.x[:30]), key=binary_key)
    return splits, transform, module._untrained(splits, 0), held_out, bound_key


def test_turns_train_as_fit_does(folder, parts):
    splits, transform, model, held_out, bound_key = parts
    result = fit(
        model,
        splits.train,
        tt.Objective(tt.bounds.IWAE(), tt.gradients.DoublyReparameterized(), 4),
        optimizer=optax.adam(3e-4),
        num_epochs=4,
        batch_size=300,
        key=jax.random.key(0),
        transform=transform,
    )
    bounds = module._bounds(result.model, held_out, bound_key)
    last = np.load(folder / "arrays.npz")["held_out"][1, -1]
    np.testing.assert_allclose(last, bounds, rtol=1e-5)


def test_all_start_alike_and_part(record, folder):
    curves = np.load(folder / "arrays.npz")["held_out"]
    assert curves.shape == (2, len(record["steps"]), 30)
    assert record["steps"][0] == 0
    assert record["steps"][-1] == record["num_steps"] == 16
    np.testing.assert_array_equal(curves[:, 0], curves[:1, 0].repeat(2, axis=0))
    for place, row in enumerate(record["runs"]):
        apart = curves[place].astype(np.float64) - curves[0]
        np.testing.assert_allclose(row["difference"], apart.mean(axis=1), atol=1e-9)
        error = apart.std(axis=1, ddof=1) / np.sqrt(30)
        np.testing.assert_allclose(row["difference_error"], error, atol=1e-9)
        assert (np.diff(row["seconds"]) > 0).all()
        assert row["seconds"][0] == 0
        if place:
            assert (curves[place, -1] != curves[0, -1]).all()


def test_held_out_bounds_near_the_sum_over_the_plane(parts, monkeypatch):
    *_, model, held_out, key = parts
    some = held_out[:5]  # of another size than in the run, lest its program for 4 draws serve
    # Wider than any posterior, so that the weights are bounded.
    last = model.encoder.layers[-1]
    wide = jnp.concatenate([jnp.zeros(2), jnp.ones(2)])
    model = eqx.tree_at(
        lambda vae: (vae.encoder.layers[-1].weight, vae.encoder.layers[-1].bias),
        model,
        (jnp.zeros_like(last.weight), wide),
    )
    monkeypatch.setattr(module, "SAMPLES", 1000)
    bounds = np.stack([module._bounds(model, some, k) for k in jax.random.split(key, 16)])
    exact, _ = exact_log_likelihood(model, some)
    error = bounds.std(axis=0, ddof=1) / 4
    assert (np.abs(bounds.mean(axis=0) - exact) < 5 * error).all()


def test_the_papers_scale():
    normal = module.SoftplusGaussian().distribution(jnp.zeros((2, 3)))
    np.testing.assert_allclose(normal.variance, np.log1p(np.exp(0.25)) ** 2, rtol=1e-6)


def test_theta_has_the_same_gradient_everywhere(record):
    assert [row["estimator"] for row in record["noise"]] == list(module.MEASURED)
    assert record["noise_at"] == 5
    variances = [row["theta_variance"] for row in record["noise"]]
    np.testing.assert_allclose(variances, variances[0], rtol=1e-4)
    of_phi = {row["estimator"]: row["phi_variance"] for row in record["noise"]}
    assert of_phi["wake-φ, DReG"] < of_phi["wake-φ"]


def test_what_is_told_and_drawn(record, tmp_path):
    lines = module.summary(record)
    best = max(record["runs"], key=lambda row: row["held_out"][-1])
    assert best["to_best"]["difference"] == 0
    assert any(line.startswith(f"from the best down: {best['estimator']};") for line in lines)
    (tmp_path / "record.json").write_text(json.dumps(record))
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")
