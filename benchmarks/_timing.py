"""Interleaved timing: what one machine does in one run, as ratios of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import jax
import optax


def interleaved(
    functions: dict[str, Callable[[], object]], *, rounds: int, calls: int = 1
) -> dict[str, float]:
    """Median seconds a call of each function, called in turn, round after round."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls):
                result = function()
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(times) for name, times in seconds.items()}


def training_step(
    loss: Callable, params: object, xs: object, optimizer: optax.GradientTransformation
) -> Callable[[], object]:
    """A jitted step of `loss(params, xs, key)` that keeps its state, called without arguments."""

    @jax.jit
    def update(params, state, key):
        value, gradient = jax.value_and_grad(loss)(params, xs, key)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    held = [params, optimizer.init(params), jax.random.key(0)]

    def call():
        held[0], held[1], value = update(*held)
        return held[0], value

    return call
