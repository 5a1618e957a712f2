"""Chains moved along the annealing path: step sizes adapted first, then held."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from tighter._programs import compiled
from tighter._rows import Rows
from tighter.distributions import draw
from tighter.evaluation.path import Path, Transition, spread_of, to_reals

# Temperatures in one call of the compiled loop, whose length is an argument: one program serves
# any number of them, and between calls there is room for progress and Ctrl-C.
_SEGMENT = 64


# Step sizes are adapted at this many points of the path, and before at its start, as often as it
# takes to come there from a first size a hundred times off.
_KNOTS = 64


_SETTLING = 16


_GAIN = 1.0


_ACCEPTANCE = 0.7


# Draws of the start whose spread is the unit of the step sizes.
_SPREAD_DRAWS = 64


class Annealing(NamedTuple):
    """How to anneal, checked; `temperatures` rise from 0 to 1."""

    temperatures: Float[np.ndarray, " steps_and_one"]
    num_chains: int
    transition: Transition
    step_size: float
    start: str


class _Chains(NamedTuple):
    """The chains of a block of examples."""

    position: PyTree
    spread: PyTree
    keys: Key[Array, "batch chains"]


def anneal_block(
    annealing: Annealing, rows: Rows, z: PyTree | None, advance: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log weights (batch, chains), and for each example mean acceptance and mean step size."""
    chains, others = _begin(rows, z, annealing.num_chains)
    log_step_sizes = _adapt(annealing, rows, others)
    betas = annealing.temperatures
    places = np.linspace(0, _KNOTS, betas.size)
    if z is not None:
        betas, places = betas[::-1], places[::-1]
    left = np.minimum(places[:-1].astype(int), _KNOTS - 1)
    share = places[:-1] - left
    log_weights, acceptances = np.zeros((2, *chains.keys.shape))
    for first in range(0, betas.size - 1, _SEGMENT):
        some = slice(first, first + _SEGMENT)
        below, above = log_step_sizes[:, left[some]], log_step_sizes[:, left[some] + 1]
        held = (1 - share[some]) * below + share[some] * above
        chains, growth, accepted, _ = _advance(
            annealing.transition, rows, chains, betas[first : first + _SEGMENT + 1], held, first
        )
        # Segments are summed in double precision: thousands of small steps lose in float32.
        log_weights += growth
        acceptances += accepted
        advance(held.shape[1])
    return (
        log_weights,
        acceptances.mean(axis=1) / (betas.size - 1),
        np.exp(log_step_sizes).mean(axis=1),
    )


def _adapt(annealing: Annealing, rows: Rows, chains: _Chains) -> np.ndarray:
    """Log step sizes (batch, knots) along the path, by stochastic approximation.

    The chains of an example share them. The gain is constant: what it follows moves.
    """
    betas = annealing.temperatures
    knots = np.interp(np.linspace(0, betas.size - 1, _KNOTS + 1), np.arange(betas.size), betas)
    betas = np.concatenate([np.zeros(_SETTLING), knots, [1]])
    adapted = np.full((chains.keys.shape[0], 1), math.log(annealing.step_size))
    parts = []
    for first in range(0, betas.size - 1, _SEGMENT):
        some = betas[first : first + _SEGMENT + 1]
        given = np.repeat(adapted[:, -1:], some.size - 1, axis=1)
        chains, _, _, adapted = _advance(
            annealing.transition, rows, chains, some, given, first, gain=_GAIN
        )
        parts.append(adapted)
    return np.concatenate(parts, axis=1)[:, _SETTLING:]


def _advance(
    transition: Transition,
    rows: Rows,
    chains: _Chains,
    temperatures: np.ndarray,
    log_step_sizes: np.ndarray,
    first: int,
    *,
    gain: float = 0.0,
) -> tuple[_Chains, np.ndarray, np.ndarray, np.ndarray]:
    """Chains moved at each temperature but the last, in a program for any number up to a segment.

    Returns:
        The chains, the growth of their log weights, the sums of their acceptances, and the log
        step sizes (batch, temperatures) as adapted by a gain above zero.
    """
    count = temperatures.size - 1
    padding = (0, _SEGMENT - count)
    moved, *results = _loop(
        transition,
        rows,
        chains,
        np.pad(temperatures, padding, mode="edge"),
        np.pad(log_step_sizes, ((0, 0), padding), mode="edge"),
        *(np.asarray(number) for number in (gain, first, count)),
    )
    growth, accepted, adapted = (np.asarray(part, np.float64) for part in results)
    return moved, growth, accepted, adapted[:, :count]


@compiled
def _loop(
    transition: Transition,
    rows: Rows,
    chains: _Chains,
    temperatures: Float[ArrayLike, " segment_and_one"],
    log_step_sizes: Float[ArrayLike, "batch segment"],
    gain: Float[ArrayLike, ""],
    first: Int[ArrayLike, ""],
    count: Int[ArrayLike, ""],
) -> tuple[_Chains, Array, Array, Array]:
    dtype = jnp.result_type(*jax.tree.leaves(chains.position))
    betas, given, gain = (jnp.asarray(part, dtype) for part in (temperatures, log_step_sizes, gain))

    def one(x: PyTree, batched: PyTree, chains: _Chains, given: Array):
        path = Path(x, rows.log_joint_of(x), eqx.combine(batched, rows.shared), chains.spread)

        def step(i: Int[Array, ""], carry):
            position, log_weights, acceptances, shift, adapted = carry

            def move(position: PyTree, key: Array):
                key = jax.random.fold_in(key, first + i)
                step_size = jnp.exp(given[i] + shift)
                position, acceptance = transition(position, path, betas[i], step_size, key=key)
                growth = (betas[i + 1] - betas[i]) * path.log_ratio(position)
                return position, growth.astype(dtype), acceptance

            position, growth, acceptance = jax.vmap(move)(position, chains.keys)
            shift = shift + gain * (jnp.mean(acceptance) - _ACCEPTANCE)
            adapted = adapted.at[i].set(given[i] + shift)
            return position, log_weights + growth, acceptances + acceptance, shift, adapted

        zeros = jnp.zeros(chains.keys.shape, dtype)
        carry = (chains.position, zeros, zeros, jnp.zeros((), dtype), given)
        position, log_weights, acceptances, _, adapted = jax.lax.fori_loop(0, count, step, carry)
        return chains._replace(position=position), log_weights, acceptances, adapted

    return jax.vmap(one)(rows.xs, rows.batched, chains, given)


@compiled
def _begin(rows: Rows, z: PyTree | None, num_chains: int) -> tuple[_Chains, _Chains]:
    """Chains at their start, forward or in reverse, and others for the adaptation, forward."""

    def one(x: PyTree, batched: PyTree, key: Array, z: PyTree | None) -> tuple[_Chains, _Chains]:
        start = eqx.combine(batched, rows.shared)
        keys = jax.random.split(key, _SPREAD_DRAWS + 4 * num_chains)
        ends = _SPREAD_DRAWS + num_chains * np.arange(4)
        drawn = jax.vmap(lambda key: to_reals(start, draw(start, key=key)))(keys[: ends[2]])
        of_spread, begin, other = (
            jax.tree.map(lambda leaf, part=part: leaf[part], drawn)
            for part in (slice(ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2]))
        )
        spread = jax.tree.map(spread_of, of_spread)
        if z is not None:
            begin = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), to_reals(start, z)
            )
        return (
            _Chains(begin, spread, keys[ends[2] : ends[3]]),
            _Chains(other, spread, keys[ends[3] :]),
        )

    return jax.vmap(one)(rows.xs, rows.batched, rows.keys, z)
