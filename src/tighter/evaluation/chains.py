"""The path from a start to p(x, z), and chains moved along it: step sizes adapted, then held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree
from numpyro.distributions import Distribution, biject_to

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._programs import compiled
from tighter._protocols import Posterior
from tighter._rows import Rows, check_scalar
from tighter.distributions import Chain, draw, name_of

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


class Path(eqx.Module):
    r"""From q(z) to p(x, z) for one example, $\log f_\beta = (1 - \beta) \log q + \beta \log p$.

    A position is z itself, or where q's support is constrained (positive, a simplex, ...) what
    numpyro's `biject_to` makes it of; $f_\beta$ is a density of positions.

    Attributes:
        x: The example.
        log_joint: z -> log p(x, z), in nats.
        start: q, normalized.
        spread: Half of the range of the middle 68 % of q's draws, for each number of a position.
    """

    x: PyTree
    log_joint: Callable[[Any], Array]
    start: Any
    spread: PyTree

    def log_density(self, position: PyTree, temperature: Float[Array, ""]) -> Float[Array, ""]:
        """Log f_β of a position at β = `temperature`, in nats."""
        log_start, log_ratio = self._parts(position)
        # At β = 0 a ratio that is not finite has no say.
        return log_start + jnp.where(temperature == 0, 0, temperature * log_ratio)

    def log_ratio(self, position: PyTree) -> Float[Array, ""]:
        """The derivative of log f_β with respect to β: log p(x, z) − log q(z), in nats."""
        return self._parts(position)[1]

    def _parts(self, position: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z, log_determinant = _from_reals(self.start, position)
        log_joint = check_scalar(self.log_joint(z), "log_joint(z)", "sum the log densities")
        log_start = check_scalar(self.start.log_prob(z), "log_prob(z)", "write .to_event()")
        return log_start + log_determinant, log_joint - log_start


@runtime_checkable
class Transition(Protocol):
    """What moves a chain: any callable that leaves a path's f_β as it is."""

    def __call__(
        self,
        position: PyTree,
        path: Path,
        temperature: Float[Array, ""],
        step_size: Float[Array, ""],
        *,
        key: Key[Array, ""],
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The next position, and the rate of acceptance, that `step_size` is adapted by."""
        ...


class Hamiltonian(eqx.Module):
    """A Hamiltonian Monte Carlo transition (blackjax).

    Step sizes are in units of the path's `spread`, and vary by half around the one given from one
    transition to the next, so that no trajectory keeps closing on itself.

    Args:
        num_leapfrog: Leapfrog steps.

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011, secs. 3.2, 4.1 and 4.2.
    """

    num_leapfrog: int = eqx.field(static=True, default=10)

    def __call__(
        self,
        position: PyTree,
        path: Path,
        temperature: Float[Array, ""],
        step_size: Float[Array, ""],
        *,
        key: Key[Array, ""],
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The next position, and the acceptance probability of the proposal."""
        check_installed("blackjax")
        # Imported late: it takes two seconds, that training need not wait for.
        from blackjax.mcmc import hmc

        def log_density(position: PyTree) -> Float[Array, ""]:
            return path.log_density(position, temperature)

        varying_key, proposal_key = jax.random.split(key)
        factor = jax.random.uniform(varying_key, dtype=step_size.dtype, minval=0.5, maxval=1.5)
        kernel: Any = hmc.build_kernel()
        state, info = kernel(
            proposal_key,
            hmc.init(position, log_density),
            log_density,
            factor * step_size,
            ravel_pytree(path.spread)[0] ** 2,
            self.num_leapfrog,
        )
        return state.position, info.acceptance_rate


def _to_reals(start: Any, z: PyTree) -> PyTree:
    """The position of z."""
    if isinstance(start, Chain):
        return {name: _to_reals(part, z[name]) for name, part in _conditionals(start, z)}
    return _bijection(start).inv(z) if isinstance(start, Distribution) else z


def _from_reals(start: Any, position: PyTree) -> tuple[PyTree, Any]:
    """The z of a position, and the log determinant of dz/dposition."""
    if isinstance(start, Chain):
        z, total = {}, 0.0
        for name, part in _conditionals(start, z):
            z[name], log_determinant = _from_reals(part, position[name])
            total = total + log_determinant
        return z, total
    if not isinstance(start, Distribution):
        return position, 0.0
    bijection = _bijection(start)
    z = bijection(position)
    return z, jnp.sum(bijection.log_abs_det_jacobian(position, z))


def _conditionals(chain: Chain, z: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each latent's distribution given those before it, whose values are read as they come."""
    given: dict[str, Any] = {}
    for name, part in zip(chain.names, chain.parts, strict=True):
        yield name, part if isinstance(part, Posterior) else part(given)
        given = {**given, name: z[name]}


def _bijection(start: Distribution) -> Any:
    try:
        return biject_to(start.support)
    except NotImplementedError as error:
        raise InputError(
            f"annealing moves latents in unconstrained space, and {name_of(start)} has a support "
            f"that numpyro's biject_to has no map to: {start.support}"
        ) from error


def _spread_of(draws: Float[Array, "draws ..."]) -> Float[Array, ...]:
    """Half of the range of the middle 68 %: the standard deviation of a normal, and robust."""
    low, high = jnp.quantile(draws, jnp.array([0.16, 0.84], draws.dtype), axis=0)
    half = (high - low) / 2
    return jnp.where((half > 0) & jnp.isfinite(half), half, 1)


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

    def of_example(x: PyTree, batched: PyTree, chains: _Chains, given: Array):
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

    return jax.vmap(of_example)(rows.xs, rows.batched, chains, given)


@compiled
def _begin(rows: Rows, z: PyTree | None, num_chains: int) -> tuple[_Chains, _Chains]:
    """Chains at their start, forward or in reverse, and others for the adaptation, forward."""

    def begin_example(
        x: PyTree, batched: PyTree, key: Array, z: PyTree | None
    ) -> tuple[_Chains, _Chains]:
        start = eqx.combine(batched, rows.shared)
        keys = jax.random.split(key, _SPREAD_DRAWS + 4 * num_chains)
        ends = _SPREAD_DRAWS + num_chains * np.arange(4)
        drawn = jax.vmap(lambda key: _to_reals(start, draw(start, key=key)))(keys[: ends[2]])
        of_spread, begin, other = (
            jax.tree.map(lambda leaf, part=part: leaf[part], drawn)
            for part in (slice(ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2]))
        )
        spread = jax.tree.map(_spread_of, of_spread)
        if z is not None:
            begin = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), _to_reals(start, z)
            )
        return (
            _Chains(begin, spread, keys[ends[2] : ends[3]]),
            _Chains(other, spread, keys[ends[3] :]),
        )

    return jax.vmap(begin_example)(rows.xs, rows.batched, rows.keys, z)
