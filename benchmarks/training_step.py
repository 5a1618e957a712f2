"""A training step of the MNIST network, in a loop, against the same step written by hand.

    uv run python -m benchmarks.training_step [--rounds 15] [--shape 50,100] [--work 20000]

Value and gradient, Adam's update, a key and a batch of its own, as a step of one compiled
`lax.scan` (`TrainingLoop`), its state donated. Milliseconds a step by hand, then ratios of medians
of loops run in turn: `batch` goes through `objective.batch`, `vmap` through a closure an example.
By hand is the fastest of the ways of `_by_hand.variants` in the same run, named in the table: the
least of several medians, so that noise favors it. The numbers in brackets are matrix products in
the loop's body; 17 is the least: 6 of the networks forward, 6 for the weights' gradients, 5 for
what lies between. More say that XLA did not merge passes.

A second table has, for K = 50, `num_backward` = 8 and 4: their step over our full one, and over the
full one by hand. They take 20 products, for the draws kept go through the decoder once more. Expect
ratios near 1 for `batch`, a little more for `vmap`, and half to two thirds of a full step with
8 of 50 draws backward. A quiet machine takes some five minutes, half of it for compiling.
"""

from __future__ import annotations

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import _by_hand as by_hand
from benchmarks._timing import TrainingLoop, step_seconds
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized, Reparameterized
from tighter.models import VAE

SHAPES = [(1, 100), (5, 100), (50, 20), (50, 100)]
GRADIENTS = {
    "reparameterized": Reparameterized(),
    "doubly reparameterized": DoublyReparameterized(),
}
BACKWARD = (8, 4)
ADAM = optax.adam(1e-3, eps=1e-4)


def network() -> VAE:
    """The MNIST network, as this library builds it."""
    return VAE.create((784,), num_latent=50, hidden=(200, 200), key=jax.random.key(1))


def ours(model, objective, *, form="batch"):
    """The loss over a batch, in one of the two forms, and the arrays that it is a function of."""
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


def random_batches(num_steps: int, batch: int) -> jax.Array:
    """Binary images with as much ink as MNIST's."""
    x = jax.random.uniform(jax.random.key(2), (num_steps, batch, 784)) < 0.13
    return x.astype(jnp.float32)


def hand_loops(gradient: str, num_samples: int, batches: jax.Array) -> dict[str, TrainingLoop]:
    """Loops of the ways of writing the step by hand, which are checked to agree."""
    params = by_hand.initialize(jax.random.key(1))
    steps = by_hand.variants(gradient, num_samples)
    results = [jax.jit(step)(params, batches[0], jax.random.key(3)) for step in steps.values()]
    for result in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), result, results[0]
        )
    return {
        name: TrainingLoop(step, params, batches, ADAM, has_gradient=True)
        for name, step in steps.items()
    }


def our_loop(objective: Objective, batches: jax.Array, *, form: str = "batch") -> TrainingLoop:
    """A loop of our step."""
    loss, arrays = ours(network(), objective, form=form)
    return TrainingLoop(loss, arrays, batches, ADAM)


def measure(num_samples: int, batch: int, gradient: str, *, rounds: int, work: int) -> list[str]:
    """Print a row of the first table; the rows of the second, for later."""
    batches = random_batches(max(8, work // (num_samples * batch)), batch)
    objective = Objective(IWAE(), GRADIENTS[gradient], num_samples=num_samples)
    hand = hand_loops(gradient, num_samples, batches)
    loops = dict(hand)
    for form in ("batch", "vmap"):
        loops[form] = our_loop(objective, batches, form=form)
    with_backward = num_samples == 50 and gradient == "doubly reparameterized"
    for num_backward in BACKWARD if with_backward else ():
        fewer = Objective(
            IWAE(), GRADIENTS[gradient], num_samples=num_samples, num_backward=num_backward
        )
        loops[f"{num_backward}"] = our_loop(fewer, batches)
    seconds = step_seconds(loops, rounds=rounds)
    products = {name: loop.products for name, loop in loops.items()}
    best = min(hand, key=lambda name: seconds[name])
    others = ", ".join(f"{seconds[name] / seconds[best]:.2f}" for name in hand if name != best)
    cells = [f"{num_samples}, {batch}", gradient, f"{1e3 * seconds[best]:.2f} ({products[best]})"]
    cells += [best, others]
    for form in ("batch", "vmap"):
        cells.append(f"{seconds[form] / seconds[best]:.3f} ({products[form]})")
    print(f"| {' | '.join(cells)} |", flush=True)
    if not with_backward:
        return []
    rows = []
    for m in map(str, BACKWARD):
        cells = [f"{num_samples}, {batch}", m, f"{1e3 * seconds[m]:.2f} ({products[m]})"]
        cells += [f"{seconds[m] / seconds[full]:.3f}" for full in ("batch", best)]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", action="append", help="K,batch; all four if left out")
    parser.add_argument("--work", type=int, default=20_000, help="draws of examples a loop")
    arguments = parser.parse_args()
    shapes = [tuple(map(int, shape.split(","))) for shape in arguments.shape or ()] or SHAPES
    print("| K, batch | gradient | by hand, ms | fastest way | other ways | batch | vmap |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for num_samples, batch in shapes:
        for gradient in GRADIENTS:
            rows += measure(
                num_samples, batch, gradient, rounds=arguments.rounds, work=arguments.work
            )
    if rows:
        print("\n| K, batch | backward | step, ms | over our full | over full by hand |")
        print("|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
