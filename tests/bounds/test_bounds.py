import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from tighter._errors import InputError
from tighter.bounds import (
    BOUNDS,
    CUBO,
    ELBO,
    IWAE,
    Combination,
    Custom,
    FDivergence,
    Grouped,
    Jackknife,
    Renyi,
    Side,
    Thermodynamic,
    as_bound,
    bound_from_name,
)

# Compiling is what takes the time here: the machine code need not be the fastest.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def own_iwae(log_weights):
    """A user's own bound: the IWAE bound, written as a plain function."""
    return jax.nn.logsumexp(log_weights) - jnp.log(log_weights.size)


NESTED = Combination({Combination({ELBO(): 0.25, Jackknife(1): 0.75}): 2.0, CUBO(3): -1.0})

EVERY = {
    **{name: make() for name, make in BOUNDS.items()},
    "renyi:-1": Renyi(-1),
    "renyi:0": Renyi(0),
    "renyi:1": Renyi(1),
    "renyi:2": Renyi(2),
    "jackknife:0": Jackknife(0),
    "jackknife:2": Jackknife(2),
    "jackknife:3": Jackknife(3),
    "nested": NESTED,
    "grouped": Grouped(IWAE(), 2),
    "grouped-jackknife": Grouped(Jackknife(1), 2),
    "custom": as_bound(own_iwae),
    "thermodynamic:uneven": Thermodynamic([0, 0.1, 1]),
    "thermodynamic:right": Thermodynamic(3, right=True),
}
SYMMETRIC = {name: bound for name, bound in EVERY.items() if not name.startswith("grouped")}

# Grouped twice by three, and jackknifed to the third order: six draws serve all.
NUM = 6
SHIFT, ORDER = 12.5, np.array([3, 0, 5, 1, 4, 2])
CLOSE = np.array([-0.3, 0.2, 0.1, -0.7, 0.9, 0.4])
DRAWS = {
    "close": CLOSE,
    "far": np.array([-91.0, -117.5, -89.5, -90.25, -103.0, -95.5]),
    "steep": np.linspace(-2000.0, 0.0, NUM),
    "shifted": CLOSE + SHIFT,
    "permuted": CLOSE[ORDER],
    "nan": np.array([0.0, np.nan, 1.0, 2.0, 3.0, 4.0]),
}
MODERATE = ("close", "far")


def each(bounds=EVERY):
    return pytest.mark.parametrize("name", bounds)


class Facts(NamedTuple):
    """What a bound says of one set of draws, its derivatives in closed form and by jax."""

    value: np.ndarray
    weights: np.ndarray
    curvature: np.ndarray
    gradient: np.ndarray
    hessian_diagonal: np.ndarray


@functools.cache
def facts_of_all(dtype):
    """Of all bounds and all sets of draws, in one program for all tests."""

    def of_one(bound, ell):
        hessian = jax.hessian(bound)(ell) if dtype == "float64" else jnp.zeros((NUM, NUM))
        gradient = jax.grad(bound)(ell)
        return Facts(
            bound(ell), bound.weights(ell), bound.curvature(ell), gradient, jnp.diagonal(hessian)
        )

    def of_all(ell):
        return {name: of_one(bound, ell) for name, bound in EVERY.items()}

    with jax.enable_x64(dtype == "float64"):
        ells = jnp.asarray(np.stack(list(DRAWS.values())), dtype)
        return jax.tree.map(np.asarray, quick_jit(jax.vmap(of_all))(ells))


def facts(name, dtype):
    together = facts_of_all(dtype)[name]
    return {row: Facts(*(leaf[i] for leaf in together)) for i, row in enumerate(DRAWS)}


def mean_iwae_of_subsets(log_weights, size):
    """Mean over all subsets of that size of log of the mean weight: the slow, plain way."""
    subsets = itertools.combinations(np.exp(log_weights), size)
    return np.mean([math.log(math.fsum(subset) / size) for subset in subsets])


def jackknife_by_hand(log_weights, order):
    """Nowozin 2018, eqs. 12-14, in 64 bits; the log weights are to be moderate."""
    num = len(log_weights)
    return math.fsum(
        (-1) ** j
        * (num - j) ** order
        / (math.factorial(order - j) * math.factorial(j))
        * mean_iwae_of_subsets(log_weights, num - j)
        for j in range(order + 1)
    )


def tempered_mean(ell, beta):
    tilted = np.exp(beta * (ell - ell.max()))
    return np.sum(tilted * ell) / tilted.sum()


def by_hand(log_weights):
    """The value of every bound from its definition."""
    ell = np.asarray(log_weights, np.float64)
    w = np.exp(ell)
    values = {
        "elbo": ell.sum() / ell.size,
        "iwae": np.log(w.sum() / w.size),
        "renyi": 2 * np.log(np.sum(np.sqrt(w)) / w.size),
        "renyi:-1": 0.5 * np.log(np.sum(w**2) / w.size),
        "renyi:0": np.log(w.sum() / w.size),
        "renyi:1": ell.sum() / ell.size,
        "renyi:2": -np.log(np.sum(1 / w) / w.size),
        "cubo": 0.5 * np.log(np.sum(w**2) / w.size),
        "jackknife": jackknife_by_hand(ell, 1),
        "jackknife:0": np.log(w.sum() / w.size),
        "jackknife:2": jackknife_by_hand(ell, 2),
        "jackknife:3": jackknife_by_hand(ell, 3),
        "ciwae": 0.5 * ell.mean() + 0.5 * np.log(w.mean()),
        "nested": 0.5 * ell.mean() + 1.5 * jackknife_by_hand(ell, 1) - np.log(np.mean(w**3)) / 3,
        "grouped": 0.5 * np.log(w[:3].mean()) + 0.5 * np.log(w[3:].mean()),
        "custom": np.log(w.sum() / w.size),
        "thermodynamic": sum(tempered_mean(ell, beta) for beta in (0, 0.25, 0.5, 0.75)) / 4,
        "thermodynamic:uneven": 0.1 * tempered_mean(ell, 0) + 0.9 * tempered_mean(ell, 0.1),
        "thermodynamic:right": sum(tempered_mean(ell, beta / 3) for beta in (1, 2, 3)) / 3,
    }
    values["grouped-jackknife"] = 0.5 * jackknife_by_hand(ell[:3], 1) + 0.5 * jackknife_by_hand(
        ell[3:], 1
    )
    return values


# Values


@each()
def test_value_is_that_of_the_definition(name):
    for row in MODERATE:
        ours = facts(name, "float64")[row]
        assert ours.value.dtype == np.float64
        # Both in float64: what is left is the rounding of sums whose terms cancel a little.
        np.testing.assert_allclose(ours.value, by_hand(DRAWS[row])[name], rtol=1e-10)


@each()
def test_float32_agrees_with_float64(name):
    for row in ("close", "far", "shifted"):
        short, long = facts(name, "float32")[row], facts(name, "float64")[row]
        assert short.value.dtype == short.weights.dtype == short.curvature.dtype == np.float32
        # float32 rounds by 6e-8; the jackknife's coefficients are up to 125/2, on six draws of
        # order one: 2e-5. Derivatives, divided by sums of weights once more, lose another digit.
        np.testing.assert_allclose(short.value, long.value, rtol=1e-5, atol=2e-5)
        for part in ("weights", "curvature", "gradient"):
            np.testing.assert_allclose(getattr(short, part), getattr(long, part), atol=1e-4)


def test_numbers_worked_out_on_paper():
    weights = jnp.log(jnp.array([1.0, 3.0]))
    # Exact numbers, in float32: ten roundings.
    np.testing.assert_allclose(ELBO()(weights), 0.5 * np.log(3), rtol=1e-6)
    np.testing.assert_allclose(IWAE()(weights), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(CUBO(2)(weights), 0.5 * np.log(5), rtol=1e-6)
    np.testing.assert_allclose(Jackknife(1)(weights), 2 * np.log(2) - 0.5 * np.log(3), rtol=1e-6)
    np.testing.assert_allclose(Renyi(2)(weights), -np.log(2 / 3), rtol=1e-6)
    np.testing.assert_allclose(Renyi(0.5)(jnp.log(jnp.array([1.0, 9.0]))), np.log(4), rtol=1e-6)


@pytest.mark.parametrize("num", [2, 6])
def test_first_jackknife_in_closed_form(num):
    draws = np.random.default_rng(num).normal(size=num)
    weights = np.exp(draws)
    others = np.log((weights.sum() - weights) / (num - 1))
    expected = num * np.log(weights.mean()) - (num - 1) * others.mean()
    with jax.enable_x64(True):
        value = quick_jit(Jackknife(1))(jnp.asarray(draws))
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 3])
def test_jackknife_of_as_few_draws_as_it_takes(order):
    draws = np.linspace(-1, 1.5, order + 1)
    with jax.enable_x64(True):
        value = quick_jit(Jackknife(order))(jnp.asarray(draws))
    np.testing.assert_allclose(value, jackknife_by_hand(draws, order), rtol=1e-10)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Renyi(0), "iwae"),
        (Renyi(1), "elbo"),
        (Jackknife(0), "iwae"),
        (CUBO(1), "iwae"),
        (CUBO(2), "renyi:-1"),
        (Combination({IWAE(): 1.0}), "iwae"),
        (Grouped(Renyi(2), 1), "renyi:2"),
        (Grouped(IWAE(), NUM), "elbo"),
        (Grouped(ELBO(), 3), "elbo"),
        (bound_from_name("ciwae:0.5"), "ciwae"),
    ],
)
def test_bounds_that_are_the_same(one, other):
    expected = facts(other, "float64")["far"]
    run = quick_jit(lambda ell: (one(ell), one.weights(ell), one.curvature(ell)))
    with jax.enable_x64(True):
        value, weights, curvature = run(jnp.asarray(DRAWS["far"]))
    np.testing.assert_allclose(value, expected.value, rtol=1e-12)
    np.testing.assert_allclose(weights, expected.weights, atol=1e-12)
    np.testing.assert_allclose(curvature, expected.curvature, atol=1e-12)


def test_cubo_is_renyi_of_negative_order():
    with jax.enable_x64(True):
        ell = jnp.asarray(CLOSE)
        for order in (1.0, 1.5, 3.5):
            np.testing.assert_allclose(CUBO(order)(ell), Renyi(1 - order)(ell), rtol=1e-12)


# Derivatives


@each()
def test_closed_form_derivatives_are_those_of_the_value(name):
    for row in MODERATE:
        ours = facts(name, "float64")[row]
        np.testing.assert_allclose(ours.weights, ours.gradient, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours.curvature, ours.hessian_diagonal, rtol=1e-10, atol=1e-12)


@each()
def test_weights_add_up_to_one(name):
    for row in MODERATE:
        np.testing.assert_allclose(facts(name, "float64")[row].weights.sum(), 1, rtol=1e-12)


@each(SYMMETRIC)
def test_the_order_of_the_draws_does_not_matter(name):
    plain, permuted = (facts(name, "float64")[row] for row in ("close", "permuted"))
    np.testing.assert_allclose(permuted.value, plain.value, rtol=1e-10)
    np.testing.assert_allclose(permuted.weights, plain.weights[ORDER], atol=1e-12)
    np.testing.assert_allclose(permuted.curvature, plain.curvature[ORDER], atol=1e-12)


@each()
def test_a_constant_added_to_the_log_weights_is_added_to_the_bound(name):
    plain, shifted = (facts(name, "float64")[row] for row in ("close", "shifted"))
    np.testing.assert_allclose(shifted.value, plain.value + SHIFT, rtol=1e-12)
    np.testing.assert_allclose(shifted.weights, plain.weights, atol=1e-12)
    np.testing.assert_allclose(shifted.curvature, plain.curvature, atol=1e-12)


@each()
def test_a_bound_whose_curvature_is_zero_says_that_it_is_linear(name):
    flat = not np.any(facts(name, "float64")["close"].curvature)
    assert EVERY[name].is_linear == flat


def test_a_term_without_weight_does_not_count():
    assert Combination({ELBO(): 1.0, IWAE(): 0.0}).is_linear


# Orders near one


ORDERS_NEAR_ONE = [1 + sign * 10.0**-digits for digits in (3, 5, 7, 9) for sign in (-1, 1)] + [1.0]


def renyi_by_cumulants(draws, alpha):
    """The bound as a series in 1 − α about the mean, and its gradient, to the fourth order."""
    power, deviation = 1 - alpha, draws - draws.mean()
    second, third, fourth = (np.mean(deviation**n) for n in (2, 3, 4))
    fourth_cumulant = fourth - 3 * second**2
    value = draws.mean() + power * second / 2 + power**2 * third / 6
    tilted = np.exp(power * deviation)
    return value + power**3 * fourth_cumulant / 24, tilted / tilted.sum()


@functools.cache
def near_one(dtype):
    """Draws as they are met in practice; value, gradient and closed weights for every order."""
    draws = np.random.default_rng(1).normal(-90, 5, size=16).astype(dtype)

    def run(ell):
        return {
            alpha: (*jax.value_and_grad(Renyi(alpha))(ell), Renyi(alpha).weights(ell))
            for alpha in ORDERS_NEAR_ONE
        }

    with jax.enable_x64(dtype == "float64"):
        return draws.astype(np.float64), jax.tree.map(np.asarray, quick_jit(run)(draws))


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("alpha", ORDERS_NEAR_ONE)
def test_renyi_near_one_is_near_the_elbo(alpha, dtype, rtol):
    draws, results = near_one(dtype)
    value, gradient, weights = results[alpha]
    expected, expected_weights = renyi_by_cumulants(draws, alpha)
    np.testing.assert_allclose(value, expected, rtol=rtol / 10)
    np.testing.assert_allclose(gradient, expected_weights, rtol=rtol)
    np.testing.assert_allclose(weights, expected_weights, rtol=rtol)
    # The variance of the log weights is about 25, and its half the slope in alpha.
    assert abs(value - draws.mean()) <= 20 * abs(1 - alpha) + 100 * rtol / 10


def test_renyi_does_not_increase_with_its_order():
    alphas = [-50, -2, -1, 0, 0.5, 0.999, 1 - 1e-7, 1, 1 + 1e-7, 1.001, 2, 5, 50]
    for draws in (DRAWS[row] for row in MODERATE):
        with jax.enable_x64(True):
            values = np.array([Renyi(alpha)(jnp.asarray(draws)) for alpha in alphas])
        assert (np.diff(values) < 0).all()
        assert draws.min() < values[-1]
        assert values[0] < draws.max()


# Extreme log weights


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each()
def test_large_spreads_give_finite_numbers(name, dtype):
    ours = facts(name, dtype)["steep"]
    for numbers in ours:
        assert np.isfinite(numbers).all()
    rounding = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(ours.weights, ours.gradient, atol=rounding)


def test_the_values_of_large_spreads():
    top = -math.log(NUM)
    for name, value in {"elbo": -1000, "iwae": top, "renyi": 2 * top, "cubo": top / 2}.items():
        # Rounding is that of the log weights' mean, −1000.
        np.testing.assert_allclose(facts(name, "float32")["steep"].value, value, atol=1e-4)
        np.testing.assert_allclose(facts(name, "float64")["steep"].value, value, atol=1e-12)
    # 6·0 + (5/6)·400 less the logarithms of 6 six times and of 5 five times.
    expected = 6 * top + 5 * math.log(5) + 5 / 6 * 400
    np.testing.assert_allclose(facts("jackknife", "float32")["steep"].value, expected, rtol=1e-5)


@pytest.mark.parametrize("bound", [IWAE(), Renyi(0), Renyi(0.5), CUBO(2)])
def test_a_draw_without_weight_counts_as_a_zero(bound):
    ell = jnp.array([-jnp.inf, 0.0, jnp.log(3.0), -jnp.inf])
    power = {IWAE(): 1, Renyi(0): 1, Renyi(0.5): 0.5, CUBO(2): 2}[bound]
    value, gradient = jax.value_and_grad(bound)(ell)
    np.testing.assert_allclose(value, np.log((1 + 3**power) / 4) / power, rtol=1e-6)
    expected = np.array([0, 1, 3**power, 0]) / (1 + 3**power)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    np.testing.assert_allclose(bound.weights(ell), expected, rtol=1e-6)
    curvature = power * expected * (1 - expected)
    np.testing.assert_allclose(bound.curvature(ell), curvature, rtol=1e-5)


def test_no_weight_at_all():
    nothing = jnp.full(3, -jnp.inf)
    assert IWAE()(nothing) == -jnp.inf
    assert ELBO()(nothing) == -jnp.inf
    assert Renyi(2)(jnp.array([0.0, -jnp.inf])) == -jnp.inf


@each()
def test_a_log_weight_that_is_not_a_number_is_not_hidden(name):
    assert np.isnan(facts(name, "float32")["nan"].value)


# One draw


def test_with_one_draw_every_bound_is_the_elbo():
    bounds = {name: bound for name, bound in EVERY.items() if bound.min_samples == 1}
    assert len(bounds) > 10
    results = quick_jit(
        lambda ell: {
            name: (bound(ell), bound.weights(ell), bound.curvature(ell))
            for name, bound in bounds.items()
        }
    )(jnp.array([-3.25]))
    for value, weights, curvature in results.values():
        np.testing.assert_allclose(value, -3.25, rtol=1e-6)
        np.testing.assert_allclose(weights, [1], rtol=1e-6)
        np.testing.assert_allclose(curvature, [0], atol=1e-6)


def test_fewest_draws():
    fewest = {name: bound.min_samples for name, bound in EVERY.items() if bound.min_samples > 1}
    assert fewest == {
        "jackknife": 2,
        "jackknife:2": 3,
        "jackknife:3": 4,
        "nested": 2,
        "grouped": 2,
        "grouped-jackknife": 4,
    }


# Sides


def test_sides():
    assert ELBO().side is IWAE().side is Renyi(0.5).side is Renyi(3).side is Side.LOWER
    assert Jackknife(0).side is bound_from_name("ciwae").side is Side.LOWER
    assert Grouped(IWAE(), 2).side is Side.LOWER
    assert CUBO(2).side is Grouped(CUBO(2), 2).side is Side.UPPER
    for bound in (Renyi(-1), Jackknife(1), as_bound(own_iwae), NESTED):
        assert bound.side is Side.NEITHER
    assert Combination({ELBO(): 0.5, CUBO(): 0.5}).side is Side.NEITHER
    assert Combination({ELBO(): -1.0, IWAE(): 2.0}).side is Side.NEITHER
    assert Combination({ELBO(): 1.0, CUBO(): 0.0}).side is Side.LOWER


# Any callable


def test_a_plain_callable_is_a_bound():
    bound = as_bound(own_iwae)
    assert isinstance(bound, Custom)
    assert as_bound(bound) is bound
    with jax.enable_x64(True):
        ell = jnp.asarray(CLOSE)
        np.testing.assert_allclose(bound(ell), IWAE()(ell), rtol=1e-12)
        np.testing.assert_allclose(bound.weights(ell), IWAE().weights(ell), rtol=1e-12)
        np.testing.assert_allclose(bound.curvature(ell), IWAE().curvature(ell), rtol=1e-12)
    assert as_bound(own_iwae) == as_bound(own_iwae)
    assert as_bound(own_iwae) != as_bound(jnp.mean)


def test_a_callable_may_close_over_arrays_and_be_differentiated():
    power = jnp.array(2.0)

    def of_power(power):
        bound = as_bound(lambda ell: jax.nn.logsumexp(power * ell) / power - jnp.log(2.0) / power)
        return bound(jnp.array([0.0, 1.0]))

    expected = jax.grad(lambda p: jnp.log((1 + jnp.exp(p)) / 2) / p)(power)
    np.testing.assert_allclose(jax.jit(jax.grad(of_power))(power), expected, rtol=1e-5)


def test_bounds_need_neither_jit_nor_vmap():
    """The tables above are made with both; this is a bound called plainly."""
    for name in ("iwae", "renyi", "ciwae"):
        plain = EVERY[name](jnp.asarray(CLOSE, jnp.float32))
        assert plain.shape == ()
        np.testing.assert_allclose(plain, facts(name, "float32")["close"].value, rtol=1e-5)


# Errors


@each([name for name, bound in EVERY.items() if not isinstance(bound, Custom)])
def test_no_draws_are_refused(name):
    bound = EVERY[name]
    for part in (bound, bound.weights, bound.curvature):
        with pytest.raises(ValueError, match="log weights, got shape"):
            part(jnp.zeros(0))


@each()
def test_a_matrix_of_log_weights_is_refused(name):
    bound = EVERY[name]  # whose annotations speak first, when they are checked as here
    for part in (bound, bound.weights, bound.curvature):
        with pytest.raises((ValueError, TypeCheckError)):
            part(jnp.zeros((2, 4)))


def test_too_few_or_too_many_draws_for_a_jackknife():
    with pytest.raises(ValueError, match="3 or more log weights"):
        Jackknife(2)(jnp.zeros(2))
    with pytest.raises(ValueError, match="fewer draws or a lower order"):
        Jackknife(3)(jnp.zeros(1000))


@pytest.mark.parametrize("order", [-1, 1.0, 0.5, True, None, "1"])
def test_orders_that_no_jackknife_has(order):
    with pytest.raises((ValueError, TypeCheckError)):
        Jackknife(order)


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -math.inf, "x"])
def test_orders_that_no_renyi_bound_has(alpha):
    with pytest.raises(ValueError, match=r"finite number|could not convert"):
        Renyi(alpha)


@pytest.mark.parametrize("order", [0.5, 0, -1, math.nan, math.inf])
def test_orders_that_bound_nothing_from_above(order):
    with pytest.raises(ValueError, match="from 1 up"):
        CUBO(order)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, "at least one"),
        ({ELBO(): 0.5, IWAE(): 0.6}, "add up to 1"),
        ({ELBO(): 0.5}, "add up to 1"),
        ({ELBO(): math.nan, IWAE(): 1.0}, "add up to 1"),
    ],
)
def test_combinations_that_are_no_bound(terms, words):
    with pytest.raises(ValueError, match=words):
        Combination(terms)


def test_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="5 draws don't divide into 2"):
        Grouped(IWAE(), 2)(jnp.zeros(5))
    with pytest.raises(ValueError, match="one group or more"):
        Grouped(IWAE(), 0)
    with pytest.raises(ValueError, match="4 or more log weights"):
        Grouped(Jackknife(1), 2)(jnp.zeros(2))


def test_what_is_no_bound():
    with pytest.raises(TypeError, match=r"write IWAE\(\.\.\.\)"):
        as_bound(IWAE)
    with pytest.raises(TypeError, match="callable"):
        as_bound.__wrapped__(3)
    with pytest.raises(ValueError, match=r"scalar, got shape \(4,\)"):
        as_bound(lambda ell: ell)(jnp.zeros(4))


# Names


def test_every_name_makes_its_bound():
    assert bound_from_name("elbo") == ELBO()
    assert bound_from_name(" iwae ") == IWAE()
    assert bound_from_name("renyi") == Renyi(0.5)
    assert bound_from_name("renyi:-1.5") == Renyi(-1.5)
    assert bound_from_name("renyi:1e-3") == Renyi(0.001)
    assert bound_from_name("cubo:3") == CUBO(3)
    assert bound_from_name("jackknife") == Jackknife(1)
    assert bound_from_name("jackknife:2") == Jackknife(2)
    assert bound_from_name("ciwae") == Combination({ELBO(): 0.5, IWAE(): 0.5})
    assert bound_from_name("ciwae:0.2") == Combination({ELBO(): 0.2, IWAE(): 0.8})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iwea", ["unknown bound 'iwea'", "did you mean 'iwae'?"]),
        ("cub", ["did you mean 'cubo'?"]),
        ("", ["unknown bound ''", "elbo, iwae"]),
        ("zzz", ["there are: ciwae, cubo, elbo"]),
        ("IWAE", ["unknown bound"]),
        ("iwae:2", ["takes no number", "write 'iwae'"]),
        ("renyi:x", ["renyi:x", "could not convert"]),
        ("renyi:nan", ["finite number"]),
        ("cubo:0.5", ["from 1 up"]),
        ("jackknife:-1", ["from 0 up"]),
        ("renyi:1:2", ["renyi:1:2"]),
    ],
)
def test_names_of_no_bound(text, words):
    with pytest.raises(InputError) as caught:
        bound_from_name(text)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# Known expectations


@pytest.mark.parametrize(
    ("bound", "power", "exact"),
    [
        (ELBO(), 0, -0.125),
        (IWAE(), 1, 0.0),
        (Renyi(0.5), 0.5, -0.0625),
        (Renyi(2), -1, -0.25),
        (Renyi(-1), 2, 0.125),
        (CUBO(2), 2, 0.125),
        (CUBO(3), 3, 0.25),
    ],
)
def test_shifted_gaussian(bound, power, exact):
    """p(z, x) = N(0, 1) and q = N(½, 1): log weights are N(−⅛, ¼), all bounds known exactly."""
    num, delta = 10**6, 0.5
    draws = np.random.default_rng(2).normal(-(delta**2) / 2, delta, size=num)
    with jax.enable_x64(True):
        value = float(bound(jnp.asarray(draws)))
    if power == 0:
        standard_error = draws.std() / math.sqrt(num)
    else:  # of a logarithm of a mean, by the delta method
        tilted = np.exp(power * draws)
        standard_error = tilted.std() / tilted.mean() / abs(power) / math.sqrt(num)
    assert abs(value - exact) < 5 * standard_error


VARIANCE = 0.5  # of the logarithm of lognormal weights with mean one


def expected_log_mean(num):
    r"""$E \log \frac1K \sum_k w_k$ for lognormal weights, by quadrature.

    $E \log m = \int_0^\infty (e^{-t} - E e^{-tm}) / t\, dt$, and $E e^{-tm}$ is the K-th power of a
    Laplace transform. Trapezoids converge fast: both integrands are smooth and vanish at the ends.
    """
    normal, step = np.linspace(-12, 12, 1201, retstep=True)
    density = np.exp(-(normal**2) / 2) / math.sqrt(2 * math.pi) * step
    weights = np.exp(math.sqrt(VARIANCE) * normal - VARIANCE / 2)
    log_t, step = np.linspace(-40, 12, 2601, retstep=True)
    transform = np.exp(-np.exp(log_t)[:, None] / num * weights) @ density
    return float(np.sum(np.exp(-np.exp(log_t)) - transform**num) * step)


# K, K times the bias of IWAE, the bias of the first jackknife, as that quadrature gives them.
LOGNORMAL = [
    (4, -0.29272, -0.006988),
    (8, -0.30565, -0.002089),
    (16, -0.31389, -0.000604),
    (32, -0.31874, -0.000167),
]


@pytest.mark.parametrize(("num", "iwae", "jackknife"), LOGNORMAL)
def test_the_known_biases_are_those_of_quadrature(num, iwae, jackknife):
    whole, fewer = expected_log_mean(num), expected_log_mean(num - 1)
    assert abs(num * whole - iwae) < 0.5e-5
    assert abs(num * whole - (num - 1) * fewer - jackknife) < 0.5e-6


def mean_and_error(values, *controls):
    """Mean and its standard error, less what controls of expectation zero explain."""
    controls = np.stack(controls, axis=1)
    slopes = np.linalg.lstsq(controls, values - values.mean(), rcond=None)[0]
    values = values - controls @ slopes
    return values.mean(), values.std() / math.sqrt(len(values))


@pytest.mark.parametrize(("num", "iwae", "jackknife"), LOGNORMAL)
def test_biases_on_lognormal_weights(num, iwae, jackknife):
    rng = np.random.default_rng(num)
    draws = rng.normal(-VARIANCE / 2, math.sqrt(VARIANCE), size=(2**15, num))
    with jax.enable_x64(True):
        ells = jnp.asarray(draws)
        by_iwae = np.asarray(jax.jit(jax.vmap(IWAE()))(ells))
        by_jackknife = np.asarray(jax.lax.map(Jackknife(1), ells, batch_size=1024))
    # The first two terms of the logarithm's series, less their expectations.
    weights = np.exp(draws)
    excess = weights.mean(axis=1) - 1
    others = (weights.sum(axis=1, keepdims=True) - weights) / (num - 1) - 1
    square = excess**2 - math.expm1(VARIANCE) / num
    jackknifed_square = num * excess**2 - (num - 1) * np.mean(others**2, axis=1)
    mean, error = mean_and_error(by_iwae, excess, square)
    assert abs(mean - iwae / num) < 5 * error + 0.5e-5 / num
    mean, error = mean_and_error(by_jackknife, excess, jackknifed_square)
    assert abs(mean - jackknife) < 5 * error + 0.5e-6
    # So the two are told apart, and the jackknife is nearer to zero.
    assert 10 * error < abs(iwae / num) - abs(jackknife)


# Riemann sums and means by f


@pytest.mark.parametrize("num", [1, 5])
def test_the_integral_lies_between_its_sums(num):
    for draws in (CLOSE, DRAWS["far"]):
        ell = jnp.asarray(draws)
        left, right = Thermodynamic(num)(ell), Thermodynamic(num, right=True)(ell)
        assert left <= IWAE()(ell) <= right
    np.testing.assert_allclose(Thermodynamic(1)(jnp.asarray(CLOSE)), ELBO()(jnp.asarray(CLOSE)))


@pytest.mark.parametrize("steps", [1, 4])
def test_riemann_sums_on_the_shifted_gaussian(steps):
    """log w ~ N(-δ²/2, δ²): -δ²/(2S) and +δ²/(2S), in the limit of many draws."""
    delta = 0.5
    noise = np.random.default_rng(0).normal(size=(200, 20_000))
    ell = jnp.asarray(-(delta**2) / 2 + delta * noise, jnp.float32)
    for right, truth in ((False, -(delta**2) / 2 / steps), (True, delta**2 / 2 / steps)):
        values = np.asarray(quick_jit(jax.vmap(Thermodynamic(steps, right=right)))(ell))
        # The self-normalized means are biased by less than δ³/K.
        assert abs(values.mean() - truth) < 5 * values.std() / np.sqrt(200) + 1e-4


@pytest.mark.parametrize(
    ("f", "other", "side"),
    [
        (lambda t: -jnp.log(t), ELBO(), Side.LOWER),
        (lambda t: t, IWAE(), Side.LOWER),
        (lambda t: t**0.5, Renyi(0.5), Side.LOWER),
        (lambda t: 1 / t, Renyi(2), Side.LOWER),
        (lambda t: t**2, CUBO(2), Side.UPPER),
    ],
)
def test_means_by_a_power_are_the_known_bounds(f, other, side):
    bound = FDivergence(f)
    assert bound.side is side
    with jax.enable_x64(True):
        for draws in (CLOSE, CLOSE - 700):
            ell = jnp.asarray(draws)
            np.testing.assert_allclose(bound(ell), other(ell), rtol=1e-12)
            np.testing.assert_allclose(bound.weights(ell), other.weights(ell), atol=1e-12)
            np.testing.assert_allclose(bound.curvature(ell), other.curvature(ell), atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Thermodynamic(0), "one step or more"),
        (lambda: Thermodynamic([]), "one step or more"),
        (lambda: Thermodynamic([0, 0.5, 0.5, 1]), "rise from 0 to 1"),
        (lambda: Thermodynamic([0, 1.5]), "rise from 0 to 1"),
        (lambda: FDivergence(lambda t: (t - 1) ** 2), "strictly monotone"),
        (lambda: FDivergence(lambda t: jnp.log(t - 1)), "strictly monotone"),
    ],
)
def test_sums_and_functions_that_make_no_bound(make, message):
    with pytest.raises(ValueError, match=message):
        make()
