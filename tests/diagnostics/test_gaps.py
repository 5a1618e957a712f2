import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.oracles.quick import quick_jit

from tighter._errors import InputError
from tighter.diagnostics._free_parameters import check_free_parameters, free_parameters
from tighter.diagnostics.gaps import inference_gaps
from tighter.distributions import Chain, Experts, Mixture
from tighter.models import LinearGaussian, ProbabilisticPCA

KEY = jax.random.key(9)


@pytest.fixture(scope="module")
def linear_gaussian():
    """The model, examples of it, and log p(x), ELBO and the best diagonal's ELBO, exactly.

    The best diagonal normal has the exact posterior's mean and the variances 1 / diag(precision),
    and so the divergence ½ (Σ log precision_dd − log |precision|).
    """
    model = LinearGaussian.create(5, 3, key=jax.random.key(0))
    xs = jax.vmap(lambda key: model.sample(key, 1)[0])(jax.random.split(jax.random.key(1), 20))
    loading = np.asarray(model.loading, np.float64)
    precision = np.eye(3) + loading.T @ loading
    divergence = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    exact = quick_jit(jax.vmap(lambda x: (model.log_evidence(x), model.elbo(x))))
    evidence, elbo = (np.asarray(part, np.float64) for part in exact(xs))
    return model, xs, evidence, elbo, evidence - divergence


def test_linear_gaussian_is_exact(linear_gaussian):
    model, xs, evidence, elbo, best = linear_gaussian
    result = inference_gaps(model, xs, num_steps=500, num_samples=4000, key=KEY)
    errors = result.standard_error
    exact = {
        "elbo": elbo,
        "optimized_elbo": best,
        "log_likelihood": evidence,
        "amortization_gap": best - elbo,
        "approximation_gap": evidence - best,
    }
    for name, value in exact.items():
        # A thousandth of a nat: what Adam leaves.
        tolerance = 5 * getattr(errors, name) + 1e-3
        assert (np.abs(getattr(result, name) - value) < tolerance).all(), name
    assert errors.approximation_gap.max() < 0.005
    assert (errors.approximation_gap < errors.optimized_elbo).all()
    # On average over examples, where the errors are smaller.
    mean_error = math.sqrt(np.mean(errors.approximation_gap**2) / 20)
    deviation = np.mean(result.approximation_gap - (evidence - best))
    assert abs(deviation) < 5 * mean_error + 1e-3
    np.testing.assert_allclose(
        result.amortization_gap + result.approximation_gap,
        result.log_likelihood - result.elbo,
        rtol=1e-9,
    )


def test_a_log_likelihood_that_is_given(linear_gaussian):
    model, xs, evidence, _, best = linear_gaussian
    result = inference_gaps(
        model, xs, num_steps=500, num_samples=4000, log_likelihood=evidence, key=KEY
    )
    np.testing.assert_allclose(result.log_likelihood, evidence, rtol=1e-6)
    assert (result.standard_error.log_likelihood == 0).all()
    assert np.isnan(result.ess).all()
    errors = result.standard_error
    assert (errors.approximation_gap == errors.optimized_elbo).all()
    deviations = np.abs(result.approximation_gap - (evidence - best))
    assert (deviations < 5 * errors.approximation_gap + 1e-3).all()


@pytest.mark.slow
def test_errors_are_the_spread_over_keys(linear_gaussian):
    """One example many times, each with its own draws."""
    model, xs, *_ = linear_gaussian
    repeated = jnp.broadcast_to(xs[:1], (200, 5))
    result = inference_gaps(model, repeated, num_steps=300, num_samples=100, key=KEY)
    for name in ("elbo", "optimized_elbo", "log_likelihood", "amortization_gap"):
        spread = getattr(result, name).std(ddof=1)
        told = math.sqrt(np.mean(getattr(result.standard_error, name) ** 2))
        # A standard deviation of n numbers has a relative error of 1/√(2n).
        assert abs(spread / told - 1) < 5 / math.sqrt(400), name


@pytest.mark.slow
def test_an_exact_posterior_leaves_no_gap():
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(100, 2)) @ rng.normal(size=(2, 4)), jnp.float32)
    model = ProbabilisticPCA.from_data(xs + 0.5 * rng.normal(size=(100, 4)), 2)
    result = inference_gaps(model, xs[:5], num_steps=100, num_samples=50, key=KEY)
    for name in ("amortization_gap", "approximation_gap"):
        error = getattr(result.standard_error, name)
        assert (np.abs(getattr(result, name)) < 5 * error + 1e-4).all()
        assert (error < 0.01).all()
    np.testing.assert_allclose(result.ess, 50, rtol=1e-2)


class Told(eqx.Module):
    """A log joint of z, whatever x, and a posterior that starts at its own family."""

    joint: object = eqx.field(static=True)
    start: object = eqx.field(static=True)

    def log_joint(self, x):
        return self.joint

    def posterior(self, x):
        return self.start(x)


@pytest.mark.parametrize(
    ("joint", "start"),
    [
        (
            dist.MultivariateNormal(jnp.ones(2), jnp.array([[1.0, 0.6], [0.6, 0.5]])),
            lambda x: dist.MultivariateNormal(x, scale_tril=jnp.eye(2)),
        ),
        (dist.Gamma(3.0, 2.0), lambda x: dist.Gamma(jnp.exp(x[0]), 1.0)),
        (dist.LogNormal(0.5, 0.3), lambda x: dist.LogNormal(x[0], 1.0)),
        (
            dist.BernoulliLogits(jnp.array([1.0, -2.0])).to_event(1),
            lambda x: dist.BernoulliLogits(x).to_event(1),
        ),
        (
            Chain({"a": dist.Normal(1.0, 0.5), "b": lambda z: dist.Normal(2 * z["a"], 0.3)}),
            lambda x: Chain({"a": dist.Normal(x[0] + 0.5, 1.0), "b": _Line(x[1] + 1, 0 * x[0])}),
        ),
        pytest.param(
            Mixture(jnp.array([0.0, 0.5]), dist.Normal(jnp.array([-1.0, 1.0]), 0.6)),
            lambda x: Mixture(x, dist.Normal(jnp.array([-0.5, 0.5]), jnp.ones(2))),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["full covariance", "Gamma", "LogNormal", "Bernoulli", "chain", "mixture"],
)
@pytest.mark.slow
def test_families_that_hold_the_posterior_reach_it(joint, start):
    """log p(x) = −3: the best of the family has no gap, whatever its parameters' constraints."""
    model = Told(lambda z: joint.log_prob(z) - 3.0, start)
    xs = 0.3 * jax.random.normal(KEY, (3, 2))
    result = inference_gaps(model, xs, num_steps=400, num_samples=200, key=KEY)
    np.testing.assert_allclose(result.optimized_elbo, -3, atol=0.02)
    assert (result.elbo < -3.05).all()
    assert (result.amortization_gap > 0.05).all()


class _Line(eqx.Module):
    """b given a: a normal around a line."""

    slope: jax.Array
    log_scale: jax.Array

    def __call__(self, z):
        return dist.Normal(self.slope * z["a"], jnp.exp(self.log_scale))


@pytest.mark.parametrize(
    "posterior",
    [
        dist.Normal(jnp.array([1.0, -2.0]), jnp.array([1e-4, 30.0])).to_event(1),
        dist.Normal(0.3, 0.2).expand([3]).to_event(1),
        dist.MultivariateNormal(
            jnp.zeros(2), covariance_matrix=jnp.array([[2.0, 1.0], [1.0, 1.0]])
        ),
        dist.Dirichlet(jnp.array([0.5, 2.0, 1.0])),
        dist.CategoricalProbs(jnp.array([0.2, 0.3, 0.5])),
    ],
    ids=["diagonal", "expanded", "covariance", "Dirichlet", "Categorical"],
)
def test_free_parameters_make_the_posterior_again(posterior):
    free, rebuild = free_parameters(posterior)
    again = rebuild(free)
    z = posterior.sample(KEY)
    np.testing.assert_allclose(again.log_prob(z), posterior.log_prob(z), rtol=1e-4)
    assert again.event_shape == posterior.event_shape
    moved = rebuild(jax.tree.map(lambda leaf: leaf - 20.0, free))
    assert jnp.isfinite(moved.log_prob(moved.sample(KEY)))


class AboutPareto(eqx.Module):
    """log z ~ N(x, 1), and a Pareto q, whose support begins at its scale."""

    shift: jax.Array

    def log_joint(self, x):
        return lambda z: dist.LogNormal(x[0], 1.0).log_prob(z)

    def posterior(self, x):
        return dist.Pareto(jnp.exp(x[0] - self.shift), 2.0)


def test_an_end_that_is_optimized():
    """With log scale x − 1/a the ELBO is 1 − log a − 1/2a² − ½ log 2π, at best with a = 1."""
    xs = jnp.array([[0.3], [-0.6]])
    result = inference_gaps(AboutPareto(jnp.ones(())), xs, num_steps=600, num_samples=4000, key=KEY)
    exact = 0.5 - 0.5 * math.log(2 * math.pi)
    tolerance = 5 * result.standard_error.optimized_elbo + 2e-3
    assert (np.abs(result.optimized_elbo - exact) < tolerance).all()


def test_bad_input(linear_gaussian):
    model, xs, *_ = linear_gaussian
    with pytest.raises(InputError, match="num_steps is a whole number of at least 1, got 0"):
        inference_gaps(model, xs, num_steps=0, key=KEY)
    with pytest.raises(InputError, match="num_samples is a whole number of at least 2, got 1"):
        inference_gaps(model, xs, num_samples=1, key=KEY)
    with pytest.raises(InputError, match=r"each of the 20 examples, got shape \(3,\)"):
        inference_gaps(model, xs, log_likelihood=np.zeros(3), key=KEY)
    with pytest.raises(InputError, match=r"not finite in 1 of 20 examples, row 4 first"):
        inference_gaps(model, xs.at[4].set(jnp.nan), num_steps=1, num_samples=2, key=KEY)
    with pytest.raises(InputError, match="Uniform can't be optimized by its parameters"):
        check_free_parameters(dist.Uniform(jnp.zeros(()), jnp.ones(())), key=KEY)
    experts = Told(lambda z: z, lambda x: Experts(dist.Normal(x, 1.0)))
    with pytest.raises(InputError, match="Experts draws from its experts in turn: give"):
        inference_gaps(experts, xs[:, :2], key=KEY)
