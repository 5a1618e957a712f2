"""A training step of the MNIST network against the same step written by hand.

    uv run python -m benchmarks.training_step [--rounds 40]

Ratios of interleaved medians: tighter over by hand, value and gradient and Adam's update, each in
one jitted call. `batch` goes through `objective.batch`, `vmap` through a closure an example.
"""

from __future__ import annotations

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from benchmarks import _by_hand as by_hand
from benchmarks._timing import interleaved, training_step
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized, Reparameterized
from tighter.models import VAE

SHAPES = [(1, 100), (5, 100), (50, 20), (50, 100)]
ADAM = optax.adam(1e-3, eps=1e-4)


def ours(model, objective, *, form):
    """The loss over a batch, in one of the two forms."""
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(arrays, x, key):
        model = eqx.combine(arrays, static)
        if form == "batch":
            return -jnp.mean(objective.batch(model, x, key=key))
        keys = jax.random.split(key, x.shape[0])

        def one(x, key):
            return objective(model.log_joint(x), model.posterior(x), key=key)

        return -jnp.mean(jax.vmap(one)(x, keys))

    return loss, arrays


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    model = VAE.create((784,), num_latent=50, hidden=(200, 200), key=jax.random.key(1))
    print("| K, batch | gradient | by hand, ms | batch | vmap |\n|---|---|---|---|---|")
    for num_samples, batch in SHAPES:
        x = (jax.random.uniform(jax.random.key(2), (batch, 784)) < 0.13).astype(jnp.float32)
        for name, hand, gradient in (
            ("reparameterized", by_hand.plain, Reparameterized()),
            ("doubly reparameterized", by_hand.dreg, DoublyReparameterized()),
        ):
            objective = Objective(IWAE(), gradient, num_samples=num_samples)

            def hand_loss(params, x, key, hand=hand, num_samples=num_samples):
                return hand(params, x, key, num_samples)

            params = by_hand.initialize(jax.random.key(1))
            steps = {"hand": training_step(hand_loss, params, x, ADAM)}
            for form in ("batch", "vmap"):
                loss, arrays = ours(model, objective, form=form)
                steps[form] = training_step(loss, arrays, x, ADAM)
            calls = max(1, 400 // (num_samples * batch))
            seconds = interleaved(steps, rounds=rounds, calls=calls)
            hand_seconds = seconds["hand"]
            print(
                f"| {num_samples}, {batch} | {name} | {1e3 * hand_seconds:.2f} "
                f"| {seconds['batch'] / hand_seconds:.3f} | {seconds['vmap'] / hand_seconds:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
