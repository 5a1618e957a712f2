"""The lower half of an MNIST image from the upper one, trained with more and more draws.

    uv run python -m benchmarks.structured_prediction ../shared/data/mnist [--epochs 40]

A conditional VAE of 50 latents and hidden layers of 200 and 200, tanh, whose prior is a network of
the upper half; binarized anew at each pass. IWAE, K = 1, 5, and 50 of which 8 draws go backward;
batches of 100, Adam with ε = 1e-4, learning rate 2e-3 falling by a cosine. The table has
−log p(lower half | upper half) in nats a datum. Wanted: falling in K.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
from jaxtyping import Array, Key

import tighter as tt
from benchmarks._trained import image_arguments, mean_and_error, trained
from tighter.data import Binarization, binarize, load
from tighter.diagnostics import active_units
from tighter.models.conditional import ConditionalVAE, halves

HALF, NUM_LATENT, HIDDEN = (14, 28), 50, (200, 200)

stochastic = functools.partial(binarize, binarization=Binarization.STOCHASTIC)


def main() -> None:
    """Print the table, a line a number of draws."""
    arguments = image_arguments(__doc__, (1, 5, 50))
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
        start = created.initialized_from(halves(train))
        model = trained(start, train, num_samples, arguments.epochs, binarized_halves)
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


if __name__ == "__main__":
    main()
