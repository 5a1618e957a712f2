"""Continuous pixels from those of few levels, so that they have a density."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter.data.dataset import Dataset

_LEVELS = (2, 16, 17, 32, 64, 128, 256)


def levels_of(x: np.ndarray) -> int | None:
    """How many levels, evenly from 0 to 1, values have; None if no usual number of them fits.

    Args:
        x: Values of any shape.
    """
    values = np.unique(np.asarray(x, np.float64))
    if values.size == 0 or values[0] < 0 or values[-1] > 1:
        return None
    for levels in _LEVELS:
        steps = values * (levels - 1)
        if np.abs(steps - np.round(steps)).max() < 1e-4:
            return levels
    return None


def check_levels(data: Dataset, levels: int) -> None:
    """Refuse data that are not of so many levels.

    Raises:
        InputError: If a value is none of 0, 1/(L − 1), …, 1.
    """
    if levels < 2:
        raise InputError(f"data.levels is 2 or more, or 0 for none, got {levels}")
    steps = np.asarray(data.x, np.float64) * (levels - 1)
    wrong = (np.abs(steps - np.round(steps)) > 1e-3) | (steps < -1e-3) | (steps > levels - 1 + 1e-3)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise InputError(
            f"{data.name} holds values that are none of {levels} levels from 0 to 1, row {row} "
            "first: set data.levels to what they are, or to 0"
        )


def dequantize(
    x: Float[Array, "*shape"], *, levels: int, key: Key[Array, ""]
) -> Float[Array, "*shape"]:
    r"""Uniform noise of one level's width: $(x (L - 1) + u) / L$, $u \sim \mathrm U[0, 1)$.

    The mean log density of the result is a lower bound on the log probability of the level, up to
    log L an entry.

    Args:
        x: Values 0, 1/(L − 1), …, 1.
        levels: L.
        key: Random key.

    Returns:
        Values in [0, 1).

    References:
        Theis, van den Oord & Bethge, "A note on the evaluation of generative models", 2016,
        sec. 3.1.
    """
    return (x * (levels - 1) + jax.random.uniform(key, x.shape, x.dtype)) / levels
