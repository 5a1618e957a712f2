"""`tt.fit` learns, repeats itself, keeps records, and refuses what can't be right."""

import functools
import importlib
import json
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tighter as tt
from tighter.data import Binarization, Dataset, binarize, load
from tighter.training import load_parameters

# `tighter.training.fit` is the function; the module of that name is found like this.
fit_module = importlib.import_module("tighter.training.fit")


def test_the_bound_rises_on_digits():
    splits = load("digits")
    transform = functools.partial(binarize, binarization=Binarization.STOCHASTIC)
    model = tt.models.VAE.create(
        (8, 8),
        num_latent=2,
        hidden=(8,),
        key=jax.random.key(0),
    ).initialized_from(splits.train.x)
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=2)
    result = tt.fit(
        model,
        splits.train.take(range(400)),
        objective,
        optimizer=optax.adam(1e-2),
        num_epochs=10,
        batch_size=40,
        key=jax.random.key(1),
        transform=transform,
    )
    bounds = [row["bound"] for row in result.history]
    assert bounds[-1] > bounds[0]
    # Paired on examples and draws that it has not seen.
    xs = transform(jnp.asarray(splits.test.x), key=jax.random.key(2))
    bounds_of = eqx.filter_jit(lambda m: objective.batch(m, xs, key=jax.random.key(3)))
    gain = np.asarray(bounds_of(result.model) - bounds_of(model))
    assert gain.mean() > 5 * gain.std() / np.sqrt(gain.size)


def test_a_linear_gaussian_model_reaches_the_best_evidence():
    # With one latent the posterior has no correlations to miss, and the ELBO's optimum is the
    # maximum likelihood of probabilistic PCA, known in closed form.
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(200, 1)) @ np.array([[2.0, -1.0, 0.5]])
    xs = (mixed + 0.5 * rng.normal(size=(200, 3)) + 1).astype(np.float32)
    model = tt.models.LinearGaussian.create(3, 1, key=jax.random.key(0))
    result = tt.fit(
        model,
        xs,
        tt.Objective(tt.bounds.ELBO(), tt.gradients.StickingTheLanding()),
        optimizer=optax.adam(optax.cosine_decay_schedule(3e-2, 2000, alpha=0.001)),
        num_epochs=2000,
        batch_size=200,
        key=jax.random.key(1),
    )
    best = tt.models.ProbabilisticPCA.from_data(jnp.asarray(xs), num_components=1)
    optimum = float(jnp.mean(jax.vmap(best.log_evidence)(xs)))
    start, elbo = (float(jnp.mean(jax.vmap(m.elbo)(xs))) for m in (model, result.model))
    evidence = float(jnp.mean(jax.vmap(result.model.log_evidence)(xs)))
    assert elbo <= evidence + 1e-5
    assert evidence <= optimum + 1e-5
    assert optimum - elbo < 0.001 * (optimum - start)


def test_history_and_metrics_file_agree(fit, xs, tmp_path):
    result = fit(validation=xs[:7], directory=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    # Incomplete batches are left out: 43 examples make four steps of ten.
    assert [row["step"] for row in result.history] == [4, 8, 12]
    assert {"bound", "validation_bound", "steps_per_second", "seconds"} <= set(result.history[0])
    seconds = [row["seconds"] for row in result.history]
    assert seconds == sorted(seconds)
    without = fit(validation=xs[:7])
    for name in ("bound", "validation_bound"):
        assert [row[name] for row in without.history] == [row[name] for row in result.history]


def test_an_epochs_bound_is_the_mean_bound(fit, xs):
    # With a learning rate of zero each epoch estimates the same, exactly known ELBO.
    result = fit(
        objective=tt.Objective(tt.bounds.ELBO()),
        optimizer=optax.sgd(0.0),
        batch_size=43,
        num_epochs=200,
    )
    bounds = np.array([row["bound"] for row in result.history])
    exact = float(jnp.mean(jax.vmap(result.model.elbo)(xs)))
    assert abs(bounds.mean() - exact) < 5 * bounds.std() / np.sqrt(bounds.size)


def test_the_best_model_has_the_largest_validation_bound(fit, same):
    # Validation data from elsewhere: fitting the training data first helps and then harms.
    elsewhere = np.random.default_rng(5).normal(0.5, 0.5, size=(20, 3)).astype(np.float32)
    result = fit(validation=elsewhere, num_epochs=12)
    bounds = [row["validation_bound"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmax(bounds))
    assert 1 < result.best_epoch < 12
    stopped_there = fit(validation=elsewhere, num_epochs=result.best_epoch)
    assert same(result.best_model, stopped_there.model)
    assert not same(result.best_model, result.model)


def test_without_validation_the_training_bound_judges(fit):
    result = fit(num_epochs=6)
    bounds = [row["bound"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmax(bounds))


def test_stored_parameters_are_the_results(fit, same, tmp_path):
    result = fit(directory=tmp_path, num_epochs=4)
    assert same(load_parameters(tmp_path / "last.safetensors", result.model), result.model)
    assert same(load_parameters(tmp_path / "best.safetensors", result.model), result.best_model)


def test_the_same_key_gives_the_same_parameters(fit, same):
    first, again = fit(), fit()
    assert same(first.model, again.model)
    assert [row["bound"] for row in first.history] == [row["bound"] for row in again.history]
    assert not same(first.model, fit(key=jax.random.key(2)).model)


@pytest.mark.parametrize("seconds_a_chunk", [1e-9, 1e9])
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_chunks_and_checkpoints_leave_no_trace(
    fit, xs, same, tmp_path, monkeypatch, seconds_a_chunk, checkpoint_seconds
):
    plain = fit(validation=xs[:7])
    monkeypatch.setattr(fit_module, "_SECONDS_A_CHUNK", seconds_a_chunk)
    result = fit(validation=xs[:7], directory=tmp_path, checkpoint_seconds=checkpoint_seconds)
    assert same(result.model, plain.model)
    assert same(result.best_model, plain.best_model)
    for name in ("bound", "validation_bound"):
        assert [row[name] for row in result.history] == [row[name] for row in plain.history]


def test_every_epoch_shuffles_anew(fit, xs):
    seen = []

    class Watching(eqx.Module):
        inner: tt.models.LinearGaussian

        def log_joint(self, x):
            return self.inner.log_joint(x)

        def posterior(self, x):
            return self.inner.posterior(x)

    def watch(batch, *, key):
        jax.debug.callback(lambda rows: seen.append(np.asarray(rows)), batch, ordered=True)
        return batch

    model = Watching(tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0)))
    fit(model=model, transform=watch, num_epochs=2)
    jax.effects_barrier()
    assert len(seen) == 8
    epochs = [np.concatenate(seen[:4]), np.concatenate(seen[4:])]
    for epoch in epochs:
        rows = {int(np.flatnonzero((xs == row).all(axis=1))[0]) for row in epoch}
        assert len(rows) == 40
    assert not np.array_equal(*epochs)


def test_resuming_a_finished_run_returns_it(fit, same, tmp_path):
    first = fit(directory=tmp_path)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    parameters = (tmp_path / "last.safetensors").read_bytes()
    again = fit(directory=tmp_path, resume=True)
    assert same(first.model, again.model)
    assert same(first.best_model, again.best_model)
    assert again.history == first.history
    assert again.best_epoch == first.best_epoch
    assert not again.interrupted
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    assert (tmp_path / "last.safetensors").read_bytes() == parameters


def test_resume_starts_where_there_is_nothing(fit, same, tmp_path):
    assert same(fit(directory=tmp_path / "new", resume=True).model, fit().model)


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        ("batch_size", {"batch_size": 5}),
        ("num_epochs", {"num_epochs": 4}),
        ("key", {"key": jax.random.key(7)}),
        ("objective", {"objective": tt.Objective(tt.bounds.ELBO())}),
        ("objective", {"objective": tt.Objective(tt.bounds.IWAE(), num_samples=3)}),
        ("data", {"data": np.ones((43, 3), np.float32)}),
        ("validation", {"validation": np.ones((5, 3), np.float32)}),
        ("optimizer was step_size=-0.03 and is step_size=-0.02", {"optimizer": optax.adam(2e-2)}),
        ("optimizer was b1=0.9 and is b1=0.8", {"optimizer": optax.adam(3e-2, b1=0.8)}),
        ("transform", {"transform": lambda xs, *, key: xs + 1}),
    ],
    ids=[
        "batch_size",
        "num_epochs",
        "key",
        "bound",
        "num_samples",
        "data",
        "validation",
        "learning rate",
        "decay",
        "transform",
    ],
)
def test_resuming_another_run_names_the_difference(fit, tmp_path, named, changes):
    fit(directory=tmp_path)
    kept = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(tt.InputError, match=f"another.*{named}"):
        fit(**changes, directory=tmp_path, resume=True)
    assert (tmp_path / "last.safetensors").read_bytes() == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"model": tt.models.LinearGaussian.create(3, 1, key=jax.random.key(0))},
        {"optimizer": optax.sgd(1e-2)},
    ],
    ids=["model", "optimizer"],
)
def test_another_model_is_not_called_damage(fit, tmp_path, changes):
    fit(directory=tmp_path)
    with pytest.raises(tt.InputError, match="another") as caught:
        fit(**changes, directory=tmp_path, resume=True)
    assert "damaged" not in str(caught.value)


def test_a_folder_that_holds_a_run_is_refused(fit, tmp_path):
    fit(directory=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(tt.InputError, match=r"already holds a run.*resume"):
        fit(directory=tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def with_nan(xs):
    spoiled = xs.copy()
    spoiled[[5, 9], 1] = np.nan
    return spoiled


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"batch of 44 is larger than the data of 43", {"batch_size": 44}),
        (r"batch_size is a whole number of at least 1, got 0", {"batch_size": 0}),
        (r"num_epochs is a whole number of at least 1, got 0", {"num_epochs": 0}),
        (r"needs the directory", {"resume": True}),
    ],
    ids=["large batch", "zero batch", "zero epochs", "resume nowhere"],
)
def test_numbers_that_make_no_sense(fit, message, changes):
    with pytest.raises(tt.InputError, match=message):
        fit(**changes)


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        (r"data has values that are not finite in 2 of 43 examples, row 5 first", with_nan),
        (r"data is an array of examples .* got shape \(43,\)", lambda xs: xs[:, 0]),
        (r"data is an array of examples .* got shape \(0, 3\)", lambda xs: xs[:0]),
        (r"data has to be .*numbers, got <U", lambda xs: xs.astype(str)),
        (r"data has to be .*numbers, got complex64", lambda xs: xs.astype(np.complex64)),
    ],
    ids=["nan", "rank", "empty", "strings", "complex"],
)
def test_data_that_cannot_be_trained_on(fit, xs, tmp_path, message, spoil):
    with pytest.raises(tt.InputError, match=message):
        fit(spoil(xs), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_is_checked_too(fit, xs):
    with pytest.raises(tt.InputError, match=r"validation examples have shape \(2,\).*\(3,\)"):
        fit(validation=xs[:, :2])
    with pytest.raises(tt.InputError, match="validation has values that are not finite"):
        fit(validation=with_nan(xs))
    with pytest.raises(tt.InputError, match=re.escape("validation is an array of examples")):
        fit(validation=xs[:0])


def test_a_folder_that_cannot_be_made(fit, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(tt.InputError, match="can't be made"):
            fit(directory=path)
    assert (tmp_path / "file").read_text() == "in the way"


def test_data_sets_integers_and_truth_values_are_data(fit, xs, same):
    assert same(fit(Dataset(xs)).model, fit().model)
    whole = np.rint(xs)
    assert same(fit(whole.astype(np.int64)).model, fit(whole).model)
    assert same(fit(xs > 0).model, fit((xs > 0).astype(np.float32)).model)


def test_a_validation_bound_that_is_never_finite_is_no_reason_to_keep_the_start(fit, xs, same):
    far = xs[:7].copy()
    far[2] = 1e25
    result = fit(validation=far)
    assert [row["validation_bound"] for row in result.history] == [None] * 3
    assert not same(result.best_model, fit(num_epochs=1, optimizer=optax.sgd(0.0)).model)


def test_a_constant_model_compiles_once(fit, xs):
    # The loop's length is no part of the program: chunks of other lengths don't trace again.
    traces = []

    def transform(batch, *, key):
        traces.append(batch.shape)
        return batch

    fit(transform=transform, num_epochs=6)
    assert len(traces) == 1
