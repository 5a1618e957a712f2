"""The posterior that importance weighting implies, closing in on three targets in two dimensions.

Paper: Cremer, Morris & Duvenaud, "Reinterpreting importance-weighted autoencoders", 2017: its
figure of q_EW on posteriors in two dimensions.

Command: tighter reproduce importance-posterior (a minute).
Expect: at K = 1 a blob; at K = 10 the shape of the banana, the two modes and the ring, at K = 100
hardly to be told from them. KL(q_EW‖p) falls strictly in K (ring: 2.97, .0071, 4.7e-5 nats at K =
1, 10, 100), and faster than the gap of the bound (2.97, .073, .0064): log p − L_K ≥ KL(q_EW‖p). The
banana's ends reach farther than its q, so that both fall slowly there (KL 2.40, .031, .013).
The KL by draws at K = 100 is too large by 1e-4 or less: the noise of a density from 200 sets.

Every curve is exact, by sums over a grid of z and a line of t, through the Laplace transform of a
weight w = p/q, φ(t) = E_q[exp(−tw)]. As 1/x = ∫ exp(−tx) dt, log x = ∫ [exp(−t) − exp(−tx)] dt/t,

    q_EW(z) = E[p / ((w + w₂ + … + w_K) / K)] = K q ∫ w exp(−tw) φ(t)^(K−1) dt,
    L_K = E log (w₁ + … + w_K) / K = −log K + ∫ [exp(−t) − φ(t)^K] dt / t.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from numpyro.distributions import Normal

from papers._record import COLORS, INK, Announce, Recorder, pictures, silent
from tighter import Objective
from tighter.bounds import IWAE
from tighter.diagnostics import importance_weighted_posterior
from tighter.distributions import Posterior

SAMPLES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
# K drawn as heat maps and measured by the library's draws too, and the sets of others for each z.
SHOWN = {1: 1, 10: 1000, 100: 200}
DRAWS, BOUNDS = 1000, 20_000
# Half of the grid's side and its points, and what of it is drawn.
REACH, SIDE, SEEN = 7.5, 121, 4.0
# The line of log t, from where all weights count alike to where none does.
LINE = np.arange(-32.0, 250.0, 0.25)
_BLOCK = 2000


def banana(z: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density up to a constant: N(0, 1), bent along a parabola."""
    return -0.5 * (z[0] ** 2 + ((z[1] + 0.5 - 0.5 * z[0] ** 2) / 0.4) ** 2)


def two_modes(z: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density up to a constant: two round Gaussians of the same weight."""
    center = jnp.array([1.5, 0.8])
    return jnp.logaddexp(*(-2 * jnp.sum((z - sign * center) ** 2) for sign in (-1.0, 1.0)))


def ring(z: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density up to a constant: a circle of radius 2, of scale .35 across."""
    return -0.5 * ((jnp.sum(z**2) - 4) / (4 * 0.35)) ** 2


TARGETS = {"banana": banana, "two modes": two_modes, "ring": ring}


class Exact(NamedTuple):
    """Sums over the grid.

    Attributes:
        divergences: KL(q_EW‖p) of each of `SAMPLES`, in nats.
        bounds: L_K − log p of each.
        masses: The integral of q_EW, of each: 1 if the sums are good.
        densities: q_EW of each of `SHOWN` at the grid's points.
        target: p at the grid's points.
    """

    divergences: Float[np.ndarray, " numbers"]
    bounds: Float[np.ndarray, " numbers"]
    masses: Float[np.ndarray, " numbers"]
    densities: Float[np.ndarray, "shown points"]
    target: Float[np.ndarray, " points"]


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Sum over the grids, and measure the same by draws.

    Args:
        path: The folder, new or empty.
        seed: Of the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "importance-posterior", seed=seed)
    arrays, targets = {}, {}
    for number, (name, log_target) in enumerate(TARGETS.items()):
        announce(f"{name}: q_EW for {len(SAMPLES)} numbers of draws, on {SIDE}² points")
        axis = np.linspace(-REACH, REACH, SIDE)
        mean, scale, log_total = moments(log_target, axis)
        exact = exact_answers(log_target, mean, scale, axis)
        coarse = exact_answers(log_target, mean, scale, axis[::2])
        announce(f"{name}: the same by {DRAWS} draws, K = {', '.join(map(str, SHOWN))}")
        q = Normal(jnp.asarray(mean, float), jnp.asarray(scale, float), validate_args=False)
        key = jax.random.fold_in(jax.random.key(seed), number)
        targets[name] = {
            "mean": mean.tolist(),
            "scale": scale.tolist(),
            "divergence": exact.divergences.tolist(),
            "bound": exact.bounds.tolist(),
            "mass": exact.masses.tolist(),
            # By the sums over every second line of the grid.
            "error": np.abs(exact.divergences - coarse.divergences).tolist(),
            "measured": [
                _measured(log_target, log_total, q.to_event(1), shown, outer, key)
                for shown, outer in SHOWN.items()
            ],
        }
        seen = np.abs(axis) <= SEEN + 1e-9
        grids = np.concatenate([exact.target[None], exact.densities]).reshape(-1, SIDE, SIDE)
        arrays[name.replace(" ", "_")] = grids[:, seen][:, :, seen].astype(np.float32)
    return recorder.store(
        {"numbers": list(SAMPLES), "shown": list(SHOWN), "seen": SEEN, "targets": targets}, arrays
    )


def summary(record: dict[str, Any]) -> list[str]:
    """KL(q_EW‖p) and the bound's gap, exact and by draws."""
    lines = ["in nats; by draws of the library in brackets"]
    for name, target in record["targets"].items():
        lines.append(name)
        for row in target["measured"]:
            at = record["numbers"].index(row["K"])
            lines.append(
                f"    K = {row['K']:3}: KL(q_EW‖p) {target['divergence'][at]:.3g}, exact to "
                f"{target['error'][at]:.0e} ({row['divergence']:.2g} ± "
                f"{row['divergence_error']:.1g}), log p − L_K {-target['bound'][at]:.4f} "
                f"({-row['bound']:.4f} ± {row['bound_error']:.4f})"
            )
        falls = np.all(np.diff(target["divergence"]) < 0)
        lines.append(
            f"    KL {'falls strictly' if falls else 'DOES NOT FALL'} from K = "
            f"{record['numbers'][0]} to {record['numbers'][-1]}, where it is "
            f"{target['divergence'][-1]:.1e}"
        )
    return lines


def moments(
    log_target: Callable[[Array], Array], axis: Float[np.ndarray, " side"]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"], float]:
    """Means and standard deviations of a target, which q takes, and the log of its integral."""
    points, step = _grid(axis)
    heights = _on_points(log_target, points)
    largest = heights.max()
    mass = np.exp(heights - largest)
    share = mass / mass.sum()
    mean = share @ points
    scale = np.sqrt(share @ (points - mean) ** 2)
    return mean, scale, float(largest + np.log(mass.sum()) + 2 * np.log(step))


def exact_answers(
    log_target: Callable[[Array], Array],
    mean: Float[np.ndarray, " 2"],
    scale: Float[np.ndarray, " 2"],
    axis: Float[np.ndarray, " side"],
) -> Exact:
    """All answers by sums over the square grid of an axis.

    Args:
        log_target: Up to a constant.
        mean: Of q.
        scale: Standard deviations of q.
        axis: Evenly spaced.
    """
    points, step = _grid(axis)
    log_p = _on_points(log_target, points)
    noise = (points - mean) / scale
    log_q = -0.5 * np.sum(noise**2, axis=1) - math.log(2 * math.pi) - np.log(scale).sum()
    # Both sum to one on the grid, so that what holds of integrals holds of the sums.
    log_p, log_q = (
        heights - np.log(np.exp(heights - heights.max()).sum()) - heights.max()
        for heights in (log_p, log_q)
    )
    log_weight, q = log_p - log_q, np.exp(log_q)
    spacing = LINE[1] - LINE[0]
    blocks = range(0, len(points), _BLOCK)

    def products(start: int) -> np.ndarray:
        """Weights times t, (block, line); what overflows counts for nothing."""
        exponents = log_weight[start : start + _BLOCK, None] + LINE[None, :]
        return np.exp(np.minimum(exponents, 50.0))

    transform = np.sum([q[i : i + _BLOCK] @ np.exp(-products(i)) for i in blocks], axis=0)
    numbers = np.array(SAMPLES)
    others = transform[:, None] ** (numbers - 1)[None, :] * spacing

    def ratios(start: int) -> np.ndarray:
        """q_EW / q, (block, numbers)."""
        scaled = products(start)
        return numbers * ((scaled * np.exp(-scaled)) @ others)

    ratio = np.concatenate([ratios(i) for i in blocks])
    ratio[:, numbers == 1] = 1.0
    density = q[:, None] * ratio
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = density * (np.log(ratio) - log_weight[:, None])
        divergences = np.where(density > 0, terms, 0.0).sum(axis=0)
    unit = np.exp(-np.exp(np.minimum(LINE, 50.0)))
    integrand = unit[:, None] - transform[:, None] ** numbers[None, :]
    bounds = integrand.sum(axis=0) * spacing - np.log(numbers)
    # With one draw it needs no line, which ends before the least of weights count.
    bounds[numbers == 1] = -divergences[numbers == 1]
    shown = [SAMPLES.index(number) for number in SHOWN]
    return Exact(
        divergences,
        bounds,
        density.sum(axis=0),
        density.T[shown] / step**2,
        np.exp(log_p) / step**2,
    )


def _grid(axis: Float[np.ndarray, " side"]) -> tuple[Float[np.ndarray, "points 2"], float]:
    both = np.meshgrid(axis, axis, indexing="ij")
    return np.stack(both, axis=-1).reshape(-1, 2), float(axis[1] - axis[0])


def _on_points(
    log_target: Callable[[Array], Array], points: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, " points"]:
    return np.asarray(jax.jit(jax.vmap(log_target))(jnp.asarray(points, float)), np.float64)


def _measured(
    log_target: Callable[[Array], Array],
    log_total: float,
    q: Posterior,
    num_samples: int,
    num_outer: int,
    key: Key[Array, ""],
) -> dict[str, Any]:
    """KL(q_EW‖p) and L_K − log p by draws, as anyone would measure them."""
    draws_key, density_key, bound_key = jax.random.split(key, 3)

    def log_joint(z: Array) -> Array:
        return log_target(z) - log_total

    weighted = importance_weighted_posterior(log_joint, q, num_samples=num_samples)

    def log_ratio(pair: tuple[Array, Array]) -> Array:
        z, key = pair
        return weighted.log_prob(z, num_outer=num_outer, key=key) - log_joint(z)

    @jax.jit
    def log_ratios() -> Array:
        zs = weighted.sample(draws_key, (DRAWS,))
        return jax.lax.map(log_ratio, (zs, jax.random.split(density_key, DRAWS)))

    objective = Objective(IWAE(), num_samples=num_samples)
    bound = functools.partial(objective, log_joint, q)

    @jax.jit
    def bounds() -> Array:
        keys = jax.random.split(bound_key, BOUNDS)
        return jax.lax.map(lambda key: bound(key=key), keys, batch_size=1000)

    found: dict[str, Any] = {"K": num_samples}
    apart, gaps = (np.asarray(values, np.float64) for values in (log_ratios(), bounds()))
    if num_samples > 1:
        # p / q_EW is one on average, so that this adds zero, and takes most noise away.
        apart = apart + np.expm1(-apart)
    for name, values in (("divergence", apart), ("bound", gaps)):
        found[name] = float(values.mean())
        found[f"{name}_error"] = float(values.std(ddof=1) / math.sqrt(values.size))
    return found


def _paint_densities(figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    targets = record["targets"]
    columns = 1 + len(record["shown"])
    panels = figure.subplots(len(targets), columns, sharex=True, sharey=True, squeeze=False)
    titles = ["true posterior p", *(_title(number) for number in record["shown"])]
    seen = record["seen"]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=12, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("z₁")
    for line, (name, target) in zip(panels, targets.items(), strict=True):
        grids = arrays[name.replace(" ", "_")]
        for column, (axes, grid) in enumerate(zip(line, grids, strict=True)):
            axes.imshow(
                grid.T, origin="lower", extent=(-seen, seen, -seen, seen), cmap="magma",
                vmin=0, vmax=grids[0].max(), interpolation="bilinear",
            )  # fmt: skip
            axes.grid(visible=False)
            axes.set_xticks([-2, 0, 2])
            axes.set_yticks([-2, 0, 2])
            if column:
                at = record["numbers"].index(record["shown"][column - 1])
                axes.text(
                    0.04, 0.95, f"KL {target['divergence'][at]:.2g} nats", color="white",
                    transform=axes.transAxes, va="top", fontsize=11,
                )  # fmt: skip
        line[0].set_ylabel(f"{name}\nz₂")


def _paint_divergence(
    figure: Figure, record: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    numbers = record["numbers"]
    panels = figure.subplots(1, len(record["targets"]), sharey=True, squeeze=False)[0]
    for axes, (name, target) in zip(panels, record["targets"].items(), strict=True):
        rows = target["measured"]
        curves = (
            ("log p − L_K, the bound's gap", -np.array(target["bound"]), "bound", -1),
            ("KL(q_EW‖p)", np.array(target["divergence"]), "divergence", 1),
        )
        for (label, exact, key, sign), color in zip(curves, COLORS, strict=False):
            axes.plot(numbers, exact, color=color, linewidth=1.5, label=f"{label}: exact")
            clear = [row for row in rows if sign * row[key] > 2 * row[f"{key}_error"]]
            axes.errorbar(
                [row["K"] for row in clear], [sign * row[key] for row in clear],
                yerr=[row[f"{key}_error"] for row in clear],
                fmt="o", color=color, markersize=5, label="by draws",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("draws K")
        axes.set_title(name, fontsize=12, color=INK)
    panels[0].set_ylabel("nats")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _title(number: int) -> str:
    return "q, K = 1" if number == 1 else f"q_EW, K = {number}"


draw = pictures(
    {
        "densities": ((10.4, 8.0), _paint_densities),
        "divergence": ((11.5, 4.6), _paint_divergence),
    },
    arrays=True,
)
