"""Discretized logistic observations: pixels of so many levels, in order."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from tighter._checks import require
from tighter.models.observations.observation import (
    Factorized,
    Numbers,
    Pixels,
    RandomKey,
    means,
    some_rows,
    variances,
)


class DiscretizedLogistic(Pixels):
    r"""Independent pixels k/(L − 1), such as i/255: the bins' shares of a logistic distribution.

    $\log p = \sum_i \log[\sigma((y_i + h - m_i) e^{-s_i}) - \sigma((y_i - h - m_i) e^{-s_i})]$
    with $y = 2x - 1$ and half a bin $h = 1/(L - 1)$; the first and the last bin have the tails. The
    output is m, in units of y, and log scale s; the encoder sees y.

    Args:
        num_levels: L, two or more.

    Raises:
        InputError: If there are fewer than two levels.

    References:
        Kingma et al., "Improved variational inference with inverse autoregressive flow", 2016,
        sec. 5; Salimans et al., "PixelCNN++", 2017, sec. 2.1.
    """

    num_parameters = 2

    num_levels: int = eqx.field(static=True, default=256)

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        return _log_bins(output[..., 0], output[..., 1], 2 * x - 1, self.num_levels)

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw, rounded to its bin."""
        return _rounded_draw(output[..., 0], output[..., 1], self.num_levels, key=key)

    def mean(self, output: Numbers) -> Numbers:
        """Mean of the bins' centers."""
        return _mean_of_bins(output[..., 0], output[..., 1], self.num_levels)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Of several scales the likeliest, at the location where bins have the data's mean."""
        mean = means(xs)
        location, deviation = 2 * mean[..., None] - 1, 2 * np.sqrt(variances(xs))[..., None]
        outputs = []
        for log_scale in _log_scales(deviation, self.num_levels):
            shifted = _shifted(location, log_scale, mean, self.num_levels)
            outputs.append(np.concatenate([shifted, log_scale], axis=-1))
        return _best(self, outputs, xs)


class DiscretizedLogisticMixture(Pixels):
    r"""Independent pixels k/(L − 1): the bins' shares of a mixture of C logistic distributions.

    $\log p = \sum_i \log \sum_c \mathrm{softmax}(w_i)_c\, p(x_i \mid m_{ic}, s_{ic})$, p as in
    `DiscretizedLogistic`. The output of an entry is C logits w, then C locations m, then C log
    scales s.

    Args:
        num_components: C, one or more.
        num_levels: L, two or more.

    Raises:
        InputError: If there is no component, or fewer than two levels.

    References:
        Salimans et al., "PixelCNN++", 2017, eq. 2; without its dependence of the channels.
    """

    num_components: int = eqx.field(static=True, default=5)
    num_levels: int = eqx.field(static=True, default=256)

    def __check_init__(self) -> None:
        """Refuse what is no mixture."""
        num = self.num_components
        require(num >= 1, f"a mixture has one component or more, got {num}")

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log probability of each entry."""
        logits, location, log_scale = jnp.split(output, 3, axis=-1)
        y = jnp.broadcast_to((2 * x - 1)[..., None], location.shape)
        each = _log_bins(location, log_scale, y, self.num_levels)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + each, axis=-1)

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw, rounded to its bin."""
        component_key, key = jax.random.split(key)
        logits, location, log_scale = jnp.split(output, 3, axis=-1)
        chosen = jax.random.categorical(component_key, logits)
        one_hot = jax.nn.one_hot(chosen, self.num_components, dtype=output.dtype)
        location = jnp.sum(one_hot * location, axis=-1)
        log_scale = jnp.sum(one_hot * log_scale, axis=-1)
        return _rounded_draw(location, log_scale, self.num_levels, key=key)

    def mean(self, output: Numbers) -> Numbers:
        """Weighted mean of the components' means."""
        logits, location, log_scale = jnp.split(output, 3, axis=-1)
        each = _mean_of_bins(location, log_scale, self.num_levels)
        return jnp.sum(jax.nn.softmax(logits) * each, axis=-1)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Equal components at the data's quantiles, moved until bins have the data's mean.

        Of several scales, in common, the likeliest.
        """
        num, mean = self.num_components, means(xs)
        places = (np.arange(num) + 0.5) / num
        quantiles = np.moveaxis(np.nanquantile(some_rows(xs), places, axis=0), 0, -1)
        deviation = np.broadcast_to(2 * np.sqrt(variances(xs))[..., None], quantiles.shape)
        outputs = []
        for log_scale in _log_scales(deviation / num, self.num_levels):
            shifted = _shifted(2 * quantiles - 1, log_scale, mean, self.num_levels)
            outputs.append(np.concatenate([np.zeros_like(shifted), shifted, log_scale], axis=-1))
        return _best(self, outputs, xs)

    @property
    def num_parameters(self) -> int:
        """Logit, location and log scale of each component."""
        return 3 * self.num_components


def _log_bins(
    location: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
    y: Float[Array, "*shape"],
    num_levels: int,
) -> Float[Array, "*shape"]:
    r"""Log of σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a − b}): nothing cancels, nothing underflows."""
    half = 1 / (num_levels - 1)
    inverse = jnp.exp(-log_scale)
    upper = jnp.where(y > 1 - half, 0.0, jax.nn.log_sigmoid((y + half - location) * inverse))
    lower = jnp.where(y < half - 1, 0.0, jax.nn.log_sigmoid((location - y + half) * inverse))
    width = jnp.log(-jnp.expm1(-2 * half * inverse))
    return upper + lower + jnp.where(jnp.abs(y) > 1 - half, 0.0, width)


def _mean_of_bins(
    location: Float[Array, "*shape"], log_scale: Float[Array, "*shape"], num_levels: int
) -> Float[Array, "*shape"]:
    """Sum of the shares above each edge; an edge at a time, so that memory does not grow by L."""
    inverse = jnp.exp(-log_scale)

    def add(total: Array, edge: Array) -> tuple[Array, None]:
        return total + jax.nn.sigmoid((location - edge) * inverse), None

    edges = jnp.asarray(_edges(num_levels), location.dtype)
    return jax.lax.scan(add, jnp.zeros_like(location), edges)[0] / (num_levels - 1)


def _rounded_draw(
    location: Float[Array, "*shape"],
    log_scale: Float[Array, "*shape"],
    num_levels: int,
    *,
    key: RandomKey,
) -> Float[Array, "*shape"]:
    noise = jax.random.logistic(key, location.shape, location.dtype)
    x = 0.5 * (location + jnp.exp(log_scale) * noise + 1)
    return jnp.clip(jnp.round(x * (num_levels - 1)), 0, num_levels - 1) / (num_levels - 1)


def _edges(num_levels: int) -> np.ndarray:
    return (2 * np.arange(num_levels - 1) + 1) / (num_levels - 1) - 1


def _log_scales(deviation: np.ndarray, num_levels: int) -> list[np.ndarray]:
    """Around that of a logistic of this standard deviation, a bin's width or more.

    That of data with tails in the first and the last bin is several times wider.
    """
    middle = np.log(np.maximum(deviation, 2 / (num_levels - 1)) * math.sqrt(3) / math.pi)
    return [middle + step for step in np.arange(-2, 5) * math.log(2)]


def _best(family: Factorized, outputs: list[np.ndarray], xs: np.ndarray) -> np.ndarray:
    """At each entry the output that explains some of the examples best."""
    log_probs = jax.jit(jax.vmap(family.log_probs, (None, 0)))
    some = jnp.asarray(some_rows(xs, 500))
    scores = [np.nanmean(log_probs(jnp.asarray(output), some), axis=0) for output in outputs]
    best = np.argmax(scores, axis=0)[None, ..., None]
    return np.take_along_axis(np.stack(outputs), best, axis=0)[0]


def _shifted(
    location: np.ndarray, log_scale: np.ndarray, mean: np.ndarray, num_levels: int
) -> np.ndarray:
    """Locations moved together until the bins' mean is that of the data, as far as ±3 allows."""
    edges, scale = _edges(num_levels), np.exp(log_scale)
    low, high = np.full(mean.shape, -3.0), np.full(mean.shape, 3.0)
    for _ in range(30):
        shift = (low + high) / 2
        moved = (location + shift[..., None]) / scale
        above = np.zeros(location.shape)
        for edge in edges:
            above += scipy.special.expit(moved - edge / scale)
        is_low = above.mean(axis=-1) / (num_levels - 1) < mean
        low, high = np.where(is_low, shift, low), np.where(is_low, high, shift)
    return location + ((low + high) / 2)[..., None]
