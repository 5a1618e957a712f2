"""Data that are read by rows: the same run as of those in memory."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tighter as tt
from tighter.training import feed

fit_module = importlib.import_module("tighter.training.fit")


@pytest.fixture
def mapped(xs, tmp_path):
    np.save(tmp_path / "xs.npy", xs)
    return np.load(tmp_path / "xs.npy", mmap_mode="r")


def assert_same(one, other):
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("block", [1, 10**9])
def test_a_map_comes_to_what_memory_does(fit, mapped, monkeypatch, block):
    """To the bit, in blocks of one batch and of an epoch."""
    monkeypatch.setattr(feed, "_BLOCK", block)
    whole, streamed = fit(), fit(mapped)
    assert_same(whole.model, streamed.model)
    assert [row["bound"] for row in whole.history] == [row["bound"] for row in streamed.history]


def test_whole_numbers_stay_narrow_until_they_are_on_the_device(fit, monkeypatch):
    seen = []
    real = feed.InMemory.__init__

    def spy(self, xs, order):
        seen.append(xs.dtype)
        real(self, xs, order)

    monkeypatch.setattr(feed.InMemory, "__init__", spy)
    counts = np.random.default_rng(0).integers(0, 9, (40, 3)).astype(np.uint8)
    assert_same(fit(counts).model, fit(counts.astype(np.float32)).model)
    assert seen == [np.uint8, np.float32]


def test_a_run_that_stopped_goes_on_in_mid_epoch(fit, mapped, tmp_path, monkeypatch):
    """Blocks then begin elsewhere."""
    monkeypatch.setattr(feed, "_BLOCK", 250)
    whole = fit(mapped)
    steps = importlib.import_module("tighter.training.steps").Steps
    real, calls = steps.run, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(fit_module, "_SECONDS_A_CHUNK", 0)
    monkeypatch.setattr(steps, "run", failing)
    with pytest.raises(KeyboardInterrupt):
        fit(mapped, directory=tmp_path / "run", checkpoint_seconds=0.0)
    monkeypatch.setattr(steps, "run", real)
    resumed = fit(mapped, directory=tmp_path / "run", resume=True)
    assert 0 < resumed.steps_taken < 12
    assert_same(whole.model, resumed.model)


def test_validation_is_read_a_batch_at_a_time(fit, xs, mapped):
    """Of an exact posterior every draw gives the evidence: the means and errors are the same."""
    model = tt.models.ProbabilisticPCA.from_data(jnp.asarray(xs), 1)
    (whole,), (streamed,) = (
        fit(data, model=model, validation=data, num_epochs=1).history for data in (xs, mapped)
    )
    for name in ("bound", "validation_bound", "validation_error"):
        np.testing.assert_allclose(whole[name], streamed[name], rtol=1e-5)


def test_digits_that_single_precision_loses_are_refused_as_in_memory(fit, xs, tmp_path):
    np.save(tmp_path / "far.npy", 1e9 + xs.astype(float))
    for mode in (None, "r"):
        with pytest.raises(tt.InputError, match="which float32 can't tell apart"):
            fit(np.load(tmp_path / "far.npy", mmap_mode=mode))


class Changing:
    """A source that behaves, until it doesn't."""

    def __init__(self, xs):
        self.xs, self.size, self.bad = xs, len(xs), None

    def __len__(self):
        return self.size

    def __getitem__(self, rows):
        taken = self.xs[rows].copy()
        if self.bad is not None:
            taken[rows == self.bad] = np.nan
        return taken


def test_a_row_that_is_no_number_is_named_by_the_source(fit, xs):
    source = Changing(xs)
    source.bad = 17
    with pytest.raises(tt.InputError, match=r"data, row 17: .*not finite"):
        fit(source)


def test_a_source_that_changes_its_length(fit, xs, monkeypatch):
    monkeypatch.setattr(feed, "_BLOCK", 1)
    source = Changing(xs)
    real = Changing.__getitem__

    def shrinking(self, rows):
        self.size = 43 if len(rows) <= 2 else 42
        return real(self, rows)

    monkeypatch.setattr(Changing, "__getitem__", shrinking)
    with pytest.raises(tt.InputError, match="had 43 examples and has 42 now"):
        fit(source)


def test_a_stream_is_refused(fit, xs):
    with pytest.raises(tt.InputError, match="data is a stream of no known length, got generator"):
        fit(row for row in xs)


def test_a_log_likelihood_is_read_in_parts(fit, xs, mapped, monkeypatch):
    """To the bit: keys are those of all examples."""
    module = importlib.import_module("tighter.evaluation.log_likelihood")
    monkeypatch.setattr(module, "_EXAMPLES", 10)
    model, key = fit().model, jax.random.key(2)
    whole, parts = (tt.log_likelihood(model, x, num_samples=50, key=key) for x in (xs, mapped))
    for mine, theirs in zip(whole, parts, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_other_evaluations_take_what_is_read_by_rows(fit, xs, mapped):
    model, key = fit().model, jax.random.key(2)
    both = (tt.diagnostics.active_units(model, x, key=key) for x in (xs, mapped))
    assert_same(*(jax.tree.leaves(each) for each in both))
