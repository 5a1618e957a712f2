"""Digits clustered without their labels: a VAE whose prior is a mixture of ten Gaussians.

    uv run python -m benchmarks.clusters ../shared/data/mnist [--epochs 20] [--seeds 3]

A VAE with the standard prior is trained first; k-means on its encodings starts the mixture, with
which training goes on (Jiang et al., "Variational deep embedding", 2017). An example's cluster is
its likeliest component; the accuracy is that of the best assignment of clusters to digits, on the
test set. For comparison k-means on pixels and on the first model's encodings.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.cluster import KMeans

import tighter as tt
from tighter.data import Binarization, binarize, load
from tighter.models import VAE, MixturePrior, cluster, clustering_accuracy

stochastic = functools.partial(binarize, binarization=Binarization.STOCHASTIC)


def trained(model, xs, epochs: int, seed: int):
    """The model after some epochs of the ELBO."""
    steps = epochs * (len(xs) // 100)
    return tt.fit(
        model,
        xs,
        tt.Objective(tt.bounds.ELBO(), num_samples=1),
        optimizer=optax.adam(optax.cosine_decay_schedule(2e-3, steps)),
        num_epochs=epochs,
        batch_size=100,
        key=jax.random.key(seed),
        transform=stochastic,
        show_progress=False,
    ).model


def main() -> None:
    """Print accuracies and bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--latent", type=int, default=10)
    arguments = parser.parse_args()
    splits = load(arguments.mnist)
    train, test = splits.train.x[: arguments.examples], splits.test.x
    labels = np.asarray(splits.test.labels)
    pixels = KMeans(10, n_init=3, random_state=0).fit(train[:10_000].reshape(-1, 784))
    of_pixels = clustering_accuracy(labels, pixels.predict(test.reshape(-1, 784)))
    print(f"k-means on pixels: {of_pixels:.3f}")
    binary = np.asarray(stochastic(jnp.asarray(test), key=jax.random.key(1)))
    for seed in range(arguments.seeds):
        key = jax.random.key(seed)
        hidden, latent = (500, 500), arguments.latent
        model = VAE.create((28, 28), num_latent=latent, hidden=hidden, key=key).initialized_from(
            train
        )
        model = trained(model, train, arguments.epochs, seed)
        encode = jax.jit(jax.vmap(lambda x: model.posterior(x).mean))  # noqa: B023
        encodings, of_test = np.asarray(encode(train)), np.asarray(encode(binary))
        means = KMeans(10, n_init=3, random_state=seed).fit(encodings)
        before = clustering_accuracy(labels, means.predict(of_test))
        prior = MixturePrior.from_encodings(encodings, 10, key=key)
        model = dataclasses.replace(model, prior_family=prior)
        model = trained(model, train, arguments.epochs, seed + 100)
        after = clustering_accuracy(labels, cluster(model, binary, key=key))
        bound = tt.Objective(tt.bounds.ELBO(), num_samples=10)
        elbo = jax.jit(lambda model, xs: jnp.mean(bound.batch(model, xs, key=key)))  # noqa: B023
        print(
            f"seed {seed}: k-means on encodings {before:.3f}, mixture {after:.3f}, "
            f"ELBO {elbo(model, binary[:1000]):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
