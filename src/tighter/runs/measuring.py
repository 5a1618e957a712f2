"""Measurements on a finished run: each adds a file or two to its folder, and a report section."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from tighter._checks import require
from tighter._examples import admitted
from tighter.bounds import bound_from_name
from tighter.data import Splits
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
from tighter.runs.build import (
    build_data,
    build_transform,
    check_autoencoder,
    check_same_shape,
    check_seed,
    load_model,
)
from tighter.runs.folder import RunFolder, check_writable, open_run
from tighter.runs.kind import Announce, error_of_mean, error_of_median, monte_carlo_error
from tighter.runs.results import store_result

# Of the ELBO taken apart, in nats.
_TERMS = (
    "elbo", "reconstruction", "average_kl", "index_code_mutual_information", "marginal_kl",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measured:
    """A finished run, opened to be measured.

    Attributes:
        run: Where records are stored.
        model: Its trained model.
        splits: Its data.
        seed: Of everything random.
        which: Which parameters these are, "best" or "last", for the record.
        announce: Told what is going on, a line at a time.
    """

    run: RunFolder
    model: Any
    splits: Splits
    seed: int
    which: str
    announce: Announce

    @classmethod
    def opened(
        cls,
        path: Path,
        *,
        what: str | None,
        seed: int | None = None,
        last: bool = False,
        announce: Announce = lambda line: None,
    ) -> Measured:
        """Open a run.

        Args:
            path: Its folder.
            what: Is asked for, if it is for autoencoders alone: "tighter diagnose".
            seed: The run's if left out.
            last: Whether to take the last parameters instead of the best.
            announce: Told what is going on, a line at a time.

        Raises:
            InputError: If it is no run, can't be written to, is of another kind, or its data or
                parameters can't be read.
        """
        run = open_run(path)
        check_writable(path)
        if what is not None:
            check_autoencoder(run.configuration, what)
        which = "last" if last else "best"
        model, splits = load_model(run, which=which), build_data(run.configuration)
        seed = check_seed(run.configuration.training.seed if seed is None else seed)
        return cls(run, model, splits, seed, which, announce)

    def examples(
        self, part: Literal["train", "test"], num: int | None
    ) -> tuple[Any, Array, Key[Array, ""]]:
        """The model, a part's first examples as it sees them, and a key for what is done with them.

        Of None, all of them.
        """
        data = self.splits.train if part == "train" else self.splits.test
        check_same_shape(data, self.run)
        transform_key, key = jax.random.split(jax.random.key(self.seed))
        near, xs, _ = admitted(self.model, data.x[:num])
        transform = build_transform(self.run.configuration)
        return near, transform(jnp.asarray(xs), key=transform_key), key

    def store(
        self,
        measurement: str,
        record: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        *,
        began: float,
        settings: Mapping[str, Any],
        effort: float,
    ) -> dict[str, Any]:
        """Store a result beside those with other settings."""
        record = {**record, "seconds": time.monotonic() - began}
        return store_result(
            self.run.path, measurement, record, arrays, settings=settings, effort=effort
        )


def annealed(
    measured: Measured,
    *,
    num_examples: int | None = None,
    num_temperatures: int = 1000,
    num_chains: int = 16,
) -> dict[str, Any]:
    """Log-likelihoods by annealing, and how far they are off on data simulated from the model.

    Args:
        measured: The run.
        num_examples: Test examples, and as many simulated ones; 100 if left out.
        num_temperatures: Steps of annealing.
        num_chains: Chains an example.

    Returns:
        The record, in nats a datum.
    """
    began = time.monotonic()
    model, xs, key = measured.examples("test", num_examples or 100)
    settings: dict[str, Any] = {"num_temperatures": num_temperatures, "num_chains": num_chains}
    measured.announce(
        f"annealing {len(xs)} test examples, T = {num_temperatures}, {num_chains} chains"
    )
    estimates = annealed_log_likelihood(model, xs, key=jax.random.fold_in(key, 0), **settings)
    measured.announce(f"annealing {len(xs)} simulated examples, forward and in reverse")
    both = bidirectional(model, num_examples=len(xs), key=jax.random.fold_in(key, 1), **settings)
    record = {
        "method": "ais",
        "parameters": measured.which,
        "num_examples": len(xs),
        "seed": measured.seed,
        **settings,
        "log_likelihood": float(estimates.value.mean()),
        "standard_error": error_of_mean(estimates.value),
        "monte_carlo_error": monte_carlo_error(estimates.standard_error),
        "acceptance": float(estimates.acceptance.mean()),
        "acceptance_error": error_of_mean(estimates.acceptance),
        "median_ess": float(np.median(estimates.ess)),
        "simulated_gap": both.mean_gap,
        "simulated_gap_error": error_of_mean(both.gap),
        "note": both.note,
    }
    arrays = {
        "value": estimates.value,
        "standard_error": estimates.standard_error,
        "simulated_lower": both.lower.value,
        "simulated_upper": both.upper.value,
    }
    return measured.store(
        "annealing", record, arrays, began=began,
        settings={"T": num_temperatures, "C": num_chains, "n": len(xs), "seed": measured.seed},
        effort=num_temperatures * num_chains * len(xs),
    )  # fmt: skip


def sandwiched(
    measured: Measured,
    *,
    gap: float = 0.5,
    num_examples: int | None = None,
) -> dict[str, Any]:
    """Bounds on the log-likelihood from both sides.

    Args:
        measured: The run.
        gap: Where to stop doubling the draws, in nats an example.
        num_examples: Test examples; 100 if left out.

    Returns:
        The record, in nats a datum.
    """
    require(gap > 0, f"gap is in nats, above zero, got {gap}")
    began = time.monotonic()
    model, xs, key = measured.examples("test", num_examples or 100)
    measured.announce(f"bounds from both sides of {len(xs)} test examples, to within {gap} nats")
    bounds = sandwich(model, xs, gap=gap, key=key)
    law = bounds.jensen_gap
    extrapolated = {}
    # The law is of weights with a variance.
    if np.isfinite(law.log_likelihood).all() and not (bounds.pareto_k > TRUSTED).any():
        extrapolated = {
            "extrapolated": float(law.log_likelihood.mean()),
            "extrapolated_error": monte_carlo_error(law.log_likelihood_standard_error),
            "extrapolated_standard_error": error_of_mean(law.log_likelihood),
            "half_chi_square": float(np.median(law.half_chi_square)),
            "half_chi_square_standard_error": error_of_median(law.half_chi_square),
        }
    record = {
        "method": "sandwich",
        "parameters": measured.which,
        "num_examples": len(xs),
        "seed": measured.seed,
        "gap_asked": gap,
        "lower": float(bounds.lower.mean()),
        "upper": float(bounds.upper.mean()),
        "cubo": float(bounds.cubo.mean()),
        **extrapolated,
        "standard_error": error_of_mean(bounds.lower),
        "upper_standard_error": error_of_mean(bounds.upper),
        "lower_monte_carlo_error": monte_carlo_error(bounds.lower_standard_error),
        "upper_monte_carlo_error": monte_carlo_error(bounds.upper_standard_error),
        "num_samples": int(bounds.num_samples.max()),
        "share_closed": float(bounds.closed.mean()),
        "verdict": bounds.verdict,
    }
    arrays = {
        "lower": bounds.lower,
        "upper": bounds.upper,
        "cubo": bounds.cubo,
        "num_samples": bounds.num_samples,
        "pareto_k": bounds.pareto_k,
    }
    arrays = {name: np.asarray(value, float) for name, value in arrays.items()}
    return measured.store(
        "sandwich", record, arrays, began=began,
        settings={"gap": f"{gap:g}", "n": len(xs), "seed": measured.seed},
        effort=int(bounds.num_samples.sum()),
    )  # fmt: skip


def diagnosed(
    measured: Measured,
    *,
    num_examples: int | None = None,
    num_gaps: int = 100,
) -> dict[str, Any]:
    """What the bound hides: its terms, the units' use, the codes against the prior, the gaps.

    Args:
        measured: The run.
        num_examples: Training examples whose codes make up q(z); all if left out.
        num_gaps: Test examples for which a posterior of its own is optimized.

    Returns:
        The record, in nats a datum.
    """
    began = time.monotonic()
    model, xs, key = measured.examples("train", num_examples)
    keys = jax.random.split(key, 4)
    units = active_units(model, xs, num_samples=32, key=keys[1])  # refuses too few examples
    measured.announce(f"ELBO surgery on {len(xs)} training examples")
    surgery = elbo_surgery(model, xs, key=keys[0])
    codes = aggregated_posterior(model, xs, key=keys[2])
    near, tested, gap_key = measured.examples("test", num_gaps)
    measured.announce(f"posteriors of their own for {len(tested)} test examples")
    gaps = inference_gaps(near, tested, key=gap_key)
    terms, errors = surgery._asdict(), surgery.standard_error._asdict()
    by_unit = surgery.per_dimension
    record = {
        "parameters": measured.which,
        "num_examples": len(xs),
        "seed": measured.seed,
        "surgery": {name: float(terms[name]) for name in _TERMS},
        "surgery_errors": {name: float(errors[name]) for name in _TERMS},
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
            "unit_average_kl": by_unit.average_kl,
            "unit_index_code_mutual_information": by_unit.index_code_mutual_information,
            "unit_marginal_kl": by_unit.marginal_kl,
        }
    arrays = {name: np.asarray(value, float) for name, value in arrays.items()}
    return measured.store(
        "diagnosis", record, arrays, began=began,
        settings={"n": len(xs), "gaps": len(tested), "seed": measured.seed},
        effort=len(xs) + len(tested),
    )  # fmt: skip


def compared(
    measured: Measured,
    *,
    bounds: list[str] | None = None,
    gradients: list[str] | None = None,
    num_samples: list[int] | None = None,
    num_backward: list[int] | None = None,
    num_replicates: int = 100,
) -> tuple[dict[str, Any], str]:
    """Which bound, estimator and numbers of draws suit the run's model as it stands.

    Args:
        measured: The run.
        bounds: Names of bounds; the run's and the ELBO if left out.
        gradients: Names of estimators; those that suit the posterior if left out.
        num_samples: Numbers of draws K; 1 and the run's if left out.
        num_backward: Numbers of draws backpropagated, beside all of them; 8 if left out.
        num_replicates: Gradients of each row.

    Returns:
        The record, and the table as text.
    """
    began = time.monotonic()
    objective = measured.run.configuration.objective
    model, xs, key = measured.examples("train", measured.run.configuration.training.batch_size)
    trained = "iwae" if objective.bound == "sumo" else objective.bound
    names = bounds or list(dict.fromkeys(["elbo", trained]))
    counts = num_samples or sorted({1, objective.num_samples})
    chosen = [bound_from_name(name) for name in names]
    estimators = None if gradients is None else [estimator_from_name(g) for g in gradients]
    check_replicates(num_replicates)
    measured.announce(
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
    record = {"parameters": measured.which, "seed": measured.seed, **comparison.to_dict()}
    question = json.dumps([names, gradients, counts, num_backward]).encode()
    pairs = hashlib.sha256(question).hexdigest()[:8]
    stored = measured.store(
        "comparison", record, {}, began=began,
        settings={"R": num_replicates, "seed": measured.seed, "pairs": pairs},
        effort=time.time(),  # other pairs are another question: the one asked last is shown
    )  # fmt: skip
    return stored, str(comparison)
