"""A value that is not finite: the step, the term, the rows, and the state before it kept."""

import importlib
import re
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import tighter as tt
from tighter._errors import NonFiniteError
from tighter.training import load_parameters
from tighter.training.checkpoints import Checkpoints
from tighter.training.order import Order
from tighter.training.steps import Keys

fit_module = importlib.import_module("tighter.training.fit")

BAD = [7, 19, 20, 38]


class Spoiled(tt.models.LatentVariableModel):
    """A linear-Gaussian model of which one term is no number for examples that begin with 5."""

    inner: tt.models.LinearGaussian
    term: str = eqx.field(static=True)

    def _spoil(self, term: str, x: jax.Array) -> jax.Array:
        return jnp.where((x[0] == 5) & (self.term == term), jnp.nan, 0.0)

    @property
    def prior(self):
        return self.inner.prior

    def likelihood(self, z):
        return self.inner.likelihood(z)

    def posterior(self, x):
        normal = self.inner.posterior(x).base_dist
        loc = normal.loc + self._spoil("posterior", x)
        return dist.Normal(loc, normal.scale, validate_args=False).to_event(1)

    def log_joint(self, x) -> Callable:
        return lambda z: self.inner.log_joint(x)(z) + self._spoil("log joint", x)


class ZeroSlope(tt.models.LinearGaussian):
    """Its bound is finite and its gradient is not: the square root of zero."""

    def log_joint(self, x):
        return lambda z: (
            super(ZeroSlope, self).log_joint(x)(z)
            - jnp.sqrt(jnp.where(x[0] == 5, 0.0, 1.0) * jnp.sum(self.offset**2))
        )


@pytest.fixture
def marked(xs) -> np.ndarray:
    spoiled = xs.copy()
    spoiled[BAD, 0] = 5
    return spoiled


def spoiled(term: str) -> Spoiled:
    return Spoiled(tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0)), term)


def parts(error: NonFiniteError) -> tuple[int, set[int]]:
    """The step and the rows that a message names."""
    message = str(error)
    assert "\n" not in message
    step = re.match(r"step (\d+):", message)
    rows = re.search(r"rows ([\d, ]+)", message)
    assert step is not None
    return int(step[1]), {int(row) for row in rows[1].split(", ")} if rows else set()


@pytest.fixture(scope="module")
def batches(xs) -> list[set[int]]:
    return batches_of(1, xs)


def batches_of(seed: int, xs) -> list[set[int]]:
    """The rows that each of twelve steps takes: they follow from the key and the sizes alone."""
    keys = Keys(*jax.random.split(jax.random.key(seed), 4))
    order = Order(keys.permutation, len(xs), 10)
    return [set(order.rows(step, step + 1).tolist()) for step in range(12)]


def test_the_step_the_term_and_the_rows_are_named(fit, marked, batches):
    first = next(i for i, rows in enumerate(batches) if rows & set(BAD))
    with pytest.raises(NonFiniteError, match="the posterior, at rows") as caught:
        fit(marked, model=spoiled("posterior"))
    assert parts(caught.value) == (first + 1, batches[first] & set(BAD))


def test_a_row_that_overflows_is_found(fit, xs, batches):
    # Its square is beyond float32: finite data, a finite draw, and a density that isn't.
    huge = xs.copy()
    huge[BAD] = 1e25
    first = next(i for i, rows in enumerate(batches) if rows & set(BAD))
    with pytest.raises(NonFiniteError, match=r"the (prior|likelihood), at rows") as caught:
        fit(huge)
    assert parts(caught.value) == (first + 1, batches[first] & set(BAD))


@pytest.mark.slow
def test_the_rows_are_found_in_chunks_of_any_length(fit, marked, batches, monkeypatch):
    first = next(i for i, rows in enumerate(batches) if rows & set(BAD))
    for seconds in (1e-9, 1e9):
        monkeypatch.setattr(fit_module, "_SECONDS_A_CHUNK", seconds)
        with pytest.raises(NonFiniteError, match="the log joint, at rows") as caught:
            fit(marked, model=spoiled("log joint"))
        assert parts(caught.value) == (first + 1, batches[first] & set(BAD))


def test_the_step_is_found_at_the_end_of_a_chunk(fit, xs, batches):
    row = min(batches[3])  # no other step of the epoch takes it
    late = xs.copy()
    late[row, 0] = 5
    with pytest.raises(NonFiniteError, match="the log joint, at rows") as caught:
        fit(late, model=spoiled("log joint"))
    assert parts(caught.value) == (4, {row})


def test_many_rows_are_counted_and_nothing_is_stored_without_a_folder(fit, xs):
    with pytest.raises(
        NonFiniteError, match=r"rows \d+(, \d+){4} and 5 more of.*nothing was stored"
    ):
        fit(np.full_like(xs, 1e25))


@pytest.mark.slow
def test_a_gradient_with_a_finite_bound(fit, marked):
    start = tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0))
    fields = {name: getattr(start, name) for name in start.__dataclass_fields__}
    with pytest.raises(NonFiniteError, match=r"step 1: .*the gradient.*, with every bound finite"):
        fit(marked, model=ZeroSlope(**fields), batch_size=43)


@pytest.mark.slow
def test_a_discrete_latent_is_explained_as_well(fit, marked):
    class Discrete(eqx.Module):
        logits: jax.Array

        def posterior(self, x):
            return dist.CategoricalLogits(self.logits + 0 * x[0])

        def log_joint(self, x):
            bad = jnp.where(x[0] == 5, jnp.nan, 0.0)
            return lambda z: dist.Normal(z.astype(float), 1.0).log_prob(x[0]) + bad

    objective = tt.Objective(tt.bounds.IWAE(), tt.gradients.VIMCO(), num_samples=2)
    with pytest.raises(NonFiniteError, match="the log joint, at rows") as caught:
        fit(marked, model=Discrete(jnp.zeros(3)), objective=objective, batch_size=43)
    assert parts(caught.value) == (1, set(BAD))


def test_the_state_before_the_step_is_kept_and_resumable(fit, xs, same, tmp_path):
    # Rows that the first epoch leaves out, and the first step of the second takes.
    def late_rows(seed):
        batches = batches_of(seed, xs)
        return batches[4].difference(*batches[:4])

    seed = next(seed for seed in range(50) if late_rows(seed))
    rows, key = late_rows(seed), jax.random.key(seed)
    late = xs.copy()
    late[list(rows), 0] = 5
    model = spoiled("log joint")
    arguments = {"model": model, "directory": tmp_path, "checkpoint_seconds": 1e9, "key": key}
    with pytest.raises(NonFiniteError, match=f"after step 4 is stored in {tmp_path}") as caught:
        fit(late, **arguments)
    assert parts(caught.value) == (5, rows)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 4
    # It is what a run has that ends there.
    good = fit(late, model=model, num_epochs=1, key=key)
    for name in ("last", "best"):
        stored = load_parameters(tmp_path / f"{name}.safetensors", model)
        assert same(stored, good.model)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stored))
    # Resuming meets the same rows again, and says so again.
    with pytest.raises(NonFiniteError) as again:
        fit(late, **arguments, resume=True)
    assert str(again.value) == str(caught.value)
    assert same(load_parameters(tmp_path / "last.safetensors", model), good.model)


def test_a_first_step_that_fails_leaves_nothing_that_is_in_the_way(fit, tmp_path):
    for _ in range(2):
        with pytest.raises(NonFiniteError, match=r"step 1: .*nothing was stored, as no step was"):
            fit(optimizer=optax.sgd(float("inf")), directory=tmp_path)
        assert not list(tmp_path.rglob("*.safetensors"))
    fit(directory=tmp_path, num_epochs=1)
    with pytest.raises(tt.InputError, match="already holds a run"):
        fit(directory=tmp_path, num_epochs=1)


@pytest.mark.slow
def test_a_learning_rate_beyond_all_bounds_stores_nothing_infinite(fit, tmp_path):
    with pytest.raises(NonFiniteError, match="smaller learning rate"):
        fit(optimizer=optax.sgd(1e30), directory=tmp_path)
    model = spoiled("none").inner
    for name in ("last", "best"):
        stored = load_parameters(tmp_path / f"{name}.safetensors", model)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stored))


@pytest.mark.slow
def test_an_optimizer_that_keeps_what_is_not_finite_is_stopped(fit, marked):
    """Lion moves by signs: its momentum alone tells, and goes on in one direction for good."""
    start = tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0))
    fields = {name: getattr(start, name) for name in start.__dataclass_fields__}
    model = ZeroSlope(**fields)
    with pytest.raises(NonFiniteError, match=r"step 1: .*the gradient, with every bound finite"):
        fit(marked, model=model, batch_size=43, optimizer=optax.lion(1e-3))
    fit(marked, model=model, batch_size=43, optimizer=optax.apply_if_finite(optax.sgd(1e-3), 99))
