"""What it saves, and costs, to backpropagate m of K = 50 draws, on a trained MNIST model.

    uv run python -m benchmarks.backward_draws RUN [--rounds 15] [--replicates 400]

RUN is the folder of a run on MNIST (`tighter train --data mnist/ --latent 50`). Times are ratios of
interleaved medians to the full step (value, gradient, Adam; batch 100), each a step of a compiled
loop over batches. Variances are summed over the parameters of the encoder and of the decoder, for
one batch of 100, over fresh draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks._timing import TrainingLoop, step_seconds
from benchmarks.training_step import ADAM, ours
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized
from tighter.runs.build import build_data, build_transform, load_model
from tighter.runs.folder import open_run

BATCH, STEPS = 100, 8


def variances(model, objective, xs, *, replicates):
    """Total variance of the gradient, of the encoder's and of the decoder's parameters."""
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(arrays, key):
        return jnp.mean(objective.batch(eqx.combine(arrays, static), xs, key=key))

    @jax.jit
    def moments(arrays):
        def add(i, sums):
            gradient = jax.grad(loss)(arrays, jax.random.fold_in(jax.random.key(9), i))
            first = jax.tree.map(jnp.add, sums[0], gradient)
            return first, jax.tree.map(lambda s, g: s + g**2, sums[1], gradient)

        zeros = jax.tree.map(jnp.zeros_like, arrays)
        first, second = jax.lax.fori_loop(0, replicates, add, (zeros, zeros))
        return jax.tree.map(
            lambda f, s: jnp.sum(s / replicates - (f / replicates) ** 2), first, second
        )

    spread = moments(arrays)
    return [float(sum(jax.tree.leaves(part))) for part in (spread.encoder, spread.decoder)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--replicates", type=int, default=400)
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    model = load_model(run)
    data = build_data(run.configuration).train
    xs = build_transform(run.configuration)(
        jnp.asarray(data.x[: BATCH * STEPS]), key=jax.random.key(0)
    )
    batches = xs.reshape(STEPS, BATCH, *xs.shape[1:])
    objectives = {
        m: Objective(IWAE(), DoublyReparameterized(), num_samples=50, num_backward=m)
        for m in (None, 8, 4)
    }
    loops = {}
    for m, objective in objectives.items():
        loss, arrays = ours(model, objective, form="batch")
        loops[str(m)] = TrainingLoop(loss, arrays, batches, ADAM)
    seconds = step_seconds(loops, rounds=arguments.rounds)
    spreads = {
        str(m): variances(model, objective, batches[0], replicates=arguments.replicates)
        for m, objective in objectives.items()
    }
    print("| m | step, ms | over full | encoder variance over full | decoder's |")
    print("|---|---|---|---|---|")
    for m, time in seconds.items():
        encoder, decoder = (a / b for a, b in zip(spreads[m], spreads["None"], strict=True))
        print(
            f"| {m} | {1e3 * time:.1f} | {time / seconds['None']:.3f} | {encoder:.3f} "
            f"| {decoder:.3f} |"
        )


if __name__ == "__main__":
    main()
