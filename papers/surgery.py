"""The ELBO taken apart for 2, 10 and 20 latents, and a toy that shows what each term wants.

Paper: Hoffman & Johnson, "ELBO surgery: yet another way to carve up the variational evidence lower
bound", 2016: its table of models of binarized MNIST.

Command: tighter reproduce surgery --data mnist/ (some minutes; a minute on the digits, default).
Expect: with 2 latents the mutual information stays below log N and the marginal KL is small; with
10 and 20 it saturates at log N (10.82 of 50,000, published 10.82 and 10.67), and all that the KL
grows by is marginal KL (published .21, 8.35, 9.53). The published ELBOs, −129.6, −96.0, −92.0, took
long training; ten epochs end 13 nats below, at −143.9, −109.7, −105.2, with mutual information
5.94, 10.65, 10.74 of log 54,000 = 10.90, and marginal KL .33, 6.85, 13.65.

The toy: q(z|x₁) and q(z|x₂) on the line, p(z) = N(0, 1), x|z ~ N(z, ½), x = ∓1.5. Each term alone
moves them uphill: the reconstruction squeezes each to a point and drives them apart, to −1.5 and
1.5; the mutual information (subtracted) stretches and merges them, until z tells nothing of n; the
marginal KL (subtracted) spreads both over the prior, and leaves them apart for long. All three at
once lead to the exact posteriors N(∓1, ⅓).
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
from papers._record import COLORS, EXACT, INK, MUTED, Announce, Recorder, pictures, silent
from tighter import AnalyticKL, fit
from tighter.diagnostics import elbo_surgery
from tighter.gradients import DoublyReparameterized

LATENTS = (2, 10, 20)
HIDDEN, BATCH, LEARNING_RATE = (200, 200), 100, 1e-3
EPOCHS_OF_FEW, EPOCHS_OF_MANY = 200, 10
# Examples at whose draws q(z), of all N, is evaluated.
EVALUATED = 5000
PUBLISHED = {
    2: {"elbo": -129.6, "average_kl": 7.4, "index_code_mutual_information": 7.2,
        "marginal_kl": 0.21},
    10: {"elbo": -96.0, "average_kl": 19.2, "index_code_mutual_information": 10.82,
         "marginal_kl": 8.35},
    20: {"elbo": -92.0, "average_kl": 20.2, "index_code_mutual_information": 10.67,
         "marginal_kl": 9.53},
}  # fmt: skip
_TERMS = ("elbo", "reconstruction", "average_kl", "index_code_mutual_information", "marginal_kl")

# The toy: observations, the variance of x given z, where the codes begin, and the flow's steps.
OBSERVED, VARIANCE = 1.5, 0.5
START = {"mean": (-0.5, 0.7), "log_scale": (math.log(0.45), math.log(0.6))}
STEP, STEPS = 0.01, 2000
_LINE = np.linspace(-7, 7, 1401)


def run(
    path: Path,
    *,
    seed: int = 0,
    data: str = "digits",
    epochs: int | None = None,
    announce: Announce = silent,
) -> dict[str, Any]:
    """Train a model of each size, take its ELBO apart, and let the toy's codes flow.

    Args:
        path: The folder, new or empty.
        seed: Of the split, the parameters and every draw.
        data: As for `tighter train`: "digits", a folder of IDX files, a .npy or .npz file.
        epochs: Passes over the data; 200 for fewer than 5,000 examples and 10 for more, if left
            out.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1].
    """
    recorder = Recorder(path, "surgery", seed=seed)
    splits, transform = binary_images(data, seed=seed)
    epochs = epochs or (EPOCHS_OF_MANY if len(splits.train) >= MANY else EPOCHS_OF_FEW)
    data_key, fit_key, surgery_key = jax.random.split(jax.random.key(seed), 3)
    # One binarization of all, as q(z) is of N fixed examples; training sees others.
    examples = transform(jnp.asarray(splits.train.x), key=data_key)
    rows = []
    for num_latent in LATENTS:
        announce(f"{num_latent} latents: {epochs} epochs on {len(splits.train)} examples")
        result = fit(
            autoencoder(splits, seed=seed, hidden=HIDDEN, num_latent=num_latent),
            splits.train,
            AnalyticKL(gradient=DoublyReparameterized()),
            optimizer=optax.adam(LEARNING_RATE),
            num_epochs=epochs,
            batch_size=BATCH,
            key=fit_key,
            validation=splits.validation.x[:2000],
            transform=transform,
        )
        announce(f"{num_latent} latents: surgery")
        surgery = elbo_surgery(
            result.best_model,
            examples,
            num_evaluated=min(EVALUATED, len(examples)),
            key=surgery_key,
        )
        rows.append(
            {
                "num_latent": num_latent,
                **{name: float(getattr(surgery, name)) for name in _TERMS},
                "errors": {name: float(getattr(surgery.standard_error, name)) for name in _TERMS},
            }
        )
    announce("two codes on the line")
    return recorder.store(
        {
            "data": splits.train.name,
            "epochs": epochs,
            "num_examples": len(examples),
            "log_num_examples": math.log(len(examples)),
            "rows": rows,
            "toy": {name: flow(name) for name in TERMS},
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The table beside the published one, and where the toy's codes end."""
    num, published_here = record["num_examples"], record["num_examples"] >= 50_000
    lines = [
        f"{record['data']}, {record['epochs']} epochs, N = {num}, log N = "
        f"{record['log_num_examples']:.2f}; nats a datum"
        + (" (published for MNIST, N = 50,000, log N = 10.82)" if published_here else ""),
        f"{'latents':>8}{'ELBO':>26}{'average KL':>16}{'mutual inf.':>24}{'marginal KL':>22}",
    ]
    for row in record["rows"]:
        cells = [f"{row['num_latent']:>8}"]
        for name, width in zip(("elbo", *_TERMS[2:]), (26, 16, 24, 22), strict=True):
            error = row["errors"][name]
            cell = f"{row[name]:.2f}" + (f" ± {error:.2f}" if error else "")
            if published_here and row["num_latent"] in PUBLISHED:
                cell += f" ({PUBLISHED[row['num_latent']][name]:g})"
            cells.append(f"{cell:>{width}}")
        lines.append("".join(cells))
    lines.append("two codes: q(z|x₁), q(z|x₂), and their mutual information and marginal KL")
    for name, toy in record["toy"].items():
        for when, at in (("before", 0), ("after", -1)):
            (m1, m2), (s1, s2) = toy["mean"][at], toy["scale"][at]
            lines.append(
                f"  {name:22}{when:7} {m1:+.2f} ± {s1:.2f}, {m2:+.2f} ± {s2:.2f};  "
                f"{toy['mutual_information'][at]:.3f}, {toy['marginal_kl'][at]:.3f}"
            )
    return lines


Codes = dict[str, Float[Array, " codes"]]


def terms(codes: Codes) -> dict[str, Float[Array, ""]]:
    """Of the toy: the reconstruction, I(n; z) and KL(q(z)‖p(z)), in nats, by sums over the line.

    Args:
        codes: Means and logarithms of the standard deviations of q(z|x₁) and q(z|x₂).
    """
    z, step = jnp.asarray(_LINE, float), float(_LINE[1] - _LINE[0])
    mean, scale = codes["mean"], jnp.exp(codes["log_scale"])
    log_each = jax.scipy.stats.norm.logpdf(z[None], mean[:, None], scale[:, None])
    log_both = jax.nn.logsumexp(log_each, axis=0) - math.log(2)
    mass = jnp.exp(log_both) * step
    information = jnp.mean(jnp.sum(jnp.exp(log_each) * step * (log_each - log_both[None]), axis=1))
    observed = jnp.array([-OBSERVED, OBSERVED])
    misfit = jnp.mean((observed - mean) ** 2 + scale**2)
    return {
        "reconstruction": -misfit / (2 * VARIANCE) - 0.5 * math.log(2 * math.pi * VARIANCE),
        "mutual_information": information,
        "marginal_kl": jnp.sum(mass * (log_both - jax.scipy.stats.norm.logpdf(z))),
    }


# What each flow climbs, and for how many of the steps: alone, the reconstruction has no end.
TERMS: dict[str, tuple[Callable[[dict[str, Array]], Array], float]] = {
    "reconstruction": (lambda parts: parts["reconstruction"], 0.05),
    "− mutual information": (lambda parts: -parts["mutual_information"], 1.0),
    "− marginal KL": (lambda parts: -parts["marginal_kl"], 1.0),
    "all three, the ELBO": (
        lambda parts: parts["reconstruction"] - parts["mutual_information"] - parts["marginal_kl"],
        1.0,
    ),
}


def flow(name: str) -> dict[str, list[Any]]:
    """Means, standard deviations and terms along one term's flow, at a hundred points of it."""
    climbed, share = TERMS[name]
    steps = max(1, round(STEPS * share))

    def step(codes: Codes, _: None) -> tuple[Codes, tuple[Codes, dict[str, Array]]]:
        slope = jax.grad(lambda codes: climbed(terms(codes)))(codes)
        moved = jax.tree.map(lambda value, rise: value + STEP * rise, codes, slope)
        return moved, (codes, terms(codes))

    start = {key: jnp.array(values) for key, values in START.items()}
    codes, parts = jax.jit(lambda start: jax.lax.scan(step, start, None, length=steps + 1)[1])(
        start
    )
    kept = np.unique(np.linspace(0, steps, 101).astype(int))
    return {
        "time": (kept * STEP).tolist(),
        "mean": np.asarray(codes["mean"], np.float64)[kept].tolist(),
        "scale": np.exp(np.asarray(codes["log_scale"], np.float64))[kept].tolist(),
        **{key: np.asarray(value, np.float64)[kept].tolist() for key, value in parts.items()},
    }


_SHOWN = np.linspace(-3.6, 3.6, 361)


def _paint_terms(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    rows = record["rows"]
    at = np.arange(len(rows))
    names = [str(row["num_latent"]) for row in rows]
    information = np.array([row["index_code_mutual_information"] for row in rows])
    marginal = np.array([row["marginal_kl"] for row in rows])
    left.bar(at, information, 0.55, color=COLORS[0], label="mutual information I(n; z)")
    left.bar(at, marginal, 0.55, bottom=information, color=COLORS[1], label="marginal KL(q(z)‖p)")
    for where, below, height in zip(at, information, marginal, strict=True):
        left.text(where, below / 2, f"{below:.2f}", ha="center", va="center", color="white")
        left.text(
            where, below + height + 0.15, f"{height:.2f}", ha="center", va="bottom", color=COLORS[1]
        )
    ceiling = record["log_num_examples"]
    left.axhline(ceiling, color=EXACT, linewidth=1.5, linestyle="--")
    left.text(-0.44, ceiling + 0.12, f"log N = {ceiling:.2f}", color=EXACT, ha="left", va="bottom")
    left.set_ylim(0, 1.32 * max(ceiling, float((information + marginal).max())))
    left.set_xlim(-0.5, len(rows) - 0.5)
    left.set_ylabel("average KL(q(z|x)‖p), nats a datum")
    left.legend(loc="upper left")
    elbos = [row["elbo"] for row in rows]
    right.plot(at, elbos, "o-", color=COLORS[2], markersize=7)
    for where, value in zip(at, elbos, strict=True):
        right.annotate(
            f"{value:.1f}".replace("-", "−"), (where, value), (8, -15),
            textcoords="offset points", ha="left", color=INK,
        )  # fmt: skip
    span = max(elbos) - min(elbos)
    right.set_ylim(min(elbos) - 0.15 * span - 0.5, max(elbos) + 0.25 * span + 0.5)
    right.set_xlim(-0.5, len(rows) - 0.2)
    right.set_ylabel("ELBO, nats a datum")
    for axes in (left, right):
        axes.set_xticks(at, names)
        axes.set_xlabel("latent dimensions")
        axes.grid(visible=False, axis="x")
    figure.suptitle(
        f"{record['data']}, N = {record['num_examples']:,}, {record['epochs']} epochs",
        fontsize=12, color=INK,
    )  # fmt: skip


def _paint_toy(figure: Figure, record: dict[str, Any]) -> None:
    toys = record["toy"]
    panels = figure.subplots(2, len(toys), sharex="row", sharey="row", height_ratios=(1.5, 1))
    parts = {
        "reconstruction": "reconstruction − best",
        "mutual_information": "mutual information",
        "marginal_kl": "marginal KL",
    }
    best = max(max(toy["reconstruction"]) for toy in toys.values())
    for (above, below), (name, toy) in zip(panels.T, toys.items(), strict=True):
        _paint_codes(above, toy)
        above.set_title(name, fontsize=12, color=INK)
        above.set_xlabel("z")
        time = np.array(toy["time"]) / toy["time"][-1]
        for (part, label), color in zip(parts.items(), COLORS[2:], strict=False):
            values = np.array(toy[part]) - (best if part == "reconstruction" else 0)
            below.plot(time, values, color=color, linewidth=1.6, label=label)
        below.set_xlabel(f"time of the flow, 0 to {toy['time'][-1]:g}")
        below.set_xticks([])
    panels[0, 0].set_ylabel("density")
    panels[1, 0].set_ylabel("nats")
    panels[0, 0].set_ylim(0, 1.7)
    panels[0, 0].legend(loc="upper left", fontsize=10)
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)


def _paint_codes(axes: Axes, toy: dict[str, Any]) -> None:
    """The two densities before (dashed) and after, and the prior."""
    prior = _density(0.0, 1.0)
    axes.fill_between(_SHOWN, prior, color=MUTED, alpha=0.14, linewidth=0, label="prior")
    for code, color in enumerate(COLORS[:2]):
        before, after = (_density(toy["mean"][i][code], toy["scale"][i][code]) for i in (0, -1))
        axes.plot(_SHOWN, before, "--", color=color, linewidth=1.2)
        width, name = 3.4 - 1.6 * code, f"q(z|x{'₁₂'[code]})"
        axes.plot(_SHOWN, after, color=color, linewidth=width, label=name)
    axes.plot([], [], "--", color=MUTED, linewidth=1.2, label="before")


def _density(mean: float, scale: float) -> np.ndarray:
    return np.exp(-(((_SHOWN - mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))


draw = pictures(
    {
        "terms": ((9.6, 4.8), _paint_terms),
        "toy": ((11.5, 6.4), _paint_toy),
    }
)
