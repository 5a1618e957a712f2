"""Measurements on a finished run: each adds a file or two to its folder, and a report section."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._examples import admitted
from tighter.bounds import bound_from_name
from tighter.data import Dataset, Splits
from tighter.diagnostics import (
    active_units,
    aggregated_posterior,
    compare,
    elbo_surgery,
    inference_gaps,
)
from tighter.diagnostics.gradient_noise import check_replicates
from tighter.evaluation import annealed_log_likelihood, bidirectional, sandwich
from tighter.evaluation.verdicts import TRUSTED
from tighter.gradients import estimator_from_name
from tighter.runs.build import build_transform, check_seed
from tighter.runs.folder import RunFolder
from tighter.runs.results import store_result
from tighter.runs.scoring import error_of_mean, error_of_median

Announce = Callable[[str], None]


def annealed(
    model: Any,
    run: RunFolder,
    splits: Splits,
    *,
    num_examples: int | None = None,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Log-likelihoods by annealing, and how far they are off on data simulated from the model.

    Args:
        model: The run's model.
        run: Where to store the record.
        splits: The run's data.
        num_examples: Test examples, and as many simulated ones; 100 if left out.
        num_temperatures: Steps of annealing.
        num_chains: Chains an example.
        seed: Of everything random; the run's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, in nats a datum.
    """
    began = time.monotonic()
    seed = _seed(run, seed)
    model, xs, key = _examples(model, run, splits.test, num_examples or 100, seed)
    settings: dict[str, Any] = {"num_temperatures": num_temperatures, "num_chains": num_chains}
    announce(f"annealing {len(xs)} test examples, T = {num_temperatures}, {num_chains} chains")
    estimates = annealed_log_likelihood(model, xs, key=jax.random.fold_in(key, 0), **settings)
    announce(f"annealing {len(xs)} simulated examples, forward and in reverse")
    both = bidirectional(model, num_examples=len(xs), key=jax.random.fold_in(key, 1), **settings)
    record = {
        "method": "ais",
        "parameters": which,
        "num_examples": len(xs),
        "seed": seed,
        **settings,
        "log_likelihood": float(estimates.value.mean()),
        "standard_error": error_of_mean(estimates.value),
        "monte_carlo_error": _monte_carlo(estimates.standard_error),
        "acceptance": float(estimates.acceptance.mean()),
        "acceptance_error": error_of_mean(estimates.acceptance),
        "median_ess": float(np.median(estimates.ess)),
        "simulated_gap": both.mean_gap,
        "simulated_gap_error": error_of_mean(both.gap),
        "note": both.note,
        "seconds": time.monotonic() - began,
    }
    arrays = {
        "value": estimates.value,
        "standard_error": estimates.standard_error,
        "simulated_lower": both.lower.value,
        "simulated_upper": both.upper.value,
    }
    return store_result(
        run.path, "annealing", record, arrays,
        settings={"T": num_temperatures, "C": num_chains, "n": len(xs), "seed": seed},
        effort=num_temperatures * num_chains * len(xs),
    )  # fmt: skip


def sandwiched(
    model: Any,
    run: RunFolder,
    splits: Splits,
    *,
    gap: float = 0.5,
    num_examples: int | None = None,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Bounds on the log-likelihood from both sides.

    Args:
        model: The run's model.
        run: Where to store the record.
        splits: The run's data.
        gap: Where to stop doubling the draws, in nats an example.
        num_examples: Test examples; 100 if left out.
        seed: Of everything random; the run's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, in nats a datum.
    """
    if not gap > 0:
        raise InputError(f"gap is in nats, above zero, got {gap}")
    began = time.monotonic()
    seed = _seed(run, seed)
    model, xs, key = _examples(model, run, splits.test, num_examples or 100, seed)
    announce(f"bounds from both sides of {len(xs)} test examples, to within {gap} nats")
    bounds = sandwich(model, xs, gap=gap, key=key)
    law = bounds.jensen_gap
    extrapolated = None
    # The law is of weights with a variance.
    if np.isfinite(law.log_likelihood).all() and not (bounds.pareto_k > TRUSTED).any():
        extrapolated = {
            "extrapolated": float(law.log_likelihood.mean()),
            "extrapolated_error": _monte_carlo(law.log_likelihood_standard_error),
            "extrapolated_standard_error": error_of_mean(law.log_likelihood),
            "half_chi_square": float(np.median(law.half_chi_square)),
            "half_chi_square_standard_error": error_of_median(law.half_chi_square),
        }
    record = {
        "method": "sandwich",
        "parameters": which,
        "num_examples": len(xs),
        "seed": seed,
        "gap_asked": gap,
        "lower": float(bounds.lower.mean()),
        "upper": float(bounds.upper.mean()),
        "cubo": float(bounds.cubo.mean()),
        **(extrapolated or {}),
        "standard_error": error_of_mean(bounds.lower),
        "upper_standard_error": error_of_mean(bounds.upper),
        "lower_monte_carlo_error": _monte_carlo(bounds.lower_standard_error),
        "upper_monte_carlo_error": _monte_carlo(bounds.upper_standard_error),
        "num_samples": int(bounds.num_samples.max()),
        "share_closed": float(bounds.closed.mean()),
        "verdict": bounds.verdict,
        "seconds": time.monotonic() - began,
    }
    arrays = {
        name: np.asarray(getattr(bounds, name), float)
        for name in ("lower", "upper", "cubo", "num_samples", "pareto_k")
    }
    return store_result(
        run.path, "sandwich", record, arrays,
        settings={"gap": f"{gap:g}", "n": len(xs), "seed": seed},
        effort=int(bounds.num_samples.sum()),
    )  # fmt: skip


def diagnosed(
    model: Any,
    run: RunFolder,
    splits: Splits,
    *,
    num_examples: int | None = None,
    num_gaps: int = 100,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """What the bound hides: its terms, the units' use, the codes against the prior, the gaps.

    Args:
        model: The run's model.
        run: Where to store the record.
        splits: The run's data.
        num_examples: Training examples whose codes make up q(z); all if left out.
        num_gaps: Test examples for which a posterior of its own is optimized.
        seed: Of everything random; the run's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, in nats a datum.
    """
    began = time.monotonic()
    seed = _seed(run, seed)
    model, xs, key = _examples(model, run, splits.train, num_examples or len(splits.train), seed)
    keys = jax.random.split(key, 4)
    units = active_units(model, xs, num_samples=32, key=keys[1])  # refuses too few examples
    announce(f"ELBO surgery on {len(xs)} training examples")
    surgery = elbo_surgery(model, xs, key=keys[0])
    codes = aggregated_posterior(model, xs, key=keys[2])
    near, tested, gap_key = _examples(model, run, splits.test, num_gaps, seed)
    announce(f"posteriors of their own for {len(tested)} test examples")
    gaps = inference_gaps(near, tested, key=gap_key)
    terms = surgery._fields[:5]
    by_unit = surgery.per_dimension
    record = {
        "parameters": which,
        "num_examples": len(xs),
        "seed": seed,
        "surgery": {name: float(getattr(surgery, name)) for name in terms},
        "surgery_errors": {name: float(getattr(surgery.standard_error, name)) for name in terms},
        "num_evaluated": surgery.num_evaluated,
        "log_num_examples": float(np.log(len(xs))),
        "active_units": units.count,
        "num_units": int(units.variance.size),
        "warnings": list(units.warnings),
        "compared_with": codes.compared_with,
        "num_gaps": len(tested),
        "gaps": {
            name: {"mean": float(value.mean()), "standard_error": error_of_mean(value)}
            for name, value in gaps._asdict().items()
            if name != "standard_error"
        },
        "seconds": time.monotonic() - began,
    }
    arrays = {
        "unit_variance": units.variance,
        "unit_statistic": codes.statistic,
        "unit_p_value": codes.p_value,
        "theoretical_quantiles": codes.theoretical_quantiles,
        "sample_quantiles": codes.sample_quantiles,
        "amortization_gap": gaps.amortization_gap,
        "approximation_gap": gaps.approximation_gap,
    }
    if by_unit is not None:
        arrays |= {
            f"unit_{name}": getattr(by_unit, name)
            for name in ("average_kl", "index_code_mutual_information", "marginal_kl")
        }
    arrays = {name: np.asarray(value, float) for name, value in arrays.items()}
    return store_result(
        run.path, "diagnosis", record, arrays,
        settings={"n": len(xs), "gaps": len(tested), "seed": seed},
        effort=len(xs) + len(tested),
    )  # fmt: skip


def compared(
    model: Any,
    run: RunFolder,
    splits: Splits,
    *,
    bounds: list[str] | None = None,
    gradients: list[str] | None = None,
    num_samples: list[int] | None = None,
    num_backward: list[int] | None = None,
    num_replicates: int = 100,
    seed: int | None = None,
    which: str = "best",
    announce: Announce = lambda line: None,
) -> tuple[dict[str, Any], str]:
    """Which bound, estimator and numbers of draws suit the run's model as it stands.

    Args:
        model: The run's model.
        run: Where to store the record.
        splits: The run's data.
        bounds: Names of bounds; the run's and the ELBO if left out.
        gradients: Names of estimators; those that suit the posterior if left out.
        num_samples: Numbers of draws K; 1 and the run's if left out.
        num_backward: Numbers of draws backpropagated, beside all of them; 8 if left out.
        num_replicates: Gradients of each row.
        seed: Of everything random; the run's if left out.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on.

    Returns:
        The record, and the table as text.
    """
    began = time.monotonic()
    configuration = run.configuration
    objective = configuration.objective
    seed = _seed(run, seed)
    model, xs, key = _examples(model, run, splits.train, configuration.training.batch_size, seed)
    trained = "iwae" if objective.bound == "sumo" else objective.bound
    names = bounds or list(dict.fromkeys(["elbo", trained]))
    counts = num_samples or sorted({1, objective.num_samples})
    chosen = [bound_from_name(name) for name in names]
    estimators = None if gradients is None else [estimator_from_name(g) for g in gradients]
    check_replicates(num_replicates)
    announce(
        f"{', '.join(names)} with K = {', '.join(map(str, counts))} on a batch of {len(xs)} "
        f"training examples, {num_replicates} gradients each"
    )
    comparison = compare(
        model,
        xs,
        bounds=chosen,
        gradients=estimators,
        num_samples=counts,
        num_backward=[None, *(num_backward or [8])],
        num_replicates=num_replicates,
        key=key,
    )
    record = {
        "parameters": which,
        "seed": seed,
        **comparison.to_dict(),
        "seconds": time.monotonic() - began,
    }
    asked = json.dumps([names, gradients, counts, num_backward]).encode()
    stored = store_result(
        run.path, "comparison", record, {},
        settings={
            "R": num_replicates, "seed": seed, "pairs": hashlib.sha256(asked).hexdigest()[:8]
        },
        effort=time.time(),  # other pairs are another question: the one asked last is shown
    )  # fmt: skip
    return stored, str(comparison)


def _examples(
    model: Any, run: RunFolder, data: Dataset, num: int, seed: int
) -> tuple[Any, Array, Key[Array, ""]]:
    """The model, the first examples as it sees them, and a key for what is done with them."""
    if data.shape != run.shape:
        raise InputError(
            f"the data's examples have shape {data.shape} and the run was trained on {run.shape}: "
            "the data has changed"
        )
    transform_key, key = jax.random.split(jax.random.key(seed))
    num = min(num, len(data))
    near, xs, _ = admitted(model, data.x[:num])
    return near, build_transform(run.configuration)(jnp.asarray(xs), key=transform_key), key


def _seed(run: RunFolder, seed: int | None) -> int:
    return check_seed(run.configuration.training.seed if seed is None else seed)


def _monte_carlo(errors: np.ndarray) -> float | None:
    """Monte Carlo error of a mean over examples, from each one's."""
    error = float(np.sqrt((errors**2).sum()) / errors.size)
    return error if np.isfinite(error) else None
