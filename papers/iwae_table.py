"""VAE and IWAE by their number of draws: test log-likelihood and active units.

Paper: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, table 1, one
stochastic layer: 784–200–200–50, tanh, binarized anew at each pass, Adam with ε = 1e-4, 3^i epochs
at learning rate .001·10^(−i/7).

Command: tighter reproduce iwae-table (two minutes; with --data mnist/ ten; with --data mnist/
--epochs 3280 the whole table, for a GPU).
Expect: on MNIST after 40 epochs IWAE with K = 5 at least .5 nat below K = 1, and active units that
do not fall. Measured, 1,000 test images: NLL 93.74 (26 active units) at K = 1, VAE 92.64 (21) and
IWAE 91.94 (31) at K = 5, differences −1.10 ± .08 and −1.80 ± .10. Published, after all 3280 epochs:
86.76 (19), 86.47 (20), 85.54 (22). Units that carry nothing are not yet all below the
threshold after 40 epochs; those that carry much stand apart in the picture: 21, 21 and 24.
On the digits, after 364 epochs: 22.56 (21), 22.41 (14), 22.29 (34), differences −.15 ± .03 and
−.27 ± .04; after 40 the order is not there yet.

The schedule is the published one cut short: 40 epochs are its first four stages, 364 its first six.
A short run on 5,000 examples or more takes batches of 100 in place of 20, a fifth of the steps: 9
minutes of processor time in place of 15. The gradient is doubly reparameterized; the paper's was
the total derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers._images import MANY, autoencoder, binary_images
from papers._record import COLORS, EXACT, INK, Announce, Recorder, pictures, silent
from tighter import LogLikelihood, Objective, fit, log_likelihood
from tighter.bounds import ELBO, IWAE, Bound
from tighter.data import Splits
from tighter.diagnostics import ActiveUnits, active_units
from tighter.gradients import DoublyReparameterized
from tighter.models import VAE

BOUNDS: dict[str, Bound] = {"VAE": ELBO(), "IWAE": IWAE()}
# Test NLL in nats and active units, of MNIST after all 3280 epochs.
PUBLISHED = {
    "VAE": {1: (86.76, 19), 5: (86.47, 20), 50: (86.35, 20)},
    "IWAE": {1: (86.76, 19), 5: (85.54, 22), 50: (84.78, 25)},
}
HIDDEN, LATENT = (200, 200), 50
LEARNING_RATE, ADAM_EPSILON, STAGES = 1e-3, 1e-4, 8
FULL = (3**STAGES - 1) // 2
# Six of the stages, and four.
EPOCHS_OF_FEW, EPOCHS_OF_MANY = 364, 40
# Batches as published, and those of a short run on many examples.
BATCH, LARGE_BATCH = 20, 100
SAMPLES, SAMPLES_OF_FULL = (1, 5), (1, 5, 50)
TESTED, DRAWS = 1000, 5000


def run(
    path: Path,
    *,
    seed: int = 0,
    data: str = "digits",
    epochs: int | None = None,
    announce: Announce = silent,
) -> dict[str, Any]:
    """Train a model for each number of draws and bound, and score each on the same test images.

    A run that was killed goes on where it was, if it is given its folder again.

    Args:
        path: The folder, new, empty, or of a run that did not come to its end.
        seed: Of the split, the parameters and every draw.
        data: As for `tighter train`: "digits", a folder of IDX files, a .npy or .npz file.
        epochs: Passes over the data: so much of the published schedule. If left out, 40, or 364
            for fewer than 5,000 examples. From 3280 on the batches are the published ones, and
            K = 50 is trained besides.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1], or the folder's run
            is another one.
        KeyboardInterrupt: If training was interrupted.
    """
    recorder = Recorder(path, "iwae-table", seed=seed)
    splits, transform = binary_images(data, seed=seed)
    many = len(splits.train) >= MANY
    epochs = epochs or (EPOCHS_OF_MANY if many else EPOCHS_OF_FEW)
    short = epochs < FULL
    batch = LARGE_BATCH if short and many else BATCH
    test_key, draws_key = jax.random.split(jax.random.key(seed))
    test = transform(jnp.asarray(splits.test.x[:TESTED]), key=test_key)
    rows, arrays = [], {}
    for num in SAMPLES if short else SAMPLES_OF_FULL:
        # With one draw both bounds are the same.
        for name in ("VAE", "IWAE") if num > 1 else ("VAE",):
            announce(f"{name}, K = {num}: {epochs} epochs on {len(splits.train)} examples")
            model, bound = _trained(
                splits, transform, Objective(BOUNDS[name], DoublyReparameterized(), num),
                seed=seed, epochs=epochs, batch=batch, path=path / f"{name}-{num}".lower(),
            )  # fmt: skip
            announce(f"log p(x) of {len(test)} test examples, {DRAWS} draws each")
            estimates = log_likelihood(model, test, num_samples=DRAWS, key=draws_key)
            units = active_units(model, test)
            arrays[f"log_likelihood_{name}_{num}"] = estimates.value
            arrays[f"variance_{name}_{num}"] = units.variance
            alone = arrays["log_likelihood_VAE_1"]
            for label in (name,) if num > 1 else ("VAE", "IWAE"):
                row = _row(label, num, estimates, units, alone)
                rows.append({**row, "training_bound": bound})
    return recorder.store(
        {
            "data": splits.train.name,
            "shape": list(splits.train.shape),
            "num_train": len(splits.train),
            "num_test": len(test),
            "num_draws": DRAWS,
            "epochs": epochs,
            "batch_size": batch,
            "threshold": units.threshold,
            "rows": rows,
            "published": [
                {"model": name, "num_samples": num, "nll": nll, "active": active}
                for name, cells in PUBLISHED.items()
                for num, (nll, active) in cells.items()
            ],
        },
        arrays,
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The table, the published one beside it, and whether the order is the expected one."""
    published = {(row["model"], row["num_samples"]): row for row in record["published"]}
    lines = [
        f"{record['data']}, {record['epochs']} epochs of {record['num_train']} examples, batches "
        f"of {record['batch_size']}; {record['num_test']} test examples, {record['num_draws']} "
        "draws each",
        f"{'':5} {'K':>3} {'test NLL':>9} {'less that of K = 1':>20} {'active':>7} {'k̂ > .7':>8}"
        f"    published, MNIST, {FULL} epochs",
    ]
    for row in record["rows"]:
        theirs = published[row["model"], row["num_samples"]]
        difference = f"{row['difference']:+.2f} ± {row['difference_error']:.2f}"
        lines.append(
            f"{row['model']:5} {row['num_samples']:3} {row['nll']:9.2f} "
            f"{difference if row['num_samples'] > 1 else '':>20} {row['active']:7} "
            f"{100 * row['share_pareto_k_above_0.7']:5.0f} %    {theirs['nll']:.2f} "
            f"({theirs['active']})"
        )
    first, *_, last = [row for row in record["rows"] if row["model"] == "IWAE"]
    return [
        *lines,
        f"IWAE with K = {last['num_samples']} against K = 1: {last['difference']:+.2f} nats "
        "(on MNIST, after 40 epochs: −.5 or less), active units from "
        f"{first['active']} to {last['active']} (not falling)",
        "NLL is that of the mean of so many weights, as published: where k̂ > .7 the exact one may "
        "lie below it by more than the errors tell",
    ]


def schedule(per_epoch: int) -> optax.Schedule:
    """Stages i = 0 … 7 of 3^i epochs at learning rate .001·10^(−i/7), not shrunk; then the last.

    A run of 40 epochs takes the first four of them.
    """
    ends = [per_epoch * ((3 ** (i + 1) - 1) // 2) for i in range(STAGES - 1)]
    return optax.join_schedules(
        [optax.constant_schedule(LEARNING_RATE * 10 ** (-i / 7)) for i in range(STAGES)], ends
    )


def _trained(
    splits: Splits,
    transform: Callable[..., Array],
    objective: Objective,
    *,
    seed: int,
    epochs: int,
    batch: int,
    path: Path,
) -> tuple[VAE, float]:
    """The model after the last epoch, and its bound on the training data in that epoch."""
    per_epoch = len(splits.train) // batch
    result = fit(
        autoencoder(splits, seed=seed, hidden=HIDDEN, num_latent=LATENT),
        splits.train,
        objective,
        optimizer=optax.adam(schedule(per_epoch), eps=ADAM_EPSILON),
        num_epochs=epochs,
        batch_size=batch,
        key=jax.random.key(seed),
        directory=path,
        resume=True,
        transform=transform,
    )
    if result.interrupted:
        raise KeyboardInterrupt
    return result.model, result.history[-1]["bound"]


def _error_of_mean(values: Float[np.ndarray, " examples"]) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size))


def _row(
    name: str,
    num: int,
    estimates: LogLikelihood,
    units: ActiveUnits,
    alone: Float[np.ndarray, " examples"],
) -> dict[str, Any]:
    """A line of the table; the difference to K = 1 is taken example by example."""
    known = estimates.pareto_k[~np.isnan(estimates.pareto_k)]
    differences = alone - estimates.value
    return {
        "model": name,
        "num_samples": num,
        "nll": -float(estimates.value.mean()),
        "standard_error": _error_of_mean(estimates.value),
        "monte_carlo_error": float(
            np.sqrt((estimates.standard_error**2).sum()) / estimates.value.size
        ),
        "difference": float(differences.mean()),
        "difference_error": _error_of_mean(differences),
        "active": units.count,
        "share_pareto_k_above_0.7": float((known > 0.7).mean()),
    }


# Of a normal distribution, for 95 %.
_QUANTILE = 1.96


def _paint_table(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2)
    numbers = sorted({row["num_samples"] for row in record["rows"]})
    for axes, value in ((left, "nll"), (right, "active")):
        _lines(axes, record["rows"], value, "{}", marker="o", linestyle="-")
        # What was published is of MNIST, and stands beside images of its size alone.
        if record["shape"] == [28, 28]:
            theirs = [row for row in record["published"] if row["num_samples"] in numbers]
            label = "{}, published: MNIST, 3280 epochs"
            _lines(axes, theirs, value, label, marker="o", linestyle=":", markerfacecolor="none")
        axes.set_xscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.set_xlim(numbers[0] / 1.3, numbers[-1] * 1.3)
        axes.set_xlabel("draws K in training")
    left.set_ylabel("test −log p(x), nats")
    left.set_title(
        f"{record['num_test']} test examples; bars: 95 % of the\ndifference to K = 1, by examples",
        fontsize=12, color=INK,
    )  # fmt: skip
    right.set_ylabel("active units")
    right.set_title(f"{record['data']}, {record['epochs']} epochs", fontsize=12, color=INK)
    most = max(row["active"] for row in [*record["rows"], *record["published"]])
    right.set_ylim(0, 1.1 * most)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _lines(axes: Axes, rows: list[dict[str, Any]], value: str, label: str, **style: Any) -> None:
    """A line for VAE and one for IWAE, with bars where a difference was measured."""
    for name, color in zip(("VAE", "IWAE"), COLORS, strict=False):
        own = [row for row in rows if row["model"] == name]
        bars = [_QUANTILE * row.get("difference_error", 0) for row in own]
        axes.errorbar(
            [row["num_samples"] for row in own], [row[value] for row in own],
            yerr=bars if value == "nll" and any(bars) else None,
            color=color, label=label.format(name), capsize=3, **style,
        )  # fmt: skip


def _paint_units(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    for name, color in zip(("VAE", "IWAE"), COLORS, strict=False):
        own = [row for row in record["rows"] if row["model"] == name]
        # The first is that of one draw, of both the same: drawn once.
        for row, style in zip(own, (":", "-", "--"), strict=False):
            alone = row["num_samples"] == 1
            if alone and name == "IWAE":
                continue
            variances = np.sort(arrays[f"variance_{name}_{row['num_samples']}"])[::-1]
            axes.plot(
                np.arange(1, len(variances) + 1), np.maximum(variances, 1e-7),
                linestyle=style, color=EXACT if alone else color, marker=".",
                label=f"{'both' if alone else name}, K = {row['num_samples']}: {row['active']}",
            )  # fmt: skip
    axes.axhline(record["threshold"], color=COLORS[-1], linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("unit of z, in order")
    axes.set_ylabel("variance over x of the posterior's mean")
    axes.set_title(f"active units: above {record['threshold']:g}", fontsize=12, color=INK)
    axes.legend(loc="upper right")


draw = pictures(
    {
        "table": ((10.5, 4.8), _paint_table),
        "units": ((6.8, 4.6), _paint_units),
    },
    arrays=True,
)
