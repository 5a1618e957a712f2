"""A training step of the MNIST network with each posterior family, against the diagonal one.

    uv run python -m benchmarks.posteriors [--rounds 20]

784-200-200-50 and back, batch 100, IWAE doubly reparameterized. Ratios of interleaved medians of
steps in a compiled loop: value and gradient and Adam's update.
"""

from __future__ import annotations

import argparse

import jax

from benchmarks._timing import TrainingLoop, step_seconds
from benchmarks.training_step import ADAM, ours, random_batches
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized
from tighter.models import POSTERIORS, VAE
from tighter.models._families import Space


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--num-samples", type=int, nargs="+", default=[1, 5])
    arguments = parser.parse_args()
    models = {
        name: VAE.create(
            (784,), num_latent=50, hidden=(200, 200), posterior=name, key=jax.random.key(1)
        )
        for name in POSTERIORS
    }
    # The rest have no path through the draws, or ask for another estimator or number of draws.
    names = [
        name
        for name, model in models.items()
        if model.family.space is Space.REAL and name != "mixture"
    ]
    print(f"| K | diagonal, ms | {' | '.join(names[1:])} |\n|{'---|' * (len(names) + 1)}")
    for num_samples in arguments.num_samples:
        objective = Objective(IWAE(), DoublyReparameterized(), num_samples=num_samples)
        batches = random_batches(40 // num_samples, 100)
        loops = {}
        for name in names:
            loss, arrays = ours(models[name], objective, form="batch")
            loops[name] = TrainingLoop(loss, arrays, batches, ADAM)
        seconds = step_seconds(loops, rounds=arguments.rounds)
        first = seconds[names[0]]
        ratios = (f"{seconds[name] / first:.2f}" for name in names[1:])
        print(f"| {num_samples} | {1e3 * first:.2f} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
