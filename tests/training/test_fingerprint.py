"""What a run is made of is told by its parts, alike in every process."""

import functools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import tighter as tt
from tighter.training.fingerprint import differences, made_of


class Callable:
    """Something that tells no more than its address."""

    def __init__(self, number):
        self.number = number

    def times(self, x):
        return x * self.number


def model(**options):
    return tt.models.VAE.create((3,), num_latent=2, hidden=(2,), key=jax.random.key(0), **options)


def mutual(number):
    def one(x):
        return other(x)

    def other(x):
        return number * one(x)

    return one


ALIKE = {
    "adam": lambda: optax.adam(1e-3),
    "schedule": lambda: optax.adamw(optax.cosine_decay_schedule(1e-2, 10)),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)),
    "mask": lambda: optax.masked(optax.sgd(0.1), {"a": True}),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(1e-3),
    "model": lambda: model(),
    "flow": lambda: model(prior="flow"),
    "method": lambda: Callable(2.0).times,
    "partial": lambda: functools.partial(jnp.sum, axis=0),
    "recursive": lambda: mutual(2.0),
    "function": lambda: lambda x: x * 2.0,
    "key": lambda: jax.random.key(3),
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_what_is_made_alike_is_told_alike(make):
    assert made_of(make()) == made_of(make())
    assert "0x" not in made_of(make())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-3), optax.adam(2e-3)),
        (optax.adam(1e-3), optax.adam(1e-3, b1=0.8)),
        (optax.adam(1e-3), optax.nadam(1e-3)),
        (optax.adam(1e-3), optax.sgd(1e-3)),
        (optax.sgd(jnp.array([0.1, 0.2])), optax.sgd(jnp.array([0.1, 0.3]))),
        (optax.sgd(lambda step: 0.1 / step), optax.sgd(lambda step: 0.2 / step)),
        (Callable(2.0).times, Callable(3.0).times),
        (mutual(2.0), mutual(3.0)),
        (functools.partial(jnp.sum, axis=0), functools.partial(jnp.sum, axis=1)),
        (jnp.arange(3), jnp.arange(3).at[1].set(0)),
        (jax.random.key(0), jax.random.key(1)),
        (eqx.nn.Dropout(0.1), eqx.nn.Dropout(0.2)),
        (0.0, -0.0),
        (1, True),
        ({"a": 1}, {"a": 2}),
    ],
)
def test_what_differs_is_told_apart(one, other):
    assert made_of(one) != made_of(other)


def test_a_schedule_that_was_called_is_the_same():
    schedule = optax.cosine_decay_schedule(1e-2, 10)
    before = made_of(schedule)
    schedule(5)
    assert made_of(schedule) == before


def test_another_process_tells_the_same():
    code = (
        "import optax, jax; from tighter.training.fingerprint import made_of;"
        "print(made_of([optax.adamw(optax.cosine_decay_schedule(1e-2, 10)), jax.nn.relu]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = made_of([optax.adamw(optax.cosine_decay_schedule(1e-2, 10)), jax.nn.relu])
    assert told.stdout == here + "\n"


def test_only_what_differs_is_said():
    theirs = {"optimizer": made_of(optax.adam(1e-3)), "batch_size": 5}
    ours = {"optimizer": made_of(optax.adam(2e-3)), "batch_size": 6, "later": 1}
    assert differences(theirs, ours) == [
        "optimizer was step_size=-0.001 and is step_size=-0.002",
        "batch_size was 5 and is 6",
    ]
    assert differences({"data": "ab1"}, {"data": "ab2"}) == ["data was ab1 and is ab2"]
    assert differences({"a": "f(x=1)"}, {"a": "f(x=1, y=2)"}) == ["a was x=1 and is x=1, y=2"]
