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

import functools
import time

import jax
import numpy as np

import tighter as tt
from benchmarks._trained import image_arguments, mean_and_error, trained
from tighter.data import Binarization, binarize, load
from tighter.diagnostics import active_units
from tighter.models import VAE
from tighter.models.hierarchical import HierarchicalVAE

MODELS = {
    "one": functools.partial(VAE.create, num_latent=50, hidden=(200, 200)),
    "two, bottom-up": functools.partial(HierarchicalVAE.create, posterior="bottom-up"),
    "two, ladder": functools.partial(HierarchicalVAE.create, posterior="ladder"),
}
UNIT_DRAWS = 100

stochastic = functools.partial(binarize, binarization=Binarization.STOCHASTIC)


def main() -> None:
    """Print the table, a line a model."""
    arguments = image_arguments(__doc__, (5, 50))
    splits = load(arguments.mnist)
    train = splits.train.x[: arguments.examples]
    test = np.asarray(stochastic(splits.test.x[: arguments.tested], key=jax.random.key(1)))
    print("| layers | K | test NLL | less one layer | active units | minutes |")
    print("|---|---|---|---|---|---|", flush=True)
    for num_samples in arguments.samples:
        first = None
        for name, create in MODELS.items():
            began = time.monotonic()
            start = create((28, 28), key=jax.random.key(0)).initialized_from(train)
            model = trained(start, train, num_samples, arguments.epochs, stochastic)
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


if __name__ == "__main__":
    main()
