"""The plane of latents, small: log p(x) summed over it, its record, its pictures."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tighter as tt
from papers import manifold as module
from tighter.models import VAE

pytestmark = pytest.mark.slow  # trains, or measures for long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "manifold"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HIDDEN": 20, "ENCODED": 100, "TESTED": 100, "SIDE": 121}.items():
            patch.setattr(module, name, value)
        module.run(path, epochs=3)
    return path


def test_log_likelihood_over_the_plane_where_z_does_not_matter():
    vae = VAE.create((3, 2), num_latent=2, hidden=(4,), key=jax.random.key(0))
    last = vae.decoder.layers[-1]
    logits = jnp.linspace(-2, 2, 6)
    vae = eqx.tree_at(
        lambda vae: (vae.decoder.layers[-1].weight, vae.decoder.layers[-1].bias),
        vae,
        (jnp.zeros_like(last.weight), logits),
    )
    xs = jnp.array([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])
    flat = xs.reshape(2, 6)
    known = np.sum(flat * logits[None] - jnp.log1p(jnp.exp(logits))[None], axis=1)
    for found in module.exact_log_likelihood(vae, xs):
        np.testing.assert_allclose(found, known, atol=1e-5)


def test_log_likelihood_over_the_plane_against_importance_sampling(monkeypatch):
    monkeypatch.setattr(module, "SIDE", 121)
    vae = VAE.create((4, 4), num_latent=2, hidden=(8,), key=jax.random.key(1))
    vae = eqx.tree_at(lambda vae: vae.decoder.layers[0].weight, vae, replace_fn=lambda w: 2 * w)
    # An encoder of zeros makes the prior the proposal, whose weights are bounded.
    vae = eqx.tree_at(lambda vae: vae.encoder.layers[-1].weight, vae, replace_fn=jnp.zeros_like)
    xs = vae.sample(jax.random.key(2), 20).astype(float)
    exact, coarse = module.exact_log_likelihood(vae, xs)
    np.testing.assert_allclose(exact, coarse, atol=1e-4)
    estimate = tt.log_likelihood(vae, xs, num_samples=4000, key=jax.random.key(3))
    assert np.max(estimate.pareto_k) < 0.7
    assert np.all(np.abs(estimate.value - exact) < 5 * estimate.standard_error + 1e-4)


def test_what_is_told_of_the_encodings(folder):
    record = json.loads((folder / "record.json").read_text())
    test, encodings = record["test"], record["encodings"]
    assert test["elbo"] < test["log_likelihood"] + 5 * test["elbo_error"]
    assert test["quadrature_error"] < 1e-3
    parts = encodings["mutual_information"] + encodings["marginal_kl"]
    np.testing.assert_allclose(encodings["average_kl"], parts, atol=1e-4)
    with np.load(folder / "arrays.npz") as arrays:
        draws = arrays["draws"]
        assert arrays["grid"].shape == (20, 20, 8, 8)
        assert len(arrays["encodings"]) == len(arrays["encoding_labels"])
    assert encodings["num_examples"] == len(draws) == 100
    error = draws.std(axis=0) / np.sqrt(len(draws))
    # Two draws of each encoding: of the same examples, so that they differ by less than this.
    assert np.all(np.abs(draws.mean(axis=0) - encodings["mean"]) < 5 * error)
    assert len(module.summary(record)) == 4


def test_pictures_are_drawn_from_the_files_alone(folder, tmp_path):
    for name in ("record.json", "arrays.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")


def test_data_that_are_not_there(tmp_path):
    with pytest.raises(tt.InputError, match="did you mean 'digits'"):
        module.run(tmp_path, data="digit")
