"""What a GPU takes: a step beside one by hand, bfloat16, MNIST to -90 nats, a U-Net's step.

    uv run --extra cuda python -m benchmarks.gpu [--data ../shared/data/mnist] [--quick]

Ten minutes at most. `--quick` is a small trial that any machine does in a minute.
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import tighter as tt
from benchmarks._timing import TrainingLoop, step_seconds
from benchmarks.training_step import ADAM, hand_loops, network, ours, random_batches
from tighter._precision import multiplied_in
from tighter.data import Binarization, binarize, load


def steps(*, num_steps: int, rounds: int) -> None:
    """Milliseconds a step of IWAE-50, batch 100, by hand and ours, in both precisions."""
    batches = random_batches(num_steps, 100)
    loops = dict(hand_loops("doubly reparameterized", 50, batches))
    by_hand = list(loops)
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=50)
    loss, arrays = ours(network(), objective)
    loops["float32"] = TrainingLoop(loss, arrays, batches, ADAM)

    def rounded(*arguments):
        with multiplied_in("bfloat16"):
            return loss(*arguments)

    loops["bfloat16"] = TrainingLoop(rounded, arrays, batches, ADAM)
    seconds = step_seconds(loops, rounds=rounds)
    least = min(seconds[name] for name in by_hand)
    print(f"step by hand {1e3 * least:.3f} ms")
    for name in ("float32", "bfloat16"):
        print(f"{name}: {seconds[name] / least:.3f} of it", flush=True)


def mnist(folder: Path, *, seconds: float) -> None:
    """IWAE-50 on stochastically binarized MNIST, in both precisions, until -90 nats or too late."""
    splits = load(folder, validation=0.02)
    transform = functools.partial(binarize, binarization=Binarization.STOCHASTIC)
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=50)
    for precision in ("float32", "bfloat16"):
        model = network().initialized_from(splits.train.x.reshape(-1, 784))
        began, bound, epochs = time.monotonic(), -np.inf, 0
        while bound < -90 and time.monotonic() - began < seconds:
            epochs += 5
            result = tt.fit(
                model, splits.train.x.reshape(-1, 784), objective, optimizer=optax.adam(1e-3),
                num_epochs=5, batch_size=100, key=jax.random.key(epochs), transform=transform,
                validation=splits.validation.x.reshape(-1, 784), precision=precision,
                show_progress=False,
            )  # fmt: skip
            model, bound = result.model, result.history[-1]["validation_bound"]
        spent = time.monotonic() - began
        print(f"MNIST, {precision}: {bound:.2f} nats, {epochs} epochs, {spent:.0f} s", flush=True)


def u_net(*, num_steps: int) -> None:
    """Milliseconds a step of the diffusion bound's U-Net on 28 x 28, batch 100."""
    xs = np.random.default_rng(0).random((100 * num_steps, 28, 28), dtype=np.float32)
    model = tt.models.DiffusionModel.create((28, 28), denoiser="unet", key=jax.random.key(0))
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(arrays, x, key):
        return -jnp.mean(tt.models.DiffusionBound().batch(eqx.combine(arrays, static), x, key=key))

    batches = jnp.asarray(xs).reshape(num_steps, 100, 28, 28)
    seconds = step_seconds({"": TrainingLoop(loss, arrays, batches, ADAM)}, rounds=3)
    print(f"U-Net, batch 100: {1e3 * seconds['']:.2f} ms a step", flush=True)


def main() -> None:
    """Print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(jax.devices()[0].device_kind)
    steps(num_steps=5 if arguments.quick else 500, rounds=1 if arguments.quick else 9)
    if arguments.data.is_dir():
        mnist(arguments.data, seconds=1 if arguments.quick else 120)
    if not arguments.quick:
        u_net(num_steps=50)


if __name__ == "__main__":
    main()
