"""A run's configuration: frozen dataclasses, from defaults, TOML, and a.b=c."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tighter._errors import InputError
from tighter._files import reading
from tighter._names import unknown

KINDS = ("vae", "diffusion")
_LARGEST = 2**32  # of whole numbers, seeds among them


class Sections:
    """A frozen dataclass of sections, each a frozen dataclass, as JSON and TOML have them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[arg-type]

    def differences(self, other: Sections) -> list[str]:
        """What differs, a phrase a key: "training.epochs is 20 there and 30 here"."""
        theirs, ours = _flat(other.to_dict()), _flat(self.to_dict())
        return [
            f"{name} is {theirs[name]!r} there and {value!r} here"
            for name, value in ours.items()
            if theirs[name] != value
        ]


@dataclasses.dataclass(frozen=True)
class DataConfiguration:
    """What to learn from.

    Attributes:
        source: "digits", a folder of images, of IDX or of .npy files, a .npy, .npz, .csv, .tsv or
            .parquet file.
        size: Pixels a side, to which the middle of each image of a folder is brought.
        array: The array of a .npz file to take, where its names don't tell.
        header: Whether a table's first line holds names; left out, as it looks.
        missing_words: Words of a CSV file that stand for missing cells, in place of the usual ones:
            "None", "-999".
        pixels: Whether numbers of uint8 are pixels, to be divided by 255; left out, they are,
            unless the observations are counts or codes.
        drop: Columns of a table to leave out.
        target: The column of a table that is no part of an example but its label.
        kinds: What columns of a table hold, where their types don't tell: "age=count",
            "zip=categorical".
        binarization: "none", "threshold" or "stochastic"; left out, stochastic for Bernoulli
            observations and none for others.
        validation: Share of the training examples held out for validation.
        test: Share of the examples held out for testing, where there is no official test set.
        levels: Levels of gray between which uniform noise is added, so that densities are of
            continuous pixels; 0 for none; left out, none, and for diffusion models of pixels as
            many as they have.
    """

    source: str = "digits"
    size: int | None = None
    array: str | None = None
    header: bool | None = None
    missing_words: tuple[str, ...] | None = None
    pixels: bool | None = None
    drop: tuple[str, ...] = ()
    target: str | None = None
    kinds: tuple[str, ...] = ()
    binarization: str | None = None
    validation: float = 0.1
    test: float = 0.1
    levels: int | None = None


@dataclasses.dataclass(frozen=True)
class ModelConfiguration:
    """The model; all below its kind is the variational autoencoder's.

    Attributes:
        kind: "vae", or "diffusion", which has a section of its own.
        network: "mlp", "convolutional" or "residual".
        hidden: Widths of the encoder's hidden layers, or channels of its convolutions.
        latent: Dimensions of z.
        activation: "tanh", "relu", "gelu", "silu" or "softplus".
        observation: Family p(x|z), "bernoulli", "gaussian:0.1", "student-t", …; left out, "mixed"
            for tables and "bernoulli" for others.
        prior: Family p(z), "standard", "mixture:10", "vampprior:100", …; left out, the usual one
            over the posterior's space.
        posterior: Family q(z|x), "diagonal", "full", "low-rank:5", "flow", "bernoulli", …, the
            number a rank, components or layers; left out, the usual one over the prior's space.
        columns: Families of a table's columns, where not the usual ones: "income=log-normal".
        standardize: Whether numbers are explained in units of their standard deviations; left out,
            they are where x is a vector and the family over all numbers, of no fixed scale.
        missing: Whether entries of x may be missing; left out, if some are.
        mask: "self-masking", "above", "below" or "linear", a model of which entries are missing;
            left out, they are taken to be missing at random.
        refinement: Steps from the encoder's output towards each example's best posterior.
    """

    kind: str = "vae"
    network: str = "mlp"
    hidden: tuple[int, ...] = (200, 200)
    latent: int = 20
    activation: str = "tanh"
    observation: str | None = None
    prior: str | None = None
    posterior: str | None = None
    columns: tuple[str, ...] = ()
    standardize: bool | None = None
    missing: bool | None = None
    mask: str | None = None
    refinement: int = 0


@dataclasses.dataclass(frozen=True)
class DiffusionConfiguration:
    """The diffusion model, where model.kind is "diffusion".

    Attributes:
        denoiser: "mlp" or "unet"; left out, "unet" for images and "mlp" for vectors.
        hidden: Widths of the MLP, or channels of the U-Net's resolutions; left out, the usual ones.
        fourier: Exponents of Fourier features of the input.
        schedule: "linear", "cosine" or "learned".
        prediction: "epsilon", "x" or "v", what the denoiser's output says.
        steps: Of the chain; left out, time is continuous.
        num_times: Times an example in training.
    """

    denoiser: str | None = None
    hidden: tuple[int, ...] = ()
    fourier: tuple[int, ...] = ()
    schedule: str = "linear"
    prediction: str = "v"
    steps: int | None = None
    num_times: int = 1


@dataclasses.dataclass(frozen=True)
class ObjectiveConfiguration:
    """What is maximized, and how its gradient is estimated.

    Attributes:
        bound: "elbo", "iwae", "renyi:0.5", "jackknife:1", "ciwae:0.5", "sumo".
        form: Of the ELBO: "log-weights", "entropy" or "analytic-kl", the part in closed form.
        gradient: "doubly-reparameterized", "reparameterized", "sticking-the-landing", "vimco", …;
            left out, "doubly-reparameterized", or "vimco" where z is discrete.
        num_samples: Draws in a bound, K.
        num_outer: Independent bounds averaged, M.
        num_backward: Of the K draws, how many are backpropagated; left out, all.
        chunk_size: Draws in memory at a time; left out, all.
        beta: Weight of the analytic KL.
        free_bits: Nats of each latent unit's analytic KL for which nothing is paid.
        warm_up: Share of the training over which beta rises from 0.
    """

    bound: str = "iwae"
    form: str = "log-weights"
    gradient: str | None = None
    num_samples: int = 8
    num_outer: int = 1
    num_backward: int | None = None
    chunk_size: int | None = None
    beta: float = 1.0
    free_bits: float = 0.0
    warm_up: float = 0.0


@dataclasses.dataclass(frozen=True)
class TrainingConfiguration:
    """How it is trained.

    Attributes:
        epochs: Passes over the data; left out, 20, or for fewer than 5,000 examples 100 and at
            least 1,500 steps.
        batch_size: Examples a step.
        learning_rate: Adam's.
        schedule: "constant", "cosine", "steps" or "iwae".
        adam_epsilon: Added to Adam's denominator.
        average: Decay of the moving average of the parameters; left out, .999 for diffusion models
            and no average for others.
        precision: Of the products in networks, "float32" or "bfloat16".
        seed: Of the splits, the parameters and every draw.
    """

    epochs: int | None = None
    batch_size: int = 50
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    adam_epsilon: float = 1e-4
    average: float | None = None
    precision: str = "float32"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class EvaluationConfiguration:
    """How it is scored.

    Attributes:
        num_samples: Draws of the test log-likelihood; of a diffusion model, times an example, 64
            at most.
        num_examples: Test examples at most, the first ones.
    """

    num_samples: int = 5000
    num_examples: int = 1000


@dataclasses.dataclass(frozen=True)
class Configuration(Sections):
    """Everything that makes a run."""

    data: DataConfiguration = DataConfiguration()
    model: ModelConfiguration = ModelConfiguration()
    diffusion: DiffusionConfiguration = DiffusionConfiguration()
    objective: ObjectiveConfiguration = ObjectiveConfiguration()
    training: TrainingConfiguration = TrainingConfiguration()
    evaluation: EvaluationConfiguration = EvaluationConfiguration()

    @property
    def kind(self) -> str:
        """The kind of model.

        Raises:
            InputError: If it is none of them.
        """
        if self.model.kind not in KINDS:
            raise unknown("kind of model", self.model.kind, KINDS)
        return self.model.kind

    def updated(self, changes: Mapping[str, Any], *, where: str) -> Configuration:
        """The same with some values replaced.

        Args:
            changes: New values by section and key.
            where: Where they come from, for messages ("run.toml").

        Raises:
            InputError: If a section or key is unknown, or a value of another type.
        """
        sections = dict(vars(self))
        for name, values in changes.items():
            if name not in sections:
                raise InputError(f"{where}: {unknown('section', name, sections)}")
            if not isinstance(values, Mapping):
                raise InputError(f"{where}: {name} is a section, write [{name}] and keys below it")
            hints = typing.get_type_hints(type(sections[name]))
            for key in values:
                if key not in hints:
                    raise InputError(f"{where}: {unknown(f'key of [{name}]', key, hints)}")
            converted = {
                key: _converted(value, hints[key], f"{where}: {name}.{key}")
                for key, value in values.items()
            }
            sections[name] = dataclasses.replace(sections[name], **converted)
        return Configuration(**sections)


def read_toml(path: Path) -> dict[str, Any]:
    """The sections of a TOML file.

    Raises:
        InputError: If it can't be read, or isn't TOML.
    """
    not_toml = "the configuration {origin} is not valid TOML: {cause}"
    with reading(path, not_toml), path.open("rb") as file:
        return tomllib.load(file)


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings `section.key=value`, the value as TOML writes it, or a bare word.

    Raises:
        InputError: If one has another form.
    """
    nested: dict[str, dict[str, Any]] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        section, dot, key = place.strip().partition(".")
        if not (equals and dot and section and key):
            raise InputError(
                f"--set takes section.key=value (training.batch_size=20), got {setting!r}"
            )
        with reading(f"--set {setting:.40}", "{origin} is no value ({cause})"):
            try:
                value = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                value = text.strip()
        nested.setdefault(section, {})[key] = value
    return nested


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


_WANTED = {
    int: "a whole number",
    float: "a number",
    str: "a word in quotes",
    bool: "true or false",
    tuple[int, ...]: "a list of whole numbers",
    tuple[str, ...]: "a list of words",
}


def _converted(value: Any, hint: Any, place: str) -> Any:
    """The value as the field's type has it, or an error that names the place."""
    if isinstance(hint, types.UnionType):
        if value is None or (value == "none" and hint != (str | None)):
            return None
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if type(value) is int and hint in (int, float) and abs(value) >= _LARGEST:
        raise InputError(f"{place} is a number below 2^32, got {value!r:.24}")
    if hint is float and type(value) in (int, float):
        return float(value)
    if typing.get_origin(hint) is tuple:
        (kind, _), given = typing.get_args(hint), value
        if kind is str and isinstance(value, str):
            given = value = [word.strip() for word in value.split(",")]
        values = tuple(given) if isinstance(given, list | tuple) else (given,)
        if all(type(entry) is kind for entry in values):
            return values
    elif type(value) is hint:
        return value
    raise InputError(f"{place} is {_WANTED[hint]}, got {value!r}")
