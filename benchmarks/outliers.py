"""Outliers by density: score_samples of a variational autoencoder against IsolationForest.

    uv run python -m benchmarks.outliers [--small] [--folder ../shared/data/uci]

Each is fitted to half of the ordinary rows and scores the other half and all outliers: ROC AUC and
average precision (outliers are what is to be found), mean and standard error over seeds, each with
a split of its own. The same tables for both; nothing is tuned.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from tighter.integrations.sklearn import VariationalAutoencoder


def tables(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, ordinary rows and outliers of each."""

    def read(name: str, *, header: bool = False) -> np.ndarray:
        path = folder / f"{name}.csv"
        frame = pl.read_csv(path, has_header=header, null_values="?", infer_schema_length=None)
        return frame.cast(pl.Float64).to_numpy()

    for name, header in (("breast_cancer_wdbc", True), ("breast_cancer_wisconsin", False)):
        rows = read(name, header=header)
        worst = rows[:, -1] == rows[:, -1].max()
        yield f"{name}, malignant", rows[~worst, :-1], rows[worst, :-1]
    rows = read("banknote")
    yield "banknote, forged", rows[rows[:, -1] == 0, :-1], rows[rows[:, -1] == 1, :-1]
    red, white = read("wine_quality_red"), read("wine_quality_white")
    yield "wine, red among white", white[:, :-1], red[:, :-1]


def detectors(*, small: bool) -> dict[str, Callable[[int], Any]]:
    """Each by a seed."""

    def autoencoder(family: str) -> Callable[[int], Any]:
        return lambda seed: VariationalAutoencoder(
            n_components=4,
            observation=family,
            max_iter=50 if small else 200,
            num_likelihood_samples=200 if small else 1000,
            random_state=seed,
        )

    return {
        "IsolationForest": lambda seed: IsolationForest(n_estimators=300, random_state=seed),
        "diagonal-gaussian": autoencoder("diagonal-gaussian"),
        "student-t": autoencoder("student-t"),
    }


def measured(
    make: Callable[[int], Any], inside: np.ndarray, outside: np.ndarray, seed: int
) -> tuple[float, float]:
    """ROC AUC and average precision of one seed."""
    order = np.random.default_rng(seed).permutation(len(inside))
    train, test = inside[order[::2]], inside[order[1::2]]
    detector = make(seed).fit(train)
    score = -detector.score_samples(np.concatenate([test, outside]))
    label = np.repeat([0, 1], [len(test), len(outside)])
    return float(roc_auc_score(label, score)), float(average_precision_score(label, score))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/uci"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print("| table | detector | ROC AUC | average precision |\n|---|---|---|---|")
    for name, inside, outside in tables(arguments.folder):
        for detector, make in detectors(small=arguments.small).items():
            values = np.array(
                [measured(make, inside, outside, seed) for seed in range(arguments.seeds)]
            )
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            told = " | ".join(
                f"{mean:.3f} ± {sd:.3f}"
                for mean, sd in zip(values.mean(axis=0), error, strict=True)
            )
            print(f"| {name} ({len(inside)}, {len(outside)}) | {detector} | {told} |", flush=True)


if __name__ == "__main__":
    main()
