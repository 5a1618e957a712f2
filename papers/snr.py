"""How signal and noise of gradients scale with the draws K of a bound, and the bounds M averaged.

Paper: Rainforth, Kosiorek, Le, Maddison, Igl, Wood & Teh, "Tighter variational bounds are not
necessarily better", 2018, theorem 1 and figures 1 and 2: SNR of θ ∝ √(MK), SNR of φ ∝ √(M/K).
Tucker, Lawson, Gu & Maddison, "Doubly reparameterized gradient estimators", 2018: ∝ √(MK) for φ.

Command: tighter reproduce snr (four minutes).
Expect: SNR of φ by the total derivative .185 at K = 1 and .0075 at K = 1024, slope −½; doubly
reparameterized .74 and 4.86, slope +½, and θ +½ (measured: −.487, +.488, +.495); every SNR ∝ √M.
Sticking the landing and wake-φ tend to a gradient of −.225, that of −KL(posterior‖q),
while the bound's own falls as −.59/K.

    z ~ N(μ, I),  x|z ~ N(z, I),  q = N(x/2 + b, ⅔ I),  20 dimensions

with b off its optimum by .15 in each. Its 20 coordinates are alike, and their signals and
variances are pooled. The total derivative's mean is that of the doubly reparameterized one, both
being unbiased, which is known far better than by its own noisy replicates.
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
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpyro.distributions import Distribution, Normal

from papers._record import COLORS, EXACT, INK, MUTED, Announce, Recorder, pictures, silent
from tighter import Objective
from tighter.bounds import IWAE
from tighter.diagnostics import GradientNoise, gradient_noise
from tighter.gradients import (
    DoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
    WakePhi,
)

DIMENSIONS, SHIFT, VARIANCE = 20, 0.15, 2 / 3
# Replicates of each K (with M = 1), and of each further M (with K = `OF_OUTER`).
REPLICATES = {1: 60_000, 4: 60_000, 16: 60_000, 64: 60_000, 256: 20_000, 1024: 6_000}
OUTER, OF_OUTER = {4: 10_000, 16: 6_000, 64: 4_000}, 16
ESTIMATORS = {
    "total derivative": Reparameterized(),
    "sticking the landing": StickingTheLanding(),
    "doubly reparameterized": DoublyReparameterized(),
    "wake-φ": WakePhi(),
}
THETA = "θ"
# Slopes in K, and from which K on they are fitted.
LAWS = {
    "total derivative": (-0.5, 16),
    "sticking the landing": (0.5, 64),
    "doubly reparameterized": (0.5, 256),
    "wake-φ": (0.5, 64),
    THETA: (0.5, 64),
}
# The same example simulated by other code, with 60,000 replicates.
_TABLED = {
    "total derivative": (0.185, 0.110, 0.060, 0.031, 0.0155, 0.0075),
    "doubly reparameterized": (0.74, 0.73, 0.87, 1.36, 2.49, 4.86),
}
_TABLED_MEANS = {
    "sticking the landing": (-0.300, -0.252, -0.233, -0.227, -0.2256, -0.2251),
    "wake-φ": (0.0, -0.144, -0.200, -0.218, -0.2233, -0.2246),
}


class Example(eqx.Module):
    """The model above for one x, with nothing but μ (θ) and b (φ) to differentiate.

    Attributes:
        prior_mean: μ, shape (20,).
        bias: b, shape (20,).
    """

    prior_mean: Float[Array, " latent"]
    bias: Float[Array, " latent"]

    def posterior(self, x: Float[Array, " latent"]) -> Distribution:
        """N(x/2 + b, ⅔ I)."""
        scale = math.sqrt(VARIANCE)
        return Normal(x / 2 + self.bias, scale, validate_args=False).to_event(1)

    def log_joint(self, x: Float[Array, " latent"]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        constant = DIMENSIONS * math.log(2 * math.pi)
        prior_mean = self.prior_mean
        return lambda z: -0.5 * jnp.sum((z - prior_mean) ** 2 + (x - z) ** 2) - constant


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Measure signals and variances for all K and M, and fit the slopes.

    Args:
        path: The folder, new or empty.
        seed: Of the example and the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "snr", seed=seed)
    mean_key, x_key, noise_key = jax.random.split(jax.random.key(seed), 3)
    mean = jax.random.normal(mean_key, (DIMENSIONS,))
    x = mean + math.sqrt(2) * jax.random.normal(x_key, (DIMENSIONS,))
    model = Example(mean, mean / 2 + SHIFT)
    of_draws = []
    for number, replicates in REPLICATES.items():
        announce(f"K = {number}: {replicates} gradients of each of {len(ESTIMATORS)} estimators")
        key = jax.random.fold_in(noise_key, number)
        of_draws += _rows(model, x, replicates, key, num_samples=number)
    of_bounds = [row for row in of_draws if row["K"] == OF_OUTER]
    for number, replicates in OUTER.items():
        announce(f"M = {number}, K = {OF_OUTER}: {replicates} gradients of each")
        key = jax.random.fold_in(noise_key, 10_000 + number)
        of_bounds += _rows(model, x, replicates, key, num_samples=OF_OUTER, num_outer=number)
    laws = [("K", of_draws, name, *law) for name, law in LAWS.items()]
    laws += [("M", of_bounds, name, 0.5, 1) for name in LAWS]
    return recorder.store(
        {
            "of_draws": of_draws,
            "of_bounds": of_bounds,
            "limits": exact_limits(np.asarray(x - mean, np.float64)),
            "slopes": [
                {"over": over, "estimator": name, "law": law, **_fitted(rows, name, over, since)}
                for over, rows, name, law, since in laws
            ],
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The table beside the one measured elsewhere, and the slopes beside the laws."""
    lines = [f"{'':24}" + "".join(f"{f'K = {number}':>19}" for number in REPLICATES)]
    lines.append("SNR (measured elsewhere in brackets)")
    rows = {(row["estimator"], row["K"]): row for row in record["of_draws"]}
    for name in LAWS:
        found = [rows[name, number] for number in REPLICATES]
        lines.append(_line(name, [row["snr"] for row in found], _TABLED.get(name), 3))
    lines.append("mean by b")
    for name, tabled in _TABLED_MEANS.items():
        found = [rows[name, number] for number in REPLICATES]
        lines.append(_line(name, [row["mean"] for row in found], tabled, 4))
    lines.append("slopes of log SNR")
    for slope in record["slopes"]:
        lines.append(
            f"  {slope['estimator']:22} in {slope['over']} from {slope['since']:3}: "
            f"{slope['slope']:+.3f} ± {slope['error']:.3f} (law {slope['law']:+.1f})"
        )
    return lines


def exact_limits(offset: Float[np.ndarray, " latent"]) -> dict[str, dict[str, float]]:
    """As K → ∞: SNR = coefficient · K^power, and the mean by b, or K times it.

    With r the posterior over q, which factorizes, to the first order in 1/K the bound falls short
    of log p(x) by Var(r) / 2K. Moments of r are powers of those of one dimension.

    Args:
        offset: x − μ.
    """
    z = np.linspace(-14, 14, 20_001)
    q = np.exp(-((z - SHIFT) ** 2) / (2 * VARIANCE)) / math.sqrt(2 * math.pi * VARIANCE)
    ratio = np.exp(-(z**2)) / math.sqrt(math.pi) / q  # the posterior is N(0, ½), moved to 0
    slope = (z - SHIFT) / VARIANCE - 2 * z  # of log r

    def expected(power: int, of_one: np.ndarray | float = 1.0) -> float:
        rest = np.sum(q * ratio**power) * (z[1] - z[0])
        return float(np.sum(q * ratio**power * of_one) * (z[1] - z[0]) * rest ** (DIMENSIONS - 1))

    def self_normalized(function: np.ndarray) -> tuple[float, float]:
        mean = expected(1, function)
        return mean, math.sqrt(expected(2, (function - mean) ** 2))

    falling = expected(2, slope)
    spread = math.sqrt(expected(4, slope**2) - falling**2)
    landing, landing_spread = self_normalized(slope)
    wake, wake_spread = self_normalized((z - SHIFT) / VARIANCE)
    _, theta_spread = self_normalized(z)
    signal = math.sqrt(float(np.mean((offset / 2) ** 2)))
    total = abs(falling) / math.sqrt(expected(2, (2 * z) ** 2))
    return {
        "total derivative": {"coefficient": total, "power": -0.5, "mean_times_k": falling},
        "sticking the landing": {
            "coefficient": abs(landing) / landing_spread, "power": 0.5, "mean": landing,
        },
        "doubly reparameterized": {
            "coefficient": abs(falling) / spread, "power": 0.5, "mean_times_k": falling,
        },
        "wake-φ": {"coefficient": abs(wake) / wake_spread, "power": 0.5, "mean": wake},
        THETA: {"coefficient": signal / theta_spread, "power": 0.5},
    }  # fmt: skip


def _rows(
    model: Example, x: Array, num_replicates: int, key: Array, **numbers: int
) -> list[dict[str, Any]]:
    """A row an estimator, and one for θ, the same with all of them."""
    noises = {
        name: gradient_noise(
            model, x[None], Objective(IWAE(), gradient, **numbers),
            num_replicates=num_replicates, key=key, show_progress=False,
        )
        for name, gradient in ESTIMATORS.items()
    }  # fmt: skip
    doubly = noises["doubly reparameterized"]
    common = {
        "K": numbers["num_samples"],
        "M": numbers.get("num_outer", 1),
        "replicates": doubly.num_replicates,
    }
    rows = []
    for name, noise in noises.items():
        signal = doubly if name == "total derivative" else noise
        mean = np.asarray(noise.mean.bias)
        rows.append(
            {
                "estimator": name,
                **common,
                "mean": float(mean.mean()),
                "mean_error": _error_of_mean(noise),
                **_ratio(signal.phi.signals, noise.phi.variances),  # type: ignore[union-attr]
            }
        )
    theta = _ratio(doubly.theta.signals, doubly.theta.variances)  # type: ignore[union-attr]
    return [*rows, {"estimator": THETA, **common, **theta}]


def _ratio(signals: np.ndarray, variances: np.ndarray) -> dict[str, float]:
    """SNR and its jackknife error: of all, and with each group left out, of the same draws."""
    squares = signals / variances
    ratio = math.sqrt(max(float(squares[0]), 0))
    # Where the signal drowns, the square root of the error is what it may be at most.
    others, groups = squares[1:], len(squares) - 1
    error = math.sqrt((groups - 1) / groups * float(np.sum((others - others.mean()) ** 2)))
    return {"snr": ratio, "snr_error": min(error / max(2 * ratio, 1e-12), math.sqrt(error))}


def _error_of_mean(noise: GradientNoise) -> float:
    """Of the mean over the coordinates, whose noise is all but uncorrelated."""
    variance = np.asarray(noise.variance.bias, np.float64)
    return math.sqrt(variance.sum() / noise.num_replicates) / variance.size


def _fitted(rows: list[dict[str, Any]], name: str, over: str, since: int) -> dict[str, Any]:
    """The line log SNR = slope · log K + c by weighted least squares, with the slope's error."""
    here = [row for row in rows if row["estimator"] == name and row[over] >= since]
    across = np.log([row[over] for row in here])
    heights = np.log([row["snr"] for row in here])
    weights = np.array([(row["snr"] / row["snr_error"]) ** 2 for row in here])
    middle = np.average(across, weights=weights)
    apart = across - middle
    precision = np.sum(weights * apart**2)
    slope = float(np.sum(weights * apart * heights) / precision)
    return {
        "since": since,
        "slope": slope,
        "error": float(1 / math.sqrt(precision)),
        "intercept": float(np.average(heights, weights=weights) - slope * middle),
    }


def _line(name: str, found: list[float], tabled: Any, digits: int) -> str:
    brackets = [""] * len(found) if tabled is None else [f" ({value:g})" for value in tabled]
    pairs = zip(found, brackets, strict=True)
    return f"  {name:22}" + "".join(f"{f'{value:.{digits}f}{more}':>19}" for value, more in pairs)


# Points by which a slope's words are moved, for those that end at nearly the same height.
_SHIFTS = {"doubly reparameterized": 7, "wake-φ": -7}


def _paint_ratios(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, rows, over in ((left, record["of_draws"], "K"), (right, record["of_bounds"], "M")):
        for name, color in zip(_names(rows), COLORS, strict=False):
            _dots(axes, rows, name, over, color)
            (fit,) = [
                slope
                for slope in record["slopes"]
                if (slope["estimator"], slope["over"]) == (name, over)
            ]
            last = max(row[over] for row in rows)
            ends = np.array([fit["since"], last], float)
            line = np.exp(fit["intercept"]) * ends ** fit["slope"]
            axes.plot(ends, line, color=color, linewidth=1.5)
            slope = f"{fit['slope']:+.3f} ± {fit['error']:.3f}".replace("-", "−")
            axes.annotate(
                slope, (last, line[-1]), (7, _SHIFTS.get(name, 0) if over == "K" else 0),
                textcoords="offset points", va="center", color=color, fontsize=11,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        numbers = sorted({row[over] for row in rows})
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(0.75, last ** (1.26 if over == "K" else 1.38))
    numbers = np.geomspace(4, 1024, 9)
    for name, color in zip(_names(record["of_draws"]), COLORS, strict=False):
        limit = record["limits"][name]
        left.plot(
            numbers, limit["coefficient"] * numbers ** limit["power"],
            ":", color=color, linewidth=1.5,
        )  # fmt: skip
    left.set_xlabel("draws K of a bound (M = 1)")
    left.set_ylabel("signal-to-noise ratio of the gradient")
    left.set_title("the total derivative by φ loses as 1/√K", fontsize=12, color=INK)
    right.set_xlabel(f"bounds M averaged (K = {record['of_bounds'][0]['K']})")
    right.set_title("every one gains as √M", fontsize=12, color=INK)
    handles, labels = left.get_legend_handles_labels()
    handles += [
        Line2D([], [], color=MUTED, linewidth=1.5),
        Line2D([], [], color=MUTED, linewidth=1.5, linestyle=":"),
    ]
    labels += ["fitted, with its slope", "exact, as K → ∞"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _paint_means(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = [row for row in record["of_draws"] if "mean" in row]
    for name, color in zip(_names(record["of_draws"]), COLORS, strict=False):
        # The total derivative has the mean of the doubly reparameterized one, and more noise.
        here = [row for row in rows if row["estimator"] == name]
        if name == "total derivative" or not here:
            continue
        axes.errorbar(
            [row["K"] for row in here], [row["mean"] for row in here],
            yerr=[row["mean_error"] for row in here],
            fmt="o-", color=color, markersize=5, linewidth=1.2, label=name,
        )  # fmt: skip
    limits = record["limits"]
    axes.axhline(limits["sticking the landing"]["mean"], color=EXACT, linewidth=1.2, zorder=1)
    numbers = np.geomspace(6, 1024, 99)
    falling = limits["doubly reparameterized"]["mean_times_k"] / numbers
    axes.plot(numbers, falling, ":", color=EXACT, linewidth=1.5, label="exact, as K → ∞")
    axes.text(
        1024, limits["sticking the landing"]["mean"] - 0.012,
        "exact: gradient of −KL(posterior‖q)", color=INK, fontsize=11, ha="right", va="top",
    )  # fmt: skip
    axes.set_xscale("log")
    numbers = sorted({row["K"] for row in rows})
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.minorticks_off()
    axes.set_xlabel("draws K of a bound")
    axes.set_ylabel("mean of the gradient by b, a coordinate, in nats")
    axes.set_ylim(-0.32, 0.1)
    axes.legend(loc="upper right", ncols=2, fontsize=11)


def _dots(axes: Axes, rows: list[dict[str, Any]], name: str, over: str, color: str) -> None:
    here = [row for row in rows if row["estimator"] == name]
    # On a logarithmic axis there is no place for a signal that can't be told from none.
    here = [row for row in here if row["snr"] > 2 * row["snr_error"]]
    axes.errorbar(
        [row[over] for row in here], [row["snr"] for row in here],
        yerr=[row["snr_error"] for row in here],
        fmt="o", color=color, markersize=5, label=name if name == "θ" else f"φ, {name}",
    )  # fmt: skip


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["estimator"] for row in rows))


draw = pictures(
    {
        "snr": ((11.5, 6.0), _paint_ratios),
        "means": ((6.8, 4.8), _paint_means),
    }
)
