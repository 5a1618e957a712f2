"""Binary pixels from gray ones."""

import difflib
import enum
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from tighter._errors import InputError
from tighter.data.dataset import Dataset


class Binarization(enum.Enum):
    """How gray pixels become binary ones.

    Log-likelihoods are comparable between models only under the same choice.
    """

    NONE = "none"
    THRESHOLD = "threshold"
    STOCHASTIC = "stochastic"

    @classmethod
    def _missing_(cls, value: object) -> "Binarization":
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
    low, high = float(np.nanmin(dataset.x)), float(np.nanmax(dataset.x))
    if low >= 0 and high <= 1:
        return
    if binarization is Binarization.NONE:
        demanding = f"{observation_name} observations need"
    else:
        demanding = f"{binarization.value} binarization needs"
    whole = high == round(high) and bool((dataset.x == np.round(dataset.x)).all())
    most = 2 ** math.ceil(math.log2(high + 1)) - 1 if whole and high > 1 else high
    mend = f"divide by {most:g}" if low >= 0 else "rescale as (x - x.min()) / (x.max() - x.min())"
    raise InputError(
        f"{demanding} values in [0, 1], but {dataset.name} reaches from {low:g} to {high:g}; "
        f"{mend}, or choose another observation family"
    )
