"""Gross outliers in training: what a Gaussian and a Student's t observation lose on clean data.

    uv run python -m benchmarks.robustness [--epochs 100] [--seeds 3]

5 % of the training entries are replaced by gross errors, normal with 30 standard deviations of
their column. Each family is trained on the clean and on the spoiled examples, and scored on the
same clean test examples: log-likelihood (K = 1000), nats a dimension, in units of the clean
columns' standard deviations. Wanted: Gaussian observations lose 1 nat a dimension or more,
Student's t hardly any.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np
import optax

import tighter as tt
from tighter.models import VAE

FOLDER = Path(__file__).parents[2] / "shared" / "data"
FAMILIES = ("learned-gaussian", "diagonal-gaussian", "student-t")
SHARE, GROSS = 0.05, 30.0


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training and test examples, flat and standardized."""
    faces = np.load(FOLDER / "frey_faces.npz")["images"].reshape(-1, 560) / 255.0
    wine = np.genfromtxt(FOLDER / "uci" / "wine_quality_white.csv", delimiter=",")[:, :-1]
    wine = wine[np.random.default_rng(0).permutation(len(wine))]
    parts = {
        # Neighboring frames are near copies: the test examples are the film's end.
        "Frey faces": (faces[:1565], faces[1565:]),
        "white wine": (wine[:4000], wine[4000:]),
    }
    standardized = {}
    for name, (train, test) in parts.items():
        location, scale = train.mean(axis=0), train.std(axis=0)
        standardized[name] = tuple(
            ((part - location) / scale).astype(np.float32) for part in (train, test)
        )
    return standardized


def spoiled(x: np.ndarray, seed: int) -> np.ndarray:
    """Some entries replaced by gross errors."""
    rng = np.random.default_rng(seed)
    errors = GROSS * rng.normal(size=x.shape)
    return np.where(rng.random(x.shape) < SHARE, errors, x).astype(np.float32)


def score(train: np.ndarray, test: np.ndarray, family: str, epochs: int, seed: int) -> float:
    """Test log-likelihood after training, nats a dimension."""
    key = jax.random.key(seed)
    shape = train.shape[1:]
    model = VAE.create(shape, num_latent=10, hidden=(128,), observation=family, key=key)
    held_out = train[: len(train) // 10]
    result = tt.fit(
        model.initialized_from(train),
        train[len(held_out) :],
        tt.Objective(tt.bounds.IWAE(), num_samples=5),
        optimizer=optax.adam(1e-3),
        num_epochs=epochs,
        batch_size=100,
        key=key,
        validation=held_out,
        show_progress=False,
    )
    estimate = tt.log_likelihood(
        result.best_model, test, num_samples=1000, key=key, show_progress=False
    )
    return float(estimate.value.mean()) / shape[0]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'data':<12}{'family':<20}{'clean':>16}{'spoiled':>16}{'lost':>16}")
    for name, (train, test) in tables().items():
        for family in FAMILIES:
            scores = np.array(
                [
                    [
                        score(x, test, family, arguments.epochs, seed)
                        for x in (train, spoiled(train, seed))
                    ]
                    for seed in range(arguments.seeds)
                ]
            )
            columns = *scores.T, scores[:, 0] - scores[:, 1]
            told = "".join(f"{c.mean():>9.3f} ± {c.std():.3f}" for c in columns)
            print(f"{name:<12}{family:<20}{told}", flush=True)


if __name__ == "__main__":
    main()
