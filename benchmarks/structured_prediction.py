"""The lower half of an MNIST image from the upper one, trained with more and more draws.

    uv run python -m benchmarks.structured_prediction ../shared/data/mnist [--epochs 40]

A conditional VAE of 50 latents and hidden layers of 200 and 200, tanh, whose prior is a network of
the upper half; binarized anew at each pass. IWAE, K = 1, 5, and 50 of which 8 draws go backward;
batches of 100, Adam with ε = 1e-4, learning rate 2e-3 falling by a cosine. The table has
−log p(lower half | upper half) in nats a datum. Wanted: falling in K.
"""

from __future__ import annotations

import argparse
import functools
import time
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

import tighter as tt
from tighter.bounds import IWAE
from tighter.data import Binarization, binarize, load
from tighter.diagnostics import active_units
from tighter.gradients import DoublyReparameterized
from tighter.models.conditional import ConditionalVAE, halves

# Draws in a bound, and those of them that go backward.
DRAWS = {1: None, 5: None, 50: 8}
HALF, NUM_LATENT, HIDDEN = (14, 28), 50, (200, 200)
BATCH, LEARNING_RATE, ADAM_EPSILON = 100, 2e-3, 1e-4

stochastic = functools.partial(binarize, binarization=Binarization.STOCHASTIC)


def main() -> None:
    """Print the table, a line a number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--examples", type=int, help="of the training set; all if left out")
    parser.add_argument("--tested", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=5000, help="in the test log-likelihood")
    parser.add_argument("--samples", type=int, nargs="+", default=list(DRAWS), help="K")
    arguments = parser.parse_args()
    splits = load(arguments.mnist)
    train = splits.train.x[: arguments.examples]
    test = binarized_halves(splits.test.x[: arguments.tested], key=jax.random.key(1))
    created = ConditionalVAE.create(
        HALF,
        HALF,
        num_latent=NUM_LATENT,
        hidden=HIDDEN,
        conditional_prior=True,
        key=jax.random.key(0),
    )
    print("| K | test NLL | less the first | active units | minutes |")
    print("|---|---|---|---|---|", flush=True)
    first = None
    for num_samples in arguments.samples:
        began = time.monotonic()
        num_steps = arguments.epochs * (len(train) // BATCH)
        rate = optax.cosine_decay_schedule(LEARNING_RATE, num_steps)
        model = tt.fit(
            created.started(halves(train)),
            train,
            tt.Objective(
                IWAE(),
                DoublyReparameterized(),
                num_samples,
                num_backward=DRAWS.get(num_samples),
            ),
            optimizer=optax.adam(rate, eps=ADAM_EPSILON),
            num_epochs=arguments.epochs,
            batch_size=BATCH,
            key=jax.random.key(0),
            transform=binarized_halves,
        ).model
        minutes = (time.monotonic() - began) / 60
        value = tt.log_likelihood(
            model, test, num_samples=arguments.draws, key=jax.random.key(2)
        ).value
        first = value if first is None else first
        print(
            f"| {num_samples} | {mean_and_error(-value)} | {mean_and_error(first - value)} "
            f"| {active_units(model, test).count} | {minutes:.1f} |",
            flush=True,
        )


def binarized_halves(images: Any, *, key: Key[Array, ""]) -> dict[str, Array]:
    """The parts of binarized images."""
    return halves(stochastic(images, key=key))


def mean_and_error(values: np.ndarray) -> str:
    """Mean over test images and its standard error, in nats."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
