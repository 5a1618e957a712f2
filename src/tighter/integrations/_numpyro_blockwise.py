"""The bound of a numpyro program block by block, in two passes over the draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PyTree

from tighter._chunks import map_chunks
from tighter._derivatives import scale_derivative, with_gradient_of
from tighter._errors import InputError
from tighter._resampling import systematic
from tighter.gradients import Coefficients, Reparameterized
from tighter.integrations._numpyro_program import Blocks, Densities, Latents, Parameters, Program
from tighter.objective import Objective


class Blockwise:
    """K draws of all latents, and a bound for each block: `tighter.objective` with blocks.

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
        held = stop_gradient(dict(parameters))
        # (a, -a, a) is the derivative of a (log p - log q) with no stop: one pass is enough.
        total = isinstance(self.objective.gradient, Reparameterized) and not self.resampled
        densities, blocks = self._densities(parameters if total else held)
        check_subsampling(self.objective, blocks.subsampled)
        log_weights = densities.log_model.inside - densities.log_guide.inside
        value, coefficients = self._coefficients(stop_gradient(log_weights), blocks)
        mutable = jax.tree.map(lambda leaf: leaf[0], densities.mutable)
        if total:
            return with_gradient_of(value, jnp.sum(coefficients.model * log_weights)), mutable
        given = stop_gradient(densities.latents)
        surrogate = self._surrogate(parameters, held, given, coefficients, blocks)
        return with_gradient_of(value, surrogate), mutable

    def _surrogate(
        self,
        parameters: Parameters,
        held: Parameters,
        latents: Latents,
        coefficients: Coefficients,
        blocks: Blocks,
    ) -> Float[Array, ""]:
        """A number with the derivative of the coefficients' sum."""
        program, gradient = self.program, self.objective.gradient
        surrogate = jnp.zeros(())
        if gradient.uses_score:

            def score_term(key: Array, z: Latents, score: Array) -> Array:
                return score * program.log_guide(parameters, key, z, blocks).inside

            columns = (self.keys, latents, coefficients.score)
            surrogate = jnp.sum(over_draws(score_term, columns, self.objective.chunk_size))

        keys, model, path = self.keys, coefficients.model, coefficients.path
        if gradient.uses_path:
            latents = over_draws(
                lambda key: program.draw(parameters, key), (keys,), self.objective.chunk_size
            )
        if self.resampled:
            picked, factor = self._resample(jnp.maximum(jnp.abs(model), jnp.abs(path)))
            # Each block has its own draws; where there is one block, these are the draws' keys.
            keys = keys[picked.reshape(picked.shape[0], -1)[:, 0]]
            model, path = (factor * jnp.take_along_axis(c, picked, axis=0) for c in (model, path))
            latents = {
                name: jnp.take_along_axis(z, blocks.beside(picked, name, z), axis=0)
                for name, z in latents.items()
            }
        if gradient.uses_path:
            model, ratio = path_ratio(model, path)
            latents = {
                name: scale_derivatives(z, blocks.beside(ratio, name, z))
                for name, z in latents.items()
            }

        def term(key: Array, z: Latents, model: Array) -> Array:
            log_weight = program.log_model(parameters, key, z, blocks).inside
            if gradient.uses_path:
                log_weight = log_weight - program.log_guide(held, key, z, blocks).inside
            return model * log_weight

        terms = over_draws(term, (keys, latents, model), self.objective.chunk_size)
        return surrogate + jnp.sum(terms)

    def _densities(self, parameters: Parameters) -> tuple[Densities, Blocks]:
        found = []

        def one(key: Array) -> Densities:
            densities, blocks = self.program.densities(parameters, key)
            found.append(blocks)
            return densities

        return over_draws(one, (self.keys,), self.objective.chunk_size), found[0]

    def _coefficients(self, log_weights: Array, blocks: Blocks) -> tuple[Array, Coefficients]:
        """The bound of the whole data set, and what multiplies each draw's gradients by block."""
        bound, gradient = self.objective.bound, self.objective.gradient
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


def path_ratio(model: Array, path: Array) -> tuple[Array, Array]:
    """Model coefficients, and how many times as far their draws are to move."""
    # As in `tighter.objective`: a draw with a path but no weight in the model is not divided by 0.
    least = jnp.sqrt(jnp.finfo(model.dtype).tiny)
    model = jnp.where((jnp.abs(model) < least) & (path != 0), least, model)
    return model, path / jnp.where(model == 0, 1, model)


def scale_derivatives(z: Array, factors: Array) -> Array:
    """z, with the derivative of each of its elements multiplied by a factor of its own."""
    if not jnp.issubdtype(z.dtype, jnp.inexact):
        return z
    factors = jnp.broadcast_to(factors.astype(z.dtype), z.shape)
    return jax.vmap(scale_derivative)(z.reshape(-1), factors.reshape(-1)).reshape(z.shape)


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


def _rows(columns: Array, blocks: tuple[int, ...]) -> Array:
    """(M, all blocks, draws) to (M·draws, *blocks)."""
    return jnp.swapaxes(columns, 1, 2).reshape(-1, *blocks)
