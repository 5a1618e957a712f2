"""Interleaved timing of whole loops: what one machine does in one run, as ratios of medians.

A step alone in a jitted call says little of the same step in `lax.scan` or `while_loop`, where
training takes it: XLA merges less across the body of a loop, and threads and memory are used
differently. So a training step is timed as the n-th part of one compiled loop of n steps.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[Any, Any, Any], Any]

# A product by name, or what a CPU or GPU library does in its place.
_PRODUCT = re.compile(
    r" (?:dot|convolution)\(| custom-call\(.*custom_call_target=\"[^\"]*(?:matmul|gemm|cublas)",
    re.IGNORECASE,
)


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


def matrix_products(compiled: jax.stages.Compiled) -> int:
    """Matrix products in a compiled program, each counted once however often a loop runs it."""
    return sum(bool(_PRODUCT.search(line)) for line in compiled.as_text().splitlines())


class TrainingLoop:
    """Steps of training in one compiled `lax.scan` over batches, called without arguments.

    A step is value and gradient, the optimizer's update and a key folded in anew. The state is
    donated and goes on from call to call.

    Args:
        loss: `loss(params, xs, key)` -> scalar; or, with `has_gradient`, -> (scalar, gradient).
        params: Where to start.
        batches: Arrays whose leading axis is that of the steps.
        optimizer: An optax transformation.
        has_gradient: Whether `loss` computes its gradient itself.
    """

    def __init__(
        self,
        loss: Loss,
        params: Any,
        batches: Any,
        optimizer: optax.GradientTransformation,
        *,
        has_gradient: bool = False,
    ) -> None:
        self.value_and_gradient = loss if has_gradient else jax.value_and_grad(loss)
        self.batches = batches
        self.num_steps = jax.tree.leaves(batches)[0].shape[0]
        params = jax.tree.map(jnp.copy, params)  # it is donated
        self.state = (params, optimizer.init(params), jnp.asarray(0))

        @partial(jax.jit, donate_argnums=0)
        def run(state, batches):
            def step(state, xs):
                params, held, i = state
                key = jax.random.fold_in(jax.random.key(0), i)
                value, gradient = self.value_and_gradient(params, xs, key)
                updates, held = optimizer.update(gradient, held, params)
                return (optax.apply_updates(params, updates), held, i + 1), value

            return jax.lax.scan(step, state, batches)

        self.compiled = run.lower(self.state, batches).compile()

    @property
    def products(self) -> int:
        """Matrix products in the body of the loop."""
        return matrix_products(self.compiled)

    def __call__(self) -> jax.Array:
        """All steps; the losses."""
        self.state, losses = self.compiled(self.state, self.batches)
        return losses


def step_seconds(loops: dict[str, TrainingLoop], *, rounds: int) -> dict[str, float]:
    """Median seconds a step of each loop, the loops run in turn."""
    seconds = interleaved(dict(loops), rounds=rounds)
    return {name: seconds[name] / loop.num_steps for name, loop in loops.items()}
