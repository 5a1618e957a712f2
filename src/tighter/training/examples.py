"""Numbers to train with: what is refused before anything is written."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import PyTree

from tighter._errors import InputError


def check_numbers(
    xs: PyTree,
    held_out: PyTree,
    *,
    num_epochs: int,
    batch_size: int,
    average: float | None = None,
) -> None:
    """Refuse what `fit` can't train on, before anything is written."""
    if average is not None and not 0 <= average < 1:
        raise InputError(f"average is the decay of a mean, 0 or more and below 1, got {average}")
    if num_epochs < 1 or batch_size < 1:
        raise InputError(
            f"num_epochs and batch_size are at least 1, got {num_epochs} and {batch_size}"
        )
    if batch_size > leading_size(xs):
        raise InputError(
            f"a batch of {batch_size} is larger than the data of {leading_size(xs)} examples: take "
            f"a batch_size of at most {leading_size(xs)}"
        )
    if num_epochs * (leading_size(xs) // batch_size) >= 2**31:
        raise InputError(f"{num_epochs} epochs are more steps than can be counted: give fewer")
    ours, theirs = (jax.tree.map(lambda part: part.shape[1:], tree) for tree in (xs, held_out))
    if held_out is not None and ours != theirs:
        raise InputError(f"validation examples have shape {theirs}, training examples {ours}")


def named_parts(xs: PyTree) -> dict[str, np.ndarray]:
    """The arrays of the examples by the names that messages give them."""
    parts, _ = jax.tree.flatten_with_path(xs)
    return {"x" + jax.tree_util.keystr(path): part for path, part in parts}


def leading_size(xs: PyTree) -> int:
    """How many examples there are."""
    return jax.tree.leaves(xs)[0].shape[0]
