"""A problem that trains in milliseconds, and one program for all the tests that share it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
import pytest

import tighter as tt

# One object each: what is compiled for the first test serves the others.
MODEL = tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0))
OBJECTIVE = tt.Objective(tt.bounds.IWAE(), num_samples=2)
OPTIMIZER = optax.adam(3e-2)


@pytest.fixture(autouse=True, scope="module")
def programs(keep_every_program) -> Iterator[None]:
    """What is compiled once serves every test below: compiling takes most of the time here."""
    with keep_every_program():
        yield


@pytest.fixture(scope="session")
def xs() -> np.ndarray:
    """43 examples: with batches of 10, each epoch leaves three out."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(43, 2)) @ rng.normal(size=(2, 3))
    return (mixed + 0.3 * rng.normal(size=(43, 3)) + 1).astype(np.float32)


@pytest.fixture
def fit(xs: np.ndarray) -> Callable[..., tt.FitResult]:
    """`tt.fit` of the tiny problem, four steps an epoch; any argument can be replaced."""

    def run(data: Any = None, *, model: Any = MODEL, objective: Any = OBJECTIVE, **changes: Any):
        arguments = {
            "optimizer": OPTIMIZER,
            "num_epochs": 3,
            "batch_size": 10,
            "key": jax.random.key(1),
            "show_progress": False,
        }
        arguments |= changes
        return tt.fit(model, xs if data is None else data, objective, **arguments)

    return run


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two pytrees hold the same arrays, bit for bit."""

    def compare(one: Any, other: Any) -> bool:
        leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
        return len(leaves) == len(others) and all(
            np.array_equal(np.asarray(a), np.asarray(b))
            for a, b in zip(leaves, others, strict=True)
        )

    return compare
