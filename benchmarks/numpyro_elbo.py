"""A step of numpyro's SVI with our loss against the same step with numpyro's own.

    uv run python -m benchmarks.numpyro_elbo [--rounds 40]

Ratios of interleaved medians of `svi.update` in a compiled `lax.scan`, as it is run in training:
ours over `Trace_ELBO` (the bound ELBO) and over `RenyiELBO` with α = 0 (IWAE), both with the total
derivative; beside them the double reparameterization over the same. A logistic regression with
global latents, and a variational autoencoder with local ones in a subsampled plate.
"""

from __future__ import annotations

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

from benchmarks._timing import interleaved
from tighter import Objective
from tighter.bounds import ELBO as ELBOBound
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized, Reparameterized
from tighter.integrations.numpyro import ELBO

DRAWS = (1, 10, 50)
ROWS, COLUMNS, LATENTS, HIDDEN, BATCH = 2000, 200, 20, 100, 100


def regression(x, y):
    weights = numpyro.sample("weights", dist.Normal(jnp.zeros(COLUMNS), 1.0).to_event(1))
    with numpyro.plate("data", ROWS):
        numpyro.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def network(name, x, width):
    """One hidden layer."""
    keys = jax.random.split(jax.random.key(len(name)))
    shapes = ((x.shape[-1], HIDDEN), (HIDDEN, width))
    first, second = (
        numpyro.param(f"{name}{i}", 0.05 * jax.random.normal(key, shape))
        for i, (key, shape) in enumerate(zip(keys, shapes, strict=True))
    )
    return jnp.tanh(x @ first) @ second


def autoencoder(x, y):
    del y
    with numpyro.plate("data", ROWS, subsample_size=BATCH):
        x = numpyro.subsample(x > 0, event_dim=1).astype(float)
        z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENTS), 1.0).to_event(1))
        logits = network("decoder", z, COLUMNS)
        numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def encoder(x, y):
    del y
    with numpyro.plate("data", ROWS, subsample_size=BATCH):
        x = numpyro.subsample(x > 0, event_dim=1).astype(float)
        loc, log_scale = jnp.split(network("encoder", x, 2 * LATENTS), 2, axis=-1)
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def loop(model, guide, loss, *data, num_steps):
    """A compiled loop of updates that keeps its state, called without arguments."""
    svi = SVI(model, guide, optax.adam(1e-3), loss)
    # A copy, for it is donated, and an autoguide keeps the arrays that it starts from.
    held = [jax.tree.map(jnp.copy, svi.init(jax.random.key(0), *data))]

    @partial(jax.jit, donate_argnums=0)
    def run(state, data):
        return jax.lax.scan(lambda s, _: svi.update(s, *data), state, length=num_steps)

    def call():
        held[0], losses = run(held[0], data)
        return losses

    return call


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    numpyro.enable_validation(is_validate=False)
    x = jax.random.normal(jax.random.key(1), (ROWS, COLUMNS))
    y = (x[:, 0] > 0).astype(float)
    problems = {
        "regression": (regression, AutoNormal(regression)),
        "autoencoder": (autoencoder, encoder),
    }
    print("| model | K | numpyro's, ms | ours | doubly reparameterized |\n|---|---|---|---|---|")
    for name, (model, guide) in problems.items():
        for num in DRAWS:
            for theirs, bound in (
                (Trace_ELBO(num_particles=num), ELBOBound()),
                (RenyiELBO(alpha=0, num_particles=num), IWAE()),
            ):
                losses = {
                    "theirs": theirs,
                    "ours": ELBO(Objective(bound, Reparameterized(), num_samples=num)),
                    "double": ELBO(Objective(bound, DoublyReparameterized(), num_samples=num)),
                }
                num_steps = max(10, 200 // num)
                loops = {
                    key: loop(model, guide, loss, x, y, num_steps=num_steps)
                    for key, loss in losses.items()
                }
                seconds = interleaved(loops, rounds=rounds)
                theirs_ms = 1e3 * seconds["theirs"] / num_steps
                print(
                    f"| {name}, {type(theirs).__name__} | {num} | {theirs_ms:.2f} "
                    f"| {seconds['ours'] / seconds['theirs']:.3f} "
                    f"| {seconds['double'] / seconds['theirs']:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
