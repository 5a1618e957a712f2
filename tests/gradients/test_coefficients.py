import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tighter._errors import InputError
from tighter.bounds import BOUNDS, ELBO, IWAE, Combination, Grouped, Jackknife, Renyi, as_bound
from tighter.gradients import (
    ESTIMATORS,
    OVIS,
    VIMCO,
    Baseline,
    BiasKind,
    DoublyReparameterized,
    LeaveOneOut,
    Reparameterized,
    ScoreFunction,
    Split,
    StickingTheLanding,
    WakePhi,
    doubly_reparameterize,
    estimator_from_name,
)

# Compiling is what takes the time here: the machine code need not be the fastest.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

NUM = 5
DRAWS = np.array([-90.3, -89.2, -91.1, -90.7, -88.4])


def own_bound(log_weights):
    """A user's own: the power mean of order one half, as a plain function."""
    return 2 * jax.nn.logsumexp(log_weights / 2) - 2 * jnp.log(log_weights.size)


EVERY_BOUND = {
    **{name: make() for name, make in BOUNDS.items()},
    "renyi:2": Renyi(2),
    "custom": own_bound,
}
UNBIASED, BIASED, OTHER = BiasKind.UNBIASED, BiasKind.BIASED, BiasKind.OTHER_OBJECTIVE


def power_mean(ell, power):
    """Value, first and second derivatives of log of the power mean of the weights."""
    tilted = np.exp(power * (ell - ell.max()))
    share = tilted / tilted.sum()
    return ell.max() + np.log(tilted.mean()) / power, share, power * share * (1 - share)


BY_HAND = {
    "elbo": lambda ell: (ell.mean(), np.full(ell.size, 1 / ell.size), np.zeros(ell.size)),
    "iwae": lambda ell: power_mean(ell, 1.0),
    "renyi": lambda ell: power_mean(ell, 0.5),
    "renyi:2": lambda ell: power_mean(ell, -1.0),
    "cubo": lambda ell: power_mean(ell, 2.0),
    "custom": lambda ell: power_mean(ell, 0.5),
}


def leave_one_out(value, ell):
    return np.array([value(np.delete(ell, k))[0] for k in range(ell.size)])


def with_mean_of_others(value, ell):
    replaced = []
    for k in range(ell.size):
        others = [ell[j] for j in range(ell.size) if j != k]
        replaced.append(value(np.array([*others, sum(others) / len(others)]))[0])
    return np.array(replaced)


def log_of_the_others(ell):
    """Log of the sum of the other weights, over K."""
    return np.array([np.log(np.exp(np.delete(ell, k)).sum() / ell.size) for k in range(ell.size)])


def with_each_other(value, ell):
    """Mean over the others of F - a_k with each in the place of the k-th."""
    controls = []
    for k in range(ell.size):
        told = []
        for j in range(ell.size):
            replaced = ell.copy()
            replaced[k] = ell[j]
            bound, a, _ = value(replaced)
            told.append(bound - a[k])
        controls.append((sum(told) - told[k]) / (ell.size - 1))
    return np.array(controls)


def table(estimator, value, ell):
    """(model, score, path) of each estimator, line by line."""
    bound, a, h = value(ell)
    normalized, zeros = power_mean(ell, 1.0)[1], np.zeros(ell.size)
    lines = {
        "reparameterized": (a, -a, a),
        "sticking-the-landing": (a, zeros, a),
        "doubly-reparameterized": (a, zeros, a - h),
        "generalized-doubly-reparameterized": (a, zeros, a - h),
        "score-function": (a, bound - a, zeros),
        "score-function-leave-one-out": (a, bound - leave_one_out(value, ell) - a, zeros),
        "vimco": (a, bound - with_mean_of_others(value, ell) - a, zeros),
        "ovis": (a, bound - a - log_of_the_others(ell), zeros),
        "ovis-monte-carlo": (a, bound - a - with_each_other(value, ell), zeros),
        "wake-phi": (normalized, normalized, zeros),
        "wake-phi-doubly-reparameterized": (normalized, zeros, normalized - normalized**2),
    }
    return lines[estimator]


@functools.cache
def coefficients_of_all():
    """Those of every estimator for every bound, in one program, in 64 bits."""
    estimators = {name: make() for name, make in ESTIMATORS.items()}
    turned = {
        f"turned {name}": doubly_reparameterize(estimators[name])
        for name in ("reparameterized", "score-function", "score-function-leave-one-out", "vimco")
    }

    def together(ell):
        return {
            name: {
                estimator_name: estimator.coefficients(as_bound(bound), ell)
                for estimator_name, estimator in (estimators | turned).items()
            }
            for name, bound in EVERY_BOUND.items()
        }

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, quick_jit(together)(jnp.asarray(DRAWS)))


def coefficients_of(bound):
    return coefficients_of_all()[bound]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("bound", BY_HAND)
def test_coefficients_are_those_of_the_table(bound, estimator):
    ours = coefficients_of(bound)[estimator]
    expected = table(estimator, BY_HAND[bound], DRAWS)
    for name, column in zip(("model", "score", "path"), expected, strict=True):
        np.testing.assert_allclose(getattr(ours, name), column, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("bound", EVERY_BOUND)
def test_score_becomes_path(bound):
    """Total derivative, both score functions and VIMCO have one double reparameterization."""
    known = coefficients_of(bound)
    expected = known["doubly-reparameterized"]
    turned = {name: ours for name, ours in known.items() if name.startswith("turned ")}
    assert len(turned) == 4
    for ours in turned.values():
        np.testing.assert_allclose(ours.model, expected.model, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours.path, expected.path, rtol=1e-10, atol=1e-11)
        np.testing.assert_array_equal(ours.score, 0)


@pytest.mark.parametrize("bound", EVERY_BOUND)
def test_coefficients_of_every_bound_hang_together(bound):
    known = coefficients_of(bound)
    model = known["reparameterized"].model
    np.testing.assert_allclose(model.sum(), 1, rtol=1e-12)
    for name, ours in known.items():
        assert all(column.shape == (NUM,) for column in ours)
        if not name.startswith("wake-phi"):
            np.testing.assert_array_equal(ours.model, model)
    # A score function and its control variate differ by something that draw k does not move.
    plain, controlled = known["score-function"], known["vimco"]
    np.testing.assert_array_equal(plain.path, controlled.path)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_says_which_columns_it_uses(name):
    estimator = ESTIMATORS[name]()
    ours = coefficients_of("iwae")[name]
    assert estimator.uses_score == np.any(ours.score)
    assert estimator.uses_path == np.any(ours.path)


def test_coefficients_in_float32_and_with_far_log_weights():
    ell = np.array([-1e4, -90.0, -91.0, -500.0, -92.0], np.float32)
    ours = quick_jit(
        lambda ell: {name: make().coefficients(IWAE(), ell) for name, make in ESTIMATORS.items()}
    )(ell)
    for name in ESTIMATORS:
        expected = table(name, BY_HAND["iwae"], ell.astype(np.float64))
        for column, by_hand in zip(ours[name], expected, strict=True):
            assert column.dtype == jnp.float32
            # A score coefficient is the difference of two bounds of about −90.
            np.testing.assert_allclose(column, by_hand, rtol=1e-5, atol=2e-5)


# Control variates


def test_a_baseline_of_ones_own():
    class Constant(Baseline):
        nats: float

        def __call__(self, bound, log_weights):
            return jnp.full_like(log_weights, self.nats)

    ell = jnp.asarray(DRAWS, jnp.float32)
    estimator = ScoreFunction(baseline=Constant(-90.0))
    expected = ScoreFunction().coefficients(IWAE(), ell).score + 90
    np.testing.assert_allclose(estimator.coefficients(IWAE(), ell).score, expected, atol=1e-4)
    assert estimator.min_samples(IWAE()) == 1
    with pytest.raises(TypeError):
        ScoreFunction(baseline=0.5)


@pytest.mark.parametrize("baseline", [LeaveOneOut(), VIMCO()])
def test_a_control_variate_does_not_look_at_its_own_draw(baseline):
    """∂(F − score_k − a_k)/∂ℓ_k = 0, whatever the bound."""
    for bound in (IWAE(), Renyi(0.5), Jackknife(1)):

        def control(ell, bound=bound):
            if isinstance(baseline, Baseline):
                return baseline(bound, ell)
            return bound(ell) - bound.weights(ell) - baseline.coefficients(bound, ell).score

        with jax.enable_x64(True):
            derivative = quick_jit(jax.jacfwd(control))(jnp.asarray(DRAWS))
        np.testing.assert_allclose(np.diagonal(derivative), 0, atol=1e-12)


def test_leave_one_out_of_one_draw_is_refused():
    one = jnp.zeros(1)
    for estimator in (VIMCO(), ScoreFunction(baseline=LeaveOneOut())):
        assert estimator.min_samples(IWAE()) == 2
        assert doubly_reparameterize(estimator).min_samples(IWAE()) == 2
        with pytest.raises(ValueError, match="draw"):
            estimator.coefficients(IWAE(), one)


def test_one_draw():
    """With one draw every bound is the ELBO, and the log weight the only signal."""
    ell = jnp.array([-3.0])
    for name in ("reparameterized", "sticking-the-landing", "doubly-reparameterized"):
        model, score, path = ESTIMATORS[name]().coefficients(IWAE(), ell)
        assert (model, path) == (1, 1)
        assert score == (-1 if name == "reparameterized" else 0)
    assert ScoreFunction().coefficients(IWAE(), ell).score == -4
    assert WakePhi().coefficients(IWAE(), ell).score == 1
    assert doubly_reparameterize(WakePhi()).coefficients(IWAE(), ell).path == 0


@pytest.mark.parametrize(
    ("estimator", "bound", "fewest"),
    [
        (Reparameterized(), ELBO(), 1),
        (DoublyReparameterized(), Jackknife(2), 3),
        (WakePhi(), Grouped(IWAE(), 4), 4),
        (ScoreFunction(), Jackknife(1), 2),
        (ScoreFunction(baseline=LeaveOneOut()), Jackknife(1), 3),
        (VIMCO(), IWAE(), 2),
        (VIMCO(), Jackknife(3), 4),
        (doubly_reparameterize(ScoreFunction(baseline=LeaveOneOut())), Jackknife(2), 4),
        (Split(theta=WakePhi(), phi=VIMCO()), IWAE(), 2),
        (Split(theta=ELBO(), phi=Jackknife(2)), IWAE(), 3),
        (Split(theta=ELBO(), phi=ELBO()), Jackknife(2), 3),
        (Split(theta=(Jackknife(1), VIMCO()), phi=ScoreFunction(LeaveOneOut())), IWAE(), 2),
    ],
)
def test_fewest_draws(estimator, bound, fewest):
    assert estimator.min_samples(bound) == fewest

    def with_bound(ell):
        return bound(ell), estimator.coefficients(bound, ell)

    ell = jnp.linspace(-1.0, 1.0, fewest)
    _, coefficients = jax.eval_shape(with_bound, ell)
    assert coefficients.model.shape == (fewest,)
    if fewest > 1:
        with pytest.raises(ValueError, match="draw"):
            jax.eval_shape(with_bound, ell[1:])


# Double reparameterization


def test_what_has_no_score_is_returned_as_it_is():
    for estimator in (StickingTheLanding(), DoublyReparameterized(), Split(IWAE(), ELBO())):
        assert doubly_reparameterize(estimator) is estimator
    once = doubly_reparameterize(Reparameterized())
    assert doubly_reparameterize(once) is once
    assert not once.uses_score
    assert once.uses_path


# Bias


@pytest.mark.parametrize("bound", EVERY_BOUND)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_bias(name, bound):
    bias = ESTIMATORS[name]().bias(as_bound(EVERY_BOUND[bound]))
    theta, phi = UNBIASED, UNBIASED
    if name == "sticking-the-landing" and bound != "elbo":
        phi = OTHER
    if name.startswith("wake-phi"):
        theta, phi = UNBIASED if bound == "iwae" else OTHER, OTHER
    assert (bias.theta, bias.phi) == (theta, phi)
    assert bias.kind is (phi if phi is not UNBIASED else theta)
    assert bool(bias) == (phi is not UNBIASED or theta is not UNBIASED)
    assert str(bias) == f"{bias.kind.value}: {bias.reason}"
    assert "\n" not in str(bias)


def test_sticking_the_landing_is_unbiased_for_what_is_linear():
    estimator = StickingTheLanding()
    for bound in (ELBO(), Renyi(1), Grouped(ELBO(), 2), Combination({ELBO(): 1.0, IWAE(): 0.0})):
        assert not estimator.bias(bound)
    for bound in (IWAE(), Renyi(0.999), Grouped(IWAE(), 2), as_bound(jnp.mean)):
        assert estimator.bias(bound)


def test_double_reparameterization_keeps_the_bias():
    assert not doubly_reparameterize(VIMCO()).bias(Renyi(0.3))
    assert doubly_reparameterize(WakePhi()).bias(IWAE()) == WakePhi().bias(IWAE())


# One bound for θ and another for φ


def columns(estimator, bound=None):
    with jax.enable_x64(True):
        return quick_jit(lambda ell: estimator.coefficients(bound or IWAE(), ell))(
            jnp.asarray([*DRAWS, -89.5])
        )


def assert_columns(ours, model, others):
    """The model's column of one estimate, score and path of the other."""
    np.testing.assert_allclose(ours.model, model.model, rtol=1e-12)
    np.testing.assert_allclose(ours.score, others.score, rtol=1e-12)
    np.testing.assert_allclose(ours.path, others.path, rtol=1e-12)


def test_split_of_estimators_follows_the_bound_of_the_objective():
    ours = Split(theta=WakePhi(), phi=VIMCO())
    assert_columns(
        columns(ours, Renyi(0.5)), columns(WakePhi(), Renyi(0.5)), columns(VIMCO(), Renyi(0.5))
    )
    assert (ours.uses_score, ours.uses_path) == (True, False)


def test_split_of_bounds_takes_double_reparameterization():
    ours, plain = Split(theta=ELBO(), phi=Jackknife(2)), DoublyReparameterized()
    assert_columns(columns(ours), columns(plain, ELBO()), columns(plain, Jackknife(2)))
    assert (ours.uses_score, ours.uses_path) == (False, True)


def test_split_of_pairs():
    ours = Split(theta=(Renyi(2), ScoreFunction()), phi=(IWAE(), Reparameterized()))
    assert_columns(
        columns(ours, ELBO()), columns(ScoreFunction(), Renyi(2)), columns(Reparameterized())
    )
    assert (ours.uses_score, ours.uses_path) == (True, True)


def test_split_of_plain_callables():
    ours = Split(theta=own_bound, phi=(own_bound, StickingTheLanding()))
    renyi = Renyi(0.5)
    assert_columns(
        columns(ours), columns(DoublyReparameterized(), renyi), columns(StickingTheLanding(), renyi)
    )


def test_split_with_one_part_twice_is_that_part():
    ours, plain = Split(theta=VIMCO(), phi=VIMCO()), VIMCO()
    assert_columns(columns(ours), columns(plain), columns(plain))


def test_double_reparameterization_of_a_split():
    ours = doubly_reparameterize(Split(theta=ELBO(), phi=(IWAE(), Reparameterized())))
    plain = DoublyReparameterized()
    expected = columns(plain)
    np.testing.assert_allclose(columns(ours).path, expected.path, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(columns(ours).score, 0)
    np.testing.assert_array_equal(columns(ours).model, columns(plain, ELBO()).model)


def test_piwae():
    """θ by IWAE of all six draws, φ by the mean of IWAE over two groups of three."""
    ours = columns(Split(theta=IWAE(), phi=Grouped(IWAE(), 2)))
    ell = np.array([*DRAWS, -89.5])
    _, share, _ = power_mean(ell, 1.0)
    groups = [power_mean(group, 1.0)[1] for group in (ell[:3], ell[3:])]
    np.testing.assert_allclose(ours.model, share, rtol=1e-10)
    np.testing.assert_allclose(ours.path, np.concatenate(groups) ** 2 / 2, rtol=1e-10)
    np.testing.assert_array_equal(ours.score, 0)


def test_bias_of_a_split():
    same = Split(theta=IWAE(), phi=VIMCO()).bias(IWAE())
    assert not same
    assert same.kind is UNBIASED

    piwae = Split(theta=IWAE(), phi=Grouped(IWAE(), 2)).bias(IWAE())
    assert (piwae.theta, piwae.phi, piwae.kind) == (UNBIASED, OTHER, OTHER)
    assert "phi: follows Grouped" in piwae.reason
    assert "theta" not in piwae.reason

    theta = Split(theta=(ELBO(), ScoreFunction()), phi=Reparameterized()).bias(IWAE())
    assert (theta.theta, theta.phi, theta.kind) == (OTHER, UNBIASED, OTHER)

    # The bias of sticking the landing is of φ alone, and of wake-phi's θ with IWAE there is none.
    assert not Split(theta=StickingTheLanding(), phi=DoublyReparameterized()).bias(IWAE())
    assert not Split(theta=WakePhi(), phi=DoublyReparameterized()).bias(IWAE())
    assert Split(theta=WakePhi(), phi=DoublyReparameterized()).bias(Renyi(0.5)).theta is OTHER
    assert Split(theta=IWAE(), phi=StickingTheLanding()).bias(IWAE()).phi is OTHER


def test_split_of_what_is_no_part():
    with pytest.raises(TypeError, match=r"write ELBO\(\.\.\.\)"):
        Split(theta=ELBO, phi=IWAE())
    with pytest.raises(TypeError):
        Split(theta=IWAE(), phi=(IWAE(), ELBO()))
    with pytest.raises(TypeError):
        Split(theta=3, phi=IWAE())


# Names


def test_every_name_makes_its_estimator():
    for name, make in ESTIMATORS.items():
        assert estimator_from_name(name) == make()
    for short, estimator in {
        "stl": StickingTheLanding(),
        " dreg ": DoublyReparameterized(),
        "reinforce": ScoreFunction(),
        "rws": WakePhi(),
    }.items():
        assert estimator_from_name(short) == estimator


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vimc", ["unknown gradient estimator 'vimc'", "did you mean 'vimco'?"]),
        ("dregs", ["did you mean 'dreg'?"]),
        ("", ["there are:", "sticking-the-landing"]),
        ("DReG", ["unknown gradient estimator"]),
    ],
)
def test_names_of_no_estimator(name, words):
    with pytest.raises(InputError) as caught:
        estimator_from_name(name)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_wake_phi_of_weights_that_are_all_zero():
    """They share evenly, as a limit in which they vanish together."""
    for draws, share in (([-np.inf] * 4, [0.25] * 4), ([np.inf, 0, -1, -2], [1, 0, 0, 0])):
        model, score, path = WakePhi().coefficients(IWAE(), jnp.array(draws, jnp.float32))
        np.testing.assert_allclose(model, share, atol=1e-7)
        np.testing.assert_array_equal(score, model)
        np.testing.assert_array_equal(path, 0)


@pytest.mark.parametrize(
    "estimator", [VIMCO(), OVIS(), OVIS(monte_carlo=True), ScoreFunction(baseline=LeaveOneOut())]
)
def test_a_baseline_of_weights_that_are_all_zero_is_none(estimator):
    """Else a finite bound would have an infinite gradient."""
    ell = jnp.array([-jnp.inf, -jnp.inf, -3.0])
    model, score, _ = estimator.coefficients(IWAE(), ell)
    np.testing.assert_array_equal(model, [0, 0, 1])
    np.testing.assert_allclose(score[2], -3 - np.log(3) - 1, rtol=1e-6)
    assert np.isfinite(score).all()
