"""Burda's table, small: against sums over the plane of z, killed and taken up, drawn, told."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tighter as tt
from papers import iwae_table as module
from papers._images import autoencoder, binary_images
from papers.manifold import exact_log_likelihood
from tighter.training import load_parameters

pytestmark = pytest.mark.slow  # trains, or measures for long

SMALL = {"HIDDEN": (16,), "LATENT": 2, "TESTED": 60, "DRAWS": 400}


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(module, name, value)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "iwae-table"
    module.run(path, epochs=3)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


@pytest.fixture(scope="module")
def trained(folder):
    """The test examples, and the models with their arrays by name."""
    splits, transform = binary_images("digits", seed=0)
    test_key, _ = jax.random.split(jax.random.key(0))
    xs = transform(jnp.asarray(splits.test.x[:60]), key=test_key)
    like = autoencoder(splits, seed=0, hidden=(16,), num_latent=2)
    names = {"VAE-1": "vae-1", "VAE-5": "vae-5", "IWAE-5": "iwae-5"}
    models = {
        name: load_parameters(folder / file / "last.safetensors", like)
        for name, file in names.items()
    }
    return xs, models


def test_log_likelihoods_are_those_of_sums_over_the_plane(record, trained):
    xs, models = trained
    for row in record["rows"]:
        name = f"{row['model']}-{row['num_samples']}".replace("IWAE-1", "VAE-1")
        exact, _ = exact_log_likelihood(models[name], xs)
        assert abs(row["nll"] + exact.mean()) < 5 * row["monte_carlo_error"]


def test_differences_are_taken_example_by_example(record, folder):
    arrays = np.load(folder / "arrays.npz")
    for row in record["rows"]:
        if row["num_samples"] == 1:
            assert row["difference"] == 0
            continue
        name = f"log_likelihood_{row['model']}_{row['num_samples']}"
        gained = arrays[name] - arrays["log_likelihood_VAE_1"]
        np.testing.assert_allclose(row["difference"], -gained.mean())
        np.testing.assert_allclose(row["difference_error"], gained.std(ddof=1) / np.sqrt(60))


def test_active_units_are_those_whose_mean_varies(record, trained):
    xs, models = trained
    for name, model in models.items():
        means = jax.vmap(lambda x, model=model: model.posterior(x).mean)(xs)
        count = int((np.asarray(means).var(axis=0, ddof=1) > 0.01).sum())
        row = next(r for r in record["rows"] if f"{r['model']}-{r['num_samples']}" == name)
        assert row["active"] == count


def test_one_draw_is_both(record):
    vae, iwae = (
        {**row, "model": ""} for row in record["rows"] if row["num_samples"] == 1
    )  # fmt: skip
    assert vae == iwae


def test_the_published_schedule():
    rate = module.schedule(10)
    # Stages of 1, 3, 9, 27 epochs of ten steps: 40 epochs are four of them.
    for step, stage in ((0, 0), (9, 0), (10, 1), (39, 1), (40, 2), (129, 2), (130, 3), (399, 3)):
        np.testing.assert_allclose(rate(step), 1e-3 * 10 ** (-stage / 7), rtol=1e-6)
    np.testing.assert_allclose(rate(32_799), 1e-4, rtol=1e-6)
    assert module.FULL == 3280


def test_a_run_that_was_killed_goes_on(folder, record, tmp_path):
    copy = tmp_path / "killed"
    shutil.copytree(folder, copy)
    (copy / "record.json").unlink()
    shutil.rmtree(copy / "iwae-5")
    again = module.run(copy, epochs=3)
    assert again["rows"] == record["rows"]
    with pytest.raises(tt.InputError, match="already holds an experiment"):
        module.run(copy, epochs=3)


def test_what_is_told_and_drawn(folder, record, tmp_path):
    lines = module.summary(record)
    assert sum(line.startswith(("VAE ", "IWAE ")) for line in lines) == 5
    assert "85.54 (22)" in "\n".join(lines)
    # Of images of MNIST's size the published numbers stand in the picture too.
    (tmp_path / "record.json").write_text(json.dumps({**record, "shape": [28, 28]}))
    (tmp_path / "arrays.npz").write_bytes((folder / "arrays.npz").read_bytes())
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")
