"""Exact posteriors of a latent bent into a butterfly, and bounds closing in on the exact log p(x).

Paper: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, theorem 1 (bounds
rise to log p(x)); Domke & Sheldon, "Importance weighting and variational inference", 2018, theorem
3 (their gap is χ²/2K). Here on a decoder whose every answer a sum over a line of z gives.

Command: tighter reproduce butterfly (half a minute).
Expect: a body around z = 0 and two wings. At K = 1 the best Gaussian's bound is its exact ELBO,
.078 nat below log p(x). With more draws it comes to .02 and hardly nearer: other z, opposite or a
turn of 2π away, explain the same x, and .022 of the posterior lies where one draw in 16,000 falls
(.25 of it at the worst). With half of its draws from N(0, 2²) it is worse up to K = 10, and then
goes on as χ²/2K to .0001 at K = 10⁴, where simple Monte Carlo is at .01: each point's gap follows
once K is well above its χ², which is 1 on body and wings and 244 at the tip. (With one draw, what
is drawn widely measures nothing but `FLOOR`.)

    z ~ N(0, 1),  x|z ~ N(μ(z), Σ(z)),  μ = (10 sin³z, 10 cos z − 10 cos⁴z),
    Σ = diag((sin z / 3z)², (sin z / z)²)

The curve closes at z = ±π: a prior of scale 1 leaves its lower end nearly bare, so that body and
wings are what is seen; one of scale 1.5 or more fills it, and makes a heart of it.

At z = 0 the scale's singularity is removable: sin z / z is 1 there (`sinc`, its derivative too). At
z = kπ, k ≠ 0, both scales vanish. There p(x|z) tends to 0 for every x but μ(kπ), where p(x) has a
pole; and log p(x|z) falls as −1/(z − kπ)², which no Gaussian q can integrate: its ELBO is −∞, and
that of IWAE with two draws, though no draw may ever show it. So |sin z / z| is kept at `FLOOR`
or above: every bound is finite, and log p(x) is what it was, but within a hundredth of μ(kπ).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpyro.distributions import Distribution, Normal

from papers._record import COLORS, EXACT, INK, SURFACE, Announce, Recorder, pictures, silent
from tighter import distributions
from tighter.bounds import IWAE
from tighter.distributions import Mixture, Posterior
from tighter.models import LatentVariableModel

FLOOR = 1e-3
DATA, POINTS = 3000, 100
SAMPLES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
# An example; bounds of K draws are made of the same ones, taken K at a time.
DRAWS = 200_000
LINE = np.linspace(-8, 8, 2**15 + 1)
WIDE, WIDE_SCALE = 0.5, 2.0
CHOSEN = {
    "body": (0.0, 0.5),
    "between the wings": (0.0, 2.5),
    "shoulder": (5.0, 4.7),
    "edge of a wing": (10.0, 0.0),
    "flank": (3.1, -10.5),
    "tip": (0.0, -19.5),
}
_BLOCK = 5000


class Example(NamedTuple):
    """An observation with the Gaussian that stands in for its posterior."""

    x: Float[Array, "*batch 2"]
    mean: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


class Butterfly(LatentVariableModel):
    """The model above, with a Gaussian for each example, mixed with a wide one for all.

    Attributes:
        wide: Share of the draws that come from the wide one; 0 for the example's Gaussian alone.
    """

    wide: float = eqx.field(static=True, default=0.0)

    @property
    def prior(self) -> Distribution:
        """N(0, 1)."""
        return Normal(jnp.zeros(()), 1.0, validate_args=False)

    def likelihood(self, z: Float[Array, ""]) -> Distribution:
        """N(μ(z), Σ(z))."""
        return Normal(*decode(z), validate_args=False).to_event(1)

    def posterior(self, x: Example) -> Posterior:
        """The example's Gaussian, or its mixture with the wide one."""
        if not self.wide:
            return Normal(x.mean, x.scale, validate_args=False)
        means = jnp.stack([x.mean, jnp.zeros(())])
        scales = jnp.stack([x.scale, jnp.asarray(WIDE_SCALE)])
        shares = jnp.log(jnp.array([1 - self.wide, self.wide]))
        return Mixture(shares, Normal(means, scales, validate_args=False))

    def log_joint(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        return lambda z: jnp.add(self.prior.log_prob(z), self.likelihood(z).log_prob(x.x))


def decode(z: Any, *, floor: float = FLOOR) -> tuple[Any, Any]:
    """Means and standard deviations of p(x|z), shape (..., 2), of JAX's or NumPy's numbers."""
    numbers = z.__array_namespace__()
    sine, cosine = numbers.sin(z), numbers.cos(z)
    ratio = numbers.maximum(numbers.abs(numbers.sinc(z / math.pi)), numbers.asarray(floor))
    mean = numbers.stack([10 * sine**3, 10 * cosine - 10 * cosine**4], axis=-1)
    return mean, numbers.stack([ratio / 3, ratio], axis=-1)


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Draw data, find the exact posteriors, measure the bounds.

    Args:
        path: The folder, new or empty.
        seed: Of data and draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "butterfly", seed=seed)
    data_key, bounds_key = jax.random.split(jax.random.key(seed))
    data = np.asarray(Butterfly().sample(data_key, DATA), np.float64)
    xs = np.concatenate([np.array(list(CHOSEN.values())), data[:POINTS]])
    announce(f"exact posteriors of {len(xs)} points on a line of {len(LINE)} z")
    exact = [exact_answers(x) for x in xs]
    announce(f"bounds of up to {SAMPLES[-1]} draws, three proposals")
    examples = Example(
        *(jnp.asarray(column, float) for column in (
            xs, [answers["mean"] for answers in exact], [answers["scale"] for answers in exact]
        ))
    )  # fmt: skip
    standard = examples._replace(
        mean=jnp.zeros_like(examples.mean), scale=jnp.ones_like(examples.scale)
    )
    proposals = {
        "the prior": (Butterfly(), standard),
        "best Gaussian": (Butterfly(), examples),
        "Gaussian and a wide one": (Butterfly(WIDE), examples),
    }
    laws = {"the prior": "chi_square_prior", "Gaussian and a wide one": "chi_square_mixture"}
    evidence = np.array([answers["log_evidence"] for answers in exact])
    bounds, chosen = [], []
    for name, (model, given) in proposals.items():
        log_weights = _log_weights(model, given, jax.random.split(bounds_key, DRAWS))
        for num in SAMPLES:
            gaps = evidence[:, None] - _bounds(log_weights, num)
            if name in laws:
                # The mean weight is p(x) on average, so this adds zero; where there are more
                # draws than χ² it takes most of the noise away.
                settled = np.array([answers[laws[name]] < num for answers in exact])
                gaps = gaps + np.where(settled[:, None], np.expm1(-gaps), 0)
            error = gaps.std(axis=1, ddof=1) / math.sqrt(gaps.shape[1])
            of_data, of_chosen = gaps[len(CHOSEN) :], range(len(CHOSEN))
            bounds.append(
                {
                    "proposal": name, "k": num, "gap": float(of_data.mean()),
                    "standard_error": float(np.sqrt(np.sum(error[len(CHOSEN) :] ** 2)))
                    / len(of_data),
                }
            )  # fmt: skip
            chosen += [
                {
                    "point": list(CHOSEN)[i], "proposal": name, "k": num,
                    "gap": float(gaps[i].mean()), "standard_error": float(error[i]),
                }
                for i in of_chosen
            ]  # fmt: skip
        announce(f"{name}: {bounds[-1]['gap']:.4f} nats below log p(x) at K = {SAMPLES[-1]}")
    of_data = exact[len(CHOSEN) :]
    arrays = {"x": data, "line": LINE[::16], "density_x": _FRAME[0], "density_y": _FRAME[1]}
    return recorder.store(
        {
            "floor": FLOOR,
            "wide": {"share": WIDE, "scale": WIDE_SCALE},
            "num_points": len(of_data),
            "points": [
                {"name": name, "x": list(x), **answers}
                for (name, x), answers in zip(CHOSEN.items(), exact, strict=False)
            ],
            "exact": {name: _mean(of_data, name) for name in of_data[0]},
            "largest": {name: max(a[name] for a in of_data) for name in ("floor_effect", "unseen")},
            "bounds": bounds,
            "bounds_of_points": chosen,
        },
        arrays
        | {
            "posteriors": np.stack([_posterior(np.array(x))[::2] for x in CHOSEN.values()]),
            "posterior_line": LINE[::2],
            "curve": decode(LINE[::16])[0],
            "log_density": _log_density(),
        },
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The gaps beside the exact ones."""
    names = list(dict.fromkeys(row["proposal"] for row in record["bounds"]))
    lines = [f"log p(x) − bound, nats, mean of {record['num_points']} points drawn from the model"]
    lines.append(f"{'K':>6}  " + "  ".join(f"{name:>23}" for name in names))
    for k in dict.fromkeys(row["k"] for row in record["bounds"]):
        rows = [row for row in record["bounds"] if row["k"] == k]
        cells = (f"{row['gap']:.4f} ± {row['standard_error']:.4f}" for row in rows)
        lines.append(f"{k:>6}  " + "  ".join(f"{cell:>23}" for cell in cells))
    exact, last = record["exact"], record["bounds"][-1]["k"]
    return [
        *lines,
        f"exact: ELBO of the best Gaussian {exact['elbo_gap']:.4f} below; "
        f"χ²/2K at K = {last}: {exact['chi_square_prior'] / 2 / last:.5f} (the prior), "
        f"{exact['chi_square_mixture'] / 2 / last:.5f} (Gaussian and a wide one)",
        f"beyond 4 scales of the best Gaussian, where one draw in 16,000 falls, lies "
        f"{exact['unseen']:.4f} of the posterior (at most {record['largest']['unseen']:.3f}): a "
        f"gap of {exact['unseen_gap']:.4f}",
        f"the floor of the scale changes log p(x) by {record['largest']['floor_effect']:.1e} "
        "at most",
    ]


def exact_answers(x: Float[np.ndarray, " 2"]) -> dict[str, float]:
    """What is known of one point, by sums over the line of z.

    Returns:
        log_evidence in nats; floor_effect, by how much the floor changes it; mean and scale of the
        Gaussian of the largest ELBO; elbo_gap, its KL to the posterior in nats; unseen, the share
        of the posterior's mass beyond four of its standard deviations, and unseen_gap, the nats
        that a bound without it stays below; chi_square_prior and chi_square_mixture, χ² of the
        posterior from the prior and from the Gaussian mixed with the wide one.
    """
    step = LINE[1] - LINE[0]
    joint = log_joint(x, LINE)
    evidence = _log_sum(joint) + math.log(step)
    unfloored = _log_sum(log_joint(x, LINE, floor=0.0)) + math.log(step)
    log_posterior = joint - evidence
    mean, scale = best_gaussian(x, log_posterior)
    log_prior, log_q = _log_normal(LINE, 0.0, 1.0), _log_normal(LINE, mean, scale)
    q = np.exp(log_q)
    log_wide = math.log(WIDE) + _log_normal(LINE, 0.0, WIDE_SCALE)
    mixed = np.logaddexp(math.log1p(-WIDE) + log_q, log_wide)
    posterior = np.exp(log_posterior)
    unseen = float(np.sum(posterior[np.abs(LINE - mean) > 4 * scale]) * step)
    return {
        "log_evidence": evidence,
        "floor_effect": abs(evidence - unfloored),
        "mean": mean,
        "scale": scale,
        "elbo_gap": float(np.sum(q * (log_q - log_posterior)) * step),
        "unseen": unseen,
        "unseen_gap": -math.log1p(-unseen),
        "chi_square_prior": math.expm1(_log_sum(2 * log_posterior - log_prior) + math.log(step)),
        "chi_square_mixture": math.expm1(_log_sum(2 * log_posterior - mixed) + math.log(step)),
    }


def best_gaussian(
    x: Float[np.ndarray, " 2"], log_posterior: Float[np.ndarray, " line"]
) -> tuple[float, float]:
    """Mean and scale of the Gaussian of largest ELBO, from the peak and from the moments."""
    from scipy.optimize import minimize  # a second to import, so that it is done late

    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()

    def loss(parameters: np.ndarray) -> float:
        mean, scale = parameters[0], math.exp(parameters[1])
        return -float(weights @ log_joint(x, mean + scale * nodes)) - parameters[1]

    posterior, step = np.exp(log_posterior), LINE[1] - LINE[0]
    average = float(np.sum(LINE * posterior) * step)
    deviation = math.sqrt(float(np.sum((LINE - average) ** 2 * posterior) * step))
    peak = int(np.argmax(posterior))
    starts = [
        (LINE[peak], -math.log(posterior[peak] * math.sqrt(2 * math.pi))),
        (average, math.log(deviation)),
    ]
    options = {"xatol": 1e-6, "fatol": 1e-9}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    mean, log_scale = min(found, key=lambda result: result.fun).x
    return float(mean), math.exp(log_scale)


def log_joint(x: Any, z: Float[np.ndarray, " line"], *, floor: float = FLOOR) -> np.ndarray:
    """Log p(x, z) of one x and many z, in double precision and nats."""
    means, scales = decode(z, floor=floor)
    with np.errstate(divide="ignore"):
        return _log_normal(z, 0.0, 1.0) + np.sum(_log_normal(x, means, scales), axis=-1)


@eqx.filter_jit
def _log_weights(
    model: Butterfly, examples: Example, keys: Key[Array, " draws"]
) -> Float[Array, "examples draws"]:
    def log_weight(x: Example, key: Key[Array, ""]) -> Float[Array, ""]:
        posterior = model.posterior(x)
        z = distributions.draw(posterior, key=key)
        return model.log_joint(x)(z) - posterior.log_prob(z)

    def of_all(key: Key[Array, ""]) -> Float[Array, " examples"]:
        return jax.vmap(log_weight)(examples, jax.random.split(key, examples.mean.shape[0]))

    return jax.lax.map(of_all, keys, batch_size=min(len(keys), _BLOCK)).T


def _bounds(
    log_weights: Float[Array, "examples draws"], num_samples: int
) -> Float[np.ndarray, "examples replicates"]:
    """Independent bounds of K draws, as many as there are draws for."""
    num = log_weights.shape[1] // num_samples
    groups = log_weights[:, : num * num_samples].reshape(-1, num, num_samples)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(IWAE())))(groups), np.float64)


def _posterior(x: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " line"]:
    joint = log_joint(x, LINE)
    return np.exp(joint - _log_sum(joint)) / (LINE[1] - LINE[0])


_FRAME = np.linspace(-13, 13, 261), np.linspace(-23, 9, 321)


def _log_density() -> Float[np.ndarray, "down across"]:
    """The exact log p(x) on a frame: given z the coordinates are independent, so a product."""
    z = LINE[::2]
    means, scales = decode(z)
    across, down = (
        np.exp(_log_normal(_FRAME[i][:, None], means[:, i], scales[:, i])) for i in (0, 1)
    )
    mass = np.exp(_log_normal(z, 0.0, 1.0)) * (z[1] - z[0])
    with np.errstate(divide="ignore"):
        return np.log((down * mass) @ across.T)


def _log_normal(at: Any, mean: Any, scale: Any) -> Any:
    return -0.5 * ((at - mean) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)


def _log_sum(terms: np.ndarray) -> float:
    largest = float(np.max(terms))
    return largest + math.log(float(np.sum(np.exp(terms - largest))))


def _mean(rows: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


# Where a posterior is drawn: all that holds this share of its largest value.
_SEEN = 1e-3


def _paint_butterfly(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    left.plot(*arrays["x"].T, ".", color=COLORS[5], markersize=2.5, label="drawn from the model")
    closed = np.abs(arrays["line"]) <= np.pi
    left.plot(*arrays["curve"][closed].T, color=EXACT, linewidth=1, label="μ(z), −π ≤ z ≤ π")
    _mark(left, record)
    figure.legend(loc="outside upper left", ncols=2, markerscale=3)
    left.set_title(f"{len(arrays['x'])} draws", fontsize=12, color=INK)
    image = right.pcolormesh(
        arrays["density_x"], arrays["density_y"], np.maximum(arrays["log_density"], -12),
        cmap="Blues", vmin=-12, vmax=0, shading="nearest", rasterized=True,
    )  # fmt: skip
    _mark(right, record)
    right.set_title("exact log p(x)", fontsize=12, color=INK)
    right.grid(visible=False)
    figure.colorbar(image, ax=right, label="log p(x), nats (palest: −12 and below)", shrink=0.8)
    for axes in (left, right):
        axes.set_aspect("equal")
        axes.set_xlabel("x₁")
    left.set_ylabel("x₂")


def _mark(axes: Axes, record: dict[str, Any]) -> None:
    for letter, point in zip("ABCDEF", record["points"], strict=True):
        axes.plot(*point["x"], "o", color=COLORS[1], markersize=4.5)
        text = axes.annotate(
            letter, point["x"], xytext=(6, 3), textcoords="offset points",
            color=INK, fontweight="bold",
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=3, foreground=SURFACE)])


def _paint_posteriors(
    figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    grid = figure.subplots(2, 3)
    z = arrays["posterior_line"]
    for i, (axes, point) in enumerate(zip(grid.flat, record["points"], strict=True)):
        density = arrays["posteriors"][i]
        mean, scale = point["mean"], point["scale"]
        gaussian = np.exp(-0.5 * ((z - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
        axes.plot(z, density, color=EXACT, linewidth=1.5, label="exact p(z|x)")
        axes.plot(z, gaussian, "--", color=COLORS[1], linewidth=1.5, label="best Gaussian")
        shown = np.flatnonzero(np.maximum(density, gaussian) > _SEEN * density.max())
        margin = 0.15 * (z[shown[-1]] - z[shown[0]])
        axes.set_xlim(z[shown[0]] - margin, z[shown[-1]] + margin)
        axes.set_ylim(0, 1.15 * max(density.max(), gaussian.max()))
        _write_shares(axes, z, density)
        letter, (across, up) = "ABCDEF"[i], point["x"]
        title = f"{letter}: {point['name']}, x = ({across:g}, {up:g})".replace("-", "−")
        axes.set_title(title, fontsize=12, color=INK)
        axes.set_xlabel("z")
        axes.set_ylabel("density" if i % 3 == 0 else "")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def _write_shares(axes: Axes, z: np.ndarray, density: np.ndarray) -> None:
    """Above each of several separate modes, its share of the posterior."""
    seen = density > _SEEN * density.max()
    edges = np.flatnonzero(np.diff(seen)) + 1
    modes = [part for part in np.split(np.arange(len(z)), edges) if seen[part[0]]]
    for i, part in enumerate(modes) if len(modes) > 1 else ():
        share = 100 * density[part].sum() * (z[1] - z[0])
        peak = part[np.argmax(density[part])]
        # The outermost have their room outside, the others inside.
        leftward = i == 0 or (z[peak] > 0 and i < len(modes) - 1)
        axes.annotate(
            f"{share:.0f} %", (z[peak], density[peak]), xytext=(-5 if leftward else 5, 2),
            textcoords="offset points", ha="right" if leftward else "left", color=INK,
        )  # fmt: skip


def _paint_bounds(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    left, right = figure.subplots(1, 2)
    exact = record["exact"]
    laws = {"the prior": "chi_square_prior", "Gaussian and a wide one": "chi_square_mixture"}
    for name, color in zip(_names(record["bounds"]), COLORS, strict=False):
        rows = [row for row in record["bounds"] if row["proposal"] == name]
        num = np.array([row["k"] for row in rows])
        left.errorbar(
            num, [row["gap"] for row in rows], [row["standard_error"] for row in rows],
            fmt="o", color=color, markersize=5, label=name,
        )  # fmt: skip
        if name in laws:
            left.plot(num, exact[laws[name]] / 2 / num, color=color, linewidth=1.2)
    left.axhline(exact["unseen_gap"], color=COLORS[1], linestyle=":", linewidth=1.5)
    left.plot(1, exact["elbo_gap"], "_", color=EXACT, markersize=16, markeredgewidth=2)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(5e-5, 3e6)
    left.set_xlabel("draws K")
    left.set_ylabel("log p(x) − bound, nats")
    left.set_title(f"mean of {record['num_points']} points", fontsize=12, color=INK)
    left.plot([], [], color=INK, linewidth=1.2, label="χ²/2K, exact")
    left.plot([], [], ":", color=COLORS[1], label="what lies 4 scales off the Gaussian")
    left.plot([], [], "_", color=EXACT, markersize=12, markeredgewidth=2, label="exact ELBO")
    left.legend(loc="upper right", fontsize=10)
    of_points = record["bounds_of_points"]
    for i, (point, color) in enumerate(zip(record["points"], COLORS, strict=False)):
        rows = [row for row in of_points if row["point"] == point["name"]]
        rows = [
            row for row in rows if row["proposal"] == "Gaussian and a wide one" and row["k"] > 1
        ]
        num = np.array([row["k"] for row in rows])
        right.errorbar(
            num, [row["gap"] for row in rows], [row["standard_error"] for row in rows],
            fmt="o", color=color, markersize=5, label=f"{'ABCDEF'[i]}: {point['name']}",
        )  # fmt: skip
        right.plot(num, point["chi_square_mixture"] / 2 / num, color=color, linewidth=1.2)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(5e-6, 2e3)
    right.set_xlabel("draws K")
    right.set_title("the points of the picture, Gaussian and a wide one", fontsize=12, color=INK)
    right.legend(loc="upper right", fontsize=10, ncols=2)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["proposal"] for row in rows))


draw = pictures(
    {
        "butterfly": ((11.5, 6.4), _paint_butterfly),
        "posteriors": ((11.5, 6.2), _paint_posteriors),
        "bounds": ((11.5, 5.0), _paint_bounds),
    },
    arrays=True,
)
