"""The log-likelihood's speed against a chunked loop written by hand, and its memory in K.

    uv run python -m benchmarks.log_likelihood [--examples 40] [--rounds 5]

Speed: K = 5000, the MNIST network, ratio of interleaved medians, by hand and against the matrix
products alone. Memory: peak resident size of a
fresh process each, at K = 500 and K = 50,000.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _by_hand as by_hand
from benchmarks._timing import interleaved
from tighter import log_likelihood
from tighter.models import VAE

LATENT, CHUNK = 50, 512


def hand_written(params, xs, num_samples, key):
    """Blocks of eight examples, chunks of 512 draws, a streaming log-sum-exp: value alone."""

    @jax.jit
    def block(params, xs, key):
        mu, log_sigma = jnp.split(by_hand.network(params["encoder"], xs), 2, axis=-1)

        def step(carry, i):
            size = (CHUNK, xs.shape[0], LATENT)
            eps = jax.random.normal(jax.random.fold_in(key, i), size)
            z = mu + jnp.exp(log_sigma) * eps
            logits = by_hand.network(params["decoder"], z.reshape(-1, LATENT))
            logits = logits.reshape(CHUNK, xs.shape[0], 784)
            softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
            log_w = jnp.sum(xs * logits - softplus, -1)
            log_w += jnp.sum(-0.5 * z**2 + 0.5 * eps**2 + log_sigma, -1)
            taken = (i * CHUNK + jnp.arange(CHUNK))[:, None] < num_samples
            log_w = jnp.where(taken, log_w, -jnp.inf)
            return jnp.logaddexp(carry, jax.nn.logsumexp(log_w, axis=0)), None

        chunks = jnp.arange(-(-num_samples // CHUNK))
        total, _ = jax.lax.scan(step, jnp.full(xs.shape[0], -jnp.inf), chunks)
        return total - jnp.log(num_samples)

    parts = [block(params, xs[i : i + 8], jax.random.fold_in(key, i)) for i in range(0, len(xs), 8)]
    return np.concatenate([np.asarray(part) for part in parts])


def peak_megabytes(num_samples: int) -> float:
    """Peak resident size of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.log_likelihood", "--memory-of", str(num_samples)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed)


def products_alone(params, num_rows):
    """The decoder's three matrix products and no more, a block of 4,096 rows at a time."""
    weights = [layer["w"] for layer in params["decoder"]]

    @jax.jit
    def all_blocks(z):
        def one(i, total):
            hidden = z + i
            for weight in weights:
                hidden = hidden @ weight
            return jnp.maximum(total, jnp.max(hidden, axis=0))  # all of it is wanted

        return jax.lax.fori_loop(0, num_rows // 4096, one, jnp.zeros(weights[-1].shape[1]))

    return all_blocks(jnp.ones((4096, LATENT)))


def main() -> None:
    """Print speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", type=int)
    arguments = parser.parse_args()
    model = VAE.create((784,), num_latent=LATENT, hidden=(200, 200), key=jax.random.key(0))
    xs = (jax.random.uniform(jax.random.key(1), (arguments.examples, 784)) < 0.13) * 1.0
    if arguments.memory_of:
        log_likelihood(model, xs[:8], num_samples=arguments.memory_of, key=jax.random.key(2))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    params = by_hand.initialize(jax.random.key(0))
    key = jax.random.key(2)
    seconds = interleaved(
        {
            "tighter": lambda: log_likelihood(model, xs, num_samples=5000, key=key).value,
            "by hand": lambda: hand_written(params, xs, 5000, key),
            "products alone": lambda: products_alone(params, 5000 * arguments.examples),
        },
        rounds=arguments.rounds,
    )
    operations = 2 * 5000 * arguments.examples * (50 * 200 + 200 * 200 + 200 * 784)
    for name, time in seconds.items():
        print(f"{name}: {time:.2f} s, {operations / time / 1e9:.0f} GFLOP/s in matrix products")
    print(f"share of the products' speed: {seconds['products alone'] / seconds['tighter']:.3f}")
    print(f"speed over by hand: {seconds['by hand'] / seconds['tighter']:.3f}")
    small, large = peak_megabytes(500), peak_megabytes(50_000)
    print(f"peak memory: {small:.0f} MB at K = 500, {large:.0f} MB at 50,000: {large / small:.3f}")


if __name__ == "__main__":
    main()
