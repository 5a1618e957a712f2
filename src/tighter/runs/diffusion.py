"""Runs of diffusion models: what is decided, built, scored and drawn."""

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
from tighter.runs.configuration import Configuration
from tighter.runs.examples import ExamplesKind
from tighter.runs.folder import RunFolder
from tighter.runs.kind import Announce, Effort, Shape
from tighter.runs.results import store_result

_AVERAGE = 0.999
_MOST_TIMES = 64
_LEAST_STEPS, _MOST_EPOCHS = 10_000, 600


class Diffusion(ExamplesKind):
    """A diffusion model, which has a section and a bound of its own."""

    unfit = "this run is of a diffusion model: its bound's terms are what tighter evaluate measures"

    def resolved(self, configuration: Configuration, splits: Splits) -> Configuration:
        """The configuration with what was left out decided by the data."""
        _refuse_foreign(configuration)
        train, training = splits.train, configuration.training
        columns = train.schema.columns if train.schema else ()
        if train.missing or any(column.kind == "categorical" for column in columns):
            raise InputError(
                f"a diffusion model takes numbers without gaps, and {train.name} has "
                f"{'missing entries' if train.missing else 'categories'}: fill them in or leave "
                "the columns out (data.drop)"
            )
        images, levels = len(train.shape) > 1, configuration.data.levels
        if levels is None:
            levels = (levels_of(train.sample()) if images else None) or 0
        steps = training.batch_size * _LEAST_STEPS // max(1, len(train))
        denoiser = configuration.diffusion.denoiser or ("unet" if images else "mlp")
        return configuration.updated(
            {
                "data": {"levels": levels, "binarization": "none"},
                "diffusion": {"denoiser": denoiser},
                "training": {
                    "epochs": training.epochs or max(20, min(_MOST_EPOCHS, steps)),
                    "average": _AVERAGE if training.average is None else training.average,
                },
            },
            where="defaults",
        )

    def about(self, configuration: Configuration) -> str:
        """What is maximized, in a few words."""
        chosen = configuration.diffusion
        return f"diffusion model, {chosen.denoiser} denoiser, {chosen.schedule} schedule,"

    def short_name(self, configuration: Configuration) -> str:
        """What is trained, in a word."""
        return "diffusion"

    def build(self, configuration: Any, shape: Shape, xs: Any, schema: Any = None) -> Any:
        """The model before training."""
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

    def objective(self, configuration: Configuration, *, num_steps: int) -> DiffusionBound:
        """The bound and its gradient."""
        return DiffusionBound(configuration.diffusion.num_times)

    def score(
        self, model: Any, test: Dataset, run: RunFolder, effort: Effort, announce: Announce
    ) -> dict[str, Any]:
        """Measure the bound's terms, in nats a datum, and of levels in bits a dimension."""
        began = time.monotonic()
        num_times = min(effort.num_samples, _MOST_TIMES)
        announce(f"bound of {effort.num_examples} test examples")
        transform_key, times_key = jax.random.split(jax.random.key(effort.seed))
        xs = jnp.asarray(test.x[: effort.num_examples])
        xs = self.transform(run.configuration)(xs, key=transform_key)
        levels = run.configuration.data.levels or 0
        measured = diffusion_terms(
            model, xs, num_times=num_times, levels=max(1, levels), key=times_key
        )
        terms = {name: dict(term._asdict()) for name, term in measured._asdict().items()}
        bits, bound = terms.pop("bits_per_dimension"), terms.pop("bound")
        record = {
            "split": "test",
            "parameters": effort.which,
            "num_examples": effort.num_examples,
            "num_times": num_times,
            "seed": effort.seed,
            "bound": bound["mean"],
            "standard_error": bound["standard_error"],
            "terms": terms,
            "levels": levels,
            "bits_per_dimension": bits if levels else None,
            "seconds": time.monotonic() - began,
        }
        return store_result(
            run.path, "evaluation", record, {},
            settings={"T": num_times, "n": len(xs), "seed": effort.seed, "": "test"},
            effort=num_times * len(xs),
        )  # fmt: skip

    def pictures(
        self, run: RunFolder, model: Any, data: Splits, *, key: Key[Array, ""]
    ) -> dict[str, Any]:
        """Samples of the model, beside which examples of the data are shown."""
        samples = compiled(lambda model, key: model.sample(key, 64))(model, key)
        return {"prior_samples": np.asarray(samples), "originals": np.asarray(data.test.x[:12])}


def _refuse_foreign(configuration: Configuration) -> None:
    usual = Configuration()
    foreign = [
        f"model.{name}"
        for name, value in vars(configuration.model).items()
        if name != "kind" and value != vars(usual.model)[name]
    ]
    if configuration.objective != usual.objective:
        foreign.append("objective (--bound, --gradient, --num-samples)")
    if foreign:
        raise InputError(
            f"{', '.join(foreign)} is about autoencoders: a diffusion model has the section "
            "[diffusion] and a bound of its own (--set diffusion.schedule=cosine)"
        )
