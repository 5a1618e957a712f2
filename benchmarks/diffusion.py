"""Diffusion models against exact answers, a VAE, and a step written by hand.

    uv run python -m benchmarks.diffusion mixture              two minutes
    uv run python -m benchmarks.diffusion digits               three minutes
    uv run python -m benchmarks.diffusion ../shared/data/mnist ten minutes
    uv run python -m benchmarks.diffusion step                 one minute

`mixture`: six Gaussians in a ring, in two dimensions; the bound of a trained network beside minus
the exact entropy (quadrature); expected within .05 nat. `digits` and a folder of MNIST: bits a
dimension of dequantized pixels by a U-Net, beside those of a VAE (importance sampling) on the same
data, and a picture of samples. `step`: the time of a training step over that of the same written by
hand, interleaved medians; expected at most 1.05.
"""

from __future__ import annotations

import argparse
import functools
import math
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import tighter as tt
from benchmarks._timing import TrainingLoop, step_seconds
from tighter.data import load
from tighter.data.pixels import dequantize, levels_of
from tighter.models import VAE, Standardized
from tighter.models.diffusion import DiffusionBound, DiffusionModel, diffusion_terms
from tighter.models.observations import observation_from_name

CENTERS = 2.0 * np.stack(
    [np.cos(np.arange(6) * math.pi / 3), np.sin(np.arange(6) * math.pi / 3)], 1
)
SPREAD = 0.3
ADAM = optax.adam(1e-3)


def trained(model, xs, objective, *, steps, batch, rate, transform=None, average=None):
    """The model after some steps with a cosine schedule, and the seconds that they took."""
    epochs = max(1, round(steps * batch / len(xs)))
    rates = optax.warmup_cosine_decay_schedule(
        0.0, rate, 100, epochs * (len(xs) // batch), 0.02 * rate
    )
    began = time.perf_counter()
    result = tt.fit(
        model, xs, objective, optimizer=optax.adam(rates),
        num_epochs=epochs, batch_size=batch, transform=transform, average=average,
        key=jax.random.key(0), show_progress=False,
    )  # fmt: skip
    return result.model, time.perf_counter() - began


def mixture(steps: int, schedules: list[str]) -> None:
    """The bound beside minus the entropy."""

    def draw(num, seed):
        rng = np.random.default_rng(seed)
        noise = SPREAD * rng.normal(size=(num, 2))
        return (CENTERS[rng.integers(6, size=num)] + noise).astype(np.float32)

    def log_density(points):
        squares = ((points[..., None, :] - CENTERS) ** 2).sum(-1)
        normalizer = math.log(6 * 2 * math.pi * SPREAD**2)
        return np.logaddexp.reduce(-squares / (2 * SPREAD**2), axis=-1) - normalizer

    grid = np.linspace(-4.5, 4.5, 1001)
    logs = log_density(np.stack(np.meshgrid(grid, grid), -1))
    exact = (np.exp(logs) * logs).sum() * (grid[1] - grid[0]) ** 2
    test = draw(50_000, 1)
    expected = log_density(test).mean()
    print(f"minus the entropy: {exact:.4f} nats, {expected:.4f} on the test points")
    xs = draw(100_000, 0)
    for schedule in schedules:
        for prediction in ("v", "epsilon"):
            model = DiffusionModel.create(
                (2,), hidden=(128, 128), schedule=schedule, prediction=prediction,
                key=jax.random.key(1),
            )  # fmt: skip
            model, seconds = trained(
                model.initialized_from(xs), xs, DiffusionBound(), steps=steps, batch=500, rate=2e-3,
                average=0.999,
            )  # fmt: skip
            told = diffusion_terms(model, test, num_times=32, levels=1, key=jax.random.key(2))
            drawn = np.asarray(
                model.sample(jax.random.key(3), 5000, num_steps=100, schedule="cosine")
            )
            nearest = ((drawn[:, None] - CENTERS) ** 2).sum(-1)
            shares = np.bincount(nearest.argmin(1), minlength=6) / len(drawn)
            print(
                f"{schedule}, {prediction}: bound {told.bound.mean:.4f} ± "
                f"{told.bound.standard_error:.4f}, gap {expected - told.bound.mean:.4f}; "
                f"{seconds:.0f} s; samples: shares {shares.min():.3f} to {shares.max():.3f}, "
                "spread "
                f"{np.sqrt(nearest.min(1).mean() / 2):.3f} (true {SPREAD})",
                flush=True,
            )


def images(source: str, steps: int, vae_steps: int, hidden: tuple[int, ...], examples: int) -> None:
    """Bits a dimension of a U-Net and of a VAE, and a picture of samples."""
    splits = load(source)
    levels = levels_of(splits.train.x)
    noisy = functools.partial(dequantize, levels=levels)
    key = jax.random.key(4)
    train = splits.train.x
    test = np.asarray(noisy(jnp.asarray(splits.test.x[:examples]), key=key))
    started = np.asarray(noisy(jnp.asarray(train), key=key))
    size = test[0].size

    def bits(nats):
        return -nats / (size * math.log(2)) + math.log2(levels)

    model = DiffusionModel.create(
        train.shape[1:], denoiser="unet", hidden=hidden, fourier=(4, 5, 6), key=key
    ).initialized_from(started)
    model, seconds = trained(
        model, train, DiffusionBound(), steps=steps, batch=64, rate=2e-3, transform=noisy,
        average=0.999 if steps > 4000 else 0.995,
    )  # fmt: skip
    told = diffusion_terms(model, test, num_times=16, levels=levels, key=key)
    print(f"{source}: U-Net {hidden}, {steps} steps, {seconds:.0f} s, {levels} levels")
    for name, mean in told._asdict().items():
        print(f"  {name}: {mean.mean:.4f} ± {mean.standard_error:.4f}", flush=True)
    began = time.perf_counter()
    draw = model.sample(key, 64, num_steps=100, schedule="cosine")
    fast = model.sample(key, 64, num_steps=25, method="ddim", schedule="cosine")
    half = test[:16].copy()
    half[:, : half.shape[1] // 2] = np.nan
    completed = model.complete(half, num_particles=16, num_steps=100, schedule="cosine", key=key)
    seconds, ess = time.perf_counter() - began, completed.ess.mean()
    print(f"  samples: {seconds:.0f} s, effective particles {ess:.1f}")
    rows = np.concatenate([test[:16], np.nan_to_num(half), completed.draws[0], completed.draws[-1]])
    picture({"ancestral, 100 steps": draw, "DDIM, 25 steps": fast, "completed": rows}, len(train))

    observation = Standardized(
        observation_from_name("heteroscedastic-gaussian", train.shape[1:]), train.shape[1:]
    )
    vae = VAE.create(
        train.shape[1:], num_latent=32, hidden=(400, 400), observation=observation, key=key
    ).initialized_from(started)
    vae, seconds = trained(
        vae, train, tt.Objective(tt.bounds.ELBO()), steps=vae_steps, batch=100, rate=1e-3,
        transform=noisy,
    )  # fmt: skip
    value = tt.log_likelihood(vae, test[:200], num_samples=2000, key=key).value
    error = bits(0.0) - bits(value.std() / math.sqrt(len(value)))
    print(f"  VAE, {vae_steps} steps, {seconds:.0f} s: {bits(value.mean()):.4f} ± {error:.4f} bits")


def picture(grids: dict, num: int) -> None:
    """Grids of images side by side."""
    figure = Figure(figsize=(5 * len(grids), 5.3))
    for axes, (name, xs) in zip(figure.subplots(1, len(grids)), grids.items(), strict=True):
        xs = np.pad(np.clip(np.asarray(xs), 0, 1), ((0, 0), (1, 1), (1, 1)), constant_values=0.4)
        across = 16 if len(xs) == 64 and name == "completed" else 8
        tiles = xs.reshape(-1, across, *xs.shape[1:3])
        axes.imshow(tiles.swapaxes(1, 2).reshape(-1, across * xs.shape[2]), cmap="gray")
        axes.set_title(name)
        axes.axis("off")
    figure.savefig(f"/tmp/diffusion-{num}.png", dpi=110, bbox_inches="tight")
    print(f"  /tmp/diffusion-{num}.png")


def by_hand(weights, xs, key):
    """Minus the continuous-time bound of an MLP with v-prediction, in one function of arrays."""
    time_key, noise_key = jax.random.split(key)
    batch, size = xs.shape
    times = (jax.random.uniform(time_key) + jnp.arange(batch) / batch) % 1.0
    log_snr = (13.3 - 18.3 * times)[:, None]
    alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    noise = jax.random.normal(noise_key, xs.shape)
    z = alpha * xs + sigma * noise
    angles = log_snr * jnp.asarray(np.geomspace(0.05, 2.0, 16), jnp.float32)[None]
    embedding = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], 1)
    hidden = z
    for layer in weights["layers"]:
        (first, level, second), straight = layer["inner"], hidden
        if layer["shortcut"] is not None:
            straight = hidden @ layer["shortcut"][0] + layer["shortcut"][1][None]
        scale, shift = jnp.split(embedding @ level[0] + level[1][None], 2, axis=1)
        inner = jax.nn.silu((hidden @ first[0] + first[1][None]) * (1 + scale) + shift)
        hidden = straight + inner @ second[0] + second[1][None]
    (last, bias), (gain, offset) = weights["last"], weights["gain"]
    output = hidden @ last + bias[None] + (embedding @ gain + offset[None]) * z
    error = alpha**2 * (alpha * noise - sigma * xs - output) ** 2
    diffusion = 9.15 * jnp.sum(error, 1)
    last = jax.nn.sigmoid(-5.0)
    prior = 0.5 * (last * jnp.sum(xs**2, 1) + size * (-last - jax.nn.log_sigmoid(5.0)))
    return jnp.mean(diffusion + prior + 0.5 * size * (1 + math.log(2 * math.pi) - 13.3))


def hand_weights(denoiser) -> dict:
    """The arrays of our network."""

    def pair(linear):
        return None if linear is None else (linear.weight, linear.bias)

    return {
        "layers": [
            {
                "inner": [pair(layer.first), pair(layer.level), pair(layer.second)],
                "shortcut": pair(layer.shortcut),
            }
            for layer in denoiser.layers
        ],
        "last": pair(denoiser.last),
        "gain": pair(denoiser.gain),
    }


def step(rounds: int) -> None:
    """A step of an MLP on 784 pixels in a compiled loop, ours over that by hand."""
    for batch in (64, 256):
        xs = jax.random.normal(jax.random.key(0), (batch, 784))
        model = DiffusionModel.create((784,), hidden=(512, 512), key=jax.random.key(1))
        arrays, static = eqx.partition(model, eqx.is_inexact_array)

        def ours(arrays, xs, key, static=static):
            return -jnp.mean(DiffusionBound().batch(eqx.combine(arrays, static), xs, key=key))

        weights = hand_weights(model.denoiser)
        key = jax.random.key(2)
        np.testing.assert_allclose(ours(arrays, xs, key), by_hand(weights, xs, key), rtol=1e-4)
        batches = jax.random.normal(jax.random.key(0), (20, batch, 784))
        loops = {
            "hand": TrainingLoop(by_hand, weights, batches, ADAM),
            "ours": TrainingLoop(ours, arrays, batches, ADAM),
        }
        seconds = step_seconds(loops, rounds=rounds)
        print(
            f"batch {batch}: by hand {1e3 * seconds['hand']:.2f} ms, ours "
            f"{seconds['ours'] / seconds['hand']:.3f} times that",
            flush=True,
        )


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help="mixture, digits, step, or a folder of MNIST")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--vae-steps", type=int, default=4000)
    parser.add_argument("--schedules", nargs="+", default=["linear", "learned"])
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.what == "mixture":
        mixture(arguments.steps or 6000, arguments.schedules)
    elif arguments.what == "step":
        step(arguments.rounds)
    elif arguments.what == "digits":
        images("digits", arguments.steps or 6000, arguments.vae_steps, (24, 48), 180)
    else:
        images(arguments.what, arguments.steps or 1500, arguments.vae_steps, (16, 32, 64), 500)


if __name__ == "__main__":
    main()
