"""The bound of a numpyro program block by block, in one pass over the draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PyTree

from tighter._chunks import map_chunks
from tighter._derivatives import tap, with_gradient_of
from tighter._errors import InputError
from tighter._resampling import systematic
from tighter.gradients import Coefficients, Reparameterized
from tighter.integrations._numpyro_program import Densities, Parameters, Program
from tighter.integrations._numpyro_sites import Blocks, Latents
from tighter.objectives.log_weights import Drawn, surrogate, with_axes_of_coefficients
from tighter.objectives.objective import Objective


class Blockwise:
    """K draws of all latents, and a bound for each block: `tighter.Objective` with blocks.

    Args:
        objective: Bound, estimator, numbers of draws.
        program: Model and guide.
        keys: One for each of the M·K draws.
    """

    def __init__(self, objective: Objective, program: Program, keys: Array) -> None:
        self.objective = objective
        self.program = program
        self.keys = keys
        self.resampled = (objective.num_backward or objective.num_samples) < objective.num_samples

    def bound(self, parameters: Parameters) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The bound with the estimator as its derivative, and the first draw's mutable state."""
        gradient = self.objective.gradient
        held = stop_gradient(dict(parameters))
        num = self.objective.num_samples
        blocks, zero = first_blocks(self.program, held, self.keys[0], self.objective, num)
        check_subsampling(self.objective, blocks.subsampled)
        # (a, -a, a) is the derivative of a (log p - log q) with no stop.
        if isinstance(gradient, Reparameterized) and not self.resampled:
            densities = self._over_draws(self._densities(parameters), self.keys)
            drawn = Drawn(densities.log_model.inside - densities.log_guide.inside)
            value, coefficients = self._coefficients(drawn.log_weight, blocks)
            total = jnp.sum(surrogate(drawn, coefficients))
            return with_gradient_of(value, total), _first(densities.mutable)

        if not self.resampled:
            drawn, mutable = self._pass(parameters, self.keys, blocks, zero)
            value, coefficients = self._coefficients(drawn.log_weight, blocks)
            return with_gradient_of(value, jnp.sum(surrogate(drawn, coefficients))), mutable

        # All draws forward, with their score; few of them again, to go back through the model.
        used = parameters if gradient.uses_path else held
        latents = self._over_draws(lambda key: self.program.draw(used, key), self.keys)
        fixed = stop_gradient(latents)
        densities = self._over_draws(self._densities(held), self.keys, fixed)
        log_weights = densities.log_model.inside - densities.log_guide.inside
        value, coefficients = self._coefficients(log_weights, blocks)
        total = jnp.zeros(())
        if gradient.uses_score:
            log_density = self._over_draws(
                lambda key, z: self.program.log_guide(parameters, key, z, blocks).inside,
                self.keys, fixed,
            )  # fmt: skip
            total = jnp.sum(coefficients.score * log_density)
        keys, few, coefficients = self._picked(latents, coefficients, blocks)
        drawn, _ = self._pass(parameters, keys, blocks, zero, few)
        total = total + jnp.sum(surrogate(drawn, coefficients))
        return with_gradient_of(value, total), _first(densities.mutable)

    def _pass(
        self,
        parameters: Parameters,
        keys: Array,
        blocks: Blocks,
        zero: Float[Array, ""],
        *few: Latents,
    ) -> tuple[Drawn, dict[str, Any]]:
        """What the draws give, path and score apart, and the first one's mutable state.

        Draws that are given are few of all, whose score stands elsewhere.
        """
        program, gradient = self.program, self.objective.gradient
        held = stop_gradient(dict(parameters))
        factorized = not few and program.is_factorized(held, keys[0])

        def one(key: Array, zero: Array, *few: Latents) -> tuple[Drawn, dict[str, Any]]:
            def lead(z: Latents) -> tuple[Latents, tuple[Array, Array] | None]:
                fixed = stop_gradient(z)
                if not gradient.uses_path:
                    return fixed, None
                if gradient.path_is_model(self.objective.followed):
                    return z, None
                return tap_blocks(fixed, z, zero, blocks)

            latents = few[0] if few else None
            led, zeros = program.led(
                parameters, key, lead, blocks, latents=latents, factorized=factorized
            )
            drawn = Drawn(led.log_model.inside - led.log_guide.inside, tapped=zeros)
            if gradient.uses_score and not few:
                drawn = drawn._replace(log_density=led.log_density.inside)
            return drawn, led.mutable

        zeros = jnp.broadcast_to(zero, (*keys.shape[:1], *blocks.sizes.values()))
        drawn, mutable = self._over_draws(one, keys, zeros, *few)
        return drawn, _first(mutable)

    def _densities(self, parameters: Parameters) -> Callable[..., Densities]:
        return lambda key, z=None: self.program.densities(parameters, key, z)[0]

    def _over_draws(self, function: Callable[..., PyTree], *columns: PyTree) -> PyTree:
        return over_draws(function, columns, self.objective.chunk_size)

    def _picked(
        self, latents: Latents, coefficients: Coefficients, blocks: Blocks
    ) -> tuple[Array, Latents, Coefficients]:
        """Few of the draws, for each block its own: keys, latents, coefficients."""
        model, _, path = coefficients
        picked, factor = self._resample(jnp.maximum(jnp.abs(model), jnp.abs(path)))
        # Where there is one block, these are the draws' keys.
        keys = self.keys[picked.reshape(picked.shape[0], -1)[:, 0]]
        model, path = (factor * jnp.take_along_axis(c, picked, axis=0) for c in (model, path))
        few = {}
        for name, z in latents.items():
            places = jax.vmap(lambda values, z=z[0], name=name: blocks.beside(values, name, z))
            few[name] = jnp.take_along_axis(z, places(picked), axis=0)
        return keys, few, Coefficients(model, jnp.zeros_like(model), path)

    def _coefficients(self, log_weights: Array, blocks: Blocks) -> tuple[Array, Coefficients]:
        """The bound of the whole data set, and what multiplies each draw's gradients by block."""
        bound, gradient = self.objective.bound, self.objective.gradient
        log_weights = stop_gradient(log_weights)
        factor = blocks.scale / self.objective.num_outer
        columns = self._columns(log_weights)
        coefficients = jax.vmap(jax.vmap(lambda column: gradient.coefficients(bound, column)))(
            columns
        )
        value = factor * jnp.sum(jax.vmap(jax.vmap(bound))(columns))
        return value, Coefficients(
            *(factor * _rows(c, log_weights.shape[1:]) for c in coefficients)
        )

    def _resample(self, magnitudes: Array) -> tuple[Array, Array]:
        """For each block of each of the M bounds: draws, and one over their expected counts."""
        num = self.objective.num_backward
        assert num is not None
        columns = self._columns(magnitudes)
        # Draws' keys are split, and never folded.
        keys = random.split(random.fold_in(self.keys[0], 2**32 - 1), columns.shape[:2])
        resample = jax.vmap(jax.vmap(lambda column, key: systematic(column, num, key=key)))
        picked, factor = resample(columns, keys)
        first = self.objective.num_samples * jnp.arange(self.objective.num_outer)
        picked = picked + first[:, None, None]
        return _rows(picked, magnitudes.shape[1:]), _rows(factor, magnitudes.shape[1:])

    def _columns(self, rows: Array) -> Array:
        """(M·K, *blocks) to (M, all blocks, K)."""
        grouped = rows.reshape(self.objective.num_outer, self.objective.num_samples, -1)
        return jnp.swapaxes(grouped, 1, 2)


def over_draws(
    function: Callable[..., PyTree], columns: tuple[PyTree, ...], chunk_size: int | None
) -> PyTree:
    """A function of every draw, a chunk of draws at a time."""
    num = columns[0].shape[0]
    if num == 1:
        first = jax.tree.map(lambda leaf: leaf[0], columns)
        return jax.tree.map(lambda leaf: leaf[None], function(*first))
    if chunk_size is None or chunk_size >= num:
        return jax.vmap(function)(*columns)

    @jax.checkpoint
    def chunk(positions: Array) -> PyTree:
        return jax.vmap(function)(*jax.tree.map(lambda leaf: leaf[positions], columns))

    return map_chunks(chunk, num, chunk_size)


def first_blocks(
    program: Program, held: Parameters, key: Array, objective: Objective, *nums: int
) -> tuple[Blocks, Float[Array, ""]]:
    """What the blocks are, and a zero for `tap`, of one draw.

    The zero has the axes of every `vmap` around that log weights have, or the coefficients of as
    many draws as are named; the compiler leaves out what it is made of.
    """
    densities, blocks = program.densities(held, key)
    parts = jax.tree.leaves((densities.log_model, densities.log_guide))
    one = jnp.sum(jnp.stack([jnp.sum(part) for part in parts]))
    for num in nums:
        one = with_axes_of_coefficients(one, objective.gradient, objective.bound, num)
    return blocks, jnp.where(False, one, 0)  # noqa: FBT003


def tap_blocks(
    z: Latents, other: Latents, zeros: Array, blocks: Blocks
) -> tuple[Latents, tuple[Array, Array]]:
    """Each site of one draw through a tap of its own, with a factor a block."""
    tapped, sums = dict(z), [zeros, zeros]
    for name, value in z.items():
        if jnp.issubdtype(value.dtype, jnp.inexact):
            beside = blocks.beside(zeros, name, value)
            tapped[name], *came = tap(value, other[name], beside, beside)
            sums = [total + one.reshape(zeros.shape) for total, one in zip(sums, came, strict=True)]
    return tapped, (sums[0], sums[1])


def check_subsampling(objective: Objective, subsampled: tuple[str, ...]) -> None:
    """Refuse scaled log weights within a logarithm.

    Raises:
        InputError: If there are any.
    """
    if subsampled and not (objective.bound.is_linear or objective.num_samples == 1):
        raise InputError(
            f"the subsampled plate {subsampled[0]!r} is not around every site of model and guide, "
            f"and {type(objective.bound).__name__} of scaled log weights is no bound: take the "
            "bound ELBO(), local_plate with num_samples=1, or no subsampling"
        )


def _first(tree: PyTree) -> PyTree:
    """Of the first draw."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _rows(columns: Array, blocks: tuple[int, ...]) -> Array:
    """(M, all blocks, draws) to (M·draws, *blocks)."""
    return jnp.swapaxes(columns, 1, 2).reshape(-1, *blocks)
