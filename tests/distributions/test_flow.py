"""Flows: inverses, densities and derivatives, against flowjax, Jacobians and grids."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal, Transformed
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.distributions import FLOWS, Flow, flow_bijection, stop_parameters
from tighter.distributions._flow_layers import Spline, _positive

KEY = jax.random.key(3)


@functools.cache
def bijection(kind, num_latent, *, num_context=0, spread=0.5):
    """A flow far from its start."""
    make = eqx.filter_jit(flow_bijection, compiler_options={"xla_backend_optimization_level": 0})
    start = make(kind, num_latent, num_context=num_context, num_layers=2, width=7, key=KEY)
    rng = np.random.default_rng(4)
    return jax.tree.map(
        lambda leaf: (
            np.asarray(leaf + spread * rng.normal(size=leaf.shape), np.float32)
            if eqx.is_inexact_array(leaf)
            else leaf
        ),
        start,
    )


def as_jax(tree, dtype=np.float32):
    """numpy's arrays as jax's; for 64 bits inside `enable_x64`."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if isinstance(leaf, np.ndarray) else leaf, tree
    )


CASES = [*((kind, 5, 3) for kind in FLOWS), ("coupling", 2, 0), ("masked-autoregressive", 2, 0)]


@pytest.mark.parametrize(("kind", "num_latent", "num_context"), every(3, CASES))
def test_there_and_back(kind, num_latent, num_context):
    """The determinant is the Jacobian's; going back undoes it, for the derivatives too."""
    with jax.enable_x64(True):
        flow = as_jax(bijection(kind, num_latent, num_context=num_context), np.float64)
        arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
        context = jnp.linspace(-1.0, 1.0, num_context) if num_context else None
        along = jnp.arange(1.0, num_latent + 1)

        @quick_jit
        def run(arrays, x, context):
            flow = eqx.combine(arrays, rest)
            y, log_det = flow.transform_and_log_det(x, context)
            back, log_det_back = flow.inverse_and_log_det(y, context)
            jacobian = jax.jacobian(lambda x: flow.transform(x, context))(x)

            def round_trip(arrays, x, context):
                flow = eqx.combine(arrays, rest)
                return along @ flow.inverse(flow.transform(x, context), context)

            def both_determinants(arrays, x, context):
                flow = eqx.combine(arrays, rest)
                y, log_det = flow.transform_and_log_det(x, context)
                return log_det + flow.inverse_and_log_det(y, context)[1]

            slopes = [
                jax.grad(function, argnums=(0, 1))(arrays, x, context)
                for function in (round_trip, both_determinants)
            ]
            return y, back, log_det, log_det_back, jnp.linalg.slogdet(jacobian)[1], slopes

        for x in 2 * np.random.default_rng(0).normal(size=(3, num_latent)):
            y, back, log_det, log_det_back, exact, slopes = run(arrays, jnp.asarray(x), context)
            assert np.abs(y - x).max() > 0.1
            np.testing.assert_allclose(back, x, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose([log_det, -log_det_back], exact, rtol=1e-8, atol=1e-9)
            (of_arrays, of_x), (determinants_of_arrays, determinants_of_x) = slopes
            np.testing.assert_allclose(of_x, along, rtol=1e-7)
            np.testing.assert_allclose(determinants_of_x, 0, atol=1e-7)
            for leaf in jax.tree.leaves((of_arrays, determinants_of_arrays)):
                np.testing.assert_allclose(leaf, 0, atol=1e-7)


@pytest.mark.parametrize("kind", FLOWS)
def test_the_density_is_that_of_flowjax(kind):
    with jax.enable_x64(True):
        flow, context = (
            as_jax(bijection(kind, 3, num_context=2), np.float64),
            jnp.array([0.3, -1.0]),
        )
        ours = Flow(flow, jnp.zeros(3), jnp.ones(3), context)

        @quick_jit
        def both(key):
            theirs = Transformed(StandardNormal((3,)), flow)
            draw = jax.vmap(lambda key: theirs.sample_and_log_prob(key, condition=context))
            z, log_q = draw(jax.random.split(key, 50))
            return log_q, jax.vmap(ours.log_prob)(z)

        np.testing.assert_allclose(*both(KEY), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", FLOWS)
def test_density_and_draws_of_two_dimensions(kind):
    """The density's integral is one, and draws have its moments."""
    flow, loc, scale = bijection(kind, 2, num_context=1, spread=0.3), [0.5, -1.0], [0.8, 0.4]

    def q(dtype):
        vectors = [np.asarray(vector) for vector in (loc, scale, [0.7])]
        return Flow(as_jax(flow, dtype), *as_jax(vectors, dtype))

    axes = [m + s * np.linspace(-8, 8, 401) for m, s in zip(loc, scale, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    with jax.enable_x64(True):
        log_density = quick_jit(jax.vmap(q(np.float64).log_prob))(jnp.asarray(grid))
        density = np.exp(np.asarray(log_density))
    mass = density * np.prod([axis[1] - axis[0] for axis in axes])
    # What lies beyond the grid, and its own error where a spline's density has kinks.
    np.testing.assert_allclose(mass.sum(), 1, rtol=3e-3 if kind == "neural-spline" else 1e-5)
    draw = quick_jit(lambda key: q(np.float32).rsample(key, (20_000,)))
    draws = np.asarray(draw(KEY), np.float64)
    products = [draws, draws**2, draws[:, :1] * draws[:, 1:]]
    exact = [grid, grid**2, grid[:, :1] * grid[:, 1:]]
    for product, of_grid in zip(products, exact, strict=True):
        error = product.std(axis=0) / np.sqrt(len(product))
        assert (np.abs(product.mean(axis=0) - mass @ of_grid) < 5 * error).all()
    # Far from a Gaussian.
    assert max(abs(scipy.stats.skew(draws)).max(), abs(scipy.stats.kurtosis(draws)).max()) > 0.2


@pytest.mark.parametrize("kind", FLOWS)
def test_the_start_is_a_diagonal_gaussian(kind):
    flow = flow_bijection(kind, 3, num_context=2, num_layers=2, width=5, key=KEY)
    loc, scale = np.array([1.0, -2.0, 0.3]), np.array([0.2, 3.0, 1.0])
    context = jnp.array([5.0, -3.0])
    q = Flow(flow, jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32), context)
    z = np.array([0.7, 4.0, 0.9])
    exact = scipy.stats.norm.logpdf(z, loc, scale).sum()

    @quick_jit
    def run(z):
        return q.log_prob(z), q.from_noise(jnp.ones(3)), q.rsample(KEY, (2, 4)), q.sample(KEY)

    log_q, of_ones, many, one = run(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(log_q, exact, rtol=1e-5)
    np.testing.assert_allclose(of_ones, loc + scale, rtol=1e-5)
    assert many.shape == (2, 4, 3)
    assert one.shape == (3,)


def test_the_spline_is_that_of_flowjax():
    """With the same knots, and the slope one at the ends."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        ours = Spline(jnp.asarray(rng.normal(size=23)))
        x_pos, y_pos = (
            np.cumsum([-5, *(1e-3 + (10 - 8e-3) * jax.nn.softmax(free))])
            for free in (ours.widths, ours.heights)
        )
        slopes = np.pad(_positive(ours.slopes, least=1e-3), 1, constant_values=1.0)
        theirs = eqx.tree_at(
            lambda spline: (spline.x_pos, spline.y_pos, spline.derivatives),
            RationalQuadraticSpline(knots=7, interval=5),
            tuple(map(jnp.asarray, (x_pos, y_pos, slopes))),
        )
        x = jnp.asarray(np.linspace(-6, 6, 97))
        for method in ("transform_and_log_det", "inverse_and_log_det"):
            for one, other in zip(
                quick_jit(jax.vmap(getattr(ours, method)))(x),
                quick_jit(jax.vmap(getattr(theirs, method)))(x),
                strict=True,
            ):
                np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
        # No jump of the density at the ends.
        near = quick_jit(jax.vmap(ours.transform_and_log_det))(jnp.array([-5 + 1e-9, 5 - 1e-9]))[1]
        np.testing.assert_allclose(near, 0, atol=1e-6)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.slow
def test_float32_is_close_to_float64(kind):
    """The log density of draws in 20 dimensions, and its slope."""
    noise = np.random.default_rng(2).normal(size=(200, 20)).astype(np.float32)
    flow = bijection(kind, 20, num_context=3, spread=0.3)

    def at(dtype):
        q = Flow(as_jax(flow, dtype), *as_jax([np.zeros(20), np.ones(20), np.ones(3)], dtype))

        @quick_jit
        def run(noise):
            one = jax.value_and_grad(q.log_prob)
            return jax.vmap(lambda noise: one(q.from_noise(noise)))(noise)

        return map(np.asarray, run(jnp.asarray(noise, dtype)))

    value, slope = at(np.float32)
    with jax.enable_x64(True):
        exact, exact_slope = at(np.float64)
    # z is rounded, and the density steep.
    steep = 1 + np.abs(exact_slope).max(axis=1)
    assert (np.abs(value - exact) < 1e-5 * steep).all()
    # But for the few that rounding carries over a knot, where a spline's slope jumps.
    assert np.quantile(np.abs(slope - exact_slope).max(axis=1) / steep, 0.95) < 1e-3


@pytest.mark.parametrize("kind", FLOWS)
def test_a_stopped_flow_is_stopped_in_all_its_arrays(kind):
    flow = as_jax(bijection(kind, 3, num_context=2))
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    parameters = (arrays, jnp.zeros(3), jnp.ones(3), jnp.ones(2))

    @quick_jit
    def slopes(parameters, z):
        def density(parameters, z, stop):
            arrays, loc, scale, context = parameters
            q = Flow(eqx.combine(arrays, rest), loc, scale, context)
            return stop(q).log_prob(z)

        return [
            jax.grad(density, argnums=(0, 1))(parameters, z, stop)
            for stop in (stop_parameters, lambda q: q)
        ]

    (held, by_z), (free, by_z_free) = slopes(parameters, jnp.array([0.3, -0.7, 1.1]))
    for leaf in jax.tree.leaves(held):
        np.testing.assert_array_equal(leaf, 0)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(free))
    np.testing.assert_allclose(by_z, by_z_free, rtol=1e-6)
    assert np.abs(by_z).max() > 0.1


def test_made_where_the_rest_is_traced():
    """As a model's parts are made by one compiled program."""
    for kind in FLOWS:
        plain, jitted = (
            make(kind, 3, num_context=2, num_layers=2, width=5, key=KEY)
            for make in (flow_bijection, eqx.filter_jit(flow_bijection))
        )
        (one, rest), (other, other_rest) = (
            eqx.partition(flow, eqx.is_array) for flow in (plain, jitted)
        )
        for leaf, same in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(leaf, same, rtol=1e-6)
        # So that programs made for one model serve the other.
        assert jax.tree.leaves(rest) == jax.tree.leaves(other_rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "couplings"}, "unknown flow 'couplings'; did you mean 'coupling'"),
        ({"num_latent": 1}, "takes 2 latent dimensions or more, got 1"),
        ({"num_layers": 0}, "num_layers is a whole number of at least 1, got 0"),
        ({"num_context": -1}, "num_context is a whole number of at least 0, got -1"),
        ({"width": 0}, "width is a whole number of at least 1, got 0"),
    ],
)
def test_what_is_no_flow(arguments, message):
    with pytest.raises(tt.InputError, match=message):
        flow_bijection(**{"kind": "coupling", "num_latent": 3, "key": KEY, **arguments})
