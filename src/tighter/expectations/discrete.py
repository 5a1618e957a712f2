"""Finite supports: the exact sum, antithetic pairs for Bernoullis, relaxations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._derivatives import with_gradient_of
from tighter.expectations.families import base_of, is_bernoulli, scalar, support_of
from tighter.gradients import ARM, DisARM, GumbelSoftmax


def enumerated(f: Callable[[Any], Array], distribution: Any) -> Float[Array, ""]:
    """The sum over the support, differentiated as it stands."""
    points = support_of(distribution)
    log_probs = jax.vmap(distribution.log_prob)(points)
    return jnp.sum(jnp.exp(log_probs) * jax.vmap(scalar(f))(points))


def antithetic_pairs(
    f: Callable[[Any], Array],
    distribution: Any,
    gradient: DisARM | ARM,
    num: int,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """DisARM or ARM over (num + 1) // 2 pairs."""
    logits = jnp.broadcast_to(base_of(distribution).logits, distribution.event_shape)
    held = jax.lax.stop_gradient(logits)
    kind = jax.eval_shape(lambda key: distribution.sample(key), key).dtype

    def pair(key: Key[Array, ""]) -> tuple[Array, Array]:
        uniform = jax.random.uniform(key, held.shape, held.dtype)
        bits, mirrored = uniform > jax.nn.sigmoid(-held), uniform < jax.nn.sigmoid(held)
        values = jax.vmap(scalar(f))(jnp.stack([bits, mirrored]).astype(kind))
        difference = jax.lax.stop_gradient(values[0] - values[1])
        if isinstance(gradient, ARM):
            slope = difference * (uniform - 0.5)
        else:
            sign = jnp.where(bits == mirrored, 0.0, jnp.where(mirrored, -1.0, 1.0))
            slope = 0.5 * difference * sign * jax.nn.sigmoid(jnp.abs(held))
        return jnp.mean(values), jnp.sum(jax.lax.stop_gradient(slope) * logits)

    values, slopes = jax.vmap(pair)(jax.random.split(key, (num + 1) // 2))
    return with_gradient_of(jnp.mean(values), jnp.mean(values) + jnp.mean(slopes))


def relaxed(
    f: Callable[[Any], Array],
    distribution: Any,
    gradient: GumbelSoftmax,
    num: int,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Mean of f over relaxed draws: differentiable, and biased."""
    logits = base_of(distribution).logits

    def of_draw(key: Key[Array, ""]) -> Array:
        if is_bernoulli(distribution):
            wide = jnp.broadcast_to(logits, distribution.event_shape)
            noise = jax.random.logistic(key, wide.shape, wide.dtype)
            soft = jax.nn.sigmoid((wide + noise) / gradient.temperature)
            hard = jnp.round(soft)
        else:
            wide = jnp.broadcast_to(logits, (*distribution.event_shape, logits.shape[-1]))
            noise = jax.random.gumbel(key, wide.shape, wide.dtype)
            soft = jax.nn.softmax((wide + noise) / gradient.temperature)
            hard = jax.nn.one_hot(jnp.argmax(soft, axis=-1), wide.shape[-1], dtype=soft.dtype)
        if gradient.straight_through:
            soft = with_gradient_of(jax.lax.stop_gradient(hard), soft)
        return scalar(f)(soft)

    return jnp.mean(jax.vmap(of_draw)(jax.random.split(key, num)))
