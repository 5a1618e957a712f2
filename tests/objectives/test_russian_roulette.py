"""SUMO: unbiased for what it says, noisy as it says, and no dearer than its draws."""

import functools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jax.flatten_util import ravel_pytree
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.objectives.russian_roulette import Nested

pytestmark = pytest.mark.filterwarnings("ignore:SUMO has next to no bias")
MODEL = tt.models.LinearGaussian.create(2, 1, key=jax.random.key(1))
X = jnp.array([[0.5, -0.7]])
IWAE = tt.bounds.IWAE()


def sumo(gradient=None, **sizes):
    return tt.SUMO(gradient or tt.gradients.DoublyReparameterized(), **sizes)


@functools.cache
def exact(most):
    """Expected IWAE of `most` draws by its log weights' distribution, and gradient by quadrature.

    With one latent number log w is a quadratic in the noise; IWAE of two draws is a double sum.
    """
    assert most == 3
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    mass = weights / weights.sum()
    arrays, unravel = ravel_pytree(MODEL)

    def expected(flat):
        model = unravel(flat)
        posterior = model.posterior(X[0])

        def weight(noise):
            z = posterior.base_dist.loc + posterior.base_dist.scale * noise[None]
            return model.log_joint(X[0])(z) - posterior.log_prob(z)

        logs = jax.vmap(weight)(jnp.asarray(nodes, jnp.float32))
        table = jnp.stack(jnp.meshgrid(logs, logs, logs, indexing="ij"))
        bound = jax.nn.logsumexp(table, axis=0) - jnp.log(3)
        return jnp.einsum("ijk,i,j,k->", bound, *[jnp.asarray(mass, jnp.float32)] * 3)

    return jax.tree.map(lambda a: np.asarray(a, float), jax.value_and_grad(expected)(arrays))


ESTIMATORS = {
    "total": tt.gradients.Reparameterized(),
    "doubly reparameterized": tt.gradients.DoublyReparameterized(),
}


@pytest.mark.parametrize("name", every(2, ESTIMATORS))
def test_value_and_gradient_are_those_of_the_largest_bound(name):
    """SUMO of one to three draws has the expectation of IWAE_3, and its gradient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objective = sumo(ESTIMATORS[name], max_samples=3)
    arrays, unravel = ravel_pytree(MODEL)

    def one(key):
        def bound(flat):
            return objective.batch(unravel(flat), X, key=key)[0]

        return jax.value_and_grad(bound)(arrays)

    replicates = 2**15
    drawn = quick_jit(jax.vmap(one))(jax.random.split(jax.random.key(2), replicates))
    for values, expected in zip(drawn, exact(3), strict=True):
        values = np.asarray(values, float)
        error = values.std(axis=0, ddof=1) / np.sqrt(replicates)
        assert (np.abs(values.mean(axis=0) - expected) <= 5 * error + 1e-5).all()


def shifted(square):
    """TARGETS 1a: log p(x) = 0, log weights N(−δ²/2, δ²)."""
    delta = square**0.5

    class Shifted(eqx.Module):
        def log_joint(self, x):
            return dist.Normal(0.0, 1.0, validate_args=False).log_prob

        def posterior(self, x):
            return dist.Normal(delta, 1.0, validate_args=False)

    return Shifted()


@pytest.mark.slow
def test_next_to_no_bias_and_a_large_variance():
    """On 1a with δ² = ½; IWAE_65 is its expectation, (e^½ − 1)/130 below log p(x) = 0."""
    objective, xs = sumo(max_samples=65), jnp.zeros((2**15, 1))
    values = objective.batch(shifted(0.5), xs, key=jax.random.key(3))
    values = np.asarray(values, float)
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert abs(values.mean() + np.expm1(0.5) / 130) < 5 * error + 1e-4
    single = tt.Objective(tt.bounds.IWAE(), num_samples=5)  # about as many draws
    single = single.batch(shifted(0.5), xs[:2000], key=jax.random.key(4))
    assert values.var() > 10 * single.var()
    with pytest.warns(UserWarning, match="very large variance"):
        tt.SUMO()


@pytest.mark.slow
def test_draws_cost_what_they_are():
    """log p is asked for as many draws as there are, in blocks of the batch's size."""
    asked = []

    class Counting(type(shifted(0.5))):
        def log_joint(self, x):
            def log_joint(z):
                jax.debug.callback(lambda _: asked.append(1), z)
                return -0.5 * z**2

            return log_joint

        def posterior(self, x):
            return dist.Normal(0.1, 1.0, validate_args=False)

    objective, key, num = sumo(num_samples=2, max_samples=258), jax.random.key(5), 16
    quick_jit(lambda xs: objective.batch(Counting(), xs, key=key))(jnp.zeros((num, 1)))
    jax.effects_barrier()
    counts = np.asarray(jax.vmap(objective._count)(jax.random.split(key, num)))
    assert len(asked) == -(-counts.sum() // num) * num


def test_how_many_draws():
    """m + 𝒦 with 𝒦 ≥ k in one of k cases, cut at the most."""
    objective = sumo(num_samples=2, max_samples=12)
    counts = np.asarray(jax.vmap(objective._count)(jax.random.split(jax.random.key(6), 20_000)))
    for k in range(1, 11):
        error = np.sqrt(1 / k * (1 - 1 / k) / 20_000)
        assert abs((counts >= 2 + k).mean() - 1 / k) <= 5 * error
    assert counts.max() == 12


@pytest.mark.slow
def test_the_combination_of_nested_bounds():
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(0, 2, 6), jnp.float32)
    combination = jnp.array([0.5, -1.0, 0.0, 2.0, -0.5, 0.0])
    bound = Nested(combination)

    def by_hand(weights):
        iwae = tt.bounds.IWAE()
        return sum(combination[j] * iwae(weights[: j + 1]) for j in range(6))

    np.testing.assert_allclose(bound(weights), by_hand(weights), rtol=1e-5)
    np.testing.assert_allclose(
        bound.weights(weights), quick_jit(jax.grad(by_hand))(weights), atol=1e-6
    )
    second = jnp.diag(quick_jit(jax.hessian(by_hand))(weights))
    np.testing.assert_allclose(bound.curvature(weights), second, atol=1e-5)
    # Weights a thousand nats apart neither overflow nor vanish into NaN.
    apart = Nested(jnp.array([0.5, 0.5])).weights(jnp.array([0.0, 1000.0]))
    np.testing.assert_allclose(apart, [0.5, 0.5])


@pytest.mark.slow
def test_it_trains():
    xs = np.asarray(jax.random.normal(jax.random.key(8), (20, 2)) + 1)
    result = tt.fit(
        MODEL, xs, sumo(max_samples=17), optimizer=optax.adam(3e-2), num_epochs=30, batch_size=10,
        key=jax.random.key(1), show_progress=False,
    )  # fmt: skip
    before, after = (float(jnp.mean(jax.vmap(m.log_evidence)(xs))) for m in (MODEL, result.model))
    assert after > before + 0.3


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: sumo(tt.gradients.ScoreFunction()), TypeError, "through the path"),
        (lambda: sumo(num_samples=0), ValueError, "num_samples is at least 1"),
        (lambda: sumo(num_samples=5, max_samples=5), ValueError, "max_samples above it"),
    ],
)
def test_what_cannot_be_built(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_it_answers_for_its_bias_and_refuses_another_objective():
    """Sticking the landing drops a score: E [.71, −.43] where [0, 0] is right."""
    assert not sumo().bias
    assert not sumo(tt.gradients.Split(IWAE, tt.gradients.Reparameterized())).bias
    biased = [
        tt.gradients.StickingTheLanding(),
        tt.gradients.doubly_reparameterize(tt.gradients.WakePhi()),
        tt.gradients.Split(IWAE, tt.gradients.StickingTheLanding()),
    ]
    for gradient in biased:
        with pytest.raises(TypeError, match="SUMO follows log p"):
            sumo(gradient)


def test_experts_in_turn_have_no_random_number_of_turns():
    experts = tt.distributions.Experts(dist.Normal(jnp.zeros(2), 1.0))

    class InTurn(eqx.Module):
        def log_joint(self, x):
            return lambda z: -0.5 * (z - x) ** 2

        def posterior(self, x):
            return experts

    with pytest.raises(ValueError, match="unequal turns"):
        sumo().batch(InTurn(), jnp.zeros(3), key=jax.random.key(0))


def test_first_weights_that_are_zero():
    """IWAE_1 … IWAE_4 of weights 0, 0, 1, e: while all are zero they share evenly."""
    ell = jnp.array([-jnp.inf, -jnp.inf, 0.0, 1.0])
    third, fourth = -np.log(3), np.log((1 + np.e) / 4)
    share = 1 / (1 + np.e)
    for combination, value, weights in (
        ([0, 0, 0, 1], fourth, [0, 0, share, 1 - share]),
        ([0, 0, -1, 2], 2 * fourth - third, [0, 0, 2 * share - 1, 2 - 2 * share]),
        ([-1, 1, 0, 1], fourth, [-0.5, 0.5, share, 1 - share]),
        ([0, -1, 0, 2], np.inf, [-0.5, -0.5, 2 * share, 2 - 2 * share]),
        ([0, 2, -1, 0], -np.inf, [1, 1, -1, 0]),
    ):
        bound = Nested(jnp.array(combination, float))
        np.testing.assert_allclose(bound(ell), value, rtol=1e-6)
        np.testing.assert_allclose(bound.weights(ell), weights, atol=1e-6)
        assert np.isfinite(bound.curvature(ell)).all()
    nothing = Nested(jnp.array([0.0, -1.0, 2.0]))
    assert nothing(jnp.full(3, -jnp.inf)) == -jnp.inf
    assert Nested(jnp.array([0.0, 1.0]))(jnp.array([jnp.inf, 0.0])) == jnp.inf


def test_large_log_weights_keep_their_digits():
    """−1 for each of a thousand means but the last: the sum is of what they differ by."""
    ell = (-1e4 + np.random.default_rng(0).normal(size=1000)).astype(np.float32)
    combination = np.full(1000, -1.0)
    combination[0], combination[-1] = 0, 999
    means = np.logaddexp.accumulate(ell.astype(float)) - np.log(np.arange(1, 1001))
    expected = combination @ means
    # Of means that are rounded by 5e-4 it would be off by .3.
    ours = Nested(jnp.asarray(combination, jnp.float32))(jnp.asarray(ell))
    assert abs(ours - expected) < 2e-3
