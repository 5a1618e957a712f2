"""The bound of a numpyro program with bounds of a plate's data inside that of the data set."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from tighter._derivatives import with_gradient_of, with_second_path
from tighter._errors import InputError
from tighter.gradients import Coefficients, Reparameterized
from tighter.integrations._numpyro_blockwise import (
    check_subsampling,
    over_draws,
    path_ratio,
    scale_derivatives,
)
from tighter.integrations._numpyro_program import Blocks, Densities, Latents, Parameters, Program
from tighter.objective import Objective


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
        held = stop_gradient(dict(parameters))
        total = isinstance(self.objective.gradient, Reparameterized)
        densities, blocks = self._densities(parameters if total else held)
        self._check(blocks)
        log_model, log_guide, _, mutable = densities
        outside = log_model.outside - log_guide.outside  # (M·K,)
        inside = log_model.inside - log_guide.inside  # (M·K, L, data)
        value, outer, inner = self._coefficients(
            stop_gradient(outside), stop_gradient(inside), blocks.scale
        )
        mutable = jax.tree.map(lambda leaf: leaf[0, 0], mutable)
        if total:
            terms = jnp.sum(outer.model * outside) + jnp.sum(inner.model * inside)
            return with_gradient_of(value, terms), mutable

        def term(key: Array, outer: Coefficients, inner: Coefficients) -> Array:
            return self._path_term(parameters, held, key, outer, inner, blocks)

        terms = over_draws(term, (self.keys, outer, inner), self.objective.chunk_size)
        return with_gradient_of(value, jnp.sum(terms)), mutable

    def _densities(self, parameters: Parameters) -> tuple[Densities, Blocks]:
        found = []

        def one(key: Array) -> Densities:
            given = self.program.draw_outside(parameters, key)

            def local(key: Array) -> tuple[tuple[Array, Array], Densities]:
                densities, blocks = self.program.densities(parameters, key, given)
                found.append(blocks)
                log_model, log_guide, _, _ = densities
                return (log_model.outside, log_guide.outside), densities

            (of_model, of_guide), densities = self._over_local(local, key)
            return densities._replace(
                log_model=densities.log_model._replace(outside=of_model),
                log_guide=densities.log_guide._replace(outside=of_guide),
                latents={},
            )

        return over_draws(one, (self.keys,), self.objective.chunk_size), found[0]

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

    def _path_term(
        self,
        parameters: Parameters,
        held: Parameters,
        key: Array,
        outer: Coefficients,
        inner: Coefficients,
        blocks: Blocks,
    ) -> Float[Array, ""]:
        """An outer draw's share of the surrogate."""
        program = self.program
        outer_model, outer_ratio = path_ratio(outer.model, outer.path)
        inner_model, inner_ratio = path_ratio(inner.model, inner.path)
        given = program.draw_outside(parameters, key)
        moved = {name: scale_derivatives(z, outer_ratio) for name, z in given.items()}

        def local(key: Array, model: Array, ratio: Array) -> tuple[Array, Array]:
            own = program.draw(parameters, key, stop_gradient(given))
            through_outer = program.draw(held, key, moved)
            latents: Latents = dict(moved)
            for name in own.keys() - moved.keys():
                factors = blocks.beside(ratio[None], name, own[name][None])[0]
                z = scale_derivatives(own[name], factors)
                if jnp.issubdtype(z.dtype, jnp.inexact):
                    z = _also_through(z, through_outer[name])
                latents[name] = z
            log_p = program.log_model(parameters, key, latents, blocks)
            log_q = program.log_guide(held, key, latents, blocks)
            return log_p.outside - log_q.outside, model * (log_p.inside - log_q.inside)

        outside, inside = self._over_local(local, key, inner_model, inner_ratio)
        return outer_model * outside + jnp.sum(inside)

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


def _also_through(z: Array, other: Array) -> Array:
    """z, its derivative with that of the same value on another path added."""
    one = jnp.ones((), z.dtype)
    together = jax.vmap(lambda z, other: with_second_path(z, other, one))
    return together(z.reshape(-1), other.reshape(-1)).reshape(z.shape)
