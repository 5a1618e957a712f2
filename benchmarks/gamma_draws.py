"""Draws of a Gamma and a Dirichlet with their gradients, against jax's own.

    uv run python -m benchmarks.gamma_draws [--rounds 20]

(512, 50) draws and the gradient by every concentration, interleaved medians.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import interleaved
from tighter.distributions import Dirichlet, Gamma

RANGES = [(0.01, 0.1), (0.1, 1.0), (1.0, 10.0), (10.0, 1000.0)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    key = jax.random.key(0)
    pairs = {
        "gamma": (lambda a: Gamma(a).rsample(key), lambda a: jax.random.gamma(key, a)),
        "dirichlet": (
            lambda a: Dirichlet(a).rsample(key)[:, 0],
            lambda a: jax.random.dirichlet(key, a)[:, 0],
        ),
    }
    print("| family | concentrations | jax's, ms | ours, ms | ours over jax's |")
    print("|---|---|---|---|---|")
    for name, (ours, theirs) in pairs.items():
        for low, high in RANGES:
            log_range = {"minval": np.log(low), "maxval": np.log(high)}
            a = jnp.exp(jax.random.uniform(key, (512, 50), **log_range))
            slopes = {
                who: jax.jit(jax.grad(lambda a, f=f: jnp.sum(f(a))))
                for who, f in (("ours", ours), ("jax", theirs))
            }
            calls = {who: (lambda slope=slope, a=a: slope(a)) for who, slope in slopes.items()}
            seconds = interleaved(calls, rounds=rounds)
            print(
                f"| {name} | {low:g}–{high:g} | {1e3 * seconds['jax']:.1f} | "
                f"{1e3 * seconds['ours']:.1f} | {seconds['ours'] / seconds['jax']:.3f} |"
            )


if __name__ == "__main__":
    main()
