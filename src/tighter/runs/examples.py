"""What runs of autoencoders and of diffusion models have in common: examples, read and checked."""

from __future__ import annotations

import abc
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from tighter._checks import require
from tighter._errors import InputError
from tighter._files import read_archive
from tighter.data import Binarization, Splits, binarize, load
from tighter.data.pixels import check_levels, dequantize
from tighter.models import OBSERVATIONS, observation_from_name
from tighter.runs.configuration import Configuration
from tighter.runs.folder import RunFolder, write_arrays, write_json
from tighter.runs.kind import Kind, Prepared, Transform, check_seed
from tighter.runs.table_record import table_record


class ExamplesKind(Kind):
    """A kind of model of examples: arrays, or rows of a table."""

    @abc.abstractmethod
    def resolved(self, configuration: Configuration, splits: Splits) -> Configuration:
        """The configuration with what was left out decided by the data."""

    @abc.abstractmethod
    def about(self, configuration: Configuration) -> str:
        """What is maximized, in a few words."""

    def notes(self, given: Configuration, decided: Configuration) -> tuple[str, ...]:
        """What is to be said of what was decided."""
        return ()

    def check_splits(self, configuration: Configuration, splits: Splits) -> None:
        """Refuse examples that the model can't explain."""

    def check(self, configuration: Configuration) -> None:
        """Refuse what can be told before the data are read."""
        super().check(configuration)
        check_counts(configuration)

    def load(self, configuration: Configuration) -> Splits:
        """The examples, checked against what the model can explain."""
        data = configuration.data
        splits = load(
            data.source,
            array=data.array,
            header=data.header,
            missing_words=data.missing_words,
            pixels=_are_pixels(configuration),
            size=data.size,
            drop=data.drop,
            kinds=pairs(data.kinds, "data.kinds=age=count"),
            target=data.target,
            validation=data.validation,
            test=data.test,
            seed=configuration.training.seed,
        )
        decided = self.resolved(configuration, splits)
        if decided.data.levels:
            for part in (splits.train, splits.validation, splits.test):
                check_levels(part, decided.data.levels)
        self.check_splits(decided, splits)
        return splits

    def prepare(self, configuration: Configuration, stored: RunFolder | None) -> Prepared:
        """Read the data and decide what was left out."""
        splits = self.load(configuration)
        decided, train = self.resolved(configuration, splits), splits.train
        parts = {"train": train, "validation": splits.validation, "test": splits.test}
        return Prepared(
            configuration=decided,
            source=train,
            xs=train.x,
            validation=splits.validation.x,
            test=splits.test,
            data=splits,
            shape=train.shape,
            schema=train.schema,
            average=decided.training.average,
            facts={
                "shape": list(train.shape),
                "schema": train.schema and train.schema.to_dict(),
                "data_sizes": {name: len(part) for name, part in parts.items()},
            },
            about=f"{self.about(decided)} on {len(train)} examples of {train.name} {train.shape}",
            notes=self.notes(configuration, decided),
        )

    def transform(self, configuration: Configuration) -> Transform:
        """Binarization or dequantization of a batch; missing entries stay so."""
        if levels := configuration.data.levels:
            return functools.partial(dequantize, levels=levels)
        binarization = Binarization(configuration.data.binarization or "none")
        if binarization is Binarization.NONE or not configuration.model.missing:
            return functools.partial(binarize, binarization=binarization)

        def transform(xs: Array, *, key: Key[Array, ""]) -> Array:
            return jnp.where(jnp.isnan(xs), xs, binarize(xs, binarization=binarization, key=key))

        return transform

    def draw(self, run: RunFolder, model: Any, data: Splits) -> dict[str, Any]:
        """Store what a report's pictures are drawn from."""
        key = jax.random.key(run.configuration.training.seed)
        if data.train.schema is not None:
            try:
                scored = read_archive(run.path / "evaluation.npz")
            except InputError:
                scored = {}
            write_json(run.path / "table.json", table_record(model, data, scored, key=key))
        write_arrays(run.path / "pictures.npz", self.pictures(run, model, data, key=key))
        return {}

    @abc.abstractmethod
    def pictures(
        self, run: RunFolder, model: Any, data: Splits, *, key: Key[Array, ""]
    ) -> dict[str, Any]:
        """The arrays that a report's pictures are drawn from."""

    def folder_name(self, configuration: Configuration) -> str:
        """Of a new run, before its number."""
        source = configuration.data.source
        name = Path(source).expanduser().resolve().stem if source != "digits" else "digits"
        return f"{name}-{self.short_name(configuration)}".replace(":", "")

    @abc.abstractmethod
    def short_name(self, configuration: Configuration) -> str:
        """What is trained, in a word."""


def check_counts(configuration: Configuration) -> None:
    """Refuse numbers that would only be found wrong when training is over.

    Raises:
        InputError: If one is below 1, or the seed is none.
    """
    check_seed(configuration.training.seed)
    for name, number in vars(configuration.evaluation).items():
        require(number >= 1, f"evaluation.{name} is at least 1, got {number}")


def pairs(words: tuple[str, ...], example: str) -> dict[str, str]:
    """From "column=word" to a dictionary.

    Raises:
        InputError: If one has another form.
    """
    split = (word.partition("=") for word in words)
    found = {name.strip(): value.strip() for name, _, value in split}
    whole = all(name and value for name, value in found.items())
    require(whole, f"write column=word (--set {example}), got {', '.join(words)}")
    return found


def _are_pixels(configuration: Configuration) -> bool | None:
    """Whether bytes are to be divided by 255: not where the observations are whole numbers."""
    text = configuration.model.observation or ""
    name = text.partition(":")[0]
    if configuration.data.pixels is not None or name not in OBSERVATIONS or name == "mixed":
        return configuration.data.pixels
    # "categorical" without a number is of as many as the data have.
    whole = name == "categorical" or observation_from_name(text, (2,)).support.whole
    return False if whole else None
