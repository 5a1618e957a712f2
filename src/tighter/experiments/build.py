"""From a configuration to the objects that it speaks of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from tighter._errors import InputError
from tighter._names import unknown
from tighter.data import Binarization, Splits, binarize, check_pixels, load
from tighter.experiments.build_objective import CONTINUOUS_GRADIENT, DISCRETE_GRADIENT
from tighter.experiments.configuration import Configuration
from tighter.models import VAE, Missing, Observation, Standardized, observation_from_name
from tighter.training import SCHEDULES

_DISCRETE = ("bernoulli", "categorical")


def resolved(configuration: Configuration, splits: Splits) -> Configuration:
    """The configuration with what was left out decided by the data."""
    data, model, objective = configuration.data, configuration.model, configuration.objective
    train = splits.train
    observation = model.observation or "bernoulli"
    bernoulli = observation == "bernoulli"
    binarization = "stochastic" if bernoulli else "none"
    discrete = any(
        (name or "").partition(":")[0] in _DISCRETE for name in (model.prior, model.posterior)
    )
    missing = any(np.isnan(part.x).any() for part in (train, splits.validation, splits.test))
    changes: dict[str, dict[str, Any]] = {
        "training": {"epochs": configuration.training.epochs or (100 if len(train) < 5000 else 20)},
        "data": {"binarization": data.binarization or binarization},
        "model": {
            "observation": observation,
            "standardize": False if model.standardize is None else model.standardize,
            "missing": missing if model.missing is None else model.missing,
        },
        "objective": {
            "gradient": objective.gradient
            or (DISCRETE_GRADIENT if discrete else CONTINUOUS_GRADIENT)
        },
    }
    return configuration.updated(changes, where="defaults")


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
        validation=data.validation,
        test=data.test,
        seed=configuration.training.seed,
    )
    decided = resolved(configuration, splits)
    observation = build_observation(decided, splits.train.shape)
    binarization = Binarization(decided.data.binarization)
    for part in (splits.train, splits.validation, splits.test):
        if binarization is not Binarization.NONE:
            check_pixels(part, binarization)
        observation.check(part.x)
    return splits


def build_observation(configuration: Configuration, shape: tuple[int, ...]) -> Observation:
    """The observation family of a resolved configuration."""
    model = configuration.model
    observation = observation_from_name(model.observation or "bernoulli", shape)
    if model.standardize:
        if observation.support != Standardized(observation, shape).support:
            raise InputError(
                f"model.standardize is for families over all numbers, and {model.observation!r} "
                f"explains {observation.support}: leave it out"
            )
        observation = Standardized(observation, shape)
    return Missing(observation) if model.missing else observation


def build_model(configuration: Configuration, shape: tuple[int, ...], xs: np.ndarray | None) -> VAE:
    """The model before training, from the configuration's seed and the training examples.

    Args:
        configuration: A resolved one.
        shape: Shape of one example.
        xs: Training examples (N, *shape); None where parameters are about to be loaded.
    """
    model = configuration.model
    try:
        # One program to compile instead of one a layer; it runs once, so that speed is no matter.
        options: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
        create = eqx.filter_jit(VAE.create, **options)
        key = jax.random.key(configuration.training.seed)
        built = create(
            shape,
            num_latent=model.latent,
            hidden=model.hidden,
            network=model.network,
            activation=model.activation,
            observation=build_observation(configuration, shape),
            posterior=model.posterior,
            prior=model.prior,
            key=key,
        )
        return built if xs is None else built.started(xs, key=key)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"[model]: {error}") from None


def build_optimizer(configuration: Configuration, num_steps: int) -> optax.GradientTransformation:
    """Adam with the configuration's schedule."""
    training = configuration.training
    if training.schedule not in SCHEDULES:
        raise unknown("schedule", training.schedule, SCHEDULES)
    if not training.learning_rate > 0:
        raise InputError(f"training.learning_rate is above zero, got {training.learning_rate}")
    schedule = SCHEDULES[training.schedule](training.learning_rate, num_steps)
    return optax.adam(schedule, eps=training.adam_epsilon)


def build_transform(configuration: Configuration) -> Callable[..., Array]:
    """Binarization of a batch, as training and evaluation apply it; missing entries stay so."""
    binarization = Binarization(configuration.data.binarization or "none")
    if binarization is Binarization.NONE or not configuration.model.missing:
        return functools.partial(binarize, binarization=binarization)

    def transform(xs: Array, *, key: Key[Array, ""]) -> Array:
        return jnp.where(jnp.isnan(xs), xs, binarize(xs, binarization=binarization, key=key))

    return transform
