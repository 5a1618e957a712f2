"""Programs are shared by what they are made of, and no more are held than the newest."""

import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tighter as tt
from tighter import _programs
from tighter._errors import InputError
from tighter._programs import compiled


@pytest.fixture
def few(monkeypatch):
    """Four programs are held."""
    _programs._programs.clear()
    monkeypatch.setattr(_programs, "_HELD", 4)


class Counter:
    """How often a function was traced."""

    def __init__(self, function):
        self.traced = 0

        @compiled
        def counted(*args):
            self.traced += 1
            return function(*args)

        self.call = counted


class Holder(eqx.Module):
    """Anything, in a static field."""

    held: Any = eqx.field(static=True)


def optimizers():
    """Pairs of optimizers made alike."""
    mask = {"a": True}
    return [
        lambda: optax.adam(1e-3),
        lambda: optax.adamw(optax.cosine_decay_schedule(1e-2, 10), weight_decay=0.1),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)),
        lambda: optax.adam(optax.piecewise_constant_schedule(0.1, {3: 0.3})),
        lambda: optax.sgd(optax.join_schedules([optax.constant_schedule(0.1)] * 2, [3])),
        lambda: optax.apply_if_finite(optax.sgd(0.1), 3),
        lambda: optax.masked(optax.sgd(0.1), mask),
    ]


@pytest.mark.parametrize("make", optimizers())
def test_optimizers_of_the_same_numbers_share_a_program(make):
    count = Counter(lambda optimizer, x: optimizer.init({"a": x}))
    for _ in range(3):
        count.call(make(), jnp.ones(2))
    assert count.traced == 1


def test_a_schedule_that_changes_what_it_holds_when_traced_is_compiled_once():
    count = Counter(lambda schedule, x: schedule(x))
    schedule = optax.cosine_decay_schedule(1e-2, 10)  # its 10 becomes 10.0 on the first call
    for given in (schedule, schedule, optax.cosine_decay_schedule(1e-2, 10)):
        count.call(given, jnp.asarray(5))
    assert count.traced == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-3), optax.adam(2e-3)),
        (optax.adam(1e-3), optax.adam(1e-3, b1=0.8)),
        (optax.sgd(0.1), optax.sgd(0.1, momentum=0.0)),
        (optax.sgd(0.0), optax.sgd(-0.0)),
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (1.0, np.float64(1.0)),
        (complex(0.0, 0.0), complex(0.0, -0.0)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (functools.partial(max, np.float32(0.0)), functools.partial(max, np.float32(-0.0))),
        (optax.sgd(0.1), optax.sgd(np.float64(0.1))),  # which makes float32 of bfloat16
        *((Holder(one), Holder(other)) for one, other in [(1, 1.0), (1, True), (0.0, -0.0)]),
    ],
)
def test_what_differs_has_a_program_of_its_own(one, other):
    count = Counter(lambda thing, x: x + 1)
    for thing in (one, other, one):
        count.call(thing, jnp.ones(2))
    assert count.traced == 2


def test_a_users_function_is_its_own_even_where_its_code_is_the_same():
    scale = [2.0]

    def made():
        return lambda x: x * scale[0]

    call = compiled(lambda f, x: f(x))
    assert float(call(made(), jnp.ones(()))) == 2
    scale[0] = 3.0
    assert float(call(made(), jnp.ones(()))) == 3


def test_boundaries_changed_in_place_are_seen():
    rates = [optax.constant_schedule(1.0), optax.constant_schedule(2.0)]
    boundaries = [5]
    schedule = optax.join_schedules(rates, boundaries)
    call = compiled(lambda f, x: f(x))
    assert float(call(schedule, jnp.asarray(3))) == float(schedule(3)) == 1
    boundaries[0] = 2
    assert float(call(schedule, jnp.asarray(3))) == float(schedule(3)) == 2


def test_an_array_or_a_list_changed_in_place_is_seen():
    rate, held = np.array(0.1, np.float32), [0.1]
    optimizer, holder = optax.scale(rate), Holder(held)
    step = compiled(lambda optimizer, x: optimizer.update(x, optimizer.init(x))[0])
    times = compiled(lambda holder, x: x * holder.held[0])
    for value in (0.1, 0.5):
        rate[...] = held[0] = value
        assert float(step(optimizer, jnp.ones(()))) == np.float32(value)
        assert float(times(holder, jnp.ones(()))) == np.float32(value)


def test_a_users_function_that_is_dressed_as_ours_is_its_own():
    code = "@functools.wraps(tt.fit)\ndef f(x):\n    return x * scale"
    call = compiled(lambda f, x: f(x))
    for scale in (2.0, 3.0):
        names = {"functools": functools, "tt": tt, "scale": scale}
        exec(code, names)
        assert float(call(names["f"], jnp.ones(()))) == scale


def test_no_more_programs_are_held_than_some_nor_mappings_of_memory(few):
    call = compiled(lambda f, x: f(jnp.sort(x @ x.T)))

    def mappings():
        return len(Path("/proc/self/maps").read_text().splitlines())

    def take(num):
        for _ in range(num):
            offset = float(np.random.default_rng().normal())
            call(lambda x, offset=offset: x + offset, jnp.ones((3, 3)))

    take(6)
    assert len(_programs._programs) == _programs._HELD
    before = mappings()
    take(12)
    assert len(_programs._programs) == _programs._HELD
    assert mappings() <= before + 4


def test_every_shape_counts_as_a_program(few):
    call = compiled(lambda x: x + 1)
    for size in range(1, 8):
        call(jnp.ones(size))
    assert len(_programs._programs) == _programs._HELD


def test_what_is_used_stays_held(few):
    count, others = Counter(lambda x: x + 1), compiled(lambda x: x + 2)
    for size in range(1, 8):
        count.call(jnp.ones(2))
        others(jnp.ones(size))
    assert count.traced == 1


def test_parts_that_are_no_arrays_come_back_as_they_are():
    told = compiled(lambda x, name: {"x": x + 1, "name": name, "f": jnp.tanh, "none": None})
    out = told(jnp.ones(2), "a")
    assert (out["name"], out["f"], out["none"]) == ("a", jnp.tanh, None)
    np.testing.assert_array_equal(out["x"], [2, 2])


def test_it_can_be_transformed():
    square = compiled(lambda x: x**2)
    assert float(jax.grad(square)(3.0)) == 6
    np.testing.assert_array_equal(jax.vmap(square)(jnp.arange(3.0)), [0, 1, 4])
    np.testing.assert_array_equal(jax.jit(square)(jnp.arange(3.0)), [0, 1, 4])


def test_a_program_that_refuses_its_numbers_says_so_in_one_line():
    checked = compiled(lambda x: eqx.error_if(x, x < 0, "x is below zero"))
    with pytest.raises(InputError, match=r"^x is below zero$"):
        checked(jnp.asarray(-1.0))
    assert float(checked(jnp.asarray(1.0))) == 1


def test_fits_with_optimizers_made_alike_are_compiled_once():
    traced = 0

    def bound(log_weights):
        nonlocal traced
        traced += 1
        return jnp.mean(log_weights)

    model = tt.models.VAE.create((3,), num_latent=1, hidden=(2,), key=jax.random.key(0))
    xs = np.eye(4, 3, dtype=np.float32)
    objective = tt.Objective(bound, tt.gradients.Reparameterized(), num_samples=2)

    def fit(rate):
        before = traced
        tt.fit(
            model,
            xs,
            objective,
            optimizer=optax.adam(rate),
            num_epochs=1,
            batch_size=2,
            key=jax.random.key(1),
            validation=xs,
        )
        return traced - before

    first = fit(1e-3)
    assert first > 0
    assert fit(1e-3) == 0
    assert fit(2e-3) > 0
