"""From a configuration to the objects that it speaks of: the kinds of model, in one table."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax

from tighter._checks import require
from tighter._errors import InputError
from tighter.data import Dataset, Schema, Splits
from tighter.runs.autoencoder import Autoencoder
from tighter.runs.configuration import Configuration
from tighter.runs.diffusion import Diffusion
from tighter.runs.examples import ExamplesKind, check_counts
from tighter.runs.folder import RunFolder
from tighter.runs.kind import Kind, Transform, check_seed
from tighter.runs.topics import Topics
from tighter.runs.topics_configuration import TOPICS
from tighter.training import load_parameters

__all__ = [
    "KINDS",
    "build_data",
    "build_model",
    "build_optimizer",
    "build_transform",
    "check_autoencoder",
    "check_counts",
    "check_same_shape",
    "check_seed",
    "kind_of",
    "load_model",
    "resolved",
]

# Of examples by the name in model.kind, and topics, whose configuration is another.
KINDS: dict[str, ExamplesKind] = {"vae": Autoencoder(), "diffusion": Diffusion()}
_TOPICS = Topics()


def kind_of(configuration: Any) -> Kind:
    """What a configuration's kind of model does in a run.

    Raises:
        InputError: If there is none of its name.
    """
    return _TOPICS if configuration.kind == TOPICS else KINDS[configuration.kind]


def resolved(configuration: Configuration, splits: Splits) -> Configuration:
    """The configuration with what was left out decided by the data."""
    return KINDS[configuration.kind].resolved(configuration, splits)


def build_data(configuration: Configuration) -> Splits:
    """The examples, checked against what the model can explain."""
    return KINDS[configuration.kind].load(configuration)


def build_model(
    configuration: Any,
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
    return kind_of(configuration).build(configuration, shape, xs, schema)


def build_optimizer(configuration: Any, num_steps: int) -> optax.GradientTransformation:
    """Adam with the configuration's schedule."""
    return kind_of(configuration).optimizer(configuration, num_steps)


def build_transform(configuration: Configuration) -> Transform:
    """Binarization or dequantization of a batch, in training and evaluation alike."""
    return KINDS[configuration.kind].transform(configuration)


def load_model(run: RunFolder, *, which: str = "best") -> Any:
    """The trained model of a run: its "best" or its "last" parameters."""
    model = build_model(run.configuration, run.shape, None, run.schema)
    return load_parameters(run.path / f"{which}.safetensors", model)


def check_autoencoder(configuration: Any, what: str) -> None:
    """Refuse what asks for q(z|x) and p(x|z) of a model that has none.

    Args:
        configuration: The run's.
        what: Is asked for, such as "tighter diagnose".

    Raises:
        InputError: If the run is of such a model.
    """
    unfit = kind_of(configuration).unfit
    if unfit:
        raise InputError(f"{what} is for autoencoders, and {unfit}")


def check_same_shape(data: Dataset, run: RunFolder) -> None:
    """Refuse examples of another shape than those that a run was trained on.

    Raises:
        InputError: If theirs is another.
    """
    require(
        data.shape == run.shape,
        f"the data's examples have shape {data.shape} and the run was trained on {run.shape}: "
        "the data has changed",
    )
