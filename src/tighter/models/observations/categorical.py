"""Observations of categories: codes, pixels of so many levels, counts with a given total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tighter._checks import require
from tighter._errors import InputError
from tighter.distributions._stirling import poisson_log_prob
from tighter.models.observations.observation import (
    Drawn,
    Factorized,
    Flags,
    Numbers,
    Pixels,
    RandomKey,
)
from tighter.models.observations.support import Support


class Categorical(Drawn, Factorized):
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
        count = self.num_categories
        require(count >= 2, f"there are two categories or more, got {count}")

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        return _log_probs(output, x)

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw of codes."""
        return jax.random.categorical(key, output).astype(output.dtype)

    def mean(self, output: Numbers) -> Numbers:
        """Mean of the codes."""
        return _mean_code(output)

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """The categories' probabilities."""
        return jax.nn.softmax(output)

    def point(self, statistic: Numbers) -> Numbers:
        """The likeliest category's code."""
        return jnp.argmax(statistic, axis=-1).astype(statistic.dtype)

    def features(self, x: Numbers) -> Numbers:
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


class CategoricalPixels(Pixels):
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

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        return _log_probs(output, jnp.round(x * (self.num_levels - 1)))

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw."""
        return jax.random.categorical(key, output).astype(output.dtype) / (self.num_levels - 1)

    def mean(self, output: Numbers) -> Numbers:
        """Mean of the pixels."""
        return _mean_code(output) / (self.num_levels - 1)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Log frequencies, as if one more example had been shared by all levels."""
        return _log_frequencies(np.round(xs * (self.num_levels - 1)), self.num_levels)

    @property
    def num_parameters(self) -> int:
        """A logit a level."""
        return self.num_levels


def _log_probs(logits: Numbers, codes: Numbers) -> Numbers:
    """By a product and not by indices: XLA fuses it, and its derivative is no scatter."""
    chosen = jnp.sum(_one_hot(codes, logits.shape[-1]) * logits, axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _one_hot(codes: Numbers, num: int) -> Numbers:
    categories = jnp.arange(num, dtype=codes.dtype).reshape(*[1] * codes.ndim, num)
    return (codes[..., None] == categories).astype(codes.dtype)


def _mean_code(logits: Numbers) -> Numbers:
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


class Multinomial(Drawn):
    r"""Counts along x's last axis given their total, such as words of a document; logits.

    $\log p = \log n! - \sum_c \log x_c! + \sum_c x_c \log \mathrm{softmax}(l)_c$ with
    $n = \sum_c x_c$, x's own; other axes are independent. The encoder sees log(1 + x).

    Args:
        total: n of what is drawn, and of the mean; if left out, that of the training examples'
            median, once `initialized_from`.

    Raises:
        InputError: If the total is below 1.
    """

    support: ClassVar[Support] = Support(0.0, whole=True)

    total: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        """Refuse what is no total."""
        holds = self.total is None or self.total >= 1
        require(holds, f"a multinomial's total is 1 or more, got {self.total}")

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log probability given x's own totals: of Poisson counts, given that of their sum."""
        total = jnp.sum(x, axis=-1)
        log_total = jnp.log(jnp.maximum(total, 1))
        of_each = poisson_log_prob(x, jax.nn.log_softmax(output) + log_total[..., None])
        return jnp.sum(of_each) - jnp.sum(poisson_log_prob(total, log_total))

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """There is none.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "counts with a given total can't be missing, and 'multinomial' explains such: take "
            "'poisson', or fill them in"
        )

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw of `total` counts."""
        probabilities = jax.nn.softmax(output).reshape(-1, output.shape[-1])
        total = jnp.asarray(self._known_total, output.dtype)
        keys = jax.random.split(key, len(probabilities))
        draws = jax.vmap(lambda p, key: jax.random.multinomial(key, total, p))(probabilities, keys)
        return draws.reshape(output.shape)

    def mean(self, output: Numbers) -> Numbers:
        """`total` times the probabilities."""
        return self._known_total * jax.nn.softmax(output)

    def features(self, x: Numbers) -> Numbers:
        """Log(1 + x)."""
        return jnp.log1p(x)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Log shares, as if one more count had been shared by all."""
        counts = np.asarray(np.nansum(xs, axis=0, dtype=np.float64))
        counts = counts + 1 / counts.shape[-1]
        return np.log(counts) - np.log(counts.sum(axis=-1, keepdims=True))

    def initialized_from(self, xs: np.ndarray) -> Multinomial:
        """With the median total of the examples, if none is given."""
        if self.total is not None:
            return self
        return Multinomial(max(1, round(float(np.nanmedian(xs.sum(axis=-1))))))

    @property
    def _known_total(self) -> int:
        if self.total is None:
            raise InputError(
                "a multinomial's mean and draws need a total: write multinomial:100, or start "
                "the model from its examples"
            )
        return self.total
