"""A Bayesian neural network beside point estimates of the same network, on UCI tables.

    uv run python -m benchmarks.neural_network ../shared/data/uci/concrete.csv [--splits 5]

One hidden layer of 20, tanh, the last column explained by the others (standardized), Gaussian noise
of unknown scale. Mean-field q over all weights, minibatches of 100, sticking the landing; the point
estimates are the same network's maximum of the posterior density (MAP) and of the likelihood, with
the same steps. Held out: a tenth of the rows, in each of some splits. Wanted: a larger log density
held out, and intervals that cover as often as they say.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float
from scipy.stats import norm

import tighter as tt
from tighter.data import read_table
from tighter.gradients import StickingTheLanding
from tighter.models.bayesian import BayesianModel

HIDDEN, BATCH, STEPS, DRAWS, PREDICTIVE_DRAWS = 20, 100, 8_000, 4, 500
LEVELS = np.linspace(0.1, 0.9, 9)


def main() -> None:
    """Print a line an estimate: means over the splits, with standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    numbers = read_table(arguments.table).to_numpy().astype(np.float64)
    found: dict[str, list[list[float]]] = {}
    for seed in range(arguments.splits):
        train, held, unit = split(numbers, seed)
        for name, (draws, seconds) in estimates(train, arguments.steps, seed).items():
            row = [*judged(draws, held, unit), seconds]
            found.setdefault(name, []).append(row)
    print(
        "| | held-out log density, nats | RMSE | covered by 50 % | by 90 % | miscalibration | s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        means = np.mean(rows, axis=0)
        errors = np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else 0 * means
        cells = (f"{m:.3f} ± {e:.3f}" for m, e in zip(means, errors, strict=True))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def split(numbers: np.ndarray, seed: int) -> tuple[dict, dict, float]:
    """Training and held-out rows, standardized by the former, and the unit of the last column."""
    order = np.random.default_rng(seed).permutation(len(numbers))
    held, train = np.split(order, [len(numbers) // 10])
    location, scale = numbers[train].mean(0), numbers[train].std(0)
    standard = ((numbers - location) / scale).astype(np.float32)
    parts = [{"x": standard[rows, :-1], "y": standard[rows, -1]} for rows in (train, held)]
    return parts[0], parts[1], float(scale[-1])


def network(parameters: dict[str, Array], x: Float[Array, " inputs"]) -> Float[Array, ""]:
    """The mean of y."""
    hidden = jnp.tanh(x @ parameters["w1"] + parameters["b1"])
    return hidden @ parameters["w2"] + parameters["b2"]


def log_likelihood(parameters: dict[str, Array], datum: dict[str, Array]) -> Array:
    """Log p(y | x, parameters), in nats."""
    mean = network(parameters, datum["x"])
    return dist.Normal(mean, parameters["noise"], validate_args=False).log_prob(datum["y"])


def prior_of(num_inputs: int) -> dict[str, Any]:
    """Normal weights, and a noise of unknown size."""
    normal = lambda scale, *shape: dist.Normal(0.0, scale).expand(shape).to_event(len(shape))  # noqa: E731
    return {
        "w1": normal(1.0, num_inputs, HIDDEN),
        "b1": normal(1.0, HIDDEN),
        "w2": normal(0.5, HIDDEN),
        "b2": normal(1.0),
        "noise": dist.LogNormal(-1.0, 1.0),
    }


def estimates(train: dict, steps: int, seed: int) -> dict[str, tuple[Any, float]]:
    """Draws of the parameters (of a point estimate one), and the seconds that they took."""
    prior = prior_of(train["x"].shape[1])
    keys = jax.random.split(jax.random.key(seed), len(prior) + 1)
    start = {name: p.sample(key) for (name, p), key in zip(prior.items(), keys[1:], strict=True)}
    began = time.monotonic()
    model = BayesianModel(log_likelihood, prior, start=start, start_scale=0.1)
    # q moves in units of its scale at the start, so that its steps are 0.01 as well.
    rate = optax.cosine_decay_schedule(1e-1, steps)
    fitted = tt.fit(
        model,
        train,
        tt.Objective(gradient=StickingTheLanding(), num_samples=DRAWS),
        optimizer=optax.adam(rate),
        num_epochs=steps // (len(train["y"]) // BATCH),
        batch_size=BATCH,
        key=keys[0],
    ).model
    draws = fitted.draws(PREDICTIVE_DRAWS, key=keys[0])
    found = {"Bayesian": (draws, time.monotonic() - began)}
    for name, weight in (("MAP", 1.0), ("maximum likelihood", 0.0)):
        began = time.monotonic()
        point = point_estimate(model, train, start, steps, weight, keys[0])
        found[name] = (jax.tree.map(lambda leaf: leaf[None], point), time.monotonic() - began)
    return found


def point_estimate(
    model: BayesianModel, train: dict, start: dict, steps: int, weight: float, key: Array
) -> dict[str, Array]:
    """The maximum of log likelihood + weight · log prior, by the same minibatches and steps."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    num = len(train["y"])

    def loss(free: dict, rows: Array) -> Array:
        parameters = free | {"noise": jnp.exp(free["noise"])}
        some = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], train)
        likelihood = num / BATCH * model.log_likelihood(some)(parameters)
        return -(likelihood + weight * model.prior.log_prob(parameters))

    def step(carry: tuple, key: Array) -> tuple[tuple, None]:
        free, state = carry
        rows = jax.random.choice(key, num, (BATCH,), replace=False)
        updates, state = optimizer.update(jax.grad(loss)(free, rows), state)
        return (optax.apply_updates(free, updates), state), None

    free = start | {"noise": jnp.log(start["noise"])}
    scan = eqx.filter_jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0])
    free, _ = scan((free, optimizer.init(free)), jax.random.split(key, steps))
    return free | {"noise": jnp.exp(free["noise"])}


def judged(draws: dict, held: dict, unit: float) -> list[float]:
    """Log density, RMSE (both in the column's own unit), coverages, mean |coverage − level|."""
    means = jax.jit(jax.vmap(jax.vmap(network, (None, 0)), (0, None)))(draws, held["x"])
    means, noise = np.asarray(means, np.float64), np.asarray(draws["noise"], np.float64)[:, None]
    densities = norm.pdf(held["y"], means, noise).mean(0)
    below = norm.cdf(held["y"], means, noise).mean(0)
    inside = lambda level: float(np.mean(np.abs(below - 0.5) <= level / 2))  # noqa: E731
    return [
        float(np.mean(np.log(densities))) - float(np.log(unit)),
        float(np.sqrt(np.mean((means.mean(0) - held["y"]) ** 2))) * unit,
        inside(0.5),
        inside(0.9),
        float(np.mean([abs(inside(level) - level) for level in LEVELS])),
    ]


if __name__ == "__main__":
    main()
