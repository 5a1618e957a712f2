"""Mixtures: gradients of weights, means and scales against quadrature, and where floats end."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter.distributions import Mixture

REPLICATES = 40_000


def one_dimensional(family):
    def build(p):
        scale = jnp.exp(p["log_scale"])
        if family == "normal":
            return Mixture(p["logits"], dist.Normal(p["loc"], scale))
        df = jnp.array([3.0, 5.0, 9.0], p["loc"].dtype)
        return Mixture(p["logits"], dist.StudentT(df, p["loc"], scale))

    loc, log_scale = np.array([-1.0, 2.0, 0.5]), np.log([0.5, 1.2, 0.8])
    return build, {"logits": np.array([0.3, -0.5, 0.1]), "loc": loc, "log_scale": log_scale}


def two_dimensional(family):
    def build(p):
        if family == "diagonal":
            components = dist.Normal(p["loc"], jnp.exp(p["factor"][:, 0])).to_event(1)
        elif family == "full":
            factor = jnp.tril(p["factor"])
            components = dist.MultivariateNormal(p["loc"], scale_tril=factor)
        elif family == "low-rank":
            components = dist.LowRankMultivariateNormal(
                p["loc"], p["factor"][:, :, :1], jnp.exp(p["factor"][:, 1])
            )
        else:
            df = jnp.array([5.0, 9.0], p["loc"].dtype)
            factor = jnp.tril(p["factor"])
            components = dist.MultivariateStudentT(df, p["loc"], scale_tril=factor)
        return Mixture(p["logits"], components)

    loc = np.array([[-1.0, 1.0], [1.0, 0.5]])
    factor = np.array([[[1.0, 0.2], [0.5, 0.7]], [[0.6, -0.3], [-0.4, 1.1]]])
    return build, {"logits": np.array([0.3, -0.5]), "loc": loc, "factor": factor}


def smooth(z):
    return jnp.cos(jnp.sum(z)) + jnp.sin(jnp.ravel(z)[0])


CASES = {name: one_dimensional(name) for name in ("normal", "student")} | {
    name: two_dimensional(name) for name in ("diagonal", "full", "low-rank", "joint-student")
}


BY_HAND = ("low-rank", "joint-student", "student", "full")
MARKED = [pytest.param(c, marks=pytest.mark.slow if c in BY_HAND else []) for c in CASES]


@pytest.mark.parametrize("case", MARKED)
def test_gradients_against_quadrature(case):
    build, parameters = CASES[case]

    def estimate(p, key):
        return smooth(build(p).rsample(key))

    keys = jax.random.split(jax.random.key(0), REPLICATES)
    single = jax.tree.map(np.float32, parameters)
    found = quick_jit(jax.vmap(jax.grad(estimate), in_axes=(None, 0)))(single, keys)
    with jax.enable_x64(True):
        # Equal steps in sinh t: dense in the middle, and far out for Student's tails.
        flat = case in ("normal", "student")
        t = np.linspace(-9, 9, 4001) if flat else np.linspace(-6, 6, 601)
        axis, weight = np.sinh(t), np.cosh(t) * (t[1] - t[0])
        if flat:
            points, weights = axis, weight
        else:
            points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
            weights = np.outer(weight, weight).reshape(-1)

        def expected(p):
            density = jnp.exp(build(p).log_prob(jnp.asarray(points)))
            return jnp.sum(density * weights * jax.vmap(smooth)(jnp.asarray(points)))

        truth = jax.tree.map(np.asarray, jax.grad(expected)(parameters))
    for name in parameters:
        samples = np.asarray(found[name], np.float64)
        error = samples.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
        assert np.isfinite(samples).all()
        # Rows of zeros: entries above the diagonal, which the factor does not use.
        assert (np.abs(samples.mean(axis=0) - truth[name]) < 5 * error + 2e-5).all(), name


@pytest.mark.parametrize("logits", [[0.0, 0.0], [0.0, float(np.log(1e-8))]])
@pytest.mark.parametrize("distance", [0.5, 20.0])
def test_each_draw_in_single_precision(logits, distance):
    """Against the derivative -dF/q in double precision, wherever the mixture has mass."""
    parameters = {"logits": logits, "loc": [0.0, distance], "scale": [1.0, 1.3]}
    parameters = {name: np.array(value) for name, value in parameters.items()}

    def carried(p, z):
        return Mixture(p["logits"], dist.Normal(p["loc"], p["scale"])).carry(z)

    z = np.concatenate([np.linspace(-5, 5, 41), distance + np.linspace(-5, 5, 41)])
    run = quick_jit(jax.vmap(jax.grad(carried), in_axes=(None, 0)))
    found = run(jax.tree.map(np.float32, parameters), np.float32(z))
    z = np.float32(z).astype(np.float64)
    weights = np.exp(logits) / np.exp(logits).sum()
    unit = (z[:, None] - parameters["loc"]) / parameters["scale"]
    parts = weights * stats.norm.pdf(unit) / parameters["scale"]
    shares = parts / parts.sum(axis=1, keepdims=True)
    # The excess F_c - F = sum_j w_j (F_c - F_j), each difference from the nearer side.
    below, above = stats.norm.cdf(unit), stats.norm.sf(unit)
    both = np.where(
        (unit[:, :, None] > 0) & (unit[:, None, :] > 0),
        above[:, None, :] - above[:, :, None],
        below[:, :, None] - below[:, None, :],
    )
    excess = np.sum(weights * both, axis=2)
    flow = -weights * excess / parts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["loc"], shares, rtol=2e-4, atol=1e-12)
    np.testing.assert_allclose(found["scale"], shares * unit, rtol=2e-4, atol=1e-7)
    scale = np.abs(flow).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found["logits"] / scale, flow / scale, atol=5e-4)


@pytest.mark.slow
def test_draws_have_the_distribution():
    mixture = Mixture(jnp.array([0.2, -0.4]), dist.StudentT(4.0, jnp.array([-2.0, 1.0]), 0.7))
    draws = np.asarray(mixture.sample(jax.random.key(0), (20_000,)))
    weights = np.asarray(jax.nn.softmax(mixture.logits))
    frozen = [stats.t(4.0, loc, 0.7) for loc in (-2.0, 1.0)]
    uniform = sum(w * d.cdf(draws) for w, d in zip(weights, frozen, strict=True))
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_density_and_moments_are_numpyros():
    logits = jnp.array([0.2, -0.4, 0.1])
    components = dist.MultivariateNormal(jnp.arange(6.0).reshape(3, 2), 0.5 * jnp.eye(2)[None])
    ours = Mixture(logits, components)
    theirs = dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
    z = quick_jit(lambda key: ours.sample(key, (4, 5)))(jax.random.key(0))
    assert ours.log_prob(z).shape == (4, 5)
    with jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(ours.log_prob(z), theirs.log_prob(z), rtol=1e-5)
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5)
        np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-5)


@pytest.mark.parametrize(
    "gradient", [tt.gradients.StickingTheLanding(), tt.gradients.DoublyReparameterized()]
)
def test_no_noise_where_the_mixture_is_the_posterior(gradient):
    build, parameters = CASES["full"]
    target = build(jax.tree.map(np.float32, parameters))
    objective = tt.Objective(tt.bounds.IWAE(), gradient, num_samples=4)

    def bound(p, key):
        return objective(lambda z: target.log_prob(z) - 2.0, build(p), key=key)

    value, gradients = quick_jit(jax.vmap(jax.value_and_grad(bound), in_axes=(None, 0)))(
        jax.tree.map(np.float32, parameters), jax.random.split(jax.random.key(0), 100)
    )
    np.testing.assert_allclose(value, -2.0, rtol=1e-5)
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_allclose(leaf, 0.0, atol=2e-4)


def test_numpyros_mixture_gets_our_draws():
    mixture = dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.zeros(2)), dist.Normal(jnp.array([-1.0, 1.0]), 1.0)
    )
    assert isinstance(tt.distributions.as_reparameterized(mixture), Mixture)


def test_cost_is_linear_in_components_and_dimensions():
    def operations(num, dimensions):
        loc = jnp.zeros((num, dimensions))

        def draw(loc):
            mixture = Mixture(jnp.zeros(num), dist.Normal(loc, 1.0).to_event(1))
            return jnp.sum(mixture.carry(jnp.ones(dimensions)))

        analysis = jax.jit(draw).lower(loc).compile().cost_analysis()
        return analysis["flops"]

    # A loop's body is counted once: it is over dimensions, and linear in the components.
    assert operations(64, 8) < 2.3 * operations(32, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(jnp.zeros(2), dist.Normal(jnp.zeros(3), 1.0)), "batch shape"),
        (lambda: Mixture(jnp.zeros((1, 2)), dist.Normal(jnp.zeros(2), 1.0)), "batch shape"),
        (lambda: Mixture(jnp.zeros(2), dist.Gamma(jnp.ones(2), 1.0)), "got Gamma"),
        (
            lambda: Mixture(
                jnp.zeros(1),
                dist.MultivariateNormal(
                    jnp.zeros((1, 2)), jnp.array([[[1.0, 2.0], [2.0, 1.0]]]), validate_args=False
                ),
            ),
            "positive definite",
        ),
        (
            lambda: jax.grad(
                lambda df: Mixture(
                    jnp.zeros(2), dist.StudentT(df, jnp.zeros(2), 1.0, validate_args=False)
                ).rsample(jax.random.key(0))
            )(jnp.array([3.0, 4.0])),
            "degrees of freedom",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_covariance_known_only_at_run_time_is_refused_then():
    @jax.jit
    def draw(covariance):
        components = dist.MultivariateNormal(jnp.zeros((1, 2)), covariance, validate_args=False)
        return Mixture(jnp.zeros(1), components).rsample(jax.random.key(0))

    assert np.isfinite(draw(jnp.eye(2)[None])).all()
    with pytest.raises(Exception, match="positive definite"):
        jax.block_until_ready(draw(jnp.array([[[1.0, 2.0], [2.0, 1.0]]])))
