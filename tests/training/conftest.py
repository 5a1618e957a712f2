"""A problem that trains in milliseconds, and one program for all the tests that share it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache

import tighter as tt

# One object each: what is compiled for the first test serves the others.
MODEL = tt.models.LinearGaussian.create(3, 2, key=jax.random.key(0))
OBJECTIVE = tt.Objective(tt.bounds.IWAE(), num_samples=2)
OPTIMIZER = optax.adam(3e-2)


@pytest.fixture(scope="session")
def folder_of_programs(tmp_path_factory) -> Path:
    """One folder, however often a process comes here: a program compiled anew may round anew."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(autouse=True, scope="package")
def programs(folder_of_programs) -> Iterator[None]:
    """What is compiled once serves every test below: compiling takes most of the time here."""
    options = {
        "jax_compilation_cache_dir": str(folder_of_programs),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


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
