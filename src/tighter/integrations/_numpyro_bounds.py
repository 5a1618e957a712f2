"""The bounds of a numpyro program: block by block, or a plate's within that of the data set."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Blockwise:
    """K draws of all latents, and a bound for each block: `tighter.Objective` with blocks.

    Attributes:
        objective: Bound, estimator, numbers of draws.
        program: Model and guide.
        keys: One for each of the M·K draws.
    """

    objective: Objective
    program: Program
    keys: Array

    def bound(self, parameters: Parameters) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The bound with the estimator as its derivative, and the first draw's mutable state."""
        gradient = self.objective.gradient
        held = stop_gradient(dict(parameters))
        num = self.objective.num_samples
        resampled = (self.objective.num_backward or num) < num
        blocks, zero = _first_blocks(self.program, held, self.keys[0], self.objective, num)
        _check_subsampling(self.objective, blocks.subsampled)
        # (a, -a, a) is the derivative of a (log p - log q) with no stop.
        if isinstance(gradient, Reparameterized) and not resampled:
            densities = self._each_draw(self._densities(parameters), self.keys)
            drawn = Drawn(densities.log_model.inside - densities.log_guide.inside)
            value, coefficients = self._coefficients(drawn.log_weight, blocks)
            total = jnp.sum(surrogate(drawn, coefficients))
            return with_gradient_of(value, total), _first(densities.mutable)

        if not resampled:
            drawn, mutable = self._pass(parameters, self.keys, blocks, zero)
            value, coefficients = self._coefficients(drawn.log_weight, blocks)
            return with_gradient_of(value, jnp.sum(surrogate(drawn, coefficients))), mutable

        # All draws forward, with their score; few of them again, to go back through the model.
        used = parameters if gradient.uses_path else held
        latents = self._each_draw(lambda key: self.program.draw(used, key), self.keys)
        fixed = stop_gradient(latents)
        densities = self._each_draw(self._densities(held), self.keys, fixed)
        log_weights = densities.log_model.inside - densities.log_guide.inside
        value, coefficients = self._coefficients(log_weights, blocks)
        total = jnp.zeros(())
        if gradient.uses_score:
            log_density = self._each_draw(
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

        def draw_once(key: Array, zero: Array, *few: Latents) -> tuple[Drawn, dict[str, Any]]:
            def lead(z: Latents) -> tuple[Latents, tuple[Array, Array] | None]:
                fixed = stop_gradient(z)
                if not gradient.uses_path:
                    return fixed, None
                if gradient.path_is_model(self.objective.followed):
                    return z, None
                return _tap_blocks(fixed, z, zero, blocks)

            latents = few[0] if few else None
            led, zeros = program.led(
                parameters, key, lead, blocks, latents=latents, factorized=factorized
            )
            drawn = Drawn(led.log_model.inside - led.log_guide.inside, tapped=zeros)
            if gradient.uses_score and not few:
                drawn = drawn._replace(log_density=led.log_density.inside)
            return drawn, led.mutable

        zeros = jnp.broadcast_to(zero, (*keys.shape[:1], *blocks.sizes.values()))
        drawn, mutable = self._each_draw(draw_once, keys, zeros, *few)
        return drawn, _first(mutable)

    def _densities(self, parameters: Parameters) -> Callable[..., Densities]:
        return lambda key, z=None: self.program.densities(parameters, key, z)[0]

    def _each_draw(self, function: Callable[..., PyTree], *columns: PyTree) -> PyTree:
        return _over_draws(function, columns, self.objective.chunk_size)

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


@dataclasses.dataclass(frozen=True)
class Nested:
    r"""K draws of the latents outside a plate, and L of those inside for each.

    $F(\dots, \log\frac{p(\beta_k)}{q(\beta_k)} + \frac NB \sum_n F(\ell_{kn1} \dots \ell_{knL}),
    \dots)$: with IWAE, $p(\beta_k)/q(\beta_k) \prod_n \frac1L \sum_l w_{knl}$ is an unbiased
    estimate of p(data), so that the logarithm of its mean over k is a lower bound.

    A local draw's coefficients follow by the chain rule, with A_k and P_k the outer model and path
    coefficients, a and p the inner ones, s = N/B: model s A a, and path
    $s A p + s^2 (P - A) a^2$, which for a double reparameterization is s A a plus the derivative
    of the score's coefficient, −s A a, by the draw's own log weight.

    Attributes:
        objective: Bound, estimator, numbers of draws.
        program: Model and guide, with the plate.
        keys: One for each of the M·K outer draws.
        num_local: L.
    """

    objective: Objective
    program: Program
    keys: Array
    num_local: int

    def bound(self, parameters: Parameters) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The bound with the estimator as its derivative, and the first draw's mutable state."""
        nums = (self.objective.num_samples, self.num_local)
        held = stop_gradient(dict(parameters))
        blocks, zero = _first_blocks(self.program, held, self.keys[0], self.objective, *nums)
        self._check(blocks)
        total = isinstance(self.objective.gradient, Reparameterized)
        if total:
            densities = self._densities(parameters)
            outside = Drawn(densities.log_model.outside - densities.log_guide.outside)  # (M·K,)
            inside = Drawn(densities.log_model.inside - densities.log_guide.inside)
            mutable = densities.mutable
        else:
            zeros = jnp.broadcast_to(zero, self.keys.shape[:1])
            local = jnp.broadcast_to(zero, (*zeros.shape, self.num_local, *blocks.sizes.values()))

            def draw_once(
                key: Array, zero: Array, local: Array
            ) -> tuple[Drawn, Drawn, dict[str, Any]]:
                return self._drawn(parameters, key, zero, local, blocks)

            columns = (self.keys, zeros, local)
            outside, inside, mutable = _over_draws(draw_once, columns, self.objective.chunk_size)
        value, outer, inner = self._coefficients(
            stop_gradient(outside.log_weight),
            stop_gradient(inside.log_weight),  # (M·K, L, data)
            blocks.scale,
        )
        terms = jnp.sum(surrogate(outside, outer)) + jnp.sum(surrogate(inside, inner))
        return with_gradient_of(value, terms), jax.tree.map(lambda leaf: leaf[0, 0], mutable)

    def _densities(self, parameters: Parameters) -> Densities:
        def densities_of_draw(key: Array) -> Densities:
            given = self.program.draw_outside(parameters, key)

            def local(key: Array) -> tuple[tuple[Array, Array], Densities]:
                densities, _ = self.program.densities(parameters, key, given)
                log_model, log_guide, _, _ = densities
                return (log_model.outside, log_guide.outside), densities

            (of_model, of_guide), densities = self._over_local(local, key)
            return densities._replace(
                log_model=densities.log_model._replace(outside=of_model),
                log_guide=densities.log_guide._replace(outside=of_guide),
                latents={},
            )

        return _over_draws(densities_of_draw, (self.keys,), self.objective.chunk_size)

    def _over_local(self, function: Any, key: Array, *columns: Any) -> Any:
        """A function of each local draw; its first result must be the same for all of them."""
        try:
            return jax.vmap(function, out_axes=(None, 0))(
                random.split(key, self.num_local), *columns
            )
        except ValueError as error:
            if "out_axes" not in str(error):
                raise
            raise InputError(
                f"a site outside of the plate {self.program.plate!r} depends on latents inside: "
                "its data are not independent given what is outside, so leave local_plate out"
            ) from error

    def _drawn(
        self, parameters: Parameters, key: Array, zero: Array, locals_: Array, blocks: Blocks
    ) -> tuple[Drawn, Drawn, dict[str, Any]]:
        """What an outer draw gives outside of the plate and inside, along the path."""
        program, held = self.program, stop_gradient(dict(parameters))
        factorized = program.is_factorized(held, key)
        given = program.draw_outside(parameters, key)
        fixed, moved = stop_gradient(given), {}
        zeros = (zero, zero)
        for name, z in given.items():
            moved[name], a, b = tap(fixed[name], z, zero, zero)
            zeros = (zeros[0] + a, zeros[1] + b)

        def local(key: Array, zero: Array) -> tuple[Array, tuple[Drawn, dict[str, Any]]]:
            def lead(own: Latents) -> tuple[Latents, tuple[Array, Array]]:
                # A local draw also moves with the outer ones, by their own factor.
                also = stop_gradient(own) if factorized else program.draw(held, key, moved)
                inside = {name: z for name, z in also.items() if name not in moved}
                inside, zeros = _tap_blocks(inside, own, zero, blocks)
                return {**moved, **inside}, zeros

            led, zeros = program.led(
                parameters, key, lead, blocks, given=fixed, factorized=factorized
            )
            drawn = Drawn(led.log_model.inside - led.log_guide.inside, tapped=zeros)
            return led.log_model.outside - led.log_guide.outside, (drawn, led.mutable)

        outside, (inside, mutable) = self._over_local(local, key, locals_)
        return Drawn(outside, tapped=zeros), inside, mutable

    def _check(self, blocks: Blocks) -> None:
        scaled = (*([self.program.plate] if blocks.scale != 1 else []), *blocks.subsampled)
        _check_subsampling(self.objective, tuple(str(name) for name in scaled))
        if blocks.subsampled and self.num_local > 1 and not self.objective.bound.is_linear:
            raise InputError(
                f"the plate {blocks.subsampled[0]!r} is subsampled inside a datum's bound, and "
                "scaled log weights in it are no bound: subsample local_plate alone"
            )

    def _coefficients(
        self, outside: Float[Array, " draws"], inside: Array, scale: float
    ) -> tuple[Float[Array, ""], Coefficients, Coefficients]:
        """The bound, coefficients of the outer draws, and of the local ones, (draws, L, data)."""
        bound, gradient = self.objective.bound, self.objective.gradient
        flat = jnp.swapaxes(inside.reshape(*inside.shape[:2], -1), 1, 2)  # (draws, data, L)
        local = jax.vmap(jax.vmap(lambda ell: gradient.coefficients(bound, ell)))(flat)
        bounds = jax.vmap(jax.vmap(bound))(flat)
        groups = (self.objective.num_outer, self.objective.num_samples)
        log_weights = (outside + scale * jnp.sum(bounds, axis=1)).reshape(groups)
        value = jnp.mean(jax.vmap(bound)(log_weights))
        outer = jax.vmap(lambda ell: gradient.coefficients(bound, ell))(log_weights)
        of_outer = Coefficients(*(c.reshape(-1) / self.objective.num_outer for c in outer))
        a, p = of_outer.model[:, None, None], of_outer.path[:, None, None]
        model = scale * a * local.model
        path = scale * a * local.path + scale**2 * (p - a) * local.model**2
        in_place = (jnp.swapaxes(c, 1, 2).reshape(inside.shape) for c in (model, path))
        model, path = in_place
        return value, of_outer, Coefficients(model, jnp.zeros_like(model), path)


def _over_draws(
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


def _first_blocks(
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


def _tap_blocks(
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


def _check_subsampling(objective: Objective, subsampled: tuple[str, ...]) -> None:
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
