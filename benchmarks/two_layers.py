"""One layer of latents against Burda's two, on MNIST at equal epochs.

    uv run python -m benchmarks.two_layers ../shared/data/mnist [--epochs 40]

784–200–200–50 against 784–200–200–100 and 100–100–100–50 (bottom-up, and the ladder beside it),
tanh, binarized anew at each pass; IWAE, K = 5, and K = 50 of which 8 draws go backward. Batches of
100, Adam with ε = 1e-4, learning rate 2e-3 falling by a cosine. Published after 3280 epochs, with
batches of 20 (Burda, Grosse & Salakhutdinov, 2016, table 1): NLL 85.54 (22 active units) with one
layer and 83.89 (21 + 5) with two at K = 5, 84.78 (25) and 82.90 (26 + 7) at K = 50. Wanted: two
layers below one.
"""

from __future__ import annotations

import argparse
import functools
import time

import jax
import numpy as np
import optax

import tighter as tt
from tighter.bounds import IWAE
from tighter.data import Binarization, binarize, load
from tighter.diagnostics import active_units
from tighter.gradients import DoublyReparameterized
from tighter.models import VAE
from tighter.models.hierarchical import HierarchicalVAE

MODELS = {
    "one": functools.partial(VAE.create, num_latent=50, hidden=(200, 200)),
    "two, bottom-up": functools.partial(HierarchicalVAE.create, posterior="bottom-up"),
    "two, ladder": functools.partial(HierarchicalVAE.create, posterior="ladder"),
}
# Draws in a bound, and those of them that go backward.
DRAWS = {5: None, 50: 8}
BATCH, LEARNING_RATE, ADAM_EPSILON = 100, 2e-3, 1e-4
UNIT_DRAWS = 100

stochastic = functools.partial(binarize, binarization=Binarization.STOCHASTIC)


def main() -> None:
    """Print the table, a line a model."""
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
    test = np.asarray(stochastic(splits.test.x[: arguments.tested], key=jax.random.key(1)))
    print("| layers | K | test NLL | less one layer | active units | minutes |")
    print("|---|---|---|---|---|---|", flush=True)
    for num_samples in arguments.samples:
        first = None
        for name, create in MODELS.items():
            began = time.monotonic()
            num_steps = arguments.epochs * (len(train) // BATCH)
            rate = optax.cosine_decay_schedule(LEARNING_RATE, num_steps)
            model = tt.fit(
                create((28, 28), key=jax.random.key(0)).started(train),
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
                transform=stochastic,
            ).model
            minutes = (time.monotonic() - began) / 60
            value = tt.log_likelihood(
                model, test, num_samples=arguments.draws, key=jax.random.key(2)
            ).value
            first = value if first is None else first
            units = active_units(model, test, num_samples=UNIT_DRAWS, key=jax.random.key(3))
            active = " + ".join(str(count) for count in units.counts.values())
            print(
                f"| {name} | {num_samples} | {mean_and_error(-value)} "
                f"| {mean_and_error(first - value)} | {active} | {minutes:.1f} |",
                flush=True,
            )


def mean_and_error(values: np.ndarray) -> str:
    """Mean over test images and its standard error, in nats."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
