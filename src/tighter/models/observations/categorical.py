"""Categorical observations: codes of categories, and pixels of so many levels."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter._errors import InputError
from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Factorized, Support


class Categorical(Factorized):
    r"""Independent categories with codes 0, …, C − 1; the output is C logits an entry.

    $\log p = \sum_i l_{i x_i} - \log \sum_c e^{l_{ic}}$. The encoder sees one-hot codes.

    Args:
        num_categories: C, two or more.

    Raises:
        InputError: If there are fewer than two categories.
    """

    num_categories: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no choice."""
        _check_count(self.num_categories, "categories")

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Categorical with the output as logits; draws are codes."""
        return FamilyDistribution(self, output, output.shape[:-1])

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log probability of each entry."""
        return _log_probs(output, x)

    def sample(self, output: Float[Array, ...], *, key: Key[Array, ""]) -> Float[Array, ...]:
        """One draw of codes."""
        return jax.random.categorical(key, output).astype(output.dtype)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """Mean of the codes."""
        return _mean_code(output)

    def statistic(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ...]:
        """The categories' probabilities."""
        return jax.nn.softmax(output)

    def point(self, statistic: Float[Array, ...]) -> Float[Array, ...]:
        """The likeliest category's code."""
        return jnp.argmax(statistic, axis=-1).astype(statistic.dtype)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """One-hot codes, in x's last axis."""
        one_hot = _one_hot(x, self.num_categories)
        one_hot = jnp.where(jnp.isnan(x)[..., None], jnp.nan, one_hot)
        return one_hot.reshape(self.features_shape(x.shape))

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """C times the numbers, in the last axis."""
        return (*shape[:-1], self.num_categories * shape[-1])

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Log frequencies, as if one more example had been shared by all categories."""
        return _log_frequencies(xs, self.num_categories)

    @property
    def num_parameters(self) -> int:
        """A logit a category."""
        return self.num_categories

    @property
    def support(self) -> Support:
        """0, …, C − 1."""
        return Support(0.0, self.num_categories - 1.0, whole=True)


class CategoricalPixels(Factorized):
    r"""Independent pixels k/(C − 1), k = 0, …, C − 1, such as i/255; the output is C logits each.

    $\log p = \sum_i l_{i k_i} - \log \sum_c e^{l_{ic}}$: of levels without an order.

    Args:
        num_levels: C, two or more.

    Raises:
        InputError: If there are fewer than two levels.

    References:
        van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel recurrent neural networks", 2016, sec. 3.3.
    """

    num_levels: int = eqx.field(static=True, default=256)

    def __check_init__(self) -> None:
        """Refuse what is no choice."""
        _check_count(self.num_levels, "levels")

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Categorical with the output as logits; draws are in [0, 1]."""
        return FamilyDistribution(self, output, output.shape[:-1])

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Log probability of each entry."""
        return _log_probs(output, jnp.round(x * (self.num_levels - 1)))

    def sample(self, output: Float[Array, ...], *, key: Key[Array, ""]) -> Float[Array, ...]:
        """One draw."""
        return jax.random.categorical(key, output).astype(output.dtype) / (self.num_levels - 1)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """Mean of the pixels."""
        return _mean_code(output) / (self.num_levels - 1)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """2x − 1, from −1 to 1."""
        return 2 * x - 1

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Log frequencies, as if one more example had been shared by all levels."""
        return _log_frequencies(np.round(xs * (self.num_levels - 1)), self.num_levels)

    @property
    def num_parameters(self) -> int:
        """A logit a level."""
        return self.num_levels

    @property
    def support(self) -> Support:
        """[0, 1] in steps of 1/(C − 1)."""
        return Support(0.0, 1.0, step=1 / (self.num_levels - 1))


def _check_count(count: int, name: str) -> None:
    if count < 2:
        raise InputError(f"there are two {name} or more, got {count}")


def _log_probs(logits: Float[Array, ...], codes: Float[Array, ...]) -> Float[Array, ...]:
    """By a product and not by indices: XLA fuses it, and its derivative is no scatter."""
    chosen = jnp.sum(_one_hot(codes, logits.shape[-1]) * logits, axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _one_hot(codes: Float[Array, ...], num: int) -> Float[Array, ...]:
    categories = jnp.arange(num, dtype=codes.dtype).reshape(*[1] * codes.ndim, num)
    return (codes[..., None] == categories).astype(codes.dtype)


def _mean_code(logits: Float[Array, ...]) -> Float[Array, ...]:
    return jax.nn.softmax(logits) @ jnp.arange(logits.shape[-1], dtype=logits.dtype)


def _log_frequencies(codes: np.ndarray, num: int) -> np.ndarray:
    flat = codes.reshape(len(codes), -1)
    width = flat.shape[1]
    counts = np.zeros(width * num)
    for rows in np.array_split(flat, -(-flat.size // 10_000_000)):
        known = ~np.isnan(rows)
        places = (np.nan_to_num(rows).astype(np.int64) + num * np.arange(width))[known]
        counts += np.bincount(places, minlength=width * num)
    shares = counts.reshape(width, num) + 1 / num
    logs = np.log(shares) - np.log(shares.sum(axis=1, keepdims=True))
    return logs.reshape(*codes.shape[1:], num)
