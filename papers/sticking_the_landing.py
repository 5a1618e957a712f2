"""Gradients of φ with and without the score term: their noise near the optimum, and how φ arrives.

Paper: Roeder, Wu & Duvenaud, "Sticking the landing: simple, lower-variance gradient estimators for
variational inference", 2017, figure 1; with the ELBO's three forms beside.

Command: tighter reproduce sticking-the-landing (two minutes).
Expect: at q = posterior variances of 1/σ² = 2 (by μ) and 2 (by log σ) of the total derivative, 0
without the score term; near it ∝ the squared distance. In training by plain stochastic gradients φ
stays off by a KL of about the learning rate with the score term, .32 of it with the analytic KL,
and goes on to 0 without the score term. A long way off the analytic KL has the least noise. So too
on digits: of the total derivative's variance it leaves .03 after one epoch and .47 after a hundred,
sticking the landing .45 and .06 (no posterior there is a diagonal Gaussian, so that it is not 0).

    z ~ N(0, 1),  x|z ~ N(z, 1),  x = 1.5,  q = N(μ, σ²);  the posterior is N(¾, ½)

With z = μ + σε every value and gradient is a + bε + cε², of variance b² + 2c²: exact curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from numpyro.distributions import Distribution, Normal

from papers._images import autoencoder, binary_images
from papers._record import COLORS, EXACT, INK, Announce, Recorder, pictures, silent
from tighter import AnalyticEntropy, AnalyticKL, Objective, fit
from tighter.bounds import ELBO
from tighter.gradients import Reparameterized, StickingTheLanding
from tighter.models import LatentVariableModel
from tighter.training import Trainable

OBSERVED = 1.5
FORMS: dict[str, Trainable] = {
    "total derivative": Objective(ELBO(), Reparameterized()),
    "sticking the landing": Objective(ELBO(), StickingTheLanding()),
    "analytic entropy": AnalyticEntropy(),
    "analytic KL": AnalyticKL(),
}
DISTANCES = (0.0, *(2.0**power for power in range(-7, 2)))
REPLICATES = 100_000
LEARNING_RATE, STEPS, CHAINS = 0.02, 1200, 2000
EPOCHS, BATCH, LATENT, HIDDEN = 100, 100, 10, 100
# Gradients of the network's φ at each stage of training.
NETWORK_REPLICATES = 400


class OneGaussian(LatentVariableModel):
    """The model above: one example, and a posterior of the true one's family.

    Attributes:
        mean: μ, shape (1,).
        log_scale: log σ, shape (1,).
    """

    mean: Float[Array, " latent"]
    log_scale: Float[Array, " latent"]

    @property
    def prior(self) -> Distribution:
        """N(0, 1)."""
        return Normal(jnp.zeros(1), 1.0, validate_args=False).to_event(1)

    def likelihood(self, z: Float[Array, " latent"]) -> Distribution:
        """N(z, 1)."""
        return Normal(z, 1.0, validate_args=False).to_event(1)

    def posterior(self, x: Float[Array, " latent"]) -> Distribution:
        """N(μ, σ²), whatever x."""
        return Normal(self.mean, jnp.exp(self.log_scale), validate_args=False).to_event(1)

    def log_joint(self, x: Float[Array, " latent"]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return lambda z: jnp.add(self.prior.log_prob(z), self.likelihood(z).log_prob(x))

    @classmethod
    def at(cls, distance: float) -> OneGaussian:
        """μ off by so many of the posterior's standard deviations, and log σ by half as much."""
        scale = math.sqrt(0.5)
        mean, log_scale = OBSERVED / 2 + distance * scale, math.log(scale) + distance / 2
        return cls(jnp.array([mean]), jnp.array([log_scale]))


def run(
    path: Path,
    *,
    seed: int = 0,
    data: str = "digits",
    epochs: int = EPOCHS,
    announce: Announce = silent,
) -> dict[str, Any]:
    """Measure the noise, let φ arrive, and train networks.

    Args:
        path: The folder, new or empty.
        seed: Of everything random.
        data: For the networks, as for `tighter train`: "digits", a folder of IDX files, a .npy or
            .npz file.
        epochs: Passes over them.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1].
    """
    recorder = Recorder(path, "sticking-the-landing", seed=seed)
    noise_key, arrival_key, network_key = jax.random.split(jax.random.key(seed), 3)
    announce(f"variances at {len(DISTANCES)} distances, {REPLICATES} replicates")
    noise = [row for name, form in FORMS.items() for row in _noise(name, form, noise_key)]
    announce(f"{CHAINS} times {STEPS} steps of size {LEARNING_RATE}")
    arrivals = {name: _arrival(form, arrival_key) for name, form in FORMS.items()}
    networks = _networks(data, epochs, seed, network_key, announce)
    fine = [0.0, *np.geomspace(DISTANCES[1], DISTANCES[-1], 61).tolist()]
    return recorder.store(
        {
            "noise": noise,
            "curves": [
                {"form": name, "distance": distance, **exact_variances(name, distance)}
                for name in FORMS
                for distance in fine
            ],
            "arrival": {
                "learning_rate": LEARNING_RATE,
                "steps": _checkpoints().tolist(),
                "divergence": {name: values.tolist() for name, values in arrivals.items()},
                "plateau": {name: exact_plateau(name) for name in FORMS},
            },
            "networks": networks,
        }
    )  # fmt: skip


def summary(record: dict[str, Any]) -> list[str]:
    """Variances at and near the optimum, where φ ends, and the networks."""
    lines = ["variance of a gradient by μ and log σ, and of a value; exact in brackets"]
    distances = [row["distance"] for row in record["noise"]]
    for distance in sorted({distances[0], distances[4], distances[len(distances) // 4 - 2]}):
        lines.append(f"  {distance:g} standard deviations off")
        for row in record["noise"]:
            if row["distance"] == distance:
                pairs = (f"{row[key]:9.3g} ({row['exact'][key]:.3g})" for key in row["exact"])
                lines.append(f"    {row['form']:21}" + " ".join(pairs))
    arrival = record["arrival"]
    lines.append(f"KL(q‖posterior) after {arrival['steps'][-1]} steps, learning rate "
                 f"{arrival['learning_rate']}; to first order in it in brackets")  # fmt: skip
    for name, values in arrival["divergence"].items():
        late = np.mean(values[-len(values) // 4 :])
        lines.append(f"    {name:21} {late:.3g} ({arrival['plateau'][name]:.3g})")
    networks = record["networks"]
    lines.append(f"{networks['data']}: variance of the encoder's gradient, summed")
    for row in networks["noise"]:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in row["variance"].items())
        lines.append(f"    after {row['epoch']:3} epochs: {figures}")
    for name, row in networks["training"].items():
        lines.append(f"    trained by {name}: ELBO on test {row['elbo']:.2f} ± {row['error']:.2f}")
    return lines


def exact_variances(form: str, distance: float) -> dict[str, float]:
    """Of one draw's gradient by μ and by log σ, and of its value, in squared nats."""
    square = 0.5 * math.exp(distance)
    off = distance * math.sqrt(0.5)
    far, scale = off - OBSERVED / 2, math.sqrt(square)
    if form == "analytic KL":
        return {
            "mean": square,
            "log_scale": far**2 * square + 2 * square**2,
            "value": far**2 * square + square**2 / 2,
        }
    linear = 4 * off**2 * square
    if form == "sticking the landing":
        by_mean, by_scale = (1 / scale - 2 * scale) ** 2, linear + 2 * (1 - 2 * square) ** 2
    else:
        by_mean, by_scale = 4 * square, linear + 8 * square**2
    curved = square**2 if form == "analytic entropy" else (0.5 - square) ** 2
    return {"mean": by_mean, "log_scale": by_scale, "value": linear + 2 * curved}


def exact_plateau(form: str) -> float:
    r"""Mean KL(q‖posterior) where φ stays, in nats, to first order in the learning rate η.

    Near the optimum both coordinates are quadratic, of curvature H = 2: with noise of variance v a
    step, their own variance is $\eta v / (2 H - \eta H^2)$, and the KL half of H times that.
    """
    at = exact_variances(form, 0.0)
    return LEARNING_RATE * (at["mean"] + at["log_scale"]) / (4 - 4 * LEARNING_RATE)


def divergence(model: OneGaussian) -> Float[Array, ""]:
    """KL(q‖posterior), in nats; without cancellation where they are near."""
    apart = 2 * (model.log_scale[0] - 0.5 * math.log(0.5))
    off = model.mean[0] - OBSERVED / 2
    # e^a − 1 − a, by its series where that is better
    series = apart**2 * (0.5 + apart * (1 / 6 + apart / 24))
    return 0.5 * jnp.where(jnp.abs(apart) < 0.01, series, jnp.expm1(apart) - apart) + off**2


def _gradients(
    form: Trainable, model: Any, xs: Array, keys: Key[Array, " replicates"]
) -> tuple[Array, Any]:
    """Values and gradients of the mean bound, an independent one a key."""
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def mean_bound(arrays: Any, key: Array) -> Array:
        return jnp.mean(form.batch(eqx.combine(arrays, static), xs, key=key))

    return jax.vmap(jax.value_and_grad(mean_bound), (None, 0))(arrays, keys)


def _noise(name: str, form: Trainable, key: Key[Array, ""]) -> list[dict[str, Any]]:
    """A row a distance: the variances, measured and exact."""
    keys, x = jax.random.split(key, REPLICATES), jnp.full((1, 1), OBSERVED)

    @jax.jit
    def variances(model: OneGaussian) -> list[Array]:
        values, gradient = _gradients(form, model, x, keys)
        return [jnp.var(part) for part in (gradient.mean, gradient.log_scale, values)]

    rows = []
    for distance in DISTANCES:
        measured = (float(value) for value in variances(OneGaussian.at(distance)))
        exact = exact_variances(name, distance)
        found = dict(zip(exact, measured, strict=True))
        rows.append({"form": name, "distance": distance, **found, "exact": exact})
    return rows


def _checkpoints() -> np.ndarray:
    """Steps at which the divergence is kept."""
    return np.unique(np.linspace(0, STEPS, min(STEPS, 120) + 1).astype(int))


def _arrival(form: Trainable, key: Key[Array, ""]) -> np.ndarray:
    """Mean KL(q‖posterior) over the chains at each checkpoint."""
    x, start = jnp.full((1, 1), OBSERVED), OneGaussian.at(1.0)

    def chain(key: Array) -> Array:
        def step(model: OneGaussian, index: Array) -> tuple[OneGaussian, Array]:
            _, gradient = _gradients(form, model, x, jax.random.fold_in(key, index)[None])
            moved = jax.tree.map(lambda a, g: a + LEARNING_RATE * g[0], model, gradient)
            return moved, divergence(model)

        return jax.lax.scan(step, start, jnp.arange(STEPS + 1))[1][_checkpoints()]

    chains = jax.jit(lambda keys: jnp.mean(jax.vmap(chain)(keys), axis=0))
    return np.asarray(chains(jax.random.split(key, CHAINS)), np.float64)


def _networks(
    data: str, epochs: int, seed: int, key: Key[Array, ""], announce: Announce
) -> dict[str, Any]:
    """A small network trained by each form, and the noise of all at three of its stages."""
    splits, transform = binary_images(data, seed=seed)
    start = autoencoder(splits, seed=seed, hidden=(HIDDEN,), num_latent=LATENT)
    fit_key, data_key, noise_key, test_key = jax.random.split(key, 4)
    test = transform(jnp.asarray(splits.test.x), key=data_key)

    def trained(form: Trainable, num_epochs: int) -> Any:
        return fit(
            start, splits.train, form, optimizer=optax.adam(1e-3), num_epochs=num_epochs,
            batch_size=BATCH, key=fit_key, validation=splits.validation.x[:2000],
            transform=transform, show_progress=False,
        )  # fmt: skip

    training, stages = {}, {}
    for name, form in FORMS.items():
        if name == "analytic entropy":  # the same gradient as the total derivative's
            continue
        announce(f"{epochs} epochs on {splits.train.name} by {name}")
        result = trained(form, epochs)
        elbos = np.asarray(
            jax.jit(Objective(ELBO(), num_samples=64).batch)(result.model, test, key=test_key)
        )
        training[name] = {
            "elbo": float(elbos.mean()),
            "error": float(elbos.std(ddof=1) / math.sqrt(len(elbos))),
            "history": [[row["epoch"], row["validation_bound"]] for row in result.history],
        }
        if name == "total derivative":
            stages[epochs] = result.model
    announce("variances of the encoder's gradients")
    # A shorter run with the same key is the beginning of the longer one.
    for early in (1, max(1, epochs // 10)):
        stages.setdefault(early, None)
        stages[early] = stages[early] or trained(FORMS["total derivative"], early).model
    batch = transform(jnp.asarray(splits.train.x[:BATCH]), key=data_key)
    noise = [
        {
            "epoch": epoch,
            "variance": {
                name: _encoder_variance(FORMS[name], stages[epoch], batch, noise_key)
                for name in training
            },
        }
        for epoch in sorted(stages)
    ]
    return {"data": splits.train.name, "epochs": epochs, "training": training, "noise": noise}


@eqx.filter_jit
def _summed_variance(form: Trainable, model: Any, xs: Array, keys: Array) -> Array:
    _, gradient = _gradients(form, model, xs, keys)
    leaves = jax.tree.leaves(gradient.encoder)
    return sum((jnp.sum(jnp.var(leaf, axis=0, ddof=1)) for leaf in leaves), start=jnp.zeros(()))


def _encoder_variance(form: Trainable, model: Any, xs: Array, key: Key[Array, ""]) -> float:
    """Summed over φ, of the gradient of a batch's mean bound."""
    return float(_summed_variance(form, model, xs, jax.random.split(key, NETWORK_REPLICATES)))


_MARKS = ("o", "s", "x", "^")
# The first is drawn under another that is equal to it.
_WIDTHS = (3.4, 1.5, 1.5, 1.5)


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    titles = {
        "mean": "gradient by μ",
        "log_scale": "gradient by log σ",
        "value": "value of the bound",
    }
    for axes, (part, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        looks = zip(_forms(record), COLORS, _MARKS, _WIDTHS, strict=False)
        for name, color, mark, width in looks:
            curve = [r for r in record["curves"] if r["form"] == name and r["distance"] > 0]
            dots = [r for r in record["noise"] if r["form"] == name and r["distance"] > 0]
            axes.plot(
                [r["distance"] for r in curve], [r[part] for r in curve],
                color=color, linewidth=width,
            )  # fmt: skip
            axes.plot(
                [r["distance"] for r in dots], [r[part] for r in dots],
                mark, color=color, markersize=9 if mark == "o" else 6, label=name,
                fillstyle="none" if mark == "o" else "full",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("distance from the optimum, in σ*")
        axes.set_title(title, fontsize=12, color=INK)
    figure.axes[0].set_ylabel("variance of one draw")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, title="dots measured, lines exact"
    )


def _paint_arrival(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    arrival = record["arrival"]
    steps = np.array(arrival["steps"])
    for name, color, width in zip(_forms(record), COLORS, _WIDTHS, strict=False):
        values = np.maximum(arrival["divergence"][name], 1e-15)
        axes.plot(steps, values, color=color, linewidth=width, label=name)
        if values[-1] < 1e-9:
            axes.text(
                steps[-1], values[-1] * 2, "rounding of 32 bits",
                ha="right", va="bottom", color=INK, fontsize=11,
            )  # fmt: skip
        plateau = arrival["plateau"][name]
        if plateau > 1e-12 and name != "analytic entropy":
            axes.plot([steps[-1] * 0.55, steps[-1] * 1.02], [plateau] * 2, ":", color=EXACT)
    axes.plot([], [], ":", color=EXACT, label="exact, to first order in the rate")
    axes.set_yscale("log")
    axes.set_xlabel(f"steps of stochastic gradients, learning rate {arrival['learning_rate']}")
    axes.set_ylabel("KL(q‖posterior), mean over chains, in nats")
    axes.legend(loc="center right", fontsize=11)


def _paint_networks(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    networks = record["networks"]
    forms, rows = list(networks["training"]), networks["noise"]
    colors = dict(zip(_forms(record), COLORS, strict=False))
    width = 0.8 / len(forms)
    for i, name in enumerate(forms):
        at = np.arange(len(rows)) + (i - (len(forms) - 1) / 2) * width
        relative = [row["variance"][name] / row["variance"]["total derivative"] for row in rows]
        bars = left.bar(at, relative, width * 0.92, color=colors[name], label=name)
        left.bar_label(bars, fmt="%.2f", fontsize=10, color=INK, padding=2)
        history = np.array(networks["training"][name]["history"])
        right.plot(*history.T, color=colors[name], linewidth=1.4, label=name)
    left.set_xticks(range(len(rows)), [f"after {row['epoch']}" for row in rows])
    left.set_xlabel(f"epochs on {networks['data']} by the total derivative")
    left.set_ylabel("variance of the encoder's gradient,\nover the total derivative's")
    left.grid(visible=False, axis="x")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    right.set_xlabel("epochs, trained by each form")
    right.set_ylabel("validation ELBO, one draw, nats a datum")
    heights = np.concatenate([line.get_ydata() for line in right.get_lines()])
    right.set_ylim(np.quantile(heights, 0.06), heights.max() + 0.3)


def _forms(record: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["form"] for row in record["noise"]))


draw = pictures(
    {
        "noise": ((11.5, 4.8), _paint_noise),
        "arrival": ((7.0, 4.8), _paint_arrival),
        "networks": ((11.5, 4.4), _paint_networks),
    }
)
