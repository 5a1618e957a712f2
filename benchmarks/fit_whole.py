"""`tighter.fit` as a whole against a loop by hand and against numpyro's SVI, in epochs.

    uv run python -m benchmarks.fit_whole [mnist/] [--rounds 5] [--epochs 2] [--shape 50,100]
        [--examples 6000]

The MNIST network on MNIST (a folder of it), or on random binary images of that size; IWAE, doubly
reparameterized by hand and by us, the total derivative by numpyro's losses, which have no other.
All use the same Adam and a fresh permutation an epoch, and leave the incomplete batch out:

- fit: `tighter.fit` without folder, validation and display. It starts anew in each round: what it
  checks, copies and digests of the data counts.
- fit, m = 8: the same with `num_backward=8`, for K = 50.
- hand: a Python loop over epochs, each one jitted scan with the fastest step of
  `_by_hand.variants`, found by a short trial at the start.
- SVI: the same scan over `svi.update`, with `Trace_ELBO` for K = 1 and `RenyiELBO(0)` for more; a
  plate of the batch, so that weights are per datum. Validation is off.
- SVI, ours: that scan with `tighter.integrations.numpyro.ELBO(objective)` for its loss; "total"
  with numpyro's gradient, else doubly reparameterized.

In each round each one trains for `--epochs` epochs, in turn, from the start. A first call of each
compiles and isn't timed; `fit` compiles once for the same model, optimizer, objective and shapes
(the tool says so if a later call compiles again). "whole" is the call's wall clock by epoch,
"later" that of the epochs after the first by `fit`'s own history, which leaves the start out.
Ratios are of epochs a second, over by hand: 1 is as fast, more is faster.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO

import tighter as tt
from benchmarks import _by_hand as by_hand
from benchmarks._timing import step_seconds
from benchmarks.training_step import ADAM, SHAPES, hand_loops, network, random_batches
from tighter.bounds import ELBO, IWAE
from tighter.gradients import DoublyReparameterized, Reparameterized
from tighter.integrations.numpyro import ELBO as NumpyroELBO

GRADIENT = "doubly reparameterized"


@dataclasses.dataclass
class Compilations:
    """How many programs XLA compiled."""

    count: int = 0

    def listen(self, event: str, _seconds: float, **_: Any) -> None:
        """Count, if that is what the event is."""
        self.count += event.endswith("backend_compile_duration")


@dataclasses.dataclass(frozen=True)
class Task:
    """Data and shape that all train on."""

    xs: np.ndarray
    num_samples: int
    batch: int
    num_epochs: int


def initialized_from(task: Task, num_backward: int | None = None) -> Callable[[], float]:
    """A call that fits and gives the seconds of an epoch after the first, or NaN."""
    model = network()
    objective = tt.Objective(
        IWAE(), DoublyReparameterized(), num_samples=task.num_samples, num_backward=num_backward
    )

    def call() -> float:
        result = tt.fit(
            model, task.xs, objective, optimizer=ADAM, num_epochs=task.num_epochs,
            batch_size=task.batch, key=jax.random.key(0), show_progress=False,
        )  # fmt: skip
        jax.block_until_ready(jax.tree.leaves(result.model))
        first, last = result.history[0]["seconds"], result.history[-1]["seconds"]
        return (last - first) / (task.num_epochs - 1) if task.num_epochs > 1 else float("nan")

    return call


def epochs(task: Task, state: Any, step: Callable) -> Callable[[], float]:
    """A call that trains from the state: a jitted scan over a permutation, an epoch at a time.

    Args:
        task: What to train on.
        state: Where to start.
        step: (state, xs, key) -> (state, loss).
    """
    per_epoch = task.xs.shape[0] // task.batch

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, xs, key):
        order_key, key = jax.random.split(key)
        order = jax.random.permutation(order_key, xs.shape[0])
        rows = order[: per_epoch * task.batch].reshape(per_epoch, task.batch)

        def body(state, taken):
            rows, i = taken
            return step(state, xs[rows], jax.random.fold_in(key, i))

        state, losses = jax.lax.scan(body, state, (rows, jnp.arange(per_epoch)))
        return state, jnp.mean(losses)

    def call() -> float:
        held, xs = jax.tree.map(jnp.copy, state), jnp.asarray(task.xs)
        seconds = []
        for i in range(task.num_epochs):
            start = time.perf_counter()
            held, loss = epoch(held, xs, jax.random.fold_in(jax.random.key(0), i))
            float(loss)
            seconds.append(time.perf_counter() - start)
        return statistics.mean(seconds[1:]) if len(seconds) > 1 else float("nan")

    return call


def handwritten(task: Task) -> tuple[str, Callable[[], float]]:
    """The fastest way by hand, and its training."""
    batches = random_batches(max(8, 10_000 // (task.num_samples * task.batch)), task.batch)
    seconds = step_seconds(hand_loops(GRADIENT, task.num_samples, batches), rounds=5)
    best = min(seconds, key=lambda name: seconds[name])
    value_and_gradient = by_hand.variants(GRADIENT, task.num_samples)[best]
    params = by_hand.initialize(jax.random.key(1))

    def step(state, xs, key):
        params, held = state
        loss, gradient = value_and_gradient(params, xs, key)
        updates, held = ADAM.update(gradient, held, params)
        return (jax.tree.map(jnp.add, params, updates), held), loss

    return best, epochs(task, (params, ADAM.init(params)), step)


def layers(name: str) -> list[dict[str, jax.Array]]:
    """A network of the program, its weights numpyro's parameters."""
    return numpyro.param(name, by_hand.initialize(jax.random.key(1))[name])


def program(xs):
    """The model, the weights per datum."""
    decoder = layers("decoder")
    with numpyro.plate("batch", xs.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(by_hand.LATENT), 1.0).to_event(1))
        logits = by_hand.network(decoder, z)
        numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=xs)


def guide(xs):
    """Its encoder."""
    encoder = layers("encoder")
    with numpyro.plate("batch", xs.shape[0]):
        mu, log_sigma = by_hand.encode(encoder, xs)
        numpyro.sample("z", dist.Normal(mu, jnp.exp(log_sigma)).to_event(1))


def svi_trained(task: Task, loss: Any) -> Callable[[], float]:
    """Training by numpyro's SVI, which keeps a key of its own."""
    svi = SVI(program, guide, ADAM, loss)
    state = svi.init(jax.random.key(0), jnp.asarray(task.xs[: task.batch]))
    return epochs(task, state, lambda state, xs, _: svi.update(state, xs))


def contestants(task: Task) -> tuple[str, dict[str, Callable[[], float]]]:
    """Who trains; and the way by hand that was the fastest."""
    num = task.num_samples
    best, hand = handwritten(task)
    calls = {"hand": hand, "fit": fitted(task)}
    if num == 50:
        calls["fit, m = 8"] = fitted(task, num_backward=8)
    theirs = Trace_ELBO() if num == 1 else RenyiELBO(alpha=0, num_particles=num)
    calls["SVI"] = svi_trained(task, theirs)
    bound = ELBO() if num == 1 else IWAE()
    for name, gradient in (
        ("SVI, ours, total", Reparameterized()),
        ("SVI, ours", DoublyReparameterized()),
    ):
        objective = tt.Objective(bound, gradient, num_samples=num)
        calls[name] = svi_trained(task, NumpyroELBO(objective))
    return best, calls


def measure(task: Task, *, rounds: int, compilations: Compilations) -> None:
    """Print the rows of a shape."""
    best, calls = contestants(task)
    for call in calls.values():
        call()
    whole: dict[str, list[float]] = {name: [] for name in calls}
    later: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            before, start = compilations.count, time.perf_counter()
            later[name].append(call())
            whole[name].append((time.perf_counter() - start) / task.num_epochs)
            if compilations.count > before:
                print(f"({name} compiled {compilations.count - before} programs anew)", flush=True)
    per_epoch = task.xs.shape[0] // task.batch
    of_whole, of_later = (
        {name: statistics.median(seconds) for name, seconds in times.items()}
        for times in (whole, later)
    )
    for name in calls:
        label = f"{name} ({best})" if name == "hand" else name
        print(
            f"| {task.num_samples}, {task.batch} | {label} | {1 / of_whole[name]:.3f} "
            f"| {1e3 * of_whole[name] / per_epoch:.2f} "
            f"| {of_whole['hand'] / of_whole[name]:.3f} "
            f"| {of_later['hand'] / of_later[name]:.3f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", nargs="?", help="a folder of MNIST; random images if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each training")
    parser.add_argument("--examples", type=int, default=6000, help="examples for K = 50")
    parser.add_argument("--small-examples", type=int, default=60_000, help="for K = 1 and 5")
    parser.add_argument("--shape", action="append", help="K,batch; all four if left out")
    arguments = parser.parse_args()
    numpyro.enable_validation(is_validate=False)
    compilations = Compilations()
    jax.monitoring.register_event_duration_secs_listener(compilations.listen)
    if arguments.mnist is None:
        all_xs = np.random.default_rng(0).random((60_000, 784)) < 0.13
    else:
        splits = tt.data.load(arguments.mnist)
        parts = [np.asarray(part.x) for part in (splits.train, splits.validation)]
        all_xs = np.concatenate(parts).reshape(-1, 784) > 0.5
    print("| K, batch | who | epochs a second | ms a step | whole, over hand | later epochs |")
    print("|---|---|---|---|---|---|")
    shapes = [tuple(map(int, shape.split(","))) for shape in arguments.shape or ()] or SHAPES
    for num_samples, batch in shapes:
        num = arguments.examples if num_samples >= 50 else arguments.small_examples
        task = Task(all_xs[:num].astype(np.float32), num_samples, batch, arguments.epochs)
        measure(task, rounds=arguments.rounds, compilations=compilations)


if __name__ == "__main__":
    main()
