"""Simple Monte Carlo against importance sampling for log p(x): variance as the proposal moves.

Paper: Owen, "Monte Carlo theory, methods and examples", 2013, ch. 9 (the best proposal, what a
narrow one costs); Agapiou, Papaspiliopoulos, Sanz-Alonso & Stuart, "Importance sampling: intrinsic
dimension and computational cost", 2017 (the number of draws is χ²). On the linear-Gaussian model,
where posterior, p(x) and every moment of the weights are exact.

Command: tighter reproduce proposals (twenty seconds).
Expect: every dot on its exact curve, Var p̂ / p(x)² = χ²(posterior‖proposal) / K, which falls from
the prior's to zero at the posterior, where a single draw is enough. Covariances c times the
posterior's: the variance grows slowly with c > 1, and is infinite from c = ½ down, where measured
values settle nowhere. Of an f that changes sign, E f under N(0, 1), the best proposal ∝ |f| p has
variance (E|f|)² − (E f)²: zero only where f keeps its sign. Each half of f with its own proposal
has none.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpyro.distributions import MultivariateNormal

from papers._record import COLORS, EXACT, INK, MUTED, Announce, Recorder, pictures, silent
from tighter import distributions
from tighter.models import LinearGaussian

LATENT, FEATURES, SCALE = 3, 6, 0.5
DRAWS = 2**20
STEPS = np.linspace(0, 1, 11)
WIDTHS = np.geomspace(0.25, 16, 13)
SHIFTS = np.linspace(-3, 3, 13)
# Of these points of the path the error of p̂ is told for each number of draws.
ERRORS_OF = (0.0, 0.5, 0.9, 1.0)
ERROR = 0.1
_BLOCK = 2**16


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Measure the variances and store them with the exact ones.

    Args:
        path: The folder, new or empty.
        seed: Of the model, its observation and the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "proposals", seed=seed)
    model_key, path_key, width_key, sign_key = jax.random.split(jax.random.key(seed), 4)
    model, x = _problem(model_key)
    exact = model.exact_posterior(x)
    posterior = np.asarray(exact.loc, float), np.asarray(exact.covariance_matrix, float)
    announce(f"{len(STEPS)} proposals from prior to posterior, {DRAWS} draws each")
    rows, errors = [], []
    for i, step in enumerate(STEPS.tolist()):
        proposal = between(step, *posterior)
        weights = _weights(model, x, proposal, jax.random.fold_in(path_key, i))
        rows.append({"step": step, **_compared(weights, posterior, proposal)})
        if step in ERRORS_OF:
            errors += _errors(step, weights, rows[-1]["exact"])
    announce(f"{len(WIDTHS)} proposals around the posterior's mean, narrow to wide")
    widths = []
    for i, width in enumerate(WIDTHS.tolist()):
        proposal = posterior[0], width * posterior[1]
        weights = _weights(model, x, proposal, jax.random.fold_in(width_key, i))
        halves = [float(np.var(half)) for half in weights.reshape(4, -1)]
        widths.append(
            {"width": width, "quarters": halves, **_compared(weights, posterior, proposal)}
        )
    announce("an f that changes sign")
    return recorder.store(
        {
            "draws": DRAWS,
            "latent": LATENT,
            "log_evidence": float(model.log_evidence(x)),
            "path": rows,
            "path_curve": [
                {"step": step, "exact": moment(2, *posterior, *between(step, *posterior)) - 1}
                for step in np.linspace(0, 0.995, 200).tolist()
            ],
            "errors": errors,
            "widths": widths,
            "width_curve": [
                {
                    "width": width,
                    "exact": moment(2, *posterior, posterior[0], width * posterior[1]) - 1,
                }
                for width in np.geomspace(0.5 + 1e-6, WIDTHS[-1], 300).tolist()
            ],
            "signs": [
                _signs(shift, jax.random.fold_in(sign_key, i))
                for i, shift in enumerate(SHIFTS.tolist())
            ],
            "sign_curve": [
                {"shift": shift, "exact": 4 * math.prod(_halves(shift))}
                for shift in np.linspace(SHIFTS[0], SHIFTS[-1], 121).tolist()
            ],
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """Variances beside the exact ones, and what they mean in draws."""
    lines = [
        f"{'proposal':>22}  {'Var p̂ · K / p(x)²':>26}  {'exact χ²':>10}  draws for {ERROR} nat"
    ]
    for row in record["path"]:
        name = {0: "the prior", 1: "the posterior"}.get(
            row["step"], f"{row['step']:.1f} of the way"
        )
        lines.append(_line(name, row))
    for row in record["widths"]:
        lines.append(_line(f"covariance × {row['width']:.3g}", row))
    worst = max(
        abs(row["measured"] - row["exact"]) / row["standard_error"] for row in record["signs"]
    )
    middle = min(record["signs"], key=lambda row: abs(row["shift"]))
    return [
        *lines,
        f"E z under N(0, 1), proposal ∝ |z| p: variance {middle['measured']:.4f}, exact "
        f"{middle['exact']:.4f}, simple Monte Carlo 1; all shifts within {worst:.1f} standard "
        "errors",
        f"the two halves apart, each with its own proposal: variance {middle['halves']:.1e}",
    ]


def between(
    step: float, mean: Float[np.ndarray, " latent"], covariance: Float[np.ndarray, "latent latent"]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance so much of the way from N(0, I) to the posterior."""
    return step * mean, (1 - step) * np.eye(len(mean)) + step * covariance


def moment(
    order: int,
    mean: Float[np.ndarray, " latent"],
    covariance: Float[np.ndarray, "latent latent"],
    q_mean: Float[np.ndarray, " latent"],
    q_covariance: Float[np.ndarray, "latent latent"],
) -> float:
    r"""E_q[(p/q)^n] of two Gaussians; infinite unless $nP^{-1} - (n-1)Q^{-1}$ is above 0.

    With n = 2 it is 1 + χ²(p‖q), which is 1 + the variance of a weight over its squared mean.
    """
    ours, theirs = np.linalg.inv(covariance), np.linalg.inv(q_covariance)
    precision = order * ours - (order - 1) * theirs
    if np.linalg.eigvalsh(precision)[0] <= 0:
        return math.inf
    slope = order * ours @ mean - (order - 1) * theirs @ q_mean
    squares = (
        order * mean @ ours @ mean
        - (order - 1) * q_mean @ theirs @ q_mean
        - slope @ np.linalg.solve(precision, slope)
    )
    logs = [np.linalg.slogdet(matrix)[1] for matrix in (covariance, q_covariance, precision)]
    return math.exp(-0.5 * (order * logs[0] - (order - 1) * logs[1] + logs[2] + squares))


def _problem(key: Key[Array, ""]) -> tuple[LinearGaussian, Float[Array, " features"]]:
    """A model, and an observation that it made."""
    loading_key, latent_key, noise_key = jax.random.split(key, 3)
    model = LinearGaussian(
        prior_mean=jnp.zeros(LATENT),
        loading=jax.random.normal(loading_key, (FEATURES, LATENT)),
        offset=jnp.zeros(FEATURES),
        log_scale=jnp.log(jnp.asarray(SCALE)),
        encoder_weight=jnp.zeros((LATENT, FEATURES)),
        encoder_bias=jnp.zeros(LATENT),
        encoder_log_scale=jnp.zeros(LATENT),
    )
    z = jax.random.normal(latent_key, (LATENT,))
    return model, jnp.asarray(model.likelihood(z).sample(noise_key))


def _weights(
    model: LinearGaussian,
    x: Float[Array, " features"],
    proposal: tuple[np.ndarray, np.ndarray],
    key: Key[Array, ""],
) -> Float[np.ndarray, " draws"]:
    """Weights p(x, z) / q(z) of many draws, over p(x): their mean is 1."""
    mean = jnp.asarray(proposal[0], float)
    factor = jnp.asarray(np.linalg.cholesky(proposal[1]), float)
    return np.asarray(_compiled(model, x, mean, factor, jax.random.split(key, DRAWS)))


@jax.jit
def _compiled(
    model: LinearGaussian,
    x: Float[Array, " features"],
    mean: Float[Array, " latent"],
    factor: Float[Array, "latent latent"],
    keys: Key[Array, " draws"],
) -> Float[Array, " draws"]:
    q = MultivariateNormal(mean, scale_tril=factor, validate_args=False)

    def weight(key: Key[Array, ""]) -> Float[Array, ""]:
        z = distributions.draw(q, key=key)
        return jnp.exp(model.log_joint(x)(z) - q.log_prob(z) - model.log_evidence(x))

    return jax.lax.map(weight, keys, batch_size=min(len(keys), _BLOCK))


def _compared(
    weights: Float[np.ndarray, " draws"],
    posterior: tuple[np.ndarray, np.ndarray],
    proposal: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """Measured and exact variance of a weight; None for what is infinite."""
    second, third, fourth = (moment(order, *posterior, *proposal) for order in (2, 3, 4))
    exact = second - 1
    # Of a variance of n numbers: √((μ₄ − σ⁴) / n), μ₄ the fourth moment around the mean.
    if math.isfinite(fourth):
        error = math.sqrt(max(fourth - 4 * third + 6 * second - 3 - exact**2, 0) / len(weights))
    else:
        error = math.inf
    return {
        "measured": float(np.var(weights.astype(float))),
        "exact": _finite(max(exact, 0.0)),
        "standard_error": _finite(error),
        "draws_needed": max(1, math.ceil(exact / ERROR**2)) if math.isfinite(exact) else None,
    }


def _errors(
    step: float, weights: Float[np.ndarray, " draws"], exact: float
) -> list[dict[str, Any]]:
    """Root mean square of p̂ / p(x) − 1, for each number of draws that leaves 64 repetitions."""
    rows, num = [], 1
    while num <= len(weights) // 64:
        estimates = weights.astype(float).reshape(-1, num).mean(axis=1)
        rows.append(
            {
                "step": step, "k": num, "exact": math.sqrt(exact / num),
                "measured": math.sqrt(float(np.mean((estimates - 1) ** 2))),
            }
        )  # fmt: skip
        num *= 4
    return rows


def _signs(shift: float, key: Key[Array, ""]) -> dict[str, Any]:
    """Variances for E f, f = z + shift: one proposal ∝ |f| p, and one for each half."""
    from scipy.special import ndtr

    z = np.linspace(-10, 10, 2**17 + 1)
    below, above = _halves(shift)
    # ∫|f| p up to z: the proposal's distribution function, to be turned round.
    signed = shift * ndtr(z) - _normal(z)
    reached = np.where(z < -shift, -signed, signed + 2 * below)
    uniform = np.asarray(jax.random.uniform(key, (DRAWS,)), float)
    drawn = np.interp(uniform * (below + above), reached, z)
    f = drawn + shift
    estimates = f * _normal(drawn) / (np.abs(f) * _normal(drawn) / (below + above))
    positive = f > 0
    # Draws on one side are draws of that half's own proposal, f± p / E f±.
    halves = [
        np.abs(f[side]) * _normal(drawn[side]) / (np.abs(f[side]) * _normal(drawn[side]) / mass)
        for side, mass in ((positive, above), (~positive, below))
        if side.any()
    ]
    # Estimates are ±E|f|: a coin, whose variance errs by √(s(1−s)(1−4s(1−s)) / n) of its stake².
    coin = above * below / (below + above) ** 2
    error = math.sqrt(coin * max(1 - 4 * coin, 0) / DRAWS) + 1 / DRAWS
    return {
        "shift": shift,
        "measured": float(np.var(estimates)),
        "exact": 4 * above * below,
        "standard_error": 4 * (below + above) ** 2 * error,
        "halves": max(float(np.var(half)) for half in halves),
    }


def _halves(shift: float) -> tuple[float, float]:
    """E f⁻ and E f⁺ under N(0, 1): E f is their difference, E|f| their sum."""
    from scipy.special import ndtr

    below = float(_normal(shift)) - shift * float(ndtr(-shift))
    return below, below + shift


def _normal(z: Any) -> Any:
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _line(name: str, row: dict[str, Any]) -> str:
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
    exact = "infinite" if row["exact"] is None else f"{row['exact']:.4g}"
    draws = row["draws_needed"] or "no number will do"
    return f"{name:>22}  {row['measured']:.4g}{error}".ljust(50) + f"  {exact:>10}  {draws}"


_VARIANCE = "variance of a weight, Var w / p(x)²"


def _paint_variance(figure: Figure, record: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    _curve_and_dots(left, record["path_curve"], record["path"], "step")
    left.set_xlabel("share of the way from the prior to the posterior")
    left.set_title("mean and covariance moved", fontsize=12, color=INK)
    left.set_ylabel(_VARIANCE)
    left.set_ylim(bottom=-2)
    left.annotate(
        "zero at the posterior", (1, 0.6), xytext=(0.98, 24), ha="right", color=INK,
        arrowprops={"arrowstyle": "->", "color": MUTED},
    )  # fmt: skip

    finite = [row for row in record["widths"] if row["exact"] is not None]
    infinite = [row for row in record["widths"] if row["exact"] is None]
    _curve_and_dots(right, record["width_curve"], finite, "width")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_ylim(0.05, 3000)
    for row in infinite:
        quarters = row["quarters"]
        label = "four quarters of the draws" if row is infinite[0] else None
        right.plot([row["width"]] * len(quarters), quarters, "x", color=COLORS[1], label=label)
    right.axvspan(0.22, 0.5, color=COLORS[1], alpha=0.08, linewidth=0)
    right.text(0.235, 1200, "infinite", color=COLORS[1])
    right.set_xlim(0.22, 18)
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set_xlabel("covariance, times the posterior's")
    right.set_title("too narrow and too wide, at the right mean", fontsize=12, color=INK)
    for axes in (left, right):
        axes.legend(loc="upper right")


def _curve_and_dots(
    axes: Axes, curve: list[dict[str, Any]], rows: list[dict[str, Any]], across: str
) -> None:
    axes.plot(
        [row[across] for row in curve], [row["exact"] for row in curve],
        color=EXACT, linewidth=1.5, label="exact: χ²(posterior‖proposal)",
    )  # fmt: skip
    axes.errorbar(
        [row[across] for row in rows], [row["measured"] for row in rows],
        yerr=[row["standard_error"] or 0 for row in rows],
        fmt="o", color=COLORS[0], markersize=5, label="measured",
    )  # fmt: skip


def _paint_errors(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    names = {0.0: "prior (simple Monte Carlo)", 1.0: "posterior (no error but rounding)"}
    for step, color in zip(
        dict.fromkeys(row["step"] for row in record["errors"]), COLORS, strict=False
    ):
        rows = [row for row in record["errors"] if row["step"] == step]
        num = [row["k"] for row in rows]
        label = names.get(step, f"{step:g} of the way")
        axes.plot(
            num, [row["measured"] for row in rows], "o", color=color, markersize=5, label=label
        )
        if step < 1:
            axes.plot(num, [row["exact"] for row in rows], color=color, linewidth=1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("draws K")
    axes.set_ylabel("relative error of p̂(x), root mean square")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 0.12), title="proposal; lines: √(χ² / K)", fontsize=10
    )


def _paint_signs(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = record["signs"]
    shifts = [row["shift"] for row in rows]
    axes.plot(shifts, [1.0 for _ in rows], "-", color=COLORS[2], label="simple Monte Carlo")
    axes.plot(
        shifts, [row["measured"] for row in rows], "o", color=COLORS[0], label="proposal ∝ |f| p"
    )
    axes.plot(
        [row["shift"] for row in record["sign_curve"]],
        [row["exact"] for row in record["sign_curve"]],
        color=EXACT, linewidth=1.5, label="exact: (E|f|)² − (E f)²",
    )  # fmt: skip
    axes.plot(
        shifts,
        [row["halves"] for row in rows],
        "s",
        color=COLORS[1],
        markersize=4,
        label="f⁺ and f⁻, each its own proposal",
    )
    axes.set_xlabel("a;  f = z + a,  z ~ N(0, 1)")
    axes.set_ylabel("variance of one draw's estimate of E f")
    axes.set_ylim(-0.05, 1.75)
    axes.legend(loc="upper center", ncols=1)


draw = pictures(
    {
        "variance": ((11.5, 4.6), _paint_variance),
        "errors": ((6.6, 4.6), _paint_errors),
        "signs": ((6.6, 4.6), _paint_signs),
    }
)
