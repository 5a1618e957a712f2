"""Four estimators of the IWAE bound's gradient: what each makes of the same steps and seconds.

Paper: Tucker, Lawson, Gu & Maddison, "Doubly reparameterized gradient estimators for Monte Carlo
objectives", 2018, on MNIST: K = 64, batches of 32, Adam at 3e-4, 784–200–200–50 with tanh,
σ = softplus(raw + ¼), binarized anew at each pass; here with fewer steps.

Command: tighter reproduce dreg (two minutes; with --data mnist/ six).
Expect: all that leave the score out ahead of plain IWAE. On MNIST after 2 epochs held-out bounds of
−118.9 (wake-φ, DReG), −119.4 (sticking the landing), −120.6 (DReG) and −121.9 nats (plain),
differences ± .1. The published order, DReG > sticking the landing > plain, is that of runs many
times as long, and not of this one; what follows KL(posterior‖q) is ahead at first. So on the digits
(DReG .11 ± .03 behind sticking the landing); after 60 epochs the three are one within errors,
−23.20 to −23.23, and plain IWAE is at −23.37. Half way, variance of φ's gradient, of plain,
sticking the landing, DReG, wake-φ with DReG, wake-φ: MNIST 1110, 760, 540, 71, 270; digits 29, 5.3,
.75, 2.8, 23. θ's is the same for all. A step costs all the same, to the noise of the clock (48 to
53 ms on MNIST), so that a second buys what a step buys.

All four have the same start, batches and noise, and are trained in turns of some steps, so that
whatever else the machine does falls on all alike. θ has the same estimator in each, weights w̃; of
φ plain IWAE takes the total derivative, sticking the landing leaves the score out, DReG has path
coefficients w̃², and doubly reparameterized wake-φ w̃ − w̃² (it follows KL(posterior‖q), not the
bound). All draws go backward.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpyro.distributions import Distribution, Normal

from papers._images import MANY, autoencoder, binary_images
from papers._record import AXIS, COLORS, INK, Announce, Recorder, pictures, silent
from tighter import Objective
from tighter.bounds import IWAE
from tighter.data import Splits
from tighter.diagnostics import gradient_noise
from tighter.gradients import (
    DoublyReparameterized,
    Estimator,
    Reparameterized,
    StickingTheLanding,
    WakePhi,
    doubly_reparameterize,
)
from tighter.models import VAE, PosteriorFamily

TRAINED: dict[str, Estimator] = {
    "plain IWAE": Reparameterized(),
    "sticking the landing": StickingTheLanding(),
    "DReG": DoublyReparameterized(),
    "wake-φ, DReG": doubly_reparameterize(WakePhi()),
}
# Whose noise is measured besides.
MEASURED = {**TRAINED, "wake-φ": WakePhi()}
SAMPLES, BATCH, ADAM = 64, 32, optax.adam(3e-4)
HIDDEN, LATENT = (200, 200), 50
EPOCHS_OF_FEW, EPOCHS_OF_MANY = 60, 2
# Turns, at whose ends the bound of so many validation examples is measured.
TURNS, HELD_OUT = 16, 1000
REPLICATES = 100


class SoftplusGaussian(PosteriorFamily):
    """N(μ, diag σ²), σ = softplus(raw + ¼); the output's rows are μ and raw."""

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2, latent)."""
        return 2, num_latent

    def distribution(self, output: Float[Array, "2 latent"]) -> Distribution:
        """Independent normals."""
        mean, raw = output
        return Normal(mean, jax.nn.softplus(raw + 0.25), validate_args=False).to_event(1)


class _Turns(eqx.Module):
    """Steps of training, in turns of some: the same start, batches and noise, as of `fit`."""

    static: Any
    train: Float[Array, "examples ..."]
    rows: Int[Array, "steps batch"]
    transform: Callable[..., Array]
    transform_key: Key[Array, ""]
    draws_key: Key[Array, ""]

    @eqx.filter_jit
    def __call__(self, estimator: Estimator, state: Any, since: Array, until: Array) -> Any:
        """The trained arrays and Adam's state after the steps of a turn."""
        objective = Objective(IWAE(), estimator, SAMPLES)

        def step(number: Array, state: Any) -> Any:
            arrays, adam = state
            key = jax.random.fold_in(self.transform_key, number)
            xs = self.transform(self.train[self.rows[number]], key=key)

            def loss(arrays: Any) -> Array:
                key = jax.random.fold_in(self.draws_key, number)
                model = eqx.combine(arrays, self.static)
                return -jnp.mean(objective.batch(model, xs, key=key))

            updates, adam = ADAM.update(jax.grad(loss)(arrays), adam)
            return eqx.apply_updates(arrays, updates), adam

        return jax.lax.fori_loop(since, until, step, state)


@dataclasses.dataclass
class _Runner:
    """A model in training, and what was measured of it turn by turn."""

    state: Any
    seconds: list[float]
    held_out: list[np.ndarray]


def run(
    path: Path,
    *,
    seed: int = 0,
    data: str = "digits",
    epochs: int | None = None,
    announce: Announce = silent,
) -> dict[str, Any]:
    """Train with each estimator in turns, and measure the noise of all at the same parameters.

    Args:
        path: The folder, new or empty.
        seed: Of the split, the parameters and every draw.
        data: As for `tighter train`: "digits", a folder of IDX files, a .npy or .npz file.
        epochs: Passes over the data; 60 for fewer than 5,000 examples and 2 for more, if left out.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1].
        FloatingPointError: If a bound is not finite.
    """
    recorder = Recorder(path, "dreg", seed=seed)
    splits, transform = binary_images(data, seed=seed)
    num_train = len(splits.train)
    epochs = epochs or (EPOCHS_OF_MANY if num_train >= MANY else EPOCHS_OF_FEW)
    key = jax.random.key(seed)
    binary_key, bound_key, noise_key = jax.random.split(jax.random.fold_in(key, 1), 3)
    held_out = transform(jnp.asarray(splits.validation.x[:HELD_OUT]), key=binary_key)

    model = _untrained(splits, seed)
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    order_key, transform_key, draws_key, _ = jax.random.split(key, 4)
    rows = _batches(num_train, epochs, order_key)
    num_steps = len(rows)
    turns = _Turns(static, jnp.asarray(splits.train.x), rows, transform, transform_key, draws_key)
    marks = np.unique(np.linspace(0, num_steps, TURNS + 1).round().astype(int)).tolist()

    runners = {name: _Runner((arrays, ADAM.init(arrays)), [], []) for name in TRAINED}
    middle, half = model, max(mark for mark in marks if mark <= num_steps / 2)
    # The first turn compiles, and takes no step.
    for since, until in zip([0, *marks[:-1]], marks, strict=True):
        for name, runner in runners.items():
            began = time.monotonic()
            turn = jnp.asarray(since), jnp.asarray(until)
            runner.state = jax.block_until_ready(turns(TRAINED[name], runner.state, *turn))
            spent = time.monotonic() - began if until else 0.0
            runner.seconds.append(spent + (runner.seconds[-1] if until else 0.0))
            trained = eqx.combine(runner.state[0], static)
            runner.held_out.append(np.asarray(_bounds(trained, held_out, bound_key)))
            if name == "DReG" and until == half:
                middle = trained
        means = {name: runner.held_out[-1].mean() for name, runner in runners.items()}
        if not all(map(math.isfinite, means.values())):
            raise FloatingPointError(f"a held-out bound after step {until} is not finite: {means}")
        bounds = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
        announce(f"step {until} of {num_steps}, held-out bound: {bounds}")
    announce(f"noise of the gradients at the parameters of half way, {REPLICATES} of each")
    noise = _noise(middle, held_out[:BATCH], noise_key)
    curves = np.stack([np.stack(runner.held_out) for runner in runners.values()])
    best = curves[curves[:, -1].mean(axis=1).argmax(), -1:]
    return recorder.store(
        {
            "data": splits.train.name,
            "num_train": num_train,
            "num_held_out": len(held_out),
            "num_samples": SAMPLES,
            "batch_size": BATCH,
            "epochs": epochs,
            "num_steps": num_steps,
            "steps": marks,
            "runs": [
                {
                    "estimator": name,
                    "seconds": [round(seconds, 3) for seconds in runner.seconds],
                    "held_out": curve.mean(axis=1).tolist(),
                    **_against(curve, curves[0]),
                    "to_best": {name: of[0] for name, of in _against(curve[-1:], best).items()},
                    "bias": str(Objective(IWAE(), TRAINED[name], SAMPLES).bias),
                }
                for (name, runner), curve in zip(runners.items(), curves, strict=True)
            ],
            "num_replicates": REPLICATES,
            "noise_at": half,
            "noise": noise,
        },
        {"held_out": curves},
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The held-out bounds at the end, what they cost, and the noise of each estimator."""
    lines = [
        f"{record['data']}, {record['num_steps']} steps of {record['batch_size']} examples, K = "
        f"{record['num_samples']}; bound of {record['num_held_out']} held-out examples, the same "
        "draws for all",
        f"{'':21} {'bound':>8} {'less plain':>14} {'less the best':>14} {'ms a step':>9}",
    ]
    for row in record["runs"]:
        apart = f"{row['difference'][-1]:+.2f} ± {row['difference_error'][-1]:.2f}"
        lag = f"{row['to_best']['difference']:+.2f} ± {row['to_best']['difference_error']:.2f}"
        pace = 1e3 * row["seconds"][-1] / record["num_steps"]
        lines.append(
            f"{row['estimator']:21} {row['held_out'][-1]:8.2f} {apart:>14} {lag:>14} {pace:9.1f}"
        )
    ranked = sorted(record["runs"], key=lambda row: -row["held_out"][-1])
    lines += [
        "from the best down: " + "; ".join(row["estimator"] for row in ranked)
        + " (published, after many more steps: DReG; sticking the landing; plain)",
        f"at the parameters of step {record['noise_at']} of DReG, "
        f"{record['num_replicates']} gradients of {record['batch_size']} examples:",
        f"{'':21} {'variance of φ':>13} {'(95 %)':>21} {'SNR of φ':>8} {'variance of θ':>13}",
    ]  # fmt: skip
    for row in record["noise"]:
        low, high = row["phi_variance_interval"]
        interval = f"({low:.3g} to {high:.3g})"
        lines.append(
            f"{row['estimator']:21} {row['phi_variance']:13.3g} {interval:>21} "
            f"{row['phi_snr']:8.2f} {row['theta_variance']:13.3g}"
        )
    return lines


def _untrained(splits: Splits, seed: int) -> VAE:
    """The paper's model before training."""
    model = autoencoder(splits, seed=seed, hidden=HIDDEN, num_latent=LATENT)
    return eqx.tree_at(lambda vae: vae.family, model, SoftplusGaussian())


def _batches(num_train: int, epochs: int, key: Key[Array, ""]) -> Int[Array, "steps batch"]:
    """The examples of each step: anew in each epoch, whose last, incomplete batch is left out."""
    keys = [jax.random.fold_in(key, epoch) for epoch in range(epochs)]
    bits = np.stack([jax.random.bits(key, (num_train,), "uint32") for key in keys])
    orders = np.argsort(bits, axis=1, kind="stable")
    return jnp.asarray(orders[:, : num_train // BATCH * BATCH].reshape(-1, BATCH), "int32")


@eqx.filter_jit
def _bounds(
    model: VAE, xs: Float[Array, "examples ..."], key: Key[Array, ""]
) -> Float[Array, " examples"]:
    """IWAE's bound of each example, with the same draws of ε at every call."""
    objective = Objective(IWAE(), num_samples=SAMPLES)

    def bound(example: tuple[Array, Key[Array, ""]]) -> Float[Array, ""]:
        x, key = example
        return objective(model.log_joint(x), model.posterior(x), key=key)

    keys = jax.random.split(key, xs.shape[0])
    return jax.lax.map(bound, (xs, keys), batch_size=BATCH)


def _against(
    curve: Float[np.ndarray, "marks examples"], other: Float[np.ndarray, "marks examples"]
) -> dict[str, list[float]]:
    """Differences to another run, example by example, and their errors."""
    differences = np.asarray(curve, np.float64) - other
    error = differences.std(axis=1, ddof=1) / math.sqrt(differences.shape[1])
    return {"difference": differences.mean(axis=1).tolist(), "difference_error": error.tolist()}


def _noise(model: VAE, xs: Float[Array, "batch ..."], key: Key[Array, ""]) -> list[dict[str, Any]]:
    """Variances of each estimator's gradient at one model and batch."""
    rows = []
    for name, estimator in MEASURED.items():
        noise = gradient_noise(
            model, xs, Objective(IWAE(), estimator, SAMPLES),
            num_replicates=REPLICATES, key=key, show_progress=False,
        )  # fmt: skip
        theta, phi = noise.theta, noise.phi
        assert theta is not None  # a VAE has both
        assert phi is not None
        rows.append(
            {
                "estimator": name,
                "phi_variance": phi.variance,
                "phi_variance_interval": list(phi.variance_interval),
                "phi_snr": phi.snr,
                "phi_snr_interval": list(phi.snr_interval),
                "theta_variance": theta.variance,
                "seconds": noise.seconds,
            }
        )
    return rows


def _paint_held_out(figure: Figure, record: dict[str, Any]) -> None:
    by_steps, by_seconds, apart = figure.subplots(1, 3)
    steps = np.array(record["steps"])
    for row, color in zip(record["runs"], COLORS, strict=False):
        for axes, across in ((by_steps, steps), (by_seconds, np.array(row["seconds"]))):
            axes.plot(across, row["held_out"], ".-", color=color, label=row["estimator"])
        difference, error = (np.array(row[name]) for name in ("difference", "difference_error"))
        apart.plot(steps, difference, ".-", color=color)
        low, high = difference - 1.96 * error, difference + 1.96 * error
        apart.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    # The first steps, in which all rise alike, would leave no room for the rest.
    values = np.array([row["held_out"] for row in record["runs"]])
    low, high = values[:, len(steps) // 4].min(), values.max()
    for axes in (by_steps, by_seconds):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set_xlim(left=0)
    by_steps.set_ylabel(f"IWAE bound, K = {record['num_samples']}, held out, nats")
    apart.axhline(0, color=AXIS, linewidth=1, zorder=1)
    apart.set_ylabel("bound less that of plain IWAE, nats")
    apart.set_title("differences; bands: 95 %, by examples", fontsize=12, color=INK)
    apart.set_xlabel("steps")
    by_steps.set_xlabel("steps")
    by_steps.set_title(
        f"{record['data']}, {record['epochs']} epochs of {record['num_train']}",
        fontsize=12, color=INK,
    )  # fmt: skip
    by_seconds.set_xlabel("seconds of training")
    by_seconds.set_title("trained in turns", fontsize=12, color=INK)
    handles, labels = by_steps.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    rows = record["noise"]
    names = [row["estimator"] for row in rows]
    for axes, value in ((left, "phi_variance"), (right, "phi_snr")):
        for place, (row, color) in enumerate(zip(rows, COLORS, strict=False)):
            low, high = row[f"{value}_interval"]
            middle = row[value]
            axes.errorbar(
                [middle], [place], xerr=[[middle - low], [high - middle]],
                fmt="o", color=color, capsize=3,
            )  # fmt: skip
    left.set_xscale("log")
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    left.xaxis.set_major_formatter(lambda tick, _: f"{tick:,.4g}")
    left.xaxis.set_minor_locator(NullLocator())
    left.set_yticks(range(len(rows)), names)
    left.invert_yaxis()
    left.set_xlabel("variance of φ's gradient, summed")
    right.set_xlim(left=0)
    right.set_xlabel("signal-to-noise ratio of φ's gradient")
    figure.suptitle(
        f"one model, half way; {record['num_replicates']} gradients of {record['batch_size']} "
        f"examples, K = {record['num_samples']}; bars: 95 %",
        fontsize=12, color=INK,
    )  # fmt: skip


draw = pictures(
    {
        "held_out": ((12.5, 4.8), _paint_held_out),
        "noise": ((9.5, 3.6), _paint_noise),
    }
)
