"""The bound of a numpyro program with bounds of a plate's data inside that of the data set."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from tighter._derivatives import tap, with_gradient_of
from tighter._errors import InputError
from tighter.gradients import Coefficients, Reparameterized
from tighter.integrations._numpyro_blockwise import (
    check_subsampling,
    first_blocks,
    over_draws,
    tap_blocks,
)
from tighter.integrations._numpyro_program import Densities, Parameters, Program
from tighter.integrations._numpyro_sites import Blocks, Latents
from tighter.objectives.log_weights import Drawn, surrogate
from tighter.objectives.objective import Objective


class Nested:
    r"""K draws of the latents outside a plate, and L of those inside for each.

    $F(\dots, \log\frac{p(\beta_k)}{q(\beta_k)} + \frac NB \sum_n F(\ell_{kn1} \dots \ell_{knL}),
    \dots)$: with IWAE, $p(\beta_k)/q(\beta_k) \prod_n \frac1L \sum_l w_{knl}$ is an unbiased
    estimate of p(data), so that the logarithm of its mean over k is a lower bound.

    A local draw's coefficients follow by the chain rule, with A_k and P_k the outer model and path
    coefficients, a and p the inner ones, s = N/B: model s A a, and path
    $s A p + s^2 (P - A) a^2$, which for a double reparameterization is s A a plus the derivative
    of the score's coefficient, −s A a, by the draw's own log weight.

    Args:
        objective: Bound, estimator, numbers of draws.
        program: Model and guide, with the plate.
        keys: One for each of the M·K outer draws.
        num_local: L.
    """

    def __init__(self, objective: Objective, program: Program, keys: Array, num_local: int) -> None:
        self.objective = objective
        self.program = program
        self.keys = keys
        self.num_local = num_local

    def bound(self, parameters: Parameters) -> tuple[Float[Array, ""], dict[str, Any]]:
        """The bound with the estimator as its derivative, and the first draw's mutable state."""
        nums = (self.objective.num_samples, self.num_local)
        held = stop_gradient(dict(parameters))
        blocks, zero = first_blocks(self.program, held, self.keys[0], self.objective, *nums)
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

            def one(key: Array, zero: Array, local: Array) -> tuple[Drawn, Drawn, dict[str, Any]]:
                return self._drawn(parameters, key, zero, local, blocks)

            columns = (self.keys, zeros, local)
            outside, inside, mutable = over_draws(one, columns, self.objective.chunk_size)
        value, outer, inner = self._coefficients(
            stop_gradient(outside.log_weight),
            stop_gradient(inside.log_weight),  # (M·K, L, data)
            blocks.scale,
        )
        terms = jnp.sum(surrogate(outside, outer)) + jnp.sum(surrogate(inside, inner))
        return with_gradient_of(value, terms), jax.tree.map(lambda leaf: leaf[0, 0], mutable)

    def _densities(self, parameters: Parameters) -> Densities:
        def one(key: Array) -> Densities:
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

        return over_draws(one, (self.keys,), self.objective.chunk_size)

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
                inside, zeros = tap_blocks(inside, own, zero, blocks)
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
        check_subsampling(self.objective, tuple(str(name) for name in scaled))
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
