"""Densities of the digits: a variational autoencoder, Gaussian mixtures and factor analysis.

    uv run python -m benchmarks.density [--small]

1797 digits of 64 whole numbers from 0 to 16, made continuous by uniform noise: (x + u) / 17, the
same numbers for all. Each kind chooses among its candidates by validation log-likelihood, is fitted
again to both parts with that choice, and is measured on the rest, in nats an example.
`--small`: fewer candidates, fewer epochs.

A normal density of pixels between two ends wastes what it puts beyond them; a Beta density has
those ends. Both are in the table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tighter.integrations.sklearn import VariationalAutoencoder

NUM_TEST, NUM_VALIDATION = 360, 287


def parts(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test digits."""
    rng = np.random.default_rng(seed)
    x = load_digits().data
    x = (x + rng.uniform(size=x.shape)) / 17
    x = x[rng.permutation(len(x))]
    start = NUM_TEST + NUM_VALIDATION
    return x[start:], x[NUM_TEST:start], x[:NUM_TEST]


def candidates(*, small: bool) -> dict[str, dict[str, Any]]:
    """The estimators of each kind that are chosen from."""
    sizes = {
        "full": (1, 3, 5) if small else (1, 2, 3, 4, 5, 6, 8, 10),
        "tied": (20, 40) if small else (5, 10, 20, 40, 60, 80),
        "diag": (20, 40, 60) if small else (5, 10, 20, 30, 40, 60, 80, 100),
        "spherical": (40,) if small else (10, 20, 40, 80, 160),
    }
    mixtures = {
        f"{covariance}, {size}": GaussianMixture(
            size,
            covariance_type=covariance,  # pyright: ignore[reportArgumentType]
            n_init=1 if small else 3,
            random_state=0,
        )
        for covariance, sizes in sizes.items()
        for size in sizes
    }
    factors = {str(size): FactorAnalysis(size) for size in range(5, 60, 20 if small else 5)}
    kinds: dict[str, dict[str, Any]] = {"GaussianMixture": mixtures, "FactorAnalysis": factors}
    latent = (16,) if small else (8, 16, 32)
    posteriors = (None,) if small else (None, "flow")
    for family in ("diagonal-gaussian", "heteroscedastic-gaussian", "beta"):
        kinds[f"VariationalAutoencoder, {family}"] = {
            f"{size} {posterior or 'diagonal'}": VariationalAutoencoder(
                size,
                observation=family,
                posterior=posterior,
                max_iter=60 if small else 200,
                num_likelihood_samples=500 if small else 2000,
                random_state=0,
            )
            for size in latent
            for posterior in posteriors
        }
    return kinds


def best(
    tried: dict[str, Any], train: np.ndarray, validation: np.ndarray, tell: Callable[[str], None]
) -> str:
    """The candidate with the largest mean log-likelihood of the validation part."""
    scores = {}
    for name, estimator in tried.items():
        scores[name] = float(clone(estimator).fit(train).score(validation))
        tell(f"  {name}: validation {scores[name]:.2f}")
    return max(scores, key=lambda name: scores[name])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, validation, test = parts(arguments.seed)
    both = np.concatenate([train, validation])
    lines, scores = [], {}
    for kind, tried in candidates(small=arguments.small).items():
        print(kind, flush=True)
        began = time.monotonic()
        name = best(tried, train, validation, lambda text: print(text, flush=True))
        estimator = clone(tried[name]).fit(both)
        score = np.asarray(estimator.score_samples(test), np.float64)
        scores[kind] = score
        error = score.std(ddof=1) / np.sqrt(len(score))
        seconds = time.monotonic() - began
        lines.append(f"| {kind} | {name} | {score.mean():.2f} ± {error:.2f} | {seconds:.0f} |")
    print("\n| density | chosen by validation | held-out log-likelihood, nats | seconds |")
    print("|---|---|---|---|\n" + "\n".join(lines))
    mixture = scores["GaussianMixture"]
    for kind, score in scores.items():
        if kind.startswith("Variational"):
            gain = score - mixture
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            print(f"{kind} over the mixture, pairs: {gain.mean():.2f} ± {error:.2f} nats")


if __name__ == "__main__":
    main()
