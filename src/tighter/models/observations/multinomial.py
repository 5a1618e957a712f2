"""Multinomial observations: counts with a given total."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter._errors import InputError
from tighter.distributions._stirling import poisson_log_prob
from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Observation, Support


class Multinomial(Observation):
    r"""Counts along x's last axis given their total, such as words of a document; logits.

    $\log p = \log n! - \sum_c \log x_c! + \sum_c x_c \log \mathrm{softmax}(l)_c$ with
    $n = \sum_c x_c$, x's own; other axes are independent. The encoder sees log(1 + x).

    Args:
        total: n of what is drawn, and of the mean; if left out, that of the training examples'
            median, once `initialized_from`.

    Raises:
        InputError: If the total is below 1.
    """

    total: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        """Refuse what is no total."""
        if self.total is not None and self.total < 1:
            raise InputError(f"a multinomial's total is 1 or more, got {self.total}")

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A logit a count."""
        return tuple(shape)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Multinomial with the output as logits; draws have `total`."""
        return FamilyDistribution(self, output, output.shape)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log probability given x's own totals: of Poisson counts, given that of their sum."""
        total = jnp.sum(x, axis=-1)
        log_total = jnp.log(jnp.maximum(total, 1))
        of_each = poisson_log_prob(x, jax.nn.log_softmax(output) + log_total[..., None])
        return jnp.sum(of_each) - jnp.sum(poisson_log_prob(total, log_total))

    def log_prob_observed(
        self, output: Float[Array, ...], x: Float[Array, ...], observed: Bool[Array, ...]
    ) -> Float[Array, ""]:
        """There is none.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "counts with a given total can't be missing, and 'multinomial' explains such: take "
            "'poisson', or fill them in"
        )

    def sample(self, output: Float[Array, ...], *, key: Key[Array, ""]) -> Float[Array, ...]:
        """One draw of `total` counts."""
        probabilities = jax.nn.softmax(output).reshape(-1, output.shape[-1])
        total = jnp.asarray(self._known_total, output.dtype)
        keys = jax.random.split(key, len(probabilities))
        draws = jax.vmap(lambda p, key: jax.random.multinomial(key, total, p))(probabilities, keys)
        return draws.reshape(output.shape)

    def mean(self, output: Float[Array, ...]) -> Float[Array, ...]:
        """`total` times the probabilities."""
        return self._known_total * jax.nn.softmax(output)

    def features(self, x: Float[Array, ...]) -> Float[Array, ...]:
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
    def support(self) -> Support:
        """The numbers 0, 1, 2, and so on."""
        return Support(0.0, whole=True)

    @property
    def _known_total(self) -> int:
        if self.total is None:
            raise InputError(
                "a multinomial's mean and draws need a total: write multinomial:100, or start "
                "the model from its examples"
            )
        return self.total
