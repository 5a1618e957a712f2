"""Posteriors of posteriordb, by family and bound, against its reference draws.

    uv run python -m benchmarks.posteriordb ../shared/data [--only arK] [--steps 2000] [--json FILE]

The Gaussians start at Laplace's approximation, mixture and flow at the full-rank Gaussian
(`with_posterior`); all are trained by `fit` on the whole data set.
Columns: the worst difference of q's means from the reference's, in its standard deviations, and of
q's standard deviations, as a share; the same for q corrected by its smoothed importance weights; k̂
and the effective share of q's draws; seconds, compilation included. The reference's own error is
.01 and .7 %. Accepted are .15 and .15 for at least one family of each posterior.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from numpyro.distributions import constraints

import tighter as tt
from tighter.evaluation.posterior_check import posterior_check
from tighter.models.bayesian import BayesianModel


class Problem(NamedTuple):
    """A posterior: the model's two parts, the data, and the parameters as they are reported."""

    log_likelihood: Callable[[Any, Any], Any]
    prior: Any
    data: Any
    reported: Callable[[Any], list[Any]]


def flat(*shape: int, support: Any = constraints.real) -> Any:
    """A flat prior."""
    return dist.ImproperUniform(support, (), shape)


def regression(x: Any, y: Any, *, beta: Any, sigma: Any) -> Problem:
    """A linear one: y ~ N(x β, σ)."""

    def log_likelihood(parameters: Any, datum: Any) -> Any:
        mean = datum["x"] @ parameters["beta"]
        return dist.Normal(mean, parameters["sigma"]).log_prob(datum["y"])

    data = {"x": np.asarray(x, np.float32), "y": np.asarray(y, np.float32)}
    prior = {"beta": beta, "sigma": sigma}
    return Problem(log_likelihood, prior, data, lambda p: [p["beta"], p["sigma"]])


def with_intercept(*columns: Any) -> np.ndarray:
    """Predictors after a column of ones."""
    columns = [np.asarray(column, float) for column in columns]
    return np.stack([np.ones_like(columns[0]), *columns], axis=1)


def eight_schools(data: dict[str, Any]) -> Problem:
    """Effects as standard normals, scaled."""

    def log_likelihood(parameters: Any, datum: Any) -> Any:
        unit = parameters["unit"][jnp.asarray(datum["school"], int)]
        effect = parameters["mu"] + parameters["tau"] * unit
        return dist.Normal(effect, datum["sigma"]).log_prob(datum["y"])

    prior = {"mu": dist.Normal(0, 5), "tau": dist.HalfCauchy(5), "unit": standard_normal(8)}
    effects = lambda p: p["mu"][:, None] + p["tau"][:, None] * p["unit"]  # noqa: E731
    return Problem(log_likelihood, prior, schools(data), lambda p: [effects(p), p["mu"], p["tau"]])


def eight_schools_centered(data: dict[str, Any]) -> Problem:
    """The effects themselves: a funnel, whose neck no Gaussian follows."""

    def log_likelihood(parameters: Any, schools: Any) -> Any:
        of_effects = dist.Normal(parameters["mu"], parameters["tau"]).log_prob(parameters["theta"])
        of_data = dist.Normal(parameters["theta"], schools["sigma"]).log_prob(schools["y"])
        return jnp.sum(of_effects + of_data)

    prior = {"mu": dist.Normal(0, 5), "tau": dist.HalfCauchy(5), "theta": flat(8)}
    whole = {name: column[None] for name, column in schools(data).items() if name != "school"}
    return Problem(log_likelihood, prior, whole, lambda p: [p["theta"], p["mu"], p["tau"]])


def standard_normal(size: int) -> Any:
    """Independent standard normals."""
    return dist.Normal(jnp.zeros(size), 1.0)


def schools(data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Estimates, their errors, and which school."""
    y, sigma = (np.asarray(data[name], np.float32) for name in ("y", "sigma"))
    return {"y": y, "sigma": sigma, "school": np.arange(len(y))}


def gaussian_mixture(data: dict[str, Any]) -> Problem:
    """Two normals, the means in order."""

    def log_likelihood(parameters: Any, y: Any) -> Any:
        log_weights = jnp.log(jnp.stack([parameters["theta"], 1 - parameters["theta"]]))
        parts = dist.Normal(parameters["mu"], parameters["sigma"]).log_prob(y)
        return jax.nn.logsumexp(log_weights + parts)

    ordered = constraints.ordered_vector
    prior = {"mu": flat(2, support=ordered), "sigma": half_normals(2), "theta": dist.Beta(5, 5)}

    def with_prior_of_means(parameters: Any, ys: Any) -> Any:
        of_data = jnp.sum(jax.vmap(log_likelihood, (None, 0))(parameters, ys))
        return jnp.sum(dist.Normal(0, 2).log_prob(parameters["mu"])) + of_data

    ys = np.asarray(data["y"], np.float32)[None]
    return Problem(with_prior_of_means, prior, ys, lambda p: [p["mu"], p["sigma"], p["theta"]])


def half_normals(size: int) -> Any:
    """Independent half-normals of scale 2."""
    return dist.HalfNormal(jnp.full(size, 2.0))


def autoregression(data: dict[str, Any]) -> Problem:
    """Each value from the five before it."""
    y, lags = np.asarray(data["y"]), data["K"]
    before = [y[lags - k : len(y) - k] for k in range(1, lags + 1)]
    return regression(
        with_intercept(*before),
        y[lags:],
        beta=dist.Normal(jnp.zeros(lags + 1), 10.0),
        sigma=dist.HalfCauchy(2.5),
    )


def election(data: dict[str, Any]) -> np.ndarray:
    """Predictors, age in four classes."""
    age = np.asarray(data["age_discrete"])
    of_age = [age == group for group in (2, 3, 4)]
    return with_intercept(
        data["real_ideo"], data["race_adj"], *of_age, data["educ1"], data["gender"], data["income"]
    )


def mesquite(data: dict[str, Any]) -> np.ndarray:
    """Predictors, in logarithms."""
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    return with_intercept(*(np.log(data[name]) for name in names), data["group"])


def kidscore(data: dict[str, Any]) -> np.ndarray:
    """Predictors and their product."""
    school, score = np.asarray(data["mom_hs"]), np.asarray(data["mom_iq"])
    return with_intercept(school, score, school * score)


FLAT_SCALE = flat(support=constraints.positive)

# A posterior's short name: where it is in posteriordb, and the problem that its data make.
PROBLEMS: dict[str, tuple[str, Callable[[dict[str, Any]], Problem]]] = {
    "eight_schools_noncentered": ("eight_schools-eight_schools_noncentered", eight_schools),
    "kidscore_interaction": (
        "kidiq-kidscore_interaction",
        lambda d: regression(kidscore(d), d["kid_score"], beta=flat(4), sigma=dist.HalfCauchy(2.5)),
    ),
    "logearn_height": (
        "earnings-logearn_height",
        lambda d: regression(
            with_intercept(d["height"]), np.log(d["earn"]), beta=flat(2), sigma=FLAT_SCALE
        ),
    ),
    "logmesquite": (
        "mesquite-logmesquite",
        lambda d: regression(mesquite(d), np.log(d["weight"]), beta=flat(7), sigma=FLAT_SCALE),
    ),
    "nes2000": (
        "nes2000-nes",
        lambda d: regression(election(d), d["partyid7"], beta=flat(9), sigma=FLAT_SCALE),
    ),
    "arK": ("arK-arK", autoregression),
    "sblri": (
        "sblri-blr",
        lambda d: regression(
            d["X"], d["y"], beta=dist.Normal(jnp.zeros(5), 10.0), sigma=dist.HalfNormal(10.0)
        ),
    ),
    "low_dim_gauss_mix": ("low_dim_gauss_mix-low_dim_gauss_mix", gaussian_mixture),
    "eight_schools_centered": ("eight_schools-eight_schools_noncentered", eight_schools_centered),
}

# Families, the draws of their bound (1 for the ELBO, more for IWAE, doubly reparameterized), and
# the learning rate.
FAMILIES = (
    ("mean-field", 1, 1e-2),
    ("full-rank", 1, 1e-2),
    ("mixture:4", 10, 1e-2),
    ("flow", 1, 3e-3),
    ("flow", 10, 3e-3),
)


def untrained(problem: Problem, family: str) -> BayesianModel:
    """The model with a Gaussian at the peak."""
    model = BayesianModel(problem.log_likelihood, problem.prior, posterior=family, start_scale=0.5)
    return model.initialized_from(problem.data)


def trained(
    problem: Problem,
    model: BayesianModel,
    num_samples: int,
    learning_rate: float,
    *,
    steps: int,
    seed: int,
) -> BayesianModel:
    """The model after training; each step takes all data, and about 64 draws in all."""
    bound = tt.bounds.ELBO() if num_samples == 1 else tt.bounds.IWAE()
    objective = tt.Objective(bound, num_samples=num_samples, num_outer=64 // num_samples)
    rate = optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01)
    return tt.fit(
        model,
        problem.data,
        objective,
        optimizer=optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate)),
        num_epochs=steps,
        batch_size=jax.tree.leaves(problem.data)[0].shape[0],
        key=jax.random.key(seed),
        show_progress=False,
    ).model


def differences(values: Any, weights: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """The worst of the means, in reference standard deviations, and of these, as a share."""
    mean = weights @ values
    sd = np.sqrt(weights @ (values - mean) ** 2)
    theirs, their_sd = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    return float(np.max(np.abs(mean - theirs) / their_sd)), float(np.max(np.abs(sd / their_sd - 1)))


def measured(problem: Problem, model: Any, reference: np.ndarray, *, seed: int) -> dict[str, float]:
    """How far q is from the reference draws, and what k̂ says of it."""
    check = posterior_check(model, problem.data, num_samples=20_000, key=jax.random.key(seed + 1))
    parts = problem.reported(check.draws)
    values = np.concatenate(
        [np.asarray(part, float).reshape(len(part), -1) for part in parts], axis=1
    )
    even = np.full(len(values), 1 / len(values))
    mean, sd = differences(values, even, reference)
    corrected_mean, corrected_sd = differences(values, np.exp(check.log_weights), reference)
    return {
        "mean": mean,
        "sd": sd,
        "corrected_mean": corrected_mean,
        "corrected_sd": corrected_sd,
        "pareto_k": check.pareto_k,
        "effective_share": check.ess / len(values),
        "log_evidence": check.log_evidence,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument(
        "--families", nargs="+", default=sorted({family for family, _, _ in FAMILIES})
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    folder = Path(arguments.data)
    told = json.loads((folder / "posteriordb.json").read_text())["with_reference_draws"]
    all_draws = np.load(folder / "posteriordb_draws.npz")
    print("| posterior | family | K | Δ mean | Δ sd | corrected | | k̂ | ESS/S | seconds |")
    print("|" + "---|" * 10)
    records = []
    for name in arguments.only:
        place, make = PROBLEMS[name]
        draws = all_draws[place]
        reference = draws.reshape(-1, draws.shape[-1]).astype(float)
        problem = make(told[place]["data"])
        full = None
        for family, num_samples, learning_rate in FAMILIES:
            if family not in (*arguments.families, "full-rank"):
                continue
            began = time.perf_counter()
            if full is None:
                model = untrained(problem, family)
            else:
                model = full.with_posterior(family, key=jax.random.key(arguments.seed))
            model = trained(
                problem, model, num_samples, learning_rate,
                steps=arguments.steps, seed=arguments.seed,
            )  # fmt: skip
            full = model if family == "full-rank" else full
            seconds = time.perf_counter() - began
            row = measured(problem, model, reference, seed=arguments.seed)
            records.append(
                {"posterior": name, "family": family, "num_samples": num_samples} | row
                | {"seconds": seconds}
            )  # fmt: skip
            print(
                f"| {name} | {family} | {num_samples} | {row['mean']:.3f} | {row['sd']:.3f} | "
                f"{row['corrected_mean']:.3f} | {row['corrected_sd']:.3f} | "
                f"{row['pareto_k']:.2f} | {row['effective_share']:.3f} | {seconds:.1f} |",
                flush=True,
            )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
