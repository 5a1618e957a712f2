"""MNIST images with their labels, and the two halves of images, with each joint posterior.

    uv run python -m benchmarks.multimodal [--images 20000] [--epochs 30]

An encoder and a decoder of 200 units a modality, 20 latents, IWAE-6 by the generalized double
reparameterization, Adam 1e-3, batch 100; images binarized once, at random. "Some left out": in
training each example lacks one of its modalities with probability ½, anew at each pass. Log p is
of the complete test images, IWAE of `--num-samples` draws, with its standard error over images.
Coherence is by logistic regressions on the training images, whose accuracy is printed; the row
"data" is what they say of the test images themselves.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression

import tighter as tt
from tighter.bounds import IWAE, Bound
from tighter.data import Dataset, load
from tighter.diagnostics.coherence import Classifier, cross_coherence, joint_coherence
from tighter.gradients import GeneralizedDoublyReparameterized
from tighter.models.multimodal.joint import ExpertByExpert
from tighter.models.multimodal.model import MultimodalVAE


class Setting(NamedTuple):
    """Two modalities of the same images."""

    shapes: dict[str, tuple[int, ...]]
    observations: dict[str, str]
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


def settings(train: Dataset, test: Dataset, seed: int) -> dict[str, Setting]:
    rng = np.random.default_rng(seed)
    parts: dict[str, list[dict[str, np.ndarray]]] = {"image and label": [], "two halves": []}
    for data in (train, test):
        pixels = data.x.reshape(len(data), 784)
        image = (rng.random(pixels.shape, np.float32) < pixels).astype(np.float32)
        label = np.asarray(data.labels, np.float32)[:, None]
        parts["image and label"].append({"image": image, "label": label})
        parts["two halves"].append({"upper": image[:, :392], "lower": image[:, 392:]})
    families = {"image": "bernoulli", "label": "categorical:10"}
    return {
        name: Setting(
            {key: column.shape[1:] for key, column in columns[0].items()},
            {key: families.get(key, "bernoulli") for key in columns[0]},
            *columns,
        )
        for name, columns in parts.items()
    }


def classifiers(setting: Setting, labels: np.ndarray) -> dict[str, Classifier]:
    made: dict[str, Classifier] = {}
    for name, column in setting.train.items():
        if name == "label":
            made[name] = lambda x: x[:, 0].astype(int)
        else:
            regression = LogisticRegression(C=0.1, tol=1e-2).fit(column, labels)
            made[name] = regression.predict
    return made


def leave_out(batch: dict[str, jax.Array], *, key: jax.Array) -> dict[str, jax.Array]:
    """Each example as it is with probability ½, else without one of the two modalities."""
    which = jax.random.randint(key, next(iter(batch.values())).shape[:1], 0, 4)
    names = sorted(batch)
    return {
        name: jnp.where((which == names.index(name))[:, None], jnp.nan, column)
        for name, column in batch.items()
    }


ROWS = {  # posterior, bound, what is done to batches
    "product": ("product", IWAE(), None),
    "product, some left out": ("product", IWAE(), leave_out),
    "mixture": ("mixture", IWAE(), None),
    "mixture, expert by expert": ("mixture", ExpertByExpert(IWAE(), 2), None),
    "mixture of products": ("mixture-of-products", IWAE(), None),
    "mixture of products, some left out": ("mixture-of-products", IWAE(), leave_out),
}


def row(name: str, cells: list[str]) -> None:
    print(f"| {' | '.join([name, *cells])} |", flush=True)


def main() -> None:
    """Print a table a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--data", default="../shared/data/mnist")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    mnist = load(arguments.data)
    train = mnist.train.take(np.arange(arguments.images))
    test = mnist.test.take(np.arange(arguments.test_images))
    train_labels, labels = np.asarray(train.labels), np.asarray(test.labels)
    for title, setting in settings(train, test, arguments.seed).items():
        known = classifiers(setting, train_labels)
        said = {name: np.asarray(known[name](setting.test[name])) for name in known}
        first, second = said
        print(f"\n{title}: {arguments.images} images, {arguments.epochs} epochs\n")
        row("posterior", ["log p, nats", "median ESS", "joint", f"{first} → {second}",
                          f"{second} → {first}", "ms a step"])  # fmt: skip
        row("---", ["---"] * 6)
        agree = np.mean(said[first] == said[second])
        right = [f"{np.mean(said[name] == labels):.3f}" for name in (second, first)]
        row("data", ["", "", f"{agree:.3f}", *right, ""])
        for name, (posterior, bound, transform) in ROWS.items():
            row(name, measured(setting, posterior, bound, transform, known, labels, arguments))


def measured(
    setting: Setting,
    posterior: str,
    bound: Bound,
    transform: Any,
    known: dict[str, Classifier],
    labels: np.ndarray,
    arguments: argparse.Namespace,
) -> list[str]:
    model_key, fit_key, *keys = jax.random.split(jax.random.key(arguments.seed), 5)
    model = MultimodalVAE.create(
        setting.shapes, num_latent=20, hidden=(200,), observations=setting.observations,
        posterior=posterior, key=model_key,
    ).initialized_from(setting.train)  # fmt: skip
    objective = tt.Objective(bound, GeneralizedDoublyReparameterized(), num_samples=6)
    result = tt.fit(
        model, setting.train, objective, optimizer=optax.adam(1e-3), num_epochs=arguments.epochs,
        batch_size=100, key=fit_key, transform=transform, show_progress=False,
    )  # fmt: skip
    model, last = result.model, result.history[-1]
    found = tt.log_likelihood(
        model, setting.test, num_samples=arguments.num_samples, key=keys[0], show_progress=False
    )
    error = found.value.std(ddof=1) / np.sqrt(len(found.value))
    joint = joint_coherence(model, known, num_samples=2000, key=keys[1])
    cross = cross_coherence(model, setting.test, labels, known, key=keys[2])
    first, second = known
    shares = [joint, cross[first, second], cross[second, first]]
    told = [f"{share.value:.3f} ± {share.standard_error:.3f}" for share in shares]
    return [f"{found.value.mean():.2f} ± {error:.2f}", f"{np.median(found.ess):.0f}", *told,
            f"{1e3 / last['steps_per_second']:.1f}"]  # fmt: skip


if __name__ == "__main__":
    main()
