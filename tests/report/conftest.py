"""Synthetic run folders, small enough that a page takes a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CONFIGURATION = {
    "command": "tighter train --data digits --bound iwae",
    "started": "2026-11-20T12:00:00+00:00",
    "configuration": {
        "data": {"source": "digits", "binarization": "stochastic", "array": None},
        "model": {"network": "mlp", "hidden": [200, 200], "latent": 50},
        "objective": {"bound": "iwae", "gradient": "doubly-reparameterized", "num_samples": 50},
        "training": {"epochs": 20, "batch_size": 100, "schedule": {"kind": "cosine", "end": 0.1}},
    },
    "versions": {"tighter": "0.1.0", "python": "3.11.7"},
    "device": "cpu",
    "num_parameters": 123456,
    "data_sizes": {"train": 1438, "validation": 180, "test": 179},
}

EVALUATION = {
    "split": "test",
    "num_examples": 179,
    "num_samples": 5000,
    "log_likelihood": -20.1234,
    "standard_error": 0.4321,
    "monte_carlo_error": 0.0123,
    "bound": -20.9,
    "bound_standard_error": 0.44,
    "bound_gap": 0.78,
    "bound_gap_standard_error": 0.12,
    "median_ess": 812.3,
    "median_ess_standard_error": 31.0,
    "share_pareto_k_above_0.7": 0.02,
    "verdict": "k̂ = .69 at most: to be trusted",
    "verdict_level": "good",
    "seconds": 3.0,
}


def epochs(number: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 15 * epoch,
            "bound": -19.0 - 12.0 / epoch**1.5 - (500.0 if epoch == 1 else 0.0),
            "validation_bound": -20.0 - 12.0 / epoch**1.5 - 0.05 * max(0, epoch - 9),
            "learning_rate": 0.001,
            "steps_per_second": 410.0,
            "seconds": 1.2,
        }
        for epoch in range(1, number + 1)
    ]


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def pictures(shape: tuple[int, ...] = (8, 8), latent: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "prior_samples": rng.random((7, *shape)),
        "originals": rng.random((6, *shape)),
        "reconstructions": rng.random((6, *shape)),
        "encodings": rng.normal(size=(50, latent)),
        "encoding_labels": np.arange(50) % 3,
    }


def examples(number: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "value": -20 + rng.normal(size=number),
        "standard_error": np.full(number, 0.01),
        "ess": rng.uniform(100, 3000, size=number),
        "pareto_k": rng.normal(0.4, 0.2, size=number),
    }


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run's folder from whatever files are given, and return it."""

    def make(
        name: str = "digits-run",
        *,
        configuration: Any = CONFIGURATION,
        metrics: str | None = None,
        evaluation: Any = None,
        examples: dict[str, np.ndarray] | None = None,
        pictures: dict[str, np.ndarray] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
        if metrics is not None:
            (folder / "metrics.jsonl").write_text(metrics, encoding="utf-8")
        if evaluation is not None:
            (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
        if examples is not None:
            np.savez(folder / "evaluation.npz", **examples)
        if pictures is not None:
            np.savez(folder / "pictures.npz", **pictures)
        return folder

    return make


@pytest.fixture
def full_run(make_run: MakeRun) -> Path:
    return make_run(
        metrics=jsonl(epochs()), evaluation=EVALUATION, examples=examples(), pictures=pictures()
    )
