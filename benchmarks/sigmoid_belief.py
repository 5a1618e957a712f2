"""Variances of the estimators for Bernoulli latents, on sigmoid belief networks.

    uv run python -m benchmarks.sigmoid_belief MNIST [--replicates 400]

MNIST is a folder of IDX files. Networks with one to three layers of 200, weights as they start, ten
images; the ELBO's gradient by the posterior's logits' weights, by nested expectations with two
evaluations a layer. Wanted: DisARM ≤ ARM, DisARM ≤ leave-one-out ≤ plain.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import tighter as tt
from tighter.data import load
from tighter.gradients import ARM, DisARM, LeaveOneOut, ScoreFunction

UNITS = 200
ESTIMATORS = {
    "DisARM": DisARM(),
    "ARM": ARM(),
    "leave-one-out": ScoreFunction(baseline=LeaveOneOut()),
    "plain": ScoreFunction(),
}


def initialize(key, layers):
    """Weights up (posterior) and down (model) between neighboring layers."""
    sizes = [784, *[UNITS] * layers]
    keys = jax.random.split(key, 2 * layers)
    return [
        {
            "up": jax.random.normal(keys[2 * i], (sizes[i], sizes[i + 1])) / sizes[i] ** 0.5,
            "down": jax.random.normal(keys[2 * i + 1], (sizes[i + 1], sizes[i])) / UNITS**0.5,
        }
        for i in range(layers)
    ]


def bernoulli(logits):
    return dist.Bernoulli(logits=logits, validate_args=False).to_event(1)


def elbo(params, x, gradient, key):
    """Expectation over the first layer of the expectation over the second, and so on."""

    def above(index, below, key):
        if index == len(params):
            return bernoulli(jnp.zeros(UNITS)).log_prob(below)
        own_key, next_key = jax.random.split(key)
        q = bernoulli(below @ params[index]["up"])

        def f(z):
            z = jnp.asarray(z, float)
            joint = bernoulli(z @ params[index]["down"]).log_prob(below)
            return joint - q.log_prob(z) + above(index + 1, z, next_key)

        return tt.expectation(f, q, gradient=gradient, num_samples=2, key=own_key)

    return above(0, x, key)


def main() -> None:
    """Print a line for each depth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist")
    parser.add_argument("--replicates", type=int, default=400)
    arguments = parser.parse_args()
    xs = jnp.asarray(load(arguments.mnist).train.x[:10].reshape(10, -1) > 0.5, float)
    print(f"| layers | {' | '.join(ESTIMATORS)} |\n|---|---|---|---|---|")
    for layers in (1, 2, 3):
        params = initialize(jax.random.key(0), layers)
        spreads = []
        for gradient in ESTIMATORS.values():

            @jax.jit
            def variance(params, gradient=gradient):
                def loss(params, key):
                    keys = jax.random.split(key, len(xs))
                    # One image at a time: with one more axis XLA's matrix products crash on CPUs.
                    of_one = jax.lax.map(lambda a: elbo(params, a[0], gradient, a[1]), (xs, keys))
                    return jnp.mean(of_one)

                def add(i, sums):
                    slopes = jax.grad(loss)(params, jax.random.fold_in(jax.random.key(1), i))
                    slopes = [layer["up"] for layer in slopes]
                    return [(a + s, b + s**2) for (a, b), s in zip(sums, slopes, strict=True)]

                zeros = [(jnp.zeros_like(p["up"]),) * 2 for p in params]
                num = arguments.replicates
                sums = jax.lax.fori_loop(0, num, add, zeros)
                return sum(jnp.sum(b / num - (a / num) ** 2) for a, b in sums)

            spreads.append(float(variance(params)))
        print(f"| {layers} | {' | '.join(f'{s:.4g}' for s in spreads)} |", flush=True)


if __name__ == "__main__":
    main()
