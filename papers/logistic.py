"""Four gradient estimators on Bayesian logistic regression: their noise, and how they arrive.

Paper: Mohamed, Rosca, Figurnov & Mnih, "Monte Carlo gradient estimation in machine learning", 2020,
section 8.3: breast cancer (569 × 31, intercept included), a mean-field Gaussian over the weights.
Given that posterior every logit is Gaussian, so that the ELBO and its gradient are known by
one-dimensional quadrature: the estimators are measured against them.

Command: tighter reproduce logistic (a minute or two).
Expect: at the optimum the score function noisier than the path by a factor of some 400, of some 20
with a leave-one-out baseline; pathwise and measure-valued alike in a draw, the latter at 4·31 times
the evaluations. After 3000 steps the path is within half a nat of the best ELBO, the score function
2 nats away with a baseline and 6 without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from papers._record import AXIS, COLORS, Announce, Recorder, pictures, silent
from tighter import expectation
from tighter.gradients import LeaveOneOut, MeasureValued, Reparameterized, ScoreFunction

STEPS, BATCH, DRAWS, LEARNING_RATE = 3000, 32, 10, 1e-2
REPLICATES, RUNS, MEASURED_EVERY, HELD_OUT = 2000, 4, 50, 114
_ESTIMATORS = {
    "score function": ScoreFunction(baseline=None),
    "score function, leave-one-out": ScoreFunction(baseline=LeaveOneOut()),
    "pathwise": Reparameterized(),
    "measure-valued": MeasureValued(),
}
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


class Problem(NamedTuple):
    """Standardized inputs with an intercept, and labels in {−1, 1}; training rows first."""

    inputs: Float[Array, "data weights"]
    labels: Float[Array, " data"]
    held_inputs: Float[Array, "held weights"]
    held_labels: Float[Array, " held"]


class Parameters(NamedTuple):
    """Of the mean-field Gaussian."""

    location: Float[Array, " weights"]
    log_scale: Float[Array, " weights"]


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Measure noise at the start and at the optimum, train with each, and store it all.

    Args:
        path: The folder, new or empty.
        seed: Of the split, the minibatches and the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "logistic", seed=seed)
    problem = load_problem(seed)
    announce("the best mean-field Gaussian, by quadrature")
    start, best = start_of(problem), best_parameters(problem)
    key = jax.random.key(seed)
    noise, curves = [], []
    for name, estimator in _ESTIMATORS.items():
        announce(f"{name}: noise of {REPLICATES} gradients, and {RUNS} trainings")
        for place, at in (("start", start), ("optimum", best)):
            noise.append({"estimator": name, "at": place} | noise_of(problem, at, estimator, key))
        curves.append({"estimator": name} | trained(problem, estimator, key))
    return recorder.store(
        {
            "examples": len(problem.labels),
            "weights": problem.inputs.shape[1],
            "draws": DRAWS,
            "batch": BATCH,
            "best_elbo": float(exact_elbo(best, problem)),
            "best": quality(best, problem),
            "noise": noise,
            "curves": curves,
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """Noise at the optimum, evaluations, and where training ends."""
    lines = [
        f"{'estimator':30} {'variance':>10} {'bias/s.e.':>9} {'evaluations':>11} {'ELBO':>8} "
        f"{'accuracy':>8}"
    ]
    for row in record["noise"]:
        if row["at"] != "optimum":
            continue
        curve = next(c for c in record["curves"] if c["estimator"] == row["estimator"])
        lines.append(
            f"{row['estimator']:30} {row['variance']:10.3g} {row['deviation']:9.2f} "
            f"{row['evaluations']:11d} {curve['elbo'][-1]:8.2f} {curve['accuracy']:8.3f}"
        )
    return [
        *lines,
        f"the best ELBO is {record['best_elbo']:.2f} nats, held-out accuracy "
        f"{record['best']['accuracy']:.3f}, log density {record['best']['log_density']:.3f} nats",
    ]


def load_problem(seed: int) -> Problem:
    """The data that scikit-learn ships, split at random, standardized by the training rows."""
    from sklearn.datasets import load_breast_cancer

    inputs, targets = (np.asarray(part) for part in load_breast_cancer(return_X_y=True))
    order = np.random.default_rng(seed).permutation(len(inputs))
    train, held = order[HELD_OUT:], order[:HELD_OUT]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    inputs = jnp.asarray(np.column_stack([np.ones(len(inputs)), inputs]), float)
    labels = jnp.asarray(2 * targets - 1, float)
    return Problem(inputs[train], labels[train], inputs[held], labels[held])


def start_of(problem: Problem) -> Parameters:
    """The prior's: location 0, scale 1."""
    zeros = jnp.zeros(problem.inputs.shape[1])
    return Parameters(zeros, zeros)


def log_likelihood(weights: Array, inputs: Array, labels: Array) -> Array:
    """Σ_n log p(y_n | x_n, w), in nats."""
    return jnp.sum(jax.nn.log_sigmoid(labels * (inputs @ weights)))


def exact_elbo(at: Parameters, problem: Problem) -> Array:
    """ELBO of all training rows, in nats: logits are Gaussian, the rest is quadrature."""
    terms = _expected(jax.nn.log_sigmoid, at, problem.inputs, problem.labels)
    return jnp.sum(terms) - _kl(at)


def best_parameters(problem: Problem) -> Parameters:
    """The mean-field Gaussian of the largest ELBO, by gradient ascent with no noise."""
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, 4000))
    start = start_of(problem)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        at, state = carry
        gradient = jax.grad(lambda at: -exact_elbo(at, problem))(at)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(at, updates), state), None

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=4000)[0])
    return scan((start, optimizer.init(start)))[0]


def noise_of(
    problem: Problem, at: Parameters, estimator: Any, key: Key[Array, ""]
) -> dict[str, Any]:
    """Total variance of the full-data gradient, and how far its mean is from the exact one.

    Returns:
        variance: Sum of the variances of all 2·31 derivatives, of one gradient from `DRAWS` draws.
        deviation: Largest distance of a mean from the exact derivative, in standard errors.
        evaluations: Of the log likelihood, a gradient.
    """
    slope = jax.grad(estimated_elbo)

    @jax.jit
    def gradients(key: Key[Array, ""]) -> Parameters:
        draw_once = lambda key: slope(at, estimator, problem.inputs, problem.labels, 1.0, key=key)  # noqa: E731
        return jax.lax.map(draw_once, jax.random.split(key, REPLICATES), batch_size=20)

    found = np.concatenate(gradients(key), axis=1)
    exact = np.concatenate(jax.grad(exact_elbo)(at, problem))
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    return {
        "variance": float(found.var(axis=0, ddof=1).sum()),
        # float32 gives the exact derivatives, sums of 455 terms, to some 1e-4.
        "deviation": float((np.abs(found.mean(0) - exact) / (errors + 1e-4)).max()),
        "evaluations": evaluations(estimator, problem.inputs.shape[1]),
    }


def evaluations(estimator: Any, num_weights: int) -> int:
    """Log likelihoods that a gradient takes: measure-valued ones are pairs, a weight and a draw."""
    pairs = 2 * 2 * num_weights if isinstance(estimator, MeasureValued) else 1
    return DRAWS * pairs


def estimated_elbo(
    at: Parameters,
    estimator: Any,
    inputs: Array,
    labels: Array,
    scale: float,
    *,
    key: Key[Array, ""],
) -> Array:
    """The ELBO with its likelihood estimated, from a minibatch that stands for `scale` as many."""
    posterior = dist.Normal(at.location, jnp.exp(at.log_scale), validate_args=False).to_event(1)
    likelihood = expectation(
        lambda w: log_likelihood(w, inputs, labels),
        posterior,
        gradient=estimator,
        num_samples=DRAWS,
        key=key,
    )
    return scale * likelihood - _kl(at)


def trained(problem: Problem, estimator: Any, key: Key[Array, ""]) -> dict[str, Any]:
    """Exact ELBO along trainings with minibatches, their mean, and the ends' quality.

    Returns:
        step, elbo (mean over the trainings), low, high (their extremes), and `quality` of the first
        training's end.
    """
    optimizer = optax.adam(LEARNING_RATE)
    num = len(problem.labels)

    def step(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
        at, state = carry
        rows_key, key = jax.random.split(key)
        rows = jax.random.choice(rows_key, num, (BATCH,), replace=False)
        gradient = jax.grad(estimated_elbo)(
            at, estimator, problem.inputs[rows], problem.labels[rows], num / BATCH, key=key
        )
        updates, state = optimizer.update(jax.tree.map(jnp.negative, gradient), state)
        return (optax.apply_updates(at, updates), state), None

    def stretch(carry: tuple, keys: Key[Array, " steps"]) -> tuple[tuple, Array]:
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, exact_elbo(carry[0], problem)

    @jax.jit
    def train(key: Key[Array, ""]) -> tuple[Parameters, Array]:
        start = start_of(problem)
        keys = jax.random.split(key, (STEPS // MEASURED_EVERY, MEASURED_EVERY))
        (end, _), elbos = jax.lax.scan(stretch, (start, optimizer.init(start)), keys)
        return end, jnp.concatenate([exact_elbo(start, problem)[None], elbos])

    ends, elbos = zip(*(train(key) for key in jax.random.split(key, RUNS)), strict=True)
    elbos = np.stack(elbos)
    return {
        "step": list(range(0, STEPS + 1, MEASURED_EVERY)),
        "elbo": elbos.mean(0).tolist(),
        "low": elbos.min(0).tolist(),
        "high": elbos.max(0).tolist(),
        "evaluations": evaluations(estimator, problem.inputs.shape[1]),
    } | quality(ends[0], problem)


def quality(at: Parameters, problem: Problem) -> dict[str, float]:
    """Held-out accuracy and log density (nats a datum) of the posterior predictive."""
    density = _expected(jax.nn.sigmoid, at, problem.held_inputs, problem.held_labels)
    return {
        "accuracy": float(jnp.mean(density > 0.5)),
        "log_density": float(jnp.mean(jnp.log(density))),
    }


def _expected(function: Callable, at: Parameters, inputs: Array, labels: Array) -> Array:
    """E_q of a function of y·xᵀw, for every row."""
    means = labels * (inputs @ at.location)
    scales = jnp.sqrt(inputs**2 @ jnp.exp(2 * at.log_scale))
    nodes = jnp.asarray(_NODES, means.dtype)[None, :]
    values = function(means[:, None] + scales[:, None] * nodes)
    return values @ jnp.asarray(_WEIGHTS / _WEIGHTS.sum(), means.dtype)


def _kl(at: Parameters) -> Array:
    """KL(q ‖ N(0, 1)), in nats."""
    return jnp.sum(0.5 * (jnp.exp(2 * at.log_scale) + at.location**2 - 1) - at.log_scale)


def _paint_noise(figure: Figure, record: dict[str, Any]) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row["estimator"] for row in record["noise"]))
    for shift, place, filled in ((-0.2, "start", False), (0.2, "optimum", True)):
        rows = [row for row in record["noise"] if row["at"] == place]
        axes.barh(
            np.arange(len(rows)) + shift,
            [row["variance"] for row in rows],
            height=0.36,
            color=COLORS[: len(rows)],
            alpha=1.0 if filled else 0.45,
        )
        for at, row in enumerate(rows):
            label = f"  {row['variance']:.3g}, at the {place}"
            axes.text(row["variance"], at + shift, label, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    least, most = (f([row["variance"] for row in record["noise"]]) for f in (min, max))
    axes.set_xlim(least / 3, most * 60)
    axes.set_xlabel(f"variance of the gradient ({record['draws']} draws, all data)")


def _paint_convergence(figure: Figure, record: dict[str, Any]) -> None:
    by_step, by_evaluation = figure.subplots(1, 2, sharey=True)
    gap = lambda values: record["best_elbo"] - np.array(values)  # noqa: E731
    for curve, color in zip(record["curves"], COLORS, strict=False):
        step = np.array(curve["step"])
        for axes, across in ((by_step, step), (by_evaluation, step * curve["evaluations"])):
            axes.plot(across[1:], gap(curve["elbo"])[1:], color=color, label=curve["estimator"])
            axes.fill_between(
                across[1:], gap(curve["high"])[1:], gap(curve["low"])[1:], color=color, alpha=0.2
            )
    for axes, label in (
        (by_step, "steps"),
        (by_evaluation, f"evaluations of the log likelihood of {record['batch']} data"),
    ):
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.axhline(1, color=AXIS, linewidth=1)
    by_evaluation.set_xscale("log")
    by_step.set_ylabel("nats below the best ELBO")
    handles, labels = by_step.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


draw = pictures(
    {
        "noise": ((8.2, 4.2), _paint_noise),
        "convergence": ((11.5, 4.6), _paint_convergence),
    }
)
