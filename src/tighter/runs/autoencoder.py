"""Runs of variational autoencoders: what is decided, built, scored and drawn."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tighter._errors import InputError
from tighter._examples import admitted
from tighter._programs import compiled
from tighter.data import Binarization, Dataset, Schema, Splits, check_pixels
from tighter.data.pixels import levels_of
from tighter.distributions import check_posterior
from tighter.evaluation import log_likelihood
from tighter.models import (
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
from tighter.runs.build_objective import CONTINUOUS_GRADIENT, DISCRETE_GRADIENT, build_objective
from tighter.runs.configuration import Configuration, TrainingConfiguration
from tighter.runs.examples import ExamplesKind, pairs
from tighter.runs.folder import RunFolder
from tighter.runs.kind import Announce, Effort, Shape, error_of_mean, summary
from tighter.runs.pictures import picture_arrays
from tighter.runs.results import store_result
from tighter.training import Trainable

_DISCRETE = ("bernoulli", "categorical")
_LEAST_STEPS = 1500


class Autoencoder(ExamplesKind):
    """A variational autoencoder, and what is built on one."""

    def resolved(self, configuration: Configuration, splits: Splits) -> Configuration:
        """The configuration with what was left out decided by the data."""
        data, model, objective = configuration.data, configuration.model, configuration.objective
        train, parts = splits.train, (splits.train, splits.validation, splits.test)
        images = "gaussian" if data.levels else "bernoulli"
        if data.binarization is None and _is_in_color(train):
            images = images if data.levels else "discretized-logistic"
        observation = model.observation or ("mixed" if train.schema else images)
        if observation == "categorical":  # as many as the data have
            observation = f"categorical:{int(max(np.nanmax(part.sample()) for part in parts)) + 1}"
        bernoulli = observation == "bernoulli" and train.schema is None
        binarization = data.binarization or ("stochastic" if bernoulli else "none")
        latents = {(name or "").partition(":")[0] for name in (model.prior, model.posterior)}
        standardize, missing = model.standardize, model.missing
        if standardize is None:
            fixed = observation == "mixed" or observation.partition(":")[0] == "gaussian"
            vectors = len(train.shape) == 1 and not fixed
            standardize = vectors and _of_numbers(observation, train.shape)
        if missing is None:
            missing = any(part.missing for part in parts)
        gradient = CONTINUOUS_GRADIENT if latents.isdisjoint(_DISCRETE) else DISCRETE_GRADIENT
        return configuration.updated(
            {
                "training": {"epochs": _epochs(configuration.training, len(train))},
                "data": {"binarization": binarization},
                "model": {
                    "observation": observation,
                    "standardize": standardize,
                    "missing": missing,
                },
                "objective": {"gradient": objective.gradient or gradient},
            },
            where="defaults",
        )

    def notes(self, given: Configuration, decided: Configuration) -> tuple[str, ...]:
        """Which gradient was chosen for want of another."""
        if given.objective.gradient or decided.objective.gradient != DISCRETE_GRADIENT:
            return ()
        return ("z is discrete, so that its draws carry no derivative: the gradient is vimco",)

    def about(self, configuration: Configuration) -> str:
        """What is maximized, in a few words."""
        objective = configuration.objective
        form = "" if objective.form == "log-weights" else f" as {objective.form}"
        pair = f"{objective.bound}{form} with the {objective.gradient} gradient"
        return f"{pair}, K = {objective.num_samples},"

    def short_name(self, configuration: Configuration) -> str:
        """What is trained, in a word."""
        return configuration.objective.bound

    def check_splits(self, configuration: Configuration, splits: Splits) -> None:
        """Refuse entries outside of the support of p(x|z), and gaps that are not asked for."""
        schema = splits.train.schema
        observation = build_observation(configuration, splits.train.shape, schema)
        binarization = Binarization(configuration.data.binarization)
        for part in (splits.train, splits.validation, splits.test):
            if part.missing and not configuration.model.missing:
                raise InputError(
                    f"{part.name} has missing entries (NaN): leave model.missing out, or fill them "
                    "in"
                )
            if binarization is not Binarization.NONE:
                check_pixels(part, binarization)
            observation.check(part.sample(), names=schema.names if schema else ())

    def build(self, configuration: Any, shape: Shape, xs: Any, schema: Any = None) -> Any:
        """The model before training."""
        model = configuration.model
        if model.mask and model.refinement:
            raise InputError("model.mask and model.refinement don't go together: leave one out")
        try:
            # One program to compile instead of one a layer; it runs once: speed is no matter.
            options: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
            key = jax.random.key(configuration.training.seed)
            built = compiled(VAE.create, **options)(
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

    def objective(self, configuration: Configuration, *, num_steps: int) -> Trainable:
        """The bound and its gradient."""
        return build_objective(configuration, num_steps=num_steps)

    def check_together(self, model: Any, objective: Any, shape: Shape) -> None:
        """Refuse an estimator that differentiates through draws which have no derivative."""
        gradient = objective.gradient

        def check(x: Any) -> None:
            name = type(gradient).__name__
            check_posterior(model.posterior(x), needs_path=gradient.uses_path, estimator=name)

        try:
            jax.eval_shape(check, jax.ShapeDtypeStruct(shape, "float32"))
        except TypeError as error:
            raise InputError(f"[objective]: {error}") from None

    def score(
        self, model: Any, test: Dataset, run: RunFolder, effort: Effort, announce: Announce
    ) -> dict[str, Any]:
        """Estimate the test log-likelihood, in nats a datum."""
        began = time.monotonic()
        num_samples, num_examples, seed, which = effort
        announce(f"log-likelihood of {num_examples} test examples, K = {num_samples}")
        transform_key, likelihood_key, bound_key = jax.random.split(jax.random.key(seed), 3)
        model, xs, _ = admitted(model, test.x[:num_examples])
        xs = self.transform(run.configuration)(jnp.asarray(xs), key=transform_key)
        estimates = log_likelihood(model, xs, num_samples=num_samples, key=likelihood_key)
        bounds = _bounds(model, build_objective(run.configuration), xs, bound_key)
        gaps = estimates.value - bounds
        record = {
            "split": "test",
            "parameters": which,
            "num_examples": num_examples,
            "num_samples": num_samples,
            "seed": seed,
            **summary(estimates),
            "bound": float(bounds.mean()),
            "bound_standard_error": error_of_mean(bounds),
            # Of the same examples, so that their spread is no part of its error.
            "bound_gap": float(gaps.mean()),
            "bound_gap_standard_error": error_of_mean(gaps),
            "seconds": time.monotonic() - began,
        }
        return store_result(
            run.path, "evaluation", record, estimates._asdict(),
            settings={"K": num_samples, "n": num_examples, "seed": seed, "": "test"},
            effort=num_samples * num_examples,
        )  # fmt: skip

    def pictures(
        self, run: RunFolder, model: Any, data: Splits, *, key: jax.Array
    ) -> dict[str, Any]:
        """Samples, reconstructions and codes."""
        return picture_arrays(model, data, self.transform(run.configuration), key=key)


def build_observation(
    configuration: Configuration, shape: tuple[int, ...], schema: Schema | None = None
) -> Observation:
    """The observation family of a resolved configuration."""
    model = configuration.model
    name = model.observation or "bernoulli"
    overrides = pairs(model.columns, "model.columns=income=log-normal")
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


def _bounds(model: Any, objective: Trainable, xs: jax.Array, key: jax.Array) -> np.ndarray:
    """The trained objective's bound, a block of examples at a time."""
    bounds = compiled(lambda model, xs, key: objective.batch(model, xs, key=key))
    size = max(1, 8192 // (objective.num_samples * objective.num_outer))
    blocks = [xs[start : start + size] for start in range(0, xs.shape[0], size)]
    keys = jax.random.split(key, len(blocks))
    parts = [bounds(model, block, k) for block, k in zip(blocks, keys, strict=True)]
    return np.concatenate([np.asarray(part) for part in parts])


def _epochs(training: TrainingConfiguration, num_examples: int) -> int:
    """Those asked for; or 20, and more for few examples, lest steps be few as well."""
    if training.epochs is not None:
        return training.epochs
    if num_examples >= 5000:
        return 20
    return max(100, _LEAST_STEPS * training.batch_size // num_examples)


def _is_in_color(data: Dataset) -> bool:
    """Whether examples are color images of usual pixels: as bits they would be noise."""
    return len(data.shape) == 3 and data.shape[2] == 3 and levels_of(data.sample()) == 256


def _of_numbers(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a family explains every number."""
    return observation_from_name(name, shape).support == Support()


def _refuse_words(schema: Schema, observation: str) -> None:
    for column in schema.columns:
        if column.kind == "categorical" or column.dtype in ("String", "Categorical", "Enum"):
            raise InputError(
                f"the column {column.name!r} holds categories, which {observation!r} doesn't "
                "explain: take the observation 'mixed', or leave the column out (data.drop)"
            )
