"""From a configuration to the objects that it speaks of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._names import unknown
from tighter._programs import compiled
from tighter.data import Binarization, Schema, Splits, binarize, check_pixels, load
from tighter.data.pixels import check_levels, dequantize
from tighter.models import (
    OBSERVATIONS,
    VAE,
    Missing,
    MissingNotAtRandom,
    Mixed,
    Observation,
    SemiAmortized,
    Standardized,
    Support,
    observation_from_name,
)
from tighter.runs.build_objective import CONTINUOUS_GRADIENT, DISCRETE_GRADIENT
from tighter.runs.configuration import Configuration, TrainingConfiguration
from tighter.runs.diffusion import build_diffusion, resolved_diffusion
from tighter.training import SCHEDULES

KINDS = ("vae", "diffusion")
_DISCRETE = ("bernoulli", "categorical")
_LEAST_STEPS = 1500


def resolved(configuration: Configuration, splits: Splits) -> Configuration:
    """The configuration with what was left out decided by the data."""
    if is_diffusion(configuration):
        return resolved_diffusion(configuration, splits)
    data, model, objective = configuration.data, configuration.model, configuration.objective
    train = splits.train
    images = "gaussian" if data.levels else "bernoulli"
    observation = model.observation or ("mixed" if train.schema else images)
    if observation == "categorical":  # as many as the data have
        largest = max(np.nanmax(part.x) for part in (train, splits.validation, splits.test))
        observation = f"categorical:{int(largest) + 1}"
    bernoulli = observation == "bernoulli" and train.schema is None
    discrete = any(
        (name or "").partition(":")[0] in _DISCRETE for name in (model.prior, model.posterior)
    )
    parts = (train, splits.validation, splits.test)
    standardize = model.standardize
    if standardize is None:
        fixed = observation == "mixed" or observation.partition(":")[0] == "gaussian"
        standardize = len(train.shape) == 1 and not fixed and _of_numbers(observation, train.shape)
    changes: dict[str, dict[str, Any]] = {
        "training": {"epochs": _epochs(configuration.training, len(train))},
        "data": {"binarization": data.binarization or ("stochastic" if bernoulli else "none")},
        "model": {
            "observation": observation,
            "standardize": standardize,
            "missing": any(part.missing for part in parts)
            if model.missing is None
            else model.missing,
        },
        "objective": {
            "gradient": objective.gradient
            or (DISCRETE_GRADIENT if discrete else CONTINUOUS_GRADIENT)
        },
    }
    return configuration.updated(changes, where="defaults")


def is_diffusion(configuration: Configuration) -> bool:
    """Whether the model is a diffusion model; an autoencoder otherwise.

    Raises:
        InputError: If it is of no kind.
    """
    kind = configuration.model.kind
    if kind not in KINDS:
        raise unknown("kind of model", kind, KINDS)
    return kind == "diffusion"


def check_autoencoder(configuration: Configuration, what: str) -> None:
    """Refuse what a diffusion model has no part in.

    Args:
        configuration: The run's.
        what: Is asked for, such as "tighter diagnose".

    Raises:
        InputError: If the run is of a diffusion model.
    """
    if is_diffusion(configuration):
        raise InputError(
            f"{what} is for autoencoders, and this run is of a diffusion model: its bound's terms "
            "are what tighter evaluate measures"
        )


def check_seed(seed: int) -> int:
    """The seed, if it is one that every generator takes.

    Raises:
        InputError: If it is negative, or 2³² or more.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"a seed is a whole number from 0 to 4294967295, got {seed}")
    return seed


def check_counts(configuration: Configuration) -> None:
    """Refuse numbers that would only be found wrong when training is over.

    Raises:
        InputError: If one is below 1, or the seed is none.
    """
    check_seed(configuration.training.seed)
    evaluation = configuration.evaluation
    for name in ("num_samples", "num_examples"):
        if getattr(evaluation, name) < 1:
            raise InputError(f"evaluation.{name} is at least 1, got {getattr(evaluation, name)}")


def build_data(configuration: Configuration) -> Splits:
    """The examples, checked against what the observations can explain."""
    data = configuration.data
    splits = load(
        data.source,
        array=data.array,
        header=data.header,
        missing_words=data.missing_words,
        pixels=_are_pixels(configuration),
        drop=data.drop,
        kinds=_pairs(data.kinds, "data.kinds=age=count"),
        target=data.target,
        validation=data.validation,
        test=data.test,
        seed=configuration.training.seed,
    )
    schema = splits.train.schema
    decided = resolved(configuration, splits)
    if decided.data.levels:
        for part in (splits.train, splits.validation, splits.test):
            check_levels(part, decided.data.levels)
    if is_diffusion(decided):
        return splits
    observation = build_observation(decided, splits.train.shape, schema)
    binarization = Binarization(decided.data.binarization)
    for part in (splits.train, splits.validation, splits.test):
        if part.missing and not decided.model.missing:
            raise InputError(
                f"{part.name} has missing entries (NaN): leave model.missing out, or fill them in"
            )
        if binarization is not Binarization.NONE:
            check_pixels(part, binarization)
        observation.check(part.x, names=schema.names if schema else ())
    return splits


def build_observation(
    configuration: Configuration, shape: tuple[int, ...], schema: Schema | None = None
) -> Observation:
    """The observation family of a resolved configuration."""
    model = configuration.model
    name = model.observation or "bernoulli"
    overrides = _pairs(model.columns, "model.columns=income=log-normal")
    if name == "mixed":
        if schema is None:
            raise InputError(
                "the observation 'mixed' is for the columns of a table (.csv, .parquet): name one "
                "family for an array"
            )
        observation = Mixed.from_schema(schema.columns, overrides)
    else:
        if overrides:
            raise InputError(f"model.columns goes with the observation 'mixed', got {name!r}")
        if schema is not None:
            _refuse_words(schema, name)
        observation = observation_from_name(name, shape)
    if model.standardize:
        if name == "mixed" or not _of_numbers(name, shape):
            raise InputError(
                f"model.standardize is for one family over all numbers, and {name!r} is none: "
                "leave it out"
            )
        observation = Standardized(observation, shape)
    return Missing(observation) if model.missing else observation


def build_model(
    configuration: Configuration,
    shape: tuple[int, ...],
    xs: np.ndarray | None,
    schema: Schema | None = None,
) -> Any:
    """The model before training, from the configuration's seed and the training examples.

    Args:
        configuration: A resolved one.
        shape: Shape of one example.
        xs: Training examples (N, *shape); None where parameters are about to be loaded.
        schema: The columns of a table.
    """
    if is_diffusion(configuration):
        return build_diffusion(configuration, shape, xs)
    model = configuration.model
    if model.mask and model.refinement:
        raise InputError("model.mask and model.refinement don't go together: leave one out")
    try:
        # One program to compile instead of one a layer; it runs once, so that speed is no matter.
        options: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
        create = compiled(VAE.create, **options)
        key = jax.random.key(configuration.training.seed)
        built = create(
            shape,
            num_latent=model.latent,
            hidden=model.hidden,
            network=model.network,
            activation=model.activation,
            observation=build_observation(configuration, shape, schema),
            posterior=model.posterior,
            prior=model.prior,
            key=key,
        )
        built = built if xs is None else built.initialized_from(xs, key=key)
        if model.mask:
            return MissingNotAtRandom.create(built, shape, mask=model.mask, key=key)
        if model.refinement:
            return SemiAmortized.create(built, num_steps=model.refinement)
        return built
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"[model]: {error}") from None


def build_optimizer(configuration: Configuration, num_steps: int) -> optax.GradientTransformation:
    """Adam with the configuration's schedule."""
    training = configuration.training
    if training.schedule not in SCHEDULES:
        raise unknown("schedule", training.schedule, SCHEDULES)
    if not 0 < training.learning_rate < float("inf"):
        raise InputError(
            f"training.learning_rate is above zero and finite, got {training.learning_rate}"
        )
    schedule = SCHEDULES[training.schedule](training.learning_rate, num_steps)
    return optax.adam(schedule, eps=training.adam_epsilon)


def build_transform(configuration: Configuration) -> Callable[..., Array]:
    """Binarization or dequantization of a batch, in training and evaluation alike.

    Missing entries stay so.
    """
    if levels := configuration.data.levels:
        return functools.partial(dequantize, levels=levels)
    binarization = Binarization(configuration.data.binarization or "none")
    if binarization is Binarization.NONE or not configuration.model.missing:
        return functools.partial(binarize, binarization=binarization)

    def transform(xs: Array, *, key: Key[Array, ""]) -> Array:
        return jnp.where(jnp.isnan(xs), xs, binarize(xs, binarization=binarization, key=key))

    return transform


def _epochs(training: TrainingConfiguration, num_examples: int) -> int:
    """Those asked for; or 20, and more for few examples, lest steps be few as well."""
    if training.epochs is not None:
        return training.epochs
    if num_examples >= 5000:
        return 20
    return max(100, _LEAST_STEPS * training.batch_size // num_examples)


def _are_pixels(configuration: Configuration) -> bool | None:
    """Whether bytes are to be divided by 255: not where the observations are whole numbers."""
    text = configuration.model.observation or ""
    name = text.partition(":")[0]
    if configuration.data.pixels is not None or name not in OBSERVATIONS or name == "mixed":
        return configuration.data.pixels
    # "categorical" without a number is of as many as the data have.
    whole = name == "categorical" or observation_from_name(text, (2,)).support.whole
    return False if whole else None


def _of_numbers(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a family explains every number."""
    return observation_from_name(name, shape).support == Support()


def _pairs(words: tuple[str, ...], example: str) -> dict[str, str]:
    """From "column=word" to a dictionary."""
    split = (word.partition("=") for word in words)
    pairs = {name.strip(): value.strip() for name, _, value in split}
    if not all(name and value for name, value in pairs.items()):
        raise InputError(f"write column=word (--set {example}), got {', '.join(words)}")
    return pairs


def _refuse_words(schema: Schema, observation: str) -> None:
    for column in schema.columns:
        if column.kind == "categorical" or column.dtype in ("String", "Categorical", "Enum"):
            raise InputError(
                f"the column {column.name!r} holds categories, which {observation!r} doesn't "
                "explain: take the observation 'mixed', or leave the column out (data.drop)"
            )
