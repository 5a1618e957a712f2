"""Examples of two parts, x and its context."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._checks import require
from tighter._errors import InputError


def one_hot(labels: Any, num_classes: int) -> Float[np.ndarray, "examples classes"]:
    """Labels as contexts: vectors of zeros with a one at the label.

    Args:
        labels: Whole numbers from 0 to `num_classes` − 1, shape (N,).
        num_classes: How many classes there are.

    Raises:
        InputError: If labels are no whole numbers, or out of range.
    """
    labels = np.asarray(labels)
    require(
        labels.ndim == 1 and np.isdtype(labels.dtype, ("bool", "integral", "real floating")),
        f"labels are whole numbers, one an example, got {labels.dtype} of shape {labels.shape}",
    )
    bad = ~((labels >= 0) & (labels < num_classes) & (labels == np.floor(labels)))
    if bad.any():
        raise InputError(
            f"labels are whole numbers from 0 to {num_classes - 1}, got {labels[bad.argmax()]} in "
            f"row {bad.argmax()} ({bad.sum()} of {len(bad)} are wrong): mend them, or raise "
            "num_classes"
        )
    return np.eye(num_classes, dtype=np.float32)[labels.astype(int)]


def halves(images: Any) -> dict[str, Any]:
    """Structured prediction: the lower half of each image as x, given the upper one.

    Args:
        images: Shape (N, height, width) or (N, height, width, channels); traceable. Of an odd
            number of rows the lower half has one more.

    Raises:
        InputError: If they are no images of two rows or more.
    """
    require(
        jnp.ndim(images) in (3, 4) and images.shape[1] >= 2,
        "images have shape (N, height, width) or (N, height, width, channels) and two rows or "
        f"more, got {jnp.shape(images)}: reshape them",
    )
    middle = images.shape[1] // 2
    return {"x": images[:, middle:], "context": images[:, :middle]}


def check_parts(example: Any, parts: Collection[str], advice: str) -> None:
    """Require a dict of these parts, of one example or of a batch.

    Raises:
        InputError: With what it is instead, and the advice.
    """
    is_dict = isinstance(example, Mapping)
    got = sorted(map(str, example)) if is_dict else type(example).__name__
    listed = " and ".join(parts) if len(parts) == 2 else ", ".join(parts)
    require(
        is_dict and set(example) == set(parts),
        f"an example is a dict of {listed}, got {got}: {advice}",
    )


def parts_of(example: Any) -> tuple[Any, Any]:
    """The parts of one example, or of a batch.

    Raises:
        InputError: If the example is no dict of these two.
    """
    check_parts(example, ("x", "context"), "give {'x': …, 'context': …}")
    return example["x"], example["context"]


def flat(*parts: Array | np.ndarray) -> Float[Array, " numbers"]:
    """The parts' numbers one after the other."""
    return jnp.concatenate([jnp.ravel(part) for part in parts]).astype(float)
