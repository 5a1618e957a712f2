"""From a configuration to the objects that it speaks of."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from tighter._errors import InputError
from tighter._names import unknown
from tighter.bounds import Side, bound_from_name
from tighter.closed_forms import AnalyticEntropy, AnalyticKL
from tighter.data import Binarization, Splits, binarize, check_pixels, load
from tighter.experiments.configuration import Configuration, ObjectiveConfiguration
from tighter.gradients import estimator_from_name
from tighter.models import OBSERVATIONS, VAE, Observation
from tighter.objective import Objective
from tighter.russian_roulette import SUMO
from tighter.training import SCHEDULES, Trainable

FORMS = ("log-weights", "entropy", "analytic-kl")


def resolved(configuration: Configuration, *, num_examples: int) -> Configuration:
    """The configuration with what was left out decided."""
    changes: dict[str, dict[str, Any]] = {}
    if configuration.training.epochs is None:
        changes["training"] = {"epochs": 100 if num_examples < 5000 else 20}
    if configuration.data.binarization is None:
        bernoulli = configuration.model.observation == "bernoulli"
        changes["data"] = {"binarization": "stochastic" if bernoulli else "none"}
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
    observation = build_observation(configuration)
    if observation.support != (0.0, 1.0):
        return splits
    for part in (splits.train, splits.validation, splits.test):
        check_pixels(
            part,
            Binarization(data.binarization or "stochastic"),
            observation_name=type(observation).__name__,
        )
    return splits


def build_observation(configuration: Configuration) -> Observation:
    """The observation family."""
    model = configuration.model
    if model.observation not in OBSERVATIONS:
        raise unknown("observation", model.observation, OBSERVATIONS)
    if not model.scale > 0:
        raise InputError(f"model.scale is a standard deviation, above zero, got {model.scale}")
    arguments = {
        "bernoulli": {},
        "gaussian": {"scale": model.scale},
        "learned-gaussian": {"log_scale": np.log(model.scale)},
    }
    return OBSERVATIONS[model.observation](**arguments[model.observation])


def build_model(
    configuration: Configuration, shape: tuple[int, ...], data_mean: np.ndarray | None
) -> VAE:
    """The model before training, from the configuration's seed."""
    model = configuration.model
    try:
        # One program to compile instead of one a layer; it runs once, so that speed is no matter.
        options: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
        create = eqx.filter_jit(VAE.create, **options)
        return create(
            shape,
            num_latent=model.latent,
            hidden=model.hidden,
            network=model.network,
            activation=model.activation,
            observation=build_observation(configuration),
            posterior=model.posterior,
            data_mean=data_mean,
            key=jax.random.key(configuration.training.seed),
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"[model]: {error}") from None


def build_objective(configuration: Configuration, *, num_steps: int = 0) -> Trainable:
    """The bound and its gradient; a warm-up takes a share of so many steps.

    Raises:
        InputError: If a name is unknown, a number out of range, or parts don't fit.
    """
    objective = configuration.objective
    try:
        built = _objective(objective, num_steps)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"[objective]: {error}") from None
    if isinstance(built, Objective) and built.bound.side is Side.UPPER:
        raise InputError(
            f"{objective.bound} is an upper bound on log p: maximizing it trains nothing; train "
            "with a lower bound (elbo, iwae, renyi:0.5)"
        )
    return built


def _objective(objective: ObjectiveConfiguration, num_steps: int) -> Trainable:
    gradient = estimator_from_name(objective.gradient)
    num_samples, chunk_size = objective.num_samples, objective.chunk_size
    if objective.form not in FORMS:
        raise unknown("form of the ELBO", objective.form, FORMS)
    if not 0 <= objective.warm_up <= 1:
        raise InputError(
            f"objective.warm_up is a share of the training, 0 to 1, got {objective.warm_up}"
        )
    of_kl = {"beta": 1.0, "free_bits": 0.0, "warm_up": 0.0}
    changed = [name for name, usual in of_kl.items() if getattr(objective, name) != usual]
    if changed and objective.form != "analytic-kl":
        raise InputError(
            f"objective.{changed[0]} is about the analytic KL: add --set objective.bound=elbo "
            "--set objective.form=analytic-kl"
        )
    alone = objective.form != "log-weights" or objective.bound == "sumo"
    if alone and (objective.num_outer != 1 or objective.num_backward is not None):
        raise InputError(
            "objective.num_outer and objective.num_backward are for bounds of log weights: leave "
            f"them out with {objective.bound} as {objective.form}"
        )
    if objective.form == "log-weights" and objective.bound == "sumo":
        return SUMO(gradient, num_samples=num_samples)
    if objective.form == "log-weights":
        return Objective(
            bound=bound_from_name(objective.bound),
            gradient=gradient,
            num_samples=num_samples,
            num_outer=objective.num_outer,
            num_backward=objective.num_backward,
            chunk_size=chunk_size,
        )
    if objective.bound != "elbo":
        raise InputError(
            f"objective.form={objective.form} is a form of the ELBO, got the bound "
            f"{objective.bound!r}: add --bound elbo"
        )
    if objective.form == "entropy":
        return AnalyticEntropy(gradient, num_samples, chunk_size)
    beta: Any = objective.beta
    rising = round(objective.warm_up * num_steps)
    if rising:
        beta = optax.linear_schedule(0.0, objective.beta, rising)
    AnalyticKL(objective.beta)  # refuses what a schedule would hide
    return AnalyticKL(beta, objective.free_bits, gradient, num_samples, chunk_size)


def build_optimizer(configuration: Configuration, num_steps: int) -> optax.GradientTransformation:
    """Adam with the configuration's schedule."""
    training = configuration.training
    if training.schedule not in SCHEDULES:
        raise unknown("schedule", training.schedule, SCHEDULES)
    if not training.learning_rate > 0:
        raise InputError(f"training.learning_rate is above zero, got {training.learning_rate}")
    schedule = SCHEDULES[training.schedule](training.learning_rate, num_steps)
    return optax.adam(schedule, eps=training.adam_epsilon)


def build_transform(configuration: Configuration) -> functools.partial:
    """Binarization of a batch, as training and evaluation apply it."""
    binarization = Binarization(configuration.data.binarization or "none")
    return functools.partial(binarize, binarization=binarization)
