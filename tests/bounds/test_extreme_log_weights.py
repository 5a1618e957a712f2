"""Value, weights and curvature of every bound in float32, whatever the log weights, by decimals.

Log weights that are infinite stand for the limit in which these go there together: the oracle has
±10¹² in their places.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles import precise_bounds as precise
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

from tighter.bounds import (
    CUBO,
    ELBO,
    IWAE,
    Combination,
    FDivergence,
    Grouped,
    Jackknife,
    Renyi,
    Thermodynamic,
    as_bound,
)

NESTED = Combination({Combination({ELBO(): 0.25, Jackknife(1): 0.75}): 2.0, CUBO(3): -1.0})

# A bound, the same in decimals, and how many roundings its coefficients of draws amount to.
CASES = {
    "elbo": (ELBO(), precise.elbo, 1),
    "iwae": (IWAE(), precise.power_mean(1), 1),
    **{
        f"renyi:{alpha}": (Renyi(alpha), precise.power_mean(1 - precise.Decimal(alpha)), 1)
        for alpha in (0.0, 0.5, 0.999, 1 - 1e-7, 1.0000001, 2.0, -1.0, -30.0, 50.0)
    },
    "cubo:2": (CUBO(2), precise.power_mean(2), 1),
    "cubo:7.5": (CUBO(7.5), precise.power_mean("7.5"), 1),
    "jackknife:1": (Jackknife(1), precise.jackknife(1), 8),
    "jackknife:2": (Jackknife(2), precise.jackknife(2), 40),
    "jackknife:3": (Jackknife(3), precise.jackknife(3), 160),
    "thermodynamic": (Thermodynamic(4), precise.thermodynamic([0, 0.25, 0.5, 0.75, 1]), 1),
    "thermodynamic:right": (
        Thermodynamic([1e-6, 0.01], right=True),
        precise.thermodynamic([0, 1e-6, 0.01, 1], right=True),
        1,
    ),
    "f:-log t": (FDivergence(lambda t: -jnp.log(t)), precise.elbo, 2),
    "f:t": (FDivergence(lambda t: t), precise.power_mean(1), 2),
    "f:-1/√t": (FDivergence(lambda t: -1 / jnp.sqrt(t)), precise.power_mean("-0.5"), 2),
    "f:t²": (FDivergence(lambda t: t**2), precise.power_mean(2), 2),
    "f:log(1+t)": (FDivergence(jnp.log1p), precise.mean_by(lambda t: (1 + t).ln()), 2),
    "f:-1/(1+t)": (FDivergence(lambda t: -1 / (1 + t)), precise.mean_by(lambda t: -1 / (1 + t)), 2),
    "nested": (
        NESTED,
        precise.combination(
            (0.5, precise.elbo), (1.5, precise.jackknife(1)), (-1, precise.power_mean(3))
        ),
        12,
    ),
    "grouped": (Grouped(IWAE(), 2), precise.grouped(precise.power_mean(1), 2), 1),
}
# Those of which the others are siblings: with eight draws they are always run, the rest is `slow`.
FEW = (
    "elbo",
    "iwae",
    "renyi:2.0",
    "jackknife:2",
    "thermodynamic:right",
    "f:-1/√t",
    "f:log(1+t)",
    "nested",
    "grouped",
)
REST = tuple(name for name in CASES if name not in FEW)
GROUPS = every(8, [(num, names) for num in (8, 1, 2, 64) for names in (FEW, REST)])
FEWEST = {name: bound.min_samples for name, (bound, _, _) in CASES.items()}
INFINITE = 1e12


def patterns(num):
    """Log weights by what is the matter with them."""
    noise = np.random.default_rng(num).normal(size=num)
    places = -np.arange(num, dtype=float)
    sets = {f"spread of {s:g}": s * noise for s in (0, 1e-4, 1, 30, 50, 100, 1e4)}
    sets["offset of a million"] = 1e6 + np.round(noise, 1)
    sets["ties"] = np.where(places % 3 == 0, 2.0, places)
    for size in (1e8, 1e30):
        sets[f"one of -{size:g}"] = np.where(places == 0, -size, places)
    sets["one zero"] = np.where(places == 0, -np.inf, places)
    sets["all but one zero"] = np.where(places == -1, -3.0, -np.inf)
    sets["all zero"] = np.full(num, -np.inf)
    sets["one infinite"] = np.where(places == 0, np.inf, places)
    return {name: draws.astype(np.float32) for name, draws in sets.items()}


@functools.cache
def facts(num, names):
    """Of some bounds: value, derivatives by jax, and curvature; of few draws the weights too."""

    def of_one(bound, ell):
        value, slopes = jax.value_and_grad(bound)(ell)
        weights = bound.weights(ell) if num == 2 else slopes
        return value, slopes, bound.curvature(ell), weights

    def of_all(ell):
        enough = [name for name in names if num >= FEWEST[name]]
        if "grouped" in enough and num % 2:
            enough.remove("grouped")
        if num == 64:
            many = ("iwae", "renyi:0.5", "jackknife:1", "thermodynamic", "f:-1/√t", "nested")
            enough = [name for name in enough if name in many]
        return {name: of_one(CASES[name][0], ell) for name in enough}

    ells = np.stack(list(patterns(num).values()))
    return jax.tree.map(np.asarray, quick_jit(jax.vmap(of_all))(ells))


def each(num, names):
    for name, told in facts(num, names).items():
        for row, (pattern, draws) in enumerate(patterns(num).items()):
            yield name, pattern, draws, *(column[row] for column in told)


@pytest.mark.parametrize(("num", "names"), GROUPS)
def test_values(num, names):
    for name, pattern, draws, value, *_ in each(num, names):
        _, oracle, roundings = CASES[name]
        stood = np.clip(draws.astype(float), -INFINITE, INFINITE)
        if pattern == "one of -1e+30":
            stood = np.where(draws < -1e20, -INFINITE, draws)
        expected = precise.value(oracle, stood)
        if abs(expected) > 1e-4 * INFINITE and np.abs(stood).max() == INFINITE:
            # It goes to infinity with the log weights, or as far as they are; to none where terms
            # of a combination go both ways.
            if name == "nested" and np.isinf(draws).any():
                assert not np.isfinite(value), (name, pattern)
                continue
            assert np.sign(value) == np.sign(expected), (name, pattern)
            assert np.isinf(value) == np.isinf(draws).any(), (name, pattern)
            continue
        largest = np.abs(stood[np.abs(stood) < INFINITE]).max(initial=1.0)
        if largest > 1e7 and name != "f:log(1+t)":  # which follows none that is tiny
            largest = 1.0
        rounding = 1e-6 + 4e-7 * max(largest, abs(expected))
        many = max(1, num / 8) if "jackknife" in name or name == "nested" else 1
        assert abs(value - expected) < rounding * roundings * many, (name, pattern, value, expected)


@pytest.mark.parametrize(("num", "names"), GROUPS[:-2])
def test_derivatives(num, names):
    for name, pattern, draws, _, slopes, curvature, weights in each(num, names):
        _, oracle, roundings = CASES[name]
        if pattern == "one of -1e+30":
            draws = np.where(draws < -1e20, -INFINITE, draws)
        stood = np.clip(draws.astype(float), -INFINITE, INFINITE)
        first, second = precise.derivatives(oracle, stood)
        told = f"{name}, {pattern}"
        steep = max(1.0, np.abs(second).max())
        # Log weights of the order 100 or more, centered, are themselves rounded by 1e-5.
        for ours in (weights, slopes):
            np.testing.assert_allclose(ours, first, atol=2e-6 * roundings * steep, err_msg=told)
        np.testing.assert_allclose(curvature, second, atol=4e-6 * roundings * steep, err_msg=told)


@pytest.mark.parametrize(("num", "names"), GROUPS)
def test_weights_add_up_to_one(num, names):
    for name, pattern, *_, weights in each(num, names):
        roundings = 1e-6 * CASES[name][2] * num
        np.testing.assert_allclose(weights.sum(), 1, atol=roundings, err_msg=f"{name}, {pattern}")


@pytest.mark.parametrize(
    "name",
    every(
        4,
        ["iwae", "renyi:2.0", "jackknife:2", "nested", "thermodynamic", "f:log(1+t)", "grouped"],
    ),
)
def test_the_derivative_of_the_weights_is_the_hessian(name):
    """By which a score is turned to a path; its diagonal is the curvature."""
    ell, bound = jnp.asarray(patterns(8)["spread of 1"]), CASES[name][0]
    hessian, curvature = map(
        np.asarray,
        quick_jit(lambda ell: (jax.jacfwd(bound.weights)(ell), bound.curvature(ell)))(ell),
    )
    np.testing.assert_allclose(hessian, hessian.T, atol=2e-5)
    np.testing.assert_allclose(np.diagonal(hessian), curvature, atol=2e-5)


def test_both_kinds_of_infinity():
    """What takes no notice of zeros is infinite; where both pull, there is no limit."""
    ell = jnp.array([jnp.inf, -jnp.inf, 0.0])
    upward = (IWAE(), Renyi(0.5), CUBO(2), CASES["f:t"][0])
    nowhere = (ELBO(), Thermodynamic(2), CASES["f:-log t"][0])

    @quick_jit
    def told(ell):
        values = [bound(ell) for bound in (*upward, Renyi(2), *nowhere)]
        return jnp.stack(values), [bound.weights(ell) for bound in upward]

    values, weights = told(ell)
    np.testing.assert_array_equal(values, [jnp.inf] * 4 + [-jnp.inf] + [jnp.nan] * 3)
    for of_one in weights:
        np.testing.assert_allclose(of_one, [1, 0, 0], atol=1e-6)


def test_a_term_without_a_weight_may_be_infinite():
    ell = jnp.array([-jnp.inf, 0.0])
    assert Combination({IWAE(): 1.0, ELBO(): 0.0})(ell) == IWAE()(ell)


def test_what_a_user_writes_is_taken_as_it_is():
    ell = jnp.array([-jnp.inf, 0.0, 1.0])
    own = as_bound(lambda ell: jax.nn.logsumexp(ell) - jnp.log(3.0))
    np.testing.assert_allclose(own(ell), IWAE()(ell), rtol=1e-6)
    np.testing.assert_allclose(own.weights(ell), IWAE().weights(ell), rtol=1e-6)
