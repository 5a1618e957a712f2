"""Runs of diffusion models: what is built, and how it is scored."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._programs import compiled
from tighter.data import Dataset, Splits
from tighter.data.pixels import levels_of
from tighter.models.diffusion import DiffusionBound, DiffusionModel, diffusion_terms
from tighter.runs.configuration import (
    Configuration,
    ModelConfiguration,
    ObjectiveConfiguration,
)
from tighter.runs.folder import RunFolder
from tighter.runs.results import store_result

_AVERAGE = 0.999
_MOST_TIMES = 64
_LEAST_STEPS, _MOST_EPOCHS = 10_000, 600


def resolved_diffusion(configuration: Configuration, splits: Splits) -> Configuration:
    """The configuration with what was left out decided by the data.

    Raises:
        InputError: If a setting is about another kind of model.
    """
    _refuse_foreign(configuration)
    train, training = splits.train, configuration.training
    if train.missing or (train.schema is not None and _has_words(splits)):
        raise InputError(
            f"a diffusion model takes numbers without gaps, and {train.name} has "
            f"{'missing entries' if train.missing else 'categories'}: fill them in or leave the "
            "columns out (data.drop)"
        )
    levels = configuration.data.levels
    if levels is None:
        levels = (levels_of(train.x) if len(train.shape) > 1 else None) or 0
    steps = training.batch_size * _LEAST_STEPS // max(1, len(train))
    return configuration.updated(
        {
            "data": {"levels": levels, "binarization": "none"},
            "diffusion": {
                "denoiser": configuration.diffusion.denoiser
                or ("unet" if len(train.shape) > 1 else "mlp")
            },
            "training": {
                "epochs": training.epochs or max(20, min(_MOST_EPOCHS, steps)),
                "average": _AVERAGE if training.average is None else training.average,
            },
        },
        where="defaults",
    )


def build_diffusion(
    configuration: Configuration, shape: tuple[int, ...], xs: np.ndarray | None
) -> DiffusionModel:
    """The model before training; its location and scale from the training examples."""
    chosen = configuration.diffusion
    options: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
    model = compiled(DiffusionModel.create, **options)(
        shape,
        schedule=chosen.schedule,
        prediction=chosen.prediction,
        num_steps=chosen.steps,
        denoiser=chosen.denoiser or "mlp",
        hidden=chosen.hidden or None,
        fourier=chosen.fourier,
        key=jax.random.key(configuration.training.seed),
    )
    return model if xs is None else model.initialized_from(xs)


def build_diffusion_bound(configuration: Configuration) -> DiffusionBound:
    """The bound that trains it."""
    return DiffusionBound(configuration.diffusion.num_times)


def score_diffusion(
    model: DiffusionModel,
    test: Dataset,
    transform: Any,
    configuration: Configuration,
    run: RunFolder,
    *,
    num_times: int,
    num_examples: int,
    seed: int,
    which: str,
) -> dict[str, Any]:
    """Measure the bound's terms on test examples and store them in the run's folder.

    Returns:
        The record, in nats a datum, and where pixels have levels in bits a dimension.
    """
    began = time.monotonic()
    num_times = min(num_times, _MOST_TIMES)
    transform_key, times_key = jax.random.split(jax.random.key(seed))
    xs = transform(jnp.asarray(test.x[:num_examples]), key=transform_key)
    levels = configuration.data.levels or 0
    terms = diffusion_terms(model, xs, num_times=num_times, levels=max(1, levels), key=times_key)
    told = {name: dict(term._asdict()) for name, term in terms._asdict().items()}
    bits = told.pop("bits_per_dimension")
    record = {
        "split": "test",
        "parameters": which,
        "num_examples": num_examples,
        "num_times": num_times,
        "seed": seed,
        "bound": told["bound"]["mean"],
        "standard_error": told.pop("bound")["standard_error"],
        "terms": told,
        "levels": levels,
        "bits_per_dimension": bits if levels else None,
        "seconds": time.monotonic() - began,
    }
    return store_result(
        run.path, "evaluation", record, {},
        settings={"T": num_times, "n": len(xs), "seed": seed, "": "test"},
        effort=num_times * len(xs),
    )  # fmt: skip


def diffusion_pictures(
    model: DiffusionModel, splits: Splits, *, key: Key[Array, ""]
) -> dict[str, np.ndarray]:
    """Samples of the model, beside which examples of the data are shown."""
    samples = compiled(lambda model, key: model.sample(key, 64))(model, key)
    return {"prior_samples": np.asarray(samples), "originals": np.asarray(splits.test.x[:12])}


def _refuse_foreign(configuration: Configuration) -> None:
    plain = ModelConfiguration(kind="diffusion")
    theirs, usual = configuration.to_dict()["model"], plain.__dict__
    changed = [f"model.{k}" for k, v in theirs.items() if v != _listed(usual[k])]
    if configuration.objective != ObjectiveConfiguration():
        changed.append("objective (--bound, --gradient, --num-samples)")
    if changed:
        raise InputError(
            f"{', '.join(changed)} is about autoencoders: a diffusion model has the section "
            "[diffusion] and a bound of its own (--set diffusion.schedule=cosine)"
        )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _has_words(splits: Splits) -> bool:
    schema = splits.train.schema
    return schema is not None and any(column.kind == "categorical" for column in schema.columns)
