"""Variances of gradient estimators against the cost's parameter.

Paper: Mohamed, Rosca, Figurnov & Mnih, "Monte Carlo gradient estimation in machine learning", 2020,
figures 2 and 3: (x − k)², exp(−kx²) and cos kx under N(μ, σ²) at μ = σ = 1. And a Bernoulli's
logit: Dong, Mnih & Tucker, "DisARM", 2020.

Command: tighter reproduce gradients (half a minute).
Expect: no estimator least everywhere; every dot within a few percent of its exact curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers._record import AXIS, COLORS, INK, Announce, Recorder, pictures, silent
from tighter import expectation
from tighter.gradients import (
    ARM,
    DisARM,
    LeaveOneOut,
    MeasureValued,
    Reparameterized,
    ScoreFunction,
)

REPLICATES = 100_000
_COSTS: dict[str, tuple[Callable, list[float]]] = {
    "(x − k)²": (lambda x, k: (x - k) ** 2, np.linspace(-3, 3, 13).tolist()),
    "exp(−k x²)": (lambda x, k: jnp.exp(-k * x**2), np.geomspace(0.1, 10, 13).tolist()),
    "cos k x": (lambda x, k: jnp.cos(k * x), np.geomspace(0.1, 10, 13).tolist()),
}
_ESTIMATORS = {
    "score function": ScoreFunction(),
    "pathwise": Reparameterized(),
    "measure-valued": MeasureValued(),
}
_BERNOULLI = {
    "leave-one-out": ScoreFunction(baseline=LeaveOneOut()),
    "ARM": ARM(),
    "DisARM": DisARM(),
}


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Measure the variances and store them with the exact ones.

    Args:
        path: The folder, new or empty.
        seed: Of the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "gradients", seed=seed)
    keys = jax.random.split(jax.random.key(seed), 3)
    survey, curves = [], []
    for cost, (f, ks) in _COSTS.items():
        announce(f"variances under {cost}, {len(ks)} values of k, {REPLICATES} replicates")
        survey += _survey(cost, f, ks, keys[0])
        curves += _exact_curves(cost, f, ks)
    announce("variances of a Bernoulli's estimators")
    return recorder.store(
        {
            "replicates": REPLICATES,
            "survey": survey,
            "curves": curves,
            "bernoulli": _bernoulli(keys[1]),
            "inside": _inside(keys[2]),
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """The largest deviations from what is exact."""
    lines = [f"{'cost':12} {'estimator':16} largest deviation from the exact variance, μ and σ"]
    for cost in dict.fromkeys(row["cost"] for row in record["survey"]):
        for name in dict.fromkeys(row["estimator"] for row in record["survey"]):
            rows = [r for r in record["survey"] if (r["cost"], r["estimator"]) == (cost, name)]
            worst = [
                max(_deviation(row["variance"][i], row["exact"][i]) for row in rows) for i in (0, 1)
            ]
            lines.append(f"{cost:12} {name:16} {100 * worst[0]:.1f} %, {100 * worst[1]:.1f} %")
    whole = max(
        abs(row["inside"] + row["missing"] - row["whole"]) / row["standard_error"]
        for row in record["inside"]
    )
    return [*lines, f"E[∇g] + E[g ∇log q] is the gradient, within {whole:.1f} standard errors"]


def _deviation(measured: float, exact: float) -> float:
    """Relative, but where the exact variance is zero."""
    return abs(measured - exact) / (exact + 1e-9)


def _survey(cost: str, f: Callable, ks: list[float], key: Array) -> list[dict[str, Any]]:
    """A row for each estimator and k: measured and exact variance for μ and σ."""
    rows = []
    for name, gradient in _ESTIMATORS.items():

        def estimate(p: Array, k: Array, key: Array, gradient: Any = gradient) -> Array:
            normal = dist.Normal(p[0], p[1], validate_args=False)
            return expectation(lambda x: f(x, k), normal, gradient=gradient, key=key)

        @jax.jit
        def variances(ks: Array, estimate: Any = estimate) -> Array:
            slopes = jax.vmap(jax.grad(estimate), (None, None, 0))
            draws = jax.random.split(key, REPLICATES)
            return jax.lax.map(lambda at: jnp.var(slopes(jnp.ones(2), at, draws), axis=0), ks)

        measured = np.asarray(variances(jnp.asarray(ks)))
        for k, (of_mu, of_sigma) in zip(ks, measured.tolist(), strict=True):
            exact = exact_variances(name, lambda x, k=k: np.asarray(f(x, k)), _slope(f, k))
            rows.append(
                {
                    "cost": cost, "estimator": name, "k": k,
                    "variance": [of_mu, of_sigma], "exact": exact,
                }
            )  # fmt: skip
    return rows


def _exact_curves(cost: str, f: Callable, ks: list[float]) -> list[dict[str, Any]]:
    """The exact variances at ten times as many k, for the lines between the dots."""
    num = 10 * (len(ks) - 1) + 1
    fine = (np.geomspace if ks[0] > 0 else np.linspace)(ks[0], ks[-1], num).tolist()
    return [
        {
            "cost": cost, "estimator": name, "k": k,
            "exact": exact_variances(name, lambda x, k=k: np.asarray(f(x, k)), _slope(f, k)),
        }
        for name in _ESTIMATORS
        for k in fine
    ]  # fmt: skip


def _slope(f: Callable, k: float) -> Callable:
    derivative = jax.vmap(jax.grad(lambda x: f(x, k)))
    return lambda x: np.asarray(derivative(jnp.asarray(x, float)))


def exact_variances(estimator: str, f: Callable, slope: Callable) -> list[float]:
    """Variances for μ and σ of one draw at μ = σ = 1, by sums over a grid."""
    noise = np.linspace(-9, 9, 4001)
    step = noise[1] - noise[0]
    normal = np.exp(-(noise**2) / 2) / math.sqrt(2 * math.pi) * step

    def variance(values: np.ndarray, mass: np.ndarray) -> float:
        mean = float(np.sum(mass * values))
        return float(np.sum(mass * (values - mean) ** 2))

    x = 1 + noise
    if estimator == "score function":
        return [variance(f(x) * noise, normal), variance(f(x) * (noise**2 - 1), normal)]
    if estimator == "pathwise":
        return [variance(slope(x), normal), variance(slope(x) * noise, normal)]
    positive = noise > 0
    rayleigh = np.where(positive, noise, 0) * np.exp(-(noise**2) / 2) * step
    of_mu = variance((f(1 + noise) - f(1 - noise)) / math.sqrt(2 * math.pi), rayleigh)
    coarse = noise[::8]
    uniform = (np.arange(200) + 0.5) / 200
    maxwell = coarse**2 * normal[::8] * 8
    shrunk = f((1 + coarse[:, None] * uniform[None, :]).reshape(-1)).reshape(len(coarse), -1)
    differences = f(1 + coarse)[:, None] - shrunk
    return [of_mu, variance(differences, maxwell[:, None] / len(uniform))]


def _bernoulli(key: Array) -> list[dict[str, Any]]:
    """Variances of the gradient by the logit, f(1) − f(0) = 1, two evaluations."""
    rows = []
    probabilities = np.linspace(0.05, 0.95, 19)
    for name, gradient in _BERNOULLI.items():

        def estimate(logit: Array, key: Array, gradient: Any = gradient) -> Array:
            bernoulli = dist.Bernoulli(logits=logit, validate_args=False)
            return expectation(
                lambda b: jnp.asarray(b, float), bernoulli,
                gradient=gradient, num_samples=2, key=key,
            )  # fmt: skip

        slopes = jax.jit(jax.vmap(jax.grad(estimate), (None, 0)))
        draws = jax.random.split(key, REPLICATES)
        for p in probabilities.tolist():
            measured = float(jnp.var(slopes(jnp.asarray(math.log(p / (1 - p))), draws)))
            rows.append(
                {"estimator": name, "p": p, "variance": measured, "exact": _of_logit(name, p)}
            )
    return rows


def _of_logit(name: str, p: float) -> float:
    a, low = p * (1 - p), min(p, 1 - p)
    return {
        "leave-one-out": a * (0.5 - a),
        "DisARM": a * (0.5 * (1 - low) - a),
        "ARM": 2 / 3 * (1 / 8 - (0.5 - low) ** 3) - a**2,
    }[name]


def _inside(key: Array) -> list[dict[str, Any]]:
    """∇_φ E of φ z² under N(φ, 1): the whole, E[∇_φ g], and what that misses, E[g ∇_φ log q]."""
    rows = []
    noise = jax.random.normal(key, (REPLICATES,))
    for phi in np.linspace(-1.5, 1.5, 13).tolist():
        z = phi + noise
        inside, missing = z**2, phi * z**2 * noise
        rows.append(
            {
                "phi": phi,
                "whole": 1 + 3 * phi**2,
                "inside": float(jnp.mean(inside)),
                "missing": float(jnp.mean(missing)),
                "standard_error": float(jnp.std(inside + missing) / math.sqrt(REPLICATES)),
            }
        )
    return rows


def _paint_survey(figure: Figure, record: dict[str, Any]) -> None:
    rows = record["survey"]
    costs = list(dict.fromkeys(row["cost"] for row in rows))
    grid = figure.subplots(2, len(costs), squeeze=False)
    for column, cost in enumerate(costs):
        for line, parameter in enumerate(("μ", "σ")):
            axes = grid[line][column]
            chosen = [row for row in rows if row["cost"] == cost]
            curves = [row for row in record["curves"] if row["cost"] == cost]
            _dots(axes, chosen, "k", [row["variance"][line] for row in chosen])
            _lines(axes, curves, "k", [row["exact"][line] for row in curves])
            axes.set_yscale("log")
            if min(row["k"] for row in chosen) > 0:
                axes.set_xscale("log")
            # A variance of zero has no place on a logarithmic axis.
            seen = [row["variance"][line] for row in chosen if row["variance"][line] > 1e-6]
            axes.set_ylim(min(seen) / 3, max(seen) * 3)
            axes.set_title(f"{cost}, derivative by {parameter}", fontsize=12, color=INK)
            axes.set_xlabel("k")
            axes.set_ylabel("variance of one draw" if column == 0 else "")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _paint_bernoulli(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["bernoulli"]
    _dots(axes, rows, "p", [row["variance"] for row in rows])
    _lines(axes, rows, "p", [row["exact"] for row in rows])
    axes.set_xlabel("p, the probability of 1")
    axes.set_ylabel("variance by the logit, 2 evaluations")
    axes.legend(loc="upper right")
    axes.set_ylim(0, 0.095)


def _paint_inside(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["inside"]
    phi = np.array([row["phi"] for row in rows])
    inside, missing = (np.array([row[name] for row in rows]) for name in ("inside", "missing"))
    fine = np.linspace(phi.min(), phi.max(), 200)
    axes.plot(fine, 1 + 3 * fine**2, color=COLORS[0])
    axes.plot(fine, 1 + fine**2, color=COLORS[1])
    axes.axhline(0, color=AXIS, linewidth=1)
    axes.plot(
        phi, inside + missing, "o", color=COLORS[0], label="E[∇g] + E[g ∇log q]: the gradient"
    )
    axes.plot(phi, inside, "o", color=COLORS[1], label="E[∇g] alone: ∇ moved inside")
    axes.set_xlabel("φ;  q = N(φ, 1),  g = φ z²")
    axes.set_ylabel("derivative of E[g]")
    axes.legend(loc="upper center")
    axes.set_ylim(-0.3, 10.5)


def _dots(axes: Axes, rows: list[dict[str, Any]], across: str, values: list[float]) -> None:
    """What was measured, an estimator a color."""
    for name, color in zip(_names(rows), COLORS, strict=False):
        here = [i for i, row in enumerate(rows) if row["estimator"] == name]
        at = [rows[i][across] for i in here]
        axes.plot(at, [values[i] for i in here], "o", color=color, markersize=5, label=name)


def _lines(axes: Axes, rows: list[dict[str, Any]], across: str, values: list[float]) -> None:
    """The exact answers behind the dots."""
    for name, color in zip(_names(rows), COLORS, strict=False):
        here = [i for i, row in enumerate(rows) if row["estimator"] == name]
        at = [rows[i][across] for i in here]
        axes.plot(at, [values[i] for i in here], color=color, linewidth=1.5)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["estimator"] for row in rows))


draw = pictures(
    {
        "variances": ((11.5, 6.6), _paint_survey),
        "bernoulli": ((6.4, 4.2), _paint_bernoulli),
        "inside": ((6.4, 4.2), _paint_inside),
    }
)
