"""A plane of latents on images: what it decodes to, and how the encodings lie in it.

Paper: Kingma & Welling, "Auto-encoding variational Bayes", 2014, figure 4b: the plane of z taken
through the prior's quantiles, f(z) = sigmoid(V tanh(Wz + b) + β), with an encoder of the same kind.

Command: tighter reproduce manifold (half a minute; with --data mnist/ two minutes).
Expect: digits in sectors, look-alikes (4 and 9, 3, 5 and 8) beside one another. The ELBO of test
images −20.1 nats on the digits, −152 on MNIST after 20 epochs, and log p(x), summed over the plane
and so exact, −19.5 and −146: most of what is lacking is the encoder's. Of two latents with deeper
networks −129.6 is told (Hoffman & Johnson, 2016, from memory). Encodings are not quite the prior's:
Kolmogorov–Smirnov distances .04 on the digits, .08 on MNIST, where chance has .02 and .01; on MNIST
they spread 1.3 times as wide, and the marginal KL is .5 nat.
"""

from __future__ import annotations

import functools
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
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from papers._images import MANY, autoencoder, binary_images
from papers._record import COLORS, EXACT, INK, MUTED, SURFACE, Announce, Recorder, pictures, silent
from tighter import AnalyticKL, distributions, fit
from tighter.data import Splits
from tighter.diagnostics import aggregated_posterior, elbo_surgery
from tighter.gradients import DoublyReparameterized
from tighter.models import VAE

HIDDEN, BATCH, LEARNING_RATE = 500, 100, 5e-3
EPOCHS_OF_FEW, EPOCHS_OF_MANY = 300, 20
# Encodings whose distribution is looked at, and test examples whose log p(x) is computed.
ENCODED, TESTED = 5000, 1000
# Encodings that are drawn, and decoded points to a side of the plane.
PICTURED, GRID = 2000, 20
# Points to a side of the square of z that log p(x) is summed over, and half of the side.
SIDE, REACH = 401, 6.0
_POINTS = 2048


def run(
    path: Path,
    *,
    seed: int = 0,
    data: str = "digits",
    epochs: int | None = None,
    announce: Announce = silent,
) -> dict[str, Any]:
    """Train the model, decode the plane, and look at the encodings.

    Args:
        path: The folder, new or empty.
        seed: Of the split, the parameters and every draw.
        data: As for `tighter train`: "digits", a folder of IDX files, a .npy or .npz file.
        epochs: Passes over the data; 300 for fewer than 5,000 examples and 20 for more, if left
            out.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1].
    """
    recorder = Recorder(path, "manifold", seed=seed)
    splits, transform = binary_images(data, seed=seed, binarization="threshold")
    epochs = epochs or (EPOCHS_OF_MANY if len(splits.train) >= MANY else EPOCHS_OF_FEW)
    num_steps = epochs * (len(splits.train) // BATCH)
    key = jax.random.key(seed)
    announce(f"{epochs} epochs on {len(splits.train)} examples of {splits.train.name}")
    result = fit(
        autoencoder(splits, seed=seed, hidden=(HIDDEN,), num_latent=2),
        splits.train,
        AnalyticKL(gradient=DoublyReparameterized()),
        optimizer=optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps, 0.01), eps=1e-4),
        num_epochs=epochs,
        batch_size=BATCH,
        key=key,
        validation=splits.validation.x[:2000],
        transform=transform,
    )
    model = result.best_model
    test_key, encoded_key, surgery_key, draws_key, _ = jax.random.split(key, 5)
    test = transform(jnp.asarray(splits.test.x[:TESTED]), key=test_key)
    announce(f"log p(x) of {len(test)} test examples, summed over {SIDE}² points of the plane")
    exact, coarse = exact_log_likelihood(model, test)
    take_apart = functools.partial(
        elbo_surgery, model, num_samples=16, key=surgery_key, show_progress=False
    )
    of_test = take_apart(test)
    encoded = transform(jnp.asarray(splits.train.x[:ENCODED]), key=encoded_key)
    announce(f"distribution of {len(encoded)} encodings")
    surgery = take_apart(encoded)
    aggregated = aggregated_posterior(model, encoded, key=draws_key)
    draws = np.asarray(_draws(model, encoded, draws_key))
    return recorder.store(
        {
            "data": splits.train.name,
            "epochs": epochs,
            "best_epoch": result.best_epoch,
            "hidden": HIDDEN,
            "history": [
                {name: row[name] for name in ("epoch", "bound", "validation_bound")}
                for row in result.history
            ],
            "test": {
                "num_examples": len(test),
                "elbo": of_test.elbo,
                "elbo_error": of_test.standard_error.elbo,
                "log_likelihood": float(exact.mean()),
                "standard_error": float(exact.std(ddof=1) / math.sqrt(len(exact))),
                "quadrature_error": float(np.abs(exact - coarse).max()),
            },
            "encodings": {
                "num_examples": aggregated.num_examples,
                "statistic": aggregated.statistic.tolist(),
                # Of draws of the prior themselves: half of them lie below.
                "by_chance": 0.8276 / math.sqrt(aggregated.num_examples),
                "mean": aggregated.mean.tolist(),
                "standard_deviation": aggregated.standard_deviation.tolist(),
                "correlation": float(np.corrcoef(*draws.T).min()),
                "average_kl": surgery.average_kl,
                "mutual_information": surgery.index_code_mutual_information,
                "marginal_kl": surgery.marginal_kl,
                "marginal_kl_error": surgery.standard_error.marginal_kl,
            },
        },
        {
            **_pictured(model, splits, transform),
            "draws": draws,
            "prior_quantiles": aggregated.theoretical_quantiles,
            "sample_quantiles": aggregated.sample_quantiles,
        },
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The bound beside the exact log-likelihood, and the encodings beside the prior."""
    test, encodings = record["test"], record["encodings"]
    distances = ", ".join(f"{value:.3f}" for value in encodings["statistic"])
    means = ", ".join(f"{value:+.2f}" for value in encodings["mean"])
    deviations = ", ".join(f"{value:.2f}" for value in encodings["standard_deviation"])
    return [
        f"{record['data']}, {record['epochs']} epochs; {test['num_examples']} test examples: "
        f"ELBO {test['elbo']:.2f} ± {test['elbo_error']:.2f}, log p(x) "
        f"{test['log_likelihood']:.2f}, exact to {test['quadrature_error']:.0e} "
        f"(± {test['standard_error']:.2f} by the choice of examples)",
        f"{encodings['num_examples']} encodings against N(0, 1): Kolmogorov–Smirnov distances "
        f"{distances} (draws of the prior: {encodings['by_chance']:.3f})",
        f"means {means}, standard deviations {deviations}, correlation "
        f"{encodings['correlation']:+.2f}",
        f"in nats: average KL {encodings['average_kl']:.2f} = mutual information "
        f"{encodings['mutual_information']:.2f} + marginal KL {encodings['marginal_kl']:.3f} "
        f"± {encodings['marginal_kl_error']:.3f}",
    ]


def exact_log_likelihood(
    model: VAE, xs: Float[Array, "batch ..."]
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Log p(x) of each example in nats, summed over a square of z; and over every second line.

    The first is the answer; the second, of a quarter of the points, tells how far to trust it.
    """
    axis = np.linspace(-REACH, REACH, SIDE)
    step = axis[1] - axis[0]
    every_second = np.arange(SIDE) % 2 == 0
    zs = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    both = np.logical_and(every_second[:, None], every_second[None, :]).reshape(-1)
    fill = -len(zs) % _POINTS
    zs = np.concatenate([zs, np.zeros((fill, 2))])
    masses = np.stack(
        [np.full(len(both), 2 * np.log(step)), np.where(both, 2 * np.log(2 * step), -np.inf)]
    )
    masses = np.pad(masses, ((0, 0), (0, fill)), constant_values=-np.inf)
    sums = _log_sums(model, xs, jnp.asarray(zs, float), jnp.asarray(masses, float))
    whole, coarse = np.asarray(sums, np.float64)
    return whole, coarse


def _pictured(model: VAE, splits: Splits, transform: Callable[..., Array]) -> dict[str, np.ndarray]:
    """The plane decoded through the prior's quantiles, and some encodings with their labels."""
    xs = np.concatenate([splits.test.x, splits.train.x])[:PICTURED]
    xs = transform(jnp.asarray(xs), key=jax.random.key(0))  # a threshold takes no chance
    quantiles = jax.scipy.special.ndtri((jnp.arange(GRID) + 0.5) / GRID)
    across, up = jnp.meshgrid(quantiles, quantiles[::-1])
    means = jax.jit(jax.vmap(model.likelihood_mean))(jnp.stack([across, up], -1).reshape(-1, 2))
    encode = jax.jit(jax.vmap(lambda x: model.posterior(x).mean))  # type: ignore[attr-defined]
    arrays = {
        "grid": np.asarray(means.reshape(GRID, GRID, *splits.train.shape)),
        "encodings": np.asarray(encode(xs)),
    }
    if splits.test.labels is not None and splits.train.labels is not None:
        labels = np.concatenate([splits.test.labels, splits.train.labels])[:PICTURED]
        arrays["encoding_labels"] = labels
    return arrays


@eqx.filter_jit
def _log_sums(
    model: VAE,
    xs: Float[Array, "batch ..."],
    zs: Float[Array, "points 2"],
    masses: Float[Array, "two points"],
) -> Float[Array, "two batch"]:
    """Log sums of p(x, z) times masses, a block of the plane at a time."""
    pixels = xs.reshape(xs.shape[0], -1)

    def add(sums: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        zs, masses = block
        logits = jax.vmap(model.decoder)(zs).reshape(zs.shape[0], -1)
        log_prior = jnp.asarray(jax.vmap(model.prior.log_prob)(zs))
        # Of binary pixels: Σ x l − log(1 + e^l), for all pairs by one product of matrices.
        given = pixels @ logits.T - jnp.sum(jnp.logaddexp(logits, 0), axis=1)[None]
        joint = given[None] + (log_prior[None] + masses)[:, None]
        return jnp.logaddexp(sums, jax.nn.logsumexp(joint, axis=-1)), None

    start = jnp.full((2, xs.shape[0]), -jnp.inf)
    blocks = zs.reshape(-1, _POINTS, 2), masses.reshape(2, -1, _POINTS).swapaxes(0, 1)
    sums, _ = jax.lax.scan(add, start, blocks)
    return sums


@eqx.filter_jit
def _draws(
    model: VAE, xs: Float[Array, "examples ..."], key: Key[Array, ""]
) -> Float[Array, "examples 2"]:
    """One encoding of each example."""
    keys = jax.random.split(key, xs.shape[0])
    return jax.vmap(lambda x, key: distributions.draw(model.posterior(x), key=key))(xs, keys)


# Petroff's ten colors (arXiv 2107.02270), chosen by search to stay apart under color blindness.
CATEGORIES = [
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
]


def _paint_plane(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    # A blank line around each picture keeps it from its neighbors.
    grid = np.pad(arrays["grid"].squeeze(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns, height, width = grid.shape
    sheet = grid.swapaxes(1, 2).reshape(rows * height, columns * width)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, extent=(0, 1, 0, 1), interpolation="nearest")
    axes.grid(visible=False)
    axes.set_xlabel("Φ(z₁), the prior's quantile")
    axes.set_ylabel("Φ(z₂)")
    axes.set_title(
        f"pixels' probabilities over the plane; {record['data']}, {record['epochs']} epochs",
        fontsize=12, color=INK,
    )  # fmt: skip


def _paint_encodings(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    points = arrays["encodings"]
    labels = arrays.get("encoding_labels", np.zeros(len(points), int))
    for label, color in zip(np.unique(labels), CATEGORIES, strict=False):
        chosen = points[labels == label]
        axes.plot(*chosen.T, ".", color=color, markersize=4, label=str(label))
    for radius in (1, 2, 3):
        # Of a plane's normal, the share within r is 1 − exp(−r²/2).
        axes.add_patch(Circle((0, 0), radius, fill=False, color=EXACT, linewidth=1, zorder=3))
        share = -100 * np.expm1(-(radius**2) / 2)
        text = axes.text(
            0, radius, f"{share:.0f} %", ha="center", va="center", fontsize=10, zorder=4
        )
        text.set_path_effects([withStroke(linewidth=3, foreground=SURFACE)])
    axes.set_aspect("equal")
    axes.set_xlabel("z₁ (mean of q)")
    axes.set_ylabel("z₂ (mean of q)")
    axes.set_title("encodings; circles: shares of the prior within", fontsize=12, color=INK)
    if "encoding_labels" in arrays:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="label", markerscale=3)


def _paint_against_prior(
    figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    panels = figure.subplots(1, 3)
    at = np.linspace(-5, 5, 201)
    for i, axes in enumerate(panels[:2]):
        axes.hist(
            arrays["draws"][:, i], bins=np.linspace(-5, 5, 61).tolist(), density=True,
            color=COLORS[i], alpha=0.55, label="encodings",
        )  # fmt: skip
        axes.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color=EXACT, label="prior")
        axes.set_xlabel(f"z{'₁₂'[i]}")
        axes.set_ylabel("density")
        distance = record["encodings"]["statistic"][i]
        axes.set_title(f"Kolmogorov–Smirnov distance {distance:.3f}", fontsize=12, color=INK)
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
        axes.legend(loc="upper right", fontsize=10)
        panels[2].plot(
            arrays["prior_quantiles"][i], arrays["sample_quantiles"][i],
            "o", color=COLORS[i], markersize=3.5, label=f"z{'₁₂'[i]}",
        )  # fmt: skip
    panels[2].plot([-3.5, 3.5], [-3.5, 3.5], color=MUTED, linewidth=1, zorder=1)
    panels[2].set_aspect("equal")
    panels[2].set_xlabel("quantile of the prior")
    panels[2].set_ylabel("quantile of the encodings")
    panels[2].set_title("quantiles against quantiles", fontsize=12, color=INK)
    panels[2].legend(loc="upper left")


draw = pictures(
    {
        "plane": ((7.2, 7.4), _paint_plane),
        "encodings": ((7.2, 6.6), _paint_encodings),
        "against_prior": ((11.5, 4.4), _paint_against_prior),
    },
    arrays=True,
)
