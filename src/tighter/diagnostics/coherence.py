"""Whether the modalities that a model generates go together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Key, PyTree

from tighter._checks import require
from tighter._chunks import map_blocks
from tighter._programs import compiled

# Of one modality: arrays (n, *shape) -> their labels (n,).
Classifier = Callable[[np.ndarray], ArrayLike]

# Examples through the decoders at a time.
_BLOCK = 1000


class Share(NamedTuple):
    """A share of agreeing examples.

    Attributes:
        value: Between 0 and 1.
        standard_error: Of the value, as if four more examples had been half and half, so that it
            isn't zero where all agree.
        num_examples: Of how many.
    """

    value: float
    standard_error: float
    num_examples: int


def joint_coherence(
    model: Any, classifiers: Mapping[str, Classifier], *, num_samples: int, key: Key[Array, ""]
) -> Share:
    """How often all modalities of one draw of the model have the same label.

    Draws of p(x_m|z) are classified, and not its means (a mean of codes is no code): the
    classifiers have to know them from data of the same noise.

    Args:
        model: A `MultimodalVAE`, or any model with a `sample(key, n)` that is a dict.
        classifiers: For two modalities or more: arrays (n, *shape) -> labels (n,).
        num_samples: How many draws.
        key: Random key.

    Raises:
        InputError: If there are fewer than two classifiers, no sample, or labels of a wrong shape.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 4.
    """
    require(
        len(classifiers) >= 2 and num_samples >= 1,
        "coherence is of two modalities or more, in one sample or more, got classifiers of "
        f"{sorted(classifiers)} and num_samples={num_samples}",
    )
    keys = jax.random.split(key, num_samples)
    generated = _in_blocks(_sampled, model, keys)
    labels = [_labels(name, classifier, generated) for name, classifier in classifiers.items()]
    return _share(np.all([labels[0] == other for other in labels[1:]], axis=0))


def cross_coherence(
    model: Any,
    examples: Mapping[str, Any],
    labels: ArrayLike,
    classifiers: Mapping[str, Classifier],
    *,
    key: Key[Array, ""],
) -> dict[tuple[str, str], Share]:
    """How often a modality generated from one other alone has the example's label.

    From each modality in turn, the others missing: one z of its posterior, and a draw of p(x_m|z)
    classified.

    Args:
        model: A `MultimodalVAE`, or any model with its `cross(x, key)`.
        examples: By modality, shape (N, *shape).
        labels: The examples' labels, shape (N,).
        classifiers: Of the modalities that are generated: arrays (n, *shape) -> labels (n,).
        key: Random key.

    Returns:
        By the modality given and the one generated; the error is that over examples and draws.
        Examples that lack the given modality are left out.

    Raises:
        InputError: If a classifier is of no modality, the labels aren't one an example, or a
            modality is in no example.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 4.
    """
    columns = {name: np.asarray(column, np.float32) for name, column in examples.items()}
    labels = np.asarray(labels)
    require(
        classifiers and set(classifiers) <= set(columns),
        f"classifiers are of the modalities {', '.join(columns)}, got {sorted(classifiers)}",
    )
    lengths = {name: len(column) for name, column in columns.items()}
    require(
        labels.ndim == 1 and set(lengths.values()) == {len(labels)},
        f"there is a label for each example, got labels of shape {labels.shape} and {lengths} "
        "examples",
    )
    shares = {}
    for index, given in enumerate(columns):
        there = ~np.isnan(columns[given]).reshape(len(labels), -1).all(axis=1)
        require(there.any(), f"{given} is missing in all {len(labels)} examples: leave it out")
        alone = {
            name: column[there] if name == given else np.full_like(column[there], np.nan)
            for name, column in columns.items()
        }
        keys = jax.random.split(jax.random.fold_in(key, index), int(there.sum()))
        generated = _in_blocks(_crossed, model, (alone, keys))
        for name, classifier in classifiers.items():
            if name != given:
                agreeing = _labels(name, classifier, generated) == labels[there]
                shares[given, name] = _share(agreeing)
    return shares


def _sampled(model: Any, key: Key[Array, ""]) -> dict[str, Array]:
    return jax.tree.map(lambda leaf: leaf[0], model.sample(key, 1))


def _crossed(model: Any, given: PyTree) -> dict[str, Array]:
    example, key = given
    return jax.tree.map(lambda leaf: leaf[0], model.cross(example, key))


def _in_blocks(of_row: Callable[[Any, Any], Any], model: Any, given: PyTree) -> Any:
    """`of_row` of every row, so many at a time."""
    num = jax.tree.leaves(given)[0].shape[0]

    def block(taken: Array) -> PyTree:
        return _block(of_row, model, jax.tree.map(operator.itemgetter(np.asarray(taken)), given))

    return map_blocks(block, num, min(_BLOCK, num), "coherence")


@compiled
def _block(of_row: Callable[[Any, Any], Any], model: Any, rows: PyTree) -> PyTree:
    return jax.vmap(lambda row: of_row(model, row))(rows)


def _labels(name: str, classifier: Classifier, generated: dict[str, np.ndarray]) -> np.ndarray:
    require(
        name in generated,
        f"the model generates {', '.join(generated)}, got a classifier of {name}",
    )
    labels, num = np.asarray(classifier(generated[name])), len(generated[name])
    require(
        labels.shape == (num,),
        f"the classifier of {name} gives a label an array, got shape {labels.shape} for {num}",
    )
    return labels


def _share(agreeing: np.ndarray) -> Share:
    num = agreeing.size
    shrunk = (agreeing.sum() + 2) / (num + 4)
    return Share(float(agreeing.mean()), float(np.sqrt(shrunk * (1 - shrunk) / num)), num)
