"""How the image benchmarks train: IWAE, doubly reparameterized, Adam with a falling rate."""

from __future__ import annotations

import argparse
from typing import Any

import jax
import numpy as np
import optax

import tighter as tt
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized

# Of so many draws, as many go backward; of others all.
_BACKWARD = {50: 8}
_BATCH, _LEARNING_RATE, _ADAM_EPSILON = 100, 2e-3, 1e-4


def image_arguments(description: str | None, samples: tuple[int, ...]) -> argparse.Namespace:
    """The command line: the images, how long to train, how much to test."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("mnist")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--examples", type=int, help="of the training set; all if left out")
    parser.add_argument("--tested", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=5000, help="in the test log-likelihood")
    parser.add_argument("--samples", type=int, nargs="+", default=samples, help="K")
    return parser.parse_args()


def trained(model: Any, train: np.ndarray, num_samples: int, epochs: int, transform: Any) -> Any:
    """The model after some epochs in batches of 100, with K draws."""
    rate = optax.cosine_decay_schedule(_LEARNING_RATE, epochs * (len(train) // _BATCH))
    backward = _BACKWARD.get(num_samples)
    return tt.fit(
        model,
        train,
        tt.Objective(IWAE(), DoublyReparameterized(), num_samples, num_backward=backward),
        optimizer=optax.adam(rate, eps=_ADAM_EPSILON),
        num_epochs=epochs,
        batch_size=_BATCH,
        key=jax.random.key(0),
        transform=transform,
    ).model


def mean_and_error(values: np.ndarray) -> str:
    """Mean over test images and its standard error, in nats."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"
