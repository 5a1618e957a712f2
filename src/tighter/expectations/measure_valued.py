"""Measure-valued derivatives, coupled: f under a parameter's positive and its negative part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key

from tighter._derivatives import with_gradient_of, without_derivative
from tighter.distributions import stop_parameters
from tighter.expectations.families import BERNOULLIS, CATEGORICALS, base_of, scalar


class Part(NamedTuple):
    """The weak derivative with respect to one parameter of one coordinate.

    Attributes:
        parameter: The parameter, with its derivative.
        constant: c, which multiplies the difference.
        positive: A draw from the positive part.
        negative: One from the negative part, coupled to it.
    """

    parameter: Array
    constant: Array
    positive: Array
    negative: Array


def can_measure(distribution: Any) -> bool:
    """Whether the weak derivatives of its coordinates are known."""
    return any(isinstance(base_of(distribution), family) for family, _, _ in _FAMILIES)


def measure_valued(
    f: Callable[[Any], Array], distribution: Any, num: int, key: Key[Array, ""]
) -> Float[Array, ""]:
    """Mean of f, with the mean of its differences as derivative, coordinate by coordinate."""
    base, shape = base_of(distribution), distribution.event_shape
    names, parts_of = next(
        (names, parts) for family, names, parts in _FAMILIES if isinstance(base, family)
    )
    size, held, value_of = math.prod(shape), stop_parameters(distribution), scalar(f)
    own = 1 if isinstance(base, CATEGORICALS) else 0

    def rows(parameter: Any) -> Array:
        parameter = jnp.asarray(parameter)
        tail = parameter.shape[parameter.ndim - own :]
        return jnp.broadcast_to(parameter, (*shape, *tail)).reshape(-1, *tail)

    parameters = [rows(getattr(base, name)) for name in names]

    def of_draw(key: Key[Array, ""]) -> tuple[Array, Array]:
        draw_key, parts_key = jax.random.split(key)
        w = jax.lax.stop_gradient(held.sample(draw_key))
        flat = w.reshape(-1)

        def coordinate(index: Array, parameters: list[Array], key: Key[Array, ""]) -> Array:
            total = jnp.zeros(())
            for part in parts_of(*parameters, key=key):
                ends = jnp.stack([part.positive, part.negative]).astype(w.dtype)
                fs = jax.vmap(lambda end: value_of(flat.at[index].set(end).reshape(shape)))(ends)
                slope = jax.lax.stop_gradient(part.constant * (fs[0] - fs[1]))
                total = total + slope * part.parameter
            return total

        keys = jax.random.split(parts_key, size)
        return value_of(w), jnp.sum(jax.vmap(coordinate)(jnp.arange(size), parameters, keys))

    values, slopes = jax.vmap(of_draw)(jax.random.split(key, num))
    return with_gradient_of(jnp.mean(values), jnp.mean(values) + jnp.mean(slopes))


def _normal(loc: Array, scale: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Location: a Weibull pair, mirrored. Scale: a double-sided Maxwell, and it times a uniform."""
    weibull_key, maxwell_key, sign_key, uniform_key = jax.random.split(key, 4)
    at, width = jax.lax.stop_gradient((loc, scale))
    weibull = width * jnp.sqrt(2 * jax.random.exponential(weibull_key))
    sign = jax.random.rademacher(sign_key, dtype=width.dtype)
    maxwell = width * sign * jnp.sqrt(2 * jax.random.gamma(maxwell_key, 1.5))
    uniform = jax.random.uniform(uniform_key)
    return [
        Part(loc, 1 / (width * jnp.sqrt(2 * jnp.pi)), at + weibull, at - weibull),
        Part(scale, 1 / width, at + maxwell, at + maxwell * uniform),
    ]


def _log_normal(loc: Array, scale: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Those of the logarithm."""
    return [
        part._replace(positive=jnp.exp(part.positive), negative=jnp.exp(part.negative))
        for part in _normal(loc, scale, key=key)
    ]


def _gamma(concentration: Array, rate: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Rate: Gamma(α) less Gamma(α + 1), the second being the first plus an exponential."""
    concentration = without_derivative(
        concentration,
        "MeasureValued has no derivative for the concentration of Gamma: use Reparameterized, or "
        "stop it (jax.lax.stop_gradient)",
    )
    held = jax.lax.stop_gradient(rate)
    gamma_key, exponential_key = jax.random.split(key)
    positive = jax.random.gamma(gamma_key, concentration) / held
    negative = positive + jax.random.exponential(exponential_key) / held
    return [Part(rate, concentration / held, positive, negative)]


def _exponential(rate: Array, *, key: Key[Array, ""]) -> list[Part]:
    """A gamma of concentration 1."""
    return _gamma(jnp.ones_like(rate), rate, key=key)


def _poisson(rate: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Rate: one more event, less none."""
    count = jax.random.poisson(key, jax.lax.stop_gradient(rate))
    return [Part(rate, jnp.ones_like(rate), count + 1, count)]


def _bernoulli(probs: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Probability: on, less off."""
    off = jnp.zeros((), int)
    return [Part(probs, jnp.ones_like(probs), off + 1, off)]


def _categorical(logits: Array, *, key: Key[Array, ""]) -> list[Part]:
    """Each logit: its category, less a draw from the others."""
    log_probs = jax.lax.stop_gradient(jax.nn.log_softmax(logits))
    size = logits.shape[0]
    others = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, log_probs[None, :])
    negatives = jax.random.categorical(key, others, axis=-1)
    probs = jnp.exp(log_probs)
    constants = probs * (1 - probs)
    return [Part(logits[j], constants[j], jnp.asarray(j), negatives[j]) for j in range(size)]


# Family, its parameters, and the parts of one coordinate's weak derivatives.
_FAMILIES: list[tuple[Any, tuple[str, ...], Callable[..., list[Part]]]] = [
    (dist.LogNormal, ("loc", "scale"), _log_normal),
    (dist.Normal, ("loc", "scale"), _normal),
    (dist.Gamma, ("concentration", "rate"), _gamma),
    (dist.Exponential, ("rate",), _exponential),
    (dist.Poisson, ("rate",), _poisson),
    (BERNOULLIS, ("probs",), _bernoulli),
    (CATEGORICALS, ("logits",), _categorical),
]
