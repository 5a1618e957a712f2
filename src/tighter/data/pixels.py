"""Binary pixels from gray ones, and continuous ones from those of few levels."""

from __future__ import annotations

import difflib
import enum
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from tighter._checks import require
from tighter._errors import InputError
from tighter.data.dataset import Dataset

_LEVELS = (2, 16, 17, 32, 64, 128, 256)


class Binarization(enum.Enum):
    """How gray pixels become binary ones.

    Log-likelihoods are comparable between models only under the same choice.
    """

    NONE = "none"
    THRESHOLD = "threshold"
    STOCHASTIC = "stochastic"

    @classmethod
    def _missing_(cls, value: object) -> Binarization:
        choices = [member.value for member in cls]
        nearest = difflib.get_close_matches(str(value).lower(), choices, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(
            f"there is no binarization {value!r}; {hint}choose one of {', '.join(choices)}"
        )


def binarize(
    x: Float[Array | np.ndarray, "*shape"], binarization: Binarization, *, key: PRNGKeyArray
) -> Float[Array, "*shape"]:
    r"""Binarize values in [0, 1]; traceable, so that a training step can do it.

    Stochastic: $b_i \sim \mathrm{Bernoulli}(x_i)$, drawn anew for each key. Threshold:
    $b_i = [x_i > 1/2]$. None: $x$ itself.

    Args:
        x: Values in [0, 1], which `check_pixels` makes sure of beforehand.
        binarization: How.
        key: The randomness; only stochastic binarization uses it.

    Returns:
        An array of the shape of `x`, float32.

    Raises:
        InputError: If `binarization` is no `Binarization`.

    References:
        Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", 2008,
        sample MNIST once; Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders", 2016,
        anew at every pass.
    """
    values = jnp.asarray(x, dtype=jnp.float32)
    match binarization:
        case Binarization.NONE:
            return values
        case Binarization.THRESHOLD:
            return (values > 0.5).astype(jnp.float32)
        case Binarization.STOCHASTIC:
            # The same draws as of the array's own shape, in a quarter of the time to compile.
            uniform = jax.random.uniform(key, (values.size,)).reshape(values.shape)
            return (uniform < values).astype(jnp.float32)
    raise InputError(f"binarization must be a Binarization, got {binarization!r}")


def check_pixels(
    dataset: Dataset, binarization: Binarization, *, observation_name: str = "Bernoulli"
) -> None:
    """Make sure that the values can be binarized, or be the data of a Bernoulli.

    Args:
        dataset: What is to be modeled.
        binarization: How its values are to be binarized.
        observation_name: The observation family that the model has, for the message.

    Raises:
        InputError: If a value is outside [0, 1].
    """
    x = dataset.sample()
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    if low >= 0 and high <= 1:
        return
    demanding = f"{binarization.value} binarization needs"
    if binarization is Binarization.NONE:
        demanding = f"{observation_name} observations need"
    whole = high == round(high) and bool((x == np.round(x)).all())
    most = 2 ** math.ceil(math.log2(high + 1)) - 1 if whole and high > 1 else high
    mend = f"divide by {most:g}" if low >= 0 else "rescale as (x - x.min()) / (x.max() - x.min())"
    raise InputError(
        f"{demanding} values in [0, 1], but {dataset.name} reaches from {low:g} to {high:g}; "
        f"{mend}, or choose another observation family"
    )


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
    require(levels >= 2, f"data.levels is 2 or more, or 0 for none, got {levels}")
    steps = np.asarray(data.sample(), np.float64) * (levels - 1)
    wrong = (np.abs(steps - np.round(steps)) > 1e-3) | (steps < -1e-3) | (steps > levels - 1 + 1e-3)
    require(
        not wrong.any(),
        f"{data.name} holds values that are none of {levels} levels from 0 to 1, row "
        f"{wrong.reshape(len(wrong), -1).any(axis=1).argmax()} first: set data.levels to what they "
        "are, or to 0",
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
