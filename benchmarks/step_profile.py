"""Where a training step of `fit` goes: the parts of it, each taken out of the same compiled loop.

    uv run python -m benchmarks.step_profile [--rounds 15] [--examples 20000]

The MNIST network, K = 1, batch 100, doubly reparameterized. "fit's loop" is a whole epoch of
`Steps.run`, as `fit` calls it; each further row is that epoch with one part replaced by something
that costs next to nothing, and its share is what is saved. Shares needn't add up: XLA fuses
neighbors, and a part that runs beside another costs less than alone. All are run in turn, medians.

- Adam: plain gradient descent in its place.
- gather: the same first rows at each step.
- draws: one constant noise for keys, folding and normals.
- densities: the sums written out for the library's distributions.
- by hand: the step of `_by_hand`, as one writes it, in a `lax.scan` over ready batches.

Alone: an epoch's order, as `fit` makes it and by `jax.random.permutation`, and a call of
`Steps.run` for no step, which is what a chunk of half a second costs beyond its steps; all by step.
Rows within the noise of each other say nothing: a negative share is noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import _by_hand as by_hand
from benchmarks._timing import TrainingLoop, interleaved
from benchmarks.training_step import ADAM, network, random_batches
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized
from tighter.models import VAE
from tighter.training.feed import InMemory
from tighter.training.order import Order
from tighter.training.steps import Steps, keys_of

BATCH, CHUNK_SECONDS = 100, 0.5
NOISE = np.random.default_rng(0).standard_normal(by_hand.LATENT).astype(np.float32)


class FirstRows(Steps):
    """Steps on the same examples, which are not gathered."""

    def batch(self, block, step):
        """The first rows, and the step's key."""
        return block.data[: self.batch_size], super().batch(block, step)[1]


class Drawn(eqx.Module):
    """The encoder's posterior with its draws, its density, or both written out."""

    mean: jax.Array
    log_sigma: jax.Array
    density: object
    constant: bool = eqx.field(static=True)

    def rsample(self, key, sample_shape=()):
        """A draw, or the same at any key."""
        shape = (*sample_shape, *self.mean.shape)
        noise = jnp.broadcast_to(NOISE, shape) if self.constant else jax.random.normal(key, shape)
        return self.mean + jnp.exp(self.log_sigma) * noise

    def log_prob(self, z):
        """Log q(z)."""
        if self.density is not None:
            return self.density.log_prob(z)
        scaled = (z - self.mean) * jnp.exp(-self.log_sigma)
        return -jnp.sum(0.5 * scaled**2 + self.log_sigma + 0.5 * jnp.log(2 * jnp.pi))


class Replaced(eqx.Module):
    """The network with constant draws, or with densities written out."""

    vae: VAE
    constant: bool = eqx.field(static=True, default=False)
    plain: bool = eqx.field(static=True, default=False)

    def posterior(self, x):
        """q(z | x)."""
        mean, log_sigma = self.vae.encoder(x)
        return Drawn(
            mean, log_sigma, None if self.plain else self.vae.posterior(x), constant=self.constant
        )

    def log_joint(self, x):
        """Z -> log p(x, z)."""
        if not self.plain:
            return self.vae.log_joint(x)

        def of(z):
            log_prior = -jnp.sum(0.5 * z**2 + 0.5 * jnp.log(2 * jnp.pi))
            return by_hand.given(self.vae.decoder(z), x) + log_prior

        return of


def epoch(
    data, *, model=None, optimizer=ADAM, kind: type[Steps] = Steps, until: int | None = None
) -> Callable[[], object]:
    """A call that takes the steps of an epoch, or fewer, from the start."""
    arrays, static = eqx.partition(model or network(), eqx.is_inexact_array)
    objective = Objective(IWAE(), DoublyReparameterized(), num_samples=1)
    num_steps = data.shape[0] // BATCH
    keys = keys_of(jax.random.key(0))
    steps = kind(
        static, objective, optimizer, None, BATCH, data.shape[0], jnp.asarray(num_steps), keys
    )
    state = steps.initial(arrays)
    last = jnp.asarray(num_steps if until is None else until)
    order = Order(keys.permutation, data.shape[0], BATCH)
    block, _ = InMemory(data, order).block(0)
    return lambda: steps.run(state, block, last)


def contestants(data: jax.Array) -> dict[str, Callable[[], object]]:
    """All that is timed, an epoch of steps a call but for the last two."""
    vae, num_examples = network(), data.shape[0]
    batches = data[: num_examples // BATCH * BATCH].reshape(-1, BATCH, 784)
    step = by_hand.variants("doubly reparameterized", 1)["given, one"]
    params = by_hand.initialize(jax.random.key(1))

    @jax.jit
    def permutation(key):
        return jax.random.permutation(key, num_examples)

    order = Order(keys_of(jax.random.key(0)).permutation, num_examples, BATCH)
    return {
        "fit's loop": epoch(data),
        "Adam": epoch(data, optimizer=optax.sgd(1e-4)),
        "gather": epoch(data, kind=FirstRows),
        "draws": epoch(data, model=Replaced(vae, constant=True)),
        "densities": epoch(data, model=Replaced(vae, plain=True)),
        "draws and densities": epoch(data, model=Replaced(vae, constant=True, plain=True)),
        "by hand": TrainingLoop(step, params, batches, ADAM, has_gradient=True),
        "order": lambda: order.rows(0, num_examples // BATCH),
        "permutation": lambda: permutation(jax.random.key(0)),
        "no step": epoch(data, until=0),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--examples", type=int, default=20_000)
    arguments = parser.parse_args()
    num_steps = arguments.examples // BATCH
    data = random_batches(arguments.examples, 1)[:, 0]
    seconds = interleaved(contestants(data), rounds=arguments.rounds)
    ms = {name: 1e3 * time / num_steps for name, time in seconds.items()}
    whole = ms["fit's loop"]
    print("| part | step with it replaced, ms | saved, ms | share |\n|---|---|---|---|")
    print(f"| none: fit's loop | {whole:.3f} | | 1 |")
    for name in list(ms)[1:-4]:
        print(f"| {name} | {ms[name]:.3f} | {whole - ms[name]:.3f} | {1 - ms[name] / whole:.3f} |")
    rest = whole - ms["by hand"]
    print(f"| all that by hand has not | {ms['by hand']:.3f} | {rest:.3f} | {rest / whole:.3f} |")
    print("\n| alone | ms a step | over the whole |\n|---|---|---|")
    handed = seconds["no step"] * whole / CHUNK_SECONDS
    for name, alone in (
        ("an epoch's order", ms["order"]),
        ("jax.random.permutation", ms["permutation"]),
        ("hand-over of a chunk", handed),
    ):
        print(f"| {name} | {alone:.4f} | {alone / whole:.4f} |")


if __name__ == "__main__":
    main()
