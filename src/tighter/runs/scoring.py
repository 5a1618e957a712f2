"""The test log-likelihood of a run, and the record of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tighter._errors import InputError
from tighter._examples import admitted
from tighter._programs import compiled
from tighter.data import Dataset
from tighter.evaluation import LogLikelihood, log_likelihood
from tighter.runs.build import build_model, build_transform, check_seed, is_diffusion
from tighter.runs.build_objective import build_objective
from tighter.runs.configuration import Configuration
from tighter.runs.diffusion import score_diffusion
from tighter.runs.folder import RunFolder
from tighter.runs.results import store_result
from tighter.training import load_parameters

Announce = Callable[[str], None]


def load_model(run: RunFolder, *, which: str = "best") -> Any:
    """The trained model of a run: its "best" or its "last" parameters."""
    model = build_model(run.configuration, run.shape, None, run.schema)
    return load_parameters(run.path / f"{which}.safetensors", model)


def score(
    model: Any,
    test: Dataset,
    configuration: Configuration,
    run: RunFolder,
    *,
    num_samples: int | None = None,
    num_examples: int | None = None,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Estimate the test log-likelihood of a run's model and store it in the run's folder.

    Args:
        model: The trained model.
        test: The test examples.
        configuration: The run's.
        run: Where to store the record.
        num_samples: Draws an example; the configuration's if left out.
        num_examples: Test examples, the first ones; the configuration's if left out.
        seed: Of binarization and draws; the configuration's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, in nats a datum.
    """
    if test.shape != run.shape:
        raise InputError(
            f"the data's examples have shape {test.shape} and the run was trained on {run.shape}: "
            "the data has changed"
        )
    if test.schema != run.schema:
        raise InputError(
            "the data's columns are not those that the run was trained on: the data has changed"
        )
    began = time.monotonic()
    num_samples = num_samples or configuration.evaluation.num_samples
    num_examples = min(num_examples or configuration.evaluation.num_examples, len(test))
    seed = check_seed(configuration.training.seed if seed is None else seed)
    transform = build_transform(configuration)
    if is_diffusion(configuration):
        announce(f"bound of {num_examples} test examples")
        return score_diffusion(
            model, test, transform, configuration, run,
            num_times=num_samples, num_examples=num_examples, seed=seed, which=which,
        )  # fmt: skip
    announce(f"log-likelihood of {num_examples} test examples, K = {num_samples}")
    transform_key, likelihood_key, bound_key = jax.random.split(jax.random.key(seed), 3)
    model, xs, _ = admitted(model, test.x[:num_examples])
    xs = transform(jnp.asarray(xs), key=transform_key)
    estimates = log_likelihood(model, xs, num_samples=num_samples, key=likelihood_key)
    bounds = _bounds(model, configuration, xs, bound_key)
    gaps = estimates.value - bounds
    record = {
        "split": "test",
        "parameters": which,
        "num_examples": num_examples,
        "num_samples": num_samples,
        "seed": seed,
        **summary(estimates),
        "bound": float(bounds.mean()),
        "bound_standard_error": error_of_mean(bounds),
        # Of the same examples, so that their spread is no part of its error.
        "bound_gap": float(gaps.mean()),
        "bound_gap_standard_error": error_of_mean(gaps),
        "seconds": time.monotonic() - began,
    }
    return store_result(
        run.path, "evaluation", record, estimates._asdict(),
        settings={"K": num_samples, "n": num_examples, "seed": seed, "": "test"},
        effort=num_samples * num_examples,
    )  # fmt: skip


def summary(estimates: LogLikelihood) -> dict[str, Any]:
    """Mean log-likelihood with both of its errors, and whether it can be trusted."""
    count = estimates.value.size
    monte_carlo = float(np.sqrt((estimates.standard_error**2).sum()) / count)
    jackknife = float(estimates.jackknife.mean())
    known = estimates.pareto_k[~np.isnan(estimates.pareto_k)]
    told = estimates.verdict
    return {
        "log_likelihood": float(estimates.value.mean()),
        "standard_error": error_of_mean(estimates.value),
        "monte_carlo_error": monte_carlo if np.isfinite(monte_carlo) else None,
        "pareto_smoothed": float(estimates.pareto_smoothed.mean()),
        "jackknife": jackknife if np.isfinite(jackknife) else None,
        "median_ess": float(np.median(estimates.ess)),
        "median_ess_standard_error": error_of_median(estimates.ess),
        "share_pareto_k_above_0.7": float((known > 0.7).mean()) if known.size else None,
        "verdict": str(told),
        "verdict_level": told.level,
    }


def error_of_mean(values: np.ndarray) -> float | None:
    """Standard error of a mean over examples; None of one."""
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None


def error_of_median(values: np.ndarray) -> float | None:
    """Standard error of a median over examples, by the order statistics about it; None of one."""
    count = values.size
    if count < 2:
        return None
    ends = np.quantile(values, np.clip(0.5 + np.array([-0.5, 0.5]) / np.sqrt(count), 0, 1))
    error = float(ends[1] - ends[0]) / 2
    return error if np.isfinite(error) else None


def _bounds(model: Any, configuration: Configuration, xs: jax.Array, key: jax.Array) -> np.ndarray:
    """The trained objective's bound, a block of examples at a time."""
    objective = build_objective(configuration)
    bounds = compiled(lambda model, xs, key: objective.batch(model, xs, key=key))
    size = max(1, 8192 // (objective.num_samples * objective.num_outer))
    blocks = [xs[start : start + size] for start in range(0, xs.shape[0], size)]
    keys = jax.random.split(key, len(blocks))
    parts = [bounds(model, block, k) for block, k in zip(blocks, keys, strict=True)]
    return np.concatenate([np.asarray(part) for part in parts])
