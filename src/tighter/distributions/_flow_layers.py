"""Layers of a flow: affine and spline transformers, and the autoregressive layer around them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flowjax.bijections import AbstractBijection
from jaxtyping import Array, Float, Key

# Of a spline: bins, and where it ends, in standard deviations of the Gaussian behind it.
_NUM_BINS, _REACH = 8, 5.0


_LEAST_SCALE, _LEAST_SLOPE, _LEAST_BIN = 1e-2, 1e-3, 1e-3


class Autoregressive(AbstractBijection):
    """An affine masked autoregressive layer: y_i = x_i a_i + b_i with a and b of x before i.

    The network's units are in groups, one for each dimension: group i sees x before i, and number i
    is moved by the groups up to i. So the inverse, which finds the numbers in turn, computes a
    group as soon as it can, and each once; flowjax runs the whole network again for each number.
    """

    of_x: Float[Array, "latent group latent"]
    of_context: Float[Array, "latent group context"]
    bias: Float[Array, "latent group"]
    out: Float[Array, "latent 2 latent group"]
    out_bias: Float[Array, "latent 2"]
    shape: tuple[int, ...] = eqx.field(static=True)
    cond_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, num_latent: int, num_context: int, width: int, *, key: Key[Array, ""]):
        group = -(-width // num_latent)
        seen = num_latent + num_context
        weight = glorot((num_latent * group, seen), key=key).reshape(num_latent, group, seen)
        self.of_x, self.of_context = weight[:, :, :num_latent], weight[:, :, num_latent:]
        self.bias = jnp.zeros((num_latent, group))
        self.out = jnp.zeros((num_latent, 2, num_latent, group))
        self.out_bias = jnp.zeros((num_latent, 2))
        self.shape, self.cond_shape = (num_latent,), (num_context,) if num_context else None

    def transform_and_log_det(self, x: Any, condition: Any = None) -> tuple[Array, Array]:
        _, loc, free_scale = self.moves(x, condition)
        scale = _scale(free_scale)
        return x * scale + loc, jnp.sum(jnp.log(scale))

    def inverse_and_log_det(self, y: Any, condition: Any = None) -> tuple[Array, Array]:
        x = _inverse(self, y, condition)
        return x, -self.transform_and_log_det(x, condition)[1]

    def moves(self, x: Array, condition: Array | None) -> tuple[Array, Array, Array]:
        """The hidden layer, and what moves each number of x, all at once."""
        before = np.tri(x.size, k=-1, dtype=x.dtype)[:, None, :]
        weight = (self.of_x * before).reshape(-1, x.size)
        hidden = jnp.tanh(weight @ x + self.without_x(condition).reshape(-1))
        upto = np.tri(x.size, dtype=x.dtype)[:, None, :, None]
        out = (self.out * upto).reshape(-1, hidden.size) @ hidden
        loc, free_scale = (out.reshape(-1, 2) + self.out_bias).T
        return hidden.reshape(self.bias.shape), loc, free_scale

    def without_x(self, condition: Array | None) -> Float[Array, "latent group"]:
        """What goes into the hidden layer beside x."""
        if condition is None:
            return self.bias
        weight = self.of_context.reshape(-1, condition.size)
        return self.bias + (weight @ condition).reshape(self.bias.shape)


@jax.custom_jvp
def _inverse(layer: Autoregressive, y: Array, condition: Array | None) -> Array:
    """The x whose image is y, one number after another.

    What isn't found yet is zero, which does what the masks do.
    """

    def step(found: tuple[Array, Array], of_one: tuple) -> tuple[tuple[Array, Array], None]:
        x, hidden = found
        index, y, of_x, without_x, out, bias = of_one
        hidden = _replaced(hidden, jnp.tanh(of_x @ x + without_x), index)
        loc, free_scale = out.reshape(2, -1) @ hidden.reshape(-1) + bias
        x_i = (y - loc) / _scale(free_scale)
        return (_replaced(x, x_i, index), hidden), None

    without_x = layer.without_x(condition)
    columns = (
        jnp.arange(y.size, dtype=jnp.uint32),
        y,
        layer.of_x,
        without_x,
        layer.out,
        layer.out_bias,
    )
    (x, _), _ = jax.lax.scan(step, (jnp.zeros_like(y), jnp.zeros_like(without_x)), columns)
    return x


@_inverse.defjvp
def _inverse_jvp(primals, tangents):
    """From y = T(x): J dx = dy − dT at x held, solved in the same order as T is inverted."""
    layer, y, condition = primals
    x = _inverse(layer, y, condition)
    _, moved = jax.jvp(
        lambda layer, condition: layer.transform(x, condition),
        (layer, condition),
        (tangents[0], tangents[2]),
    )
    hidden, _, free_scale = layer.moves(x, condition)
    scale, of_free = jax.jvp(_scale, (free_scale,), (jnp.ones_like(free_scale),))
    of_scale = x * of_free

    def step(found: tuple[Array, Array], of_one: tuple) -> tuple[tuple[Array, Array], None]:
        dx, dhidden = found
        index, rest, of_x, slope, out, of_scale, scale = of_one
        dhidden = _replaced(dhidden, slope * (of_x @ dx), index)
        dloc, dfree = out.reshape(2, -1) @ dhidden.reshape(-1)
        dx_i = (rest - dloc - of_scale * dfree) / scale
        return (_replaced(dx, dx_i, index), dhidden), None

    indices, slope = jnp.arange(y.size, dtype=jnp.uint32), 1 - hidden**2
    columns = (indices, tangents[1] - moved, layer.of_x, slope, layer.out, of_scale, scale)
    (dx, _), _ = jax.lax.scan(step, (jnp.zeros_like(y), jnp.zeros_like(hidden)), columns)
    return x, dx


def _replaced(array: Array, entry: Array, index: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(array, entry, index, 0)


class Affine(AbstractBijection):
    """x a + b with a positive a that doesn't come near zero, at its start the identity."""

    num_parameters: ClassVar[int] = 2
    shape: ClassVar[tuple[int, ...]] = ()
    cond_shape: ClassVar[None] = None
    loc: Array
    free_scale: Array

    def __init__(self, parameters: Float[Array, " parameters"]):
        self.loc, self.free_scale = parameters

    def transform_and_log_det(self, x: Any, condition: Any = None) -> tuple[Array, Array]:
        scale = _scale(self.free_scale)
        return x * scale + self.loc, jnp.log(scale)

    def inverse_and_log_det(self, y: Any, condition: Any = None) -> tuple[Array, Array]:
        scale = _scale(self.free_scale)
        return (y - self.loc) / scale, -jnp.log(scale)


class Spline(AbstractBijection):
    """A monotonic rational-quadratic spline on [-5, 5], and the identity outside.

    Its slope at both ends is that of the identity, so that the density is continuous. With free
    slopes there, as in flowjax, it jumps, and the score that an estimator drops has no longer the
    expectation zero. Bins are picked by masks: a gather and its derivative take far longer.

    References:
        Durkan et al., "Neural spline flows", 2019, eqs. 4-8.
    """

    num_parameters: ClassVar[int] = 3 * _NUM_BINS - 1
    shape: ClassVar[tuple[int, ...]] = ()
    cond_shape: ClassVar[None] = None
    widths: Array
    heights: Array
    slopes: Array

    def __init__(self, parameters: Float[Array, " parameters"]):
        cuts = (_NUM_BINS, 2 * _NUM_BINS)
        self.widths, self.heights, self.slopes = jnp.split(parameters, cuts)

    def transform_and_log_det(self, x: Any, condition: Any = None) -> tuple[Array, Array]:
        inner = jnp.clip(x, -_REACH, _REACH)
        left, width, low, height, first, last = self._bin(inner, by_height=False)
        slope, place = height / width, (inner - left) / width
        both = place * (1 - place)
        below = slope + (first + last - 2 * slope) * both
        y = low + height * (slope * place**2 + first * both) / below
        inside = jnp.abs(x) < _REACH
        return jnp.where(inside, y, x), self._log_slope(inside, slope, place, first, last)

    def inverse_and_log_det(self, y: Any, condition: Any = None) -> tuple[Array, Array]:
        inner = jnp.clip(y, -_REACH, _REACH)
        left, width, low, height, first, last = self._bin(inner, by_height=True)
        slope, above = height / width, inner - low
        bent = above * (first + last - 2 * slope)
        a, b, c = height * (slope - first) + bent, height * first - bent, -slope * above
        place = -2 * c / (b + jnp.sqrt(b**2 - 4 * a * c))
        inside = jnp.abs(y) < _REACH
        x = jnp.where(inside, left + place * width, y)
        return x, -self._log_slope(inside, slope, place, first, last)

    def _bin(self, at: Array, *, by_height: bool) -> tuple[Array, ...]:
        """Left edge and width, lower edge and height, slopes at the ends, of the bin hit."""
        sizes = [
            _LEAST_BIN + (2 * _REACH - _NUM_BINS * _LEAST_BIN) * jax.nn.softmax(free)
            for free in (self.widths, self.heights)
        ]
        before = np.triu(np.ones((_NUM_BINS, _NUM_BINS)), 1)
        edges = [-_REACH + size @ before.astype(size.dtype) for size in sizes]
        reached = at >= edges[by_height][1:]
        hit = jnp.pad(reached, (1, 0), constant_values=True) & ~jnp.pad(reached, (0, 1))
        slopes = jnp.pad(self.slopes, 1)
        columns = (edges[0], sizes[0], edges[1], sizes[1], slopes[:-1], slopes[1:])
        *place, first, last = (jnp.sum(jnp.where(hit, column, 0)) for column in columns)
        ends = (_positive(free, least=_LEAST_SLOPE) for free in (first, last))
        return *place, *ends

    def _log_slope(
        self, inside: Array, slope: Array, place: Array, first: Array, last: Array
    ) -> Array:
        both = place * (1 - place)
        above = last * place**2 + 2 * slope * both + first * (1 - place) ** 2
        below = slope + (first + last - 2 * slope) * both
        log_slope = 2 * jnp.log(slope) + jnp.log(above) - 2 * jnp.log(below)
        return jnp.where(inside, log_slope, 0)


def _scale(free: Array) -> Array:
    return _positive(free, least=_LEAST_SCALE)


def _positive(free: Array, *, least: float) -> Array:
    """Softplus above a least value, one at zero."""
    return jax.nn.softplus(free + math.log(math.expm1(1 - least))) + least


def glorot(shape: tuple[int, ...], *, key: Key[Array, ""]) -> Array:
    """Weights from a uniform, with as much variance backward as forward."""
    limit = math.sqrt(6 / sum(shape))
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)
