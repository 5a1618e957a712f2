"""What a draw tells of the example that it is of: its posterior over all examples' indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int, PyTree

from tighter._programs import compiled
from tighter._rows import Rows
from tighter.diagnostics._posteriors import draw_of, posterior_of, units_of


class Information(NamedTuple):
    """Log N − H[q(n|z)] of each draw."""

    whole: Any  # (examples, draws)
    units: Any  # (examples, draws, latent), or None


class _Sums(NamedTuple):
    """Of densities d = exp(a), relative to the largest so far: that, Σ d, and Σ d log d."""

    largest: Float[Array, "*draws"]
    total: Float[Array, "*draws"]
    moment: Float[Array, "*draws"]


@compiled
def index_information(
    rows: Rows,
    taken: Int[Array, " block"],
    num_samples: int,
    num_codes: int,
    *,
    of_units: bool,
) -> Information:
    """Log N − H[q(n|z)] at draws of some examples, the sum over all n in blocks."""
    num, block = rows.keys.shape[0], taken.shape[0]
    some = rows.take(taken)
    each = jax.vmap(draw_of, (None, None, None, 0))
    z = jax.vmap(each, (None, 0, 0, None))(rows, some.batched, some.keys, jnp.arange(num_samples))
    z = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), z)
    num_draws = block * num_samples
    factorized = units_of(rows.example_posterior()) is not None

    def add_codes(sums: tuple[_Sums, _Sums | None], start: Int[Array, ""]) -> tuple[Any, None]:
        # The last block goes back, and leaves out what was counted before.
        first = jnp.minimum(start, num - num_codes)
        counted = first + jnp.arange(num_codes) >= start
        # With their indices, as posteriors that don't depend on x have no array of their own.
        codes = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, num_codes),
            (jnp.arange(num), rows.batched),
        )
        if not factorized:
            return (_add(sums[0], _densities(rows, codes, z), counted), None), None
        columns, density = _unit_densities(rows, codes, z)

        def add_unit(whole: Array, unit: tuple[Any, _Sums | None]) -> tuple[Array, _Sums | None]:
            of_unit = density(unit[0])
            return whole + of_unit, None if unit[1] is None else _add(unit[1], of_unit, counted)

        nothing = jnp.zeros((num_draws, num_codes))
        whole, units = jax.lax.scan(add_unit, nothing, (columns, sums[1]))
        return (_add(sums[0], whole, counted), units), None

    num_units = rows.example_posterior().event_shape if of_units else ()
    sums = _no_sums(num_draws), _no_sums(math.prod(num_units), num_draws) if of_units else None
    (whole, units), _ = jax.lax.scan(add_codes, sums, jnp.arange(0, num, num_codes))
    of_whole = _gained(whole, num).reshape(block, num_samples)
    if units is None:
        return Information(of_whole, None)
    return Information(of_whole, _gained(units, num).T.reshape(block, num_samples, -1))


def normal_units(rows: Rows) -> bool:
    """Whether the posteriors are independent normals."""
    return isinstance(units_of(rows.example_posterior()), dist.Normal)


def full_normal(rows: Rows) -> bool:
    """Whether the posteriors are normals with a full covariance."""
    return isinstance(rows.example_posterior(), dist.MultivariateNormal)


def _densities(rows: Rows, codes: PyTree, z: PyTree) -> Float[Array, "draws codes"]:
    """Log q(z|x_n) of every draw and code, up to a constant."""
    if full_normal(rows):
        return _full_normal_densities(rows, codes, z)

    def pair(z: PyTree, code: PyTree) -> Array:
        return posterior_of(rows, code[1]).log_prob(z)

    return jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(z, codes)


def _full_normal_densities(rows: Rows, codes: PyTree, z: Array) -> Float[Array, "draws codes"]:
    """The same of normals with full covariances: a factor's inverse serves all draws."""

    def of_code(code: PyTree) -> Float[Array, " draws"]:
        normal = posterior_of(rows, code[1])
        identity = jnp.eye(z.shape[1], dtype=z.dtype)
        inverse = solve_triangular(normal.scale_tril, identity, lower=True)
        noise = jnp.matmul(z - normal.loc[None], inverse.T, precision="highest")
        return jnp.sum(jnp.log(jnp.diag(inverse))) - 0.5 * jnp.sum(noise**2, axis=1)

    return jax.vmap(of_code)(codes).T


def _unit_densities(rows: Rows, codes: PyTree, z: Array) -> tuple[PyTree, Callable[[Any], Array]]:
    """Columns, one a unit, and the function of a column that is log q(z_j|x_n), up to a constant.

    Of normal units the differences are squared. A matrix product of squares would lose the digits
    of codes that are narrow beside their spread; the exponentials for each unit take far longer.
    """

    def units(code: PyTree) -> Any:
        return units_of(posterior_of(rows, code[1]))

    def parameters(code: PyTree) -> tuple[Array, Array]:
        base = units(code)
        location, scale = (jnp.broadcast_to(p, base.batch_shape) for p in (base.loc, base.scale))
        return jnp.ravel(location), jnp.ravel(scale)

    def normal(column: tuple[Array, Array, Array]) -> Float[Array, "draws codes"]:
        value, location, scale = column
        distance = (value[:, None] - location[None]) * (1 / scale)[None]
        return -0.5 * distance**2 - jnp.log(scale)[None]

    if normal_units(rows):
        locations, scales = jax.vmap(parameters)(codes)
        return (z.reshape(z.shape[0], -1).T, locations.T, scales.T), normal
    pair = lambda z, code: jnp.ravel(units(code).log_prob(z))  # noqa: E731
    densities = jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(z, codes)
    return jnp.moveaxis(densities, -1, 0), lambda column: column


def _no_sums(*shape: int) -> _Sums:
    return _Sums(jnp.full(shape, -jnp.inf), jnp.zeros(shape), jnp.zeros(shape))


def _add(
    sums: _Sums, log_densities: Float[Array, "draws codes"], counted: Bool[Array, " codes"]
) -> _Sums:
    """The sums with some more densities."""
    log_densities = jnp.where(counted[None], log_densities, -jnp.inf)
    largest = jnp.maximum(sums.largest, jnp.max(log_densities, axis=-1))
    finite = jnp.where(jnp.isfinite(largest), largest, 0)
    shrink = jnp.exp(sums.largest - finite)
    below = jnp.where(shrink > 0, sums.largest - finite, 0)
    logs = log_densities - finite[:, None]
    densities = jnp.exp(logs)
    moments = jnp.where(densities > 0, densities * logs, 0)
    return _Sums(
        largest,
        sums.total * shrink + jnp.sum(densities, axis=-1),
        shrink * (sums.moment + below * sums.total) + jnp.sum(moments, axis=-1),
    )


def _gained(sums: _Sums, num: int) -> Array:
    """Log N − H[q(n|z)] = log N + Σ w log w for the normalized densities w."""
    return math.log(num) + sums.moment / sums.total - jnp.log(sums.total)
