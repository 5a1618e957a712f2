"""Bayesian models against conjugate answers, and their supports against autodiff."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from numpyro.distributions import constraints, transforms
from tests.models.bayesian import conjugate
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.evaluation.leave_one_out import leave_one_out, leave_one_out_from_draws
from tighter.evaluation.posterior_check import posterior_check
from tighter.models.bayesian import (
    BAYESIAN_POSTERIORS,
    BayesianModel,
    ParameterPrior,
    log_predictive,
    posterior_predictive,
)

KEY = jax.random.key(11)
SCALAR = lambda parameters, datum: jnp.zeros(())  # noqa: E731
NORMAL = dist.Normal(0.0, 1.0)
WIDE = dist.Normal(jnp.zeros(1001), 1)
SUPPORTS = {
    "real": dist.Normal(jnp.ones(2), 2.0),
    "positive": dist.HalfNormal(3.0),
    "unit": dist.Beta(2.0, 3.0),
    "interval": dist.Uniform(jnp.array([-1.0, 10.0]), jnp.array([3.0, 11.0])),
    "below": dist.TransformedDistribution(
        dist.HalfNormal(1.0), transforms.AffineTransform(2.0, -1.0, domain=constraints.positive)
    ),
    "simplex": dist.Dirichlet(jnp.array([2.0, 3.0, 4.0])),
    "ordered": dist.TransformedDistribution(
        dist.Normal(jnp.zeros(3), 1.0).to_event(1), transforms.OrderedTransform()
    ),
    "factor": dist.LKJCholesky(2, 2.0),
}


@pytest.fixture(scope="module")
def exact():
    """q is the posterior."""
    mean, covariance = conjugate.posterior()
    both = jnp.asarray(mean), jnp.asarray(np.linalg.cholesky(covariance))
    return eqx.tree_at(lambda m: (m.location, m.scale), conjugate.model(), both)


def test_a_parabola_s_peak_is_the_posterior():
    mean, covariance = conjugate.posterior()
    started = conjugate.model().initialized_from(conjugate.DATA)
    np.testing.assert_allclose(started.location, mean, atol=0.01 * np.diagonal(covariance).min())
    np.testing.assert_allclose(started.scale @ started.scale.T, covariance, rtol=1e-4)
    diagonal = conjugate.model("mean-field").initialized_from(conjugate.DATA)
    precision = np.diagonal(np.linalg.inv(covariance))
    np.testing.assert_allclose(diagonal.scale, 1 / np.sqrt(precision), rtol=1e-4)


def test_every_draw_of_the_posterior_has_the_evidence_s_weight(exact):
    log_joint, posterior = exact.log_joint(conjugate.DATA), exact.posterior()
    log_weight = lambda z: log_joint(z) - posterior.log_prob(z)  # noqa: E731
    log_weights = quick_jit(jax.vmap(log_weight))(exact.draws(50, key=KEY))
    np.testing.assert_allclose(log_weights, conjugate.log_evidence(), rtol=1e-5)


def test_the_bound_and_the_log_likelihood_are_the_evidence(exact):
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=3)
    log_joint, posterior = exact.log_joint(conjugate.DATA), exact.posterior()
    call = quick_jit(lambda key: objective(log_joint, posterior, key=key))
    np.testing.assert_allclose(call(KEY), conjugate.log_evidence(), rtol=1e-5)
    one_example = jax.tree.map(lambda leaf: leaf[None], conjugate.DATA)
    np.testing.assert_allclose(
        tt.log_likelihood(exact, one_example, num_samples=30, key=KEY).value,
        conjugate.log_evidence(), rtol=1e-5,
    )  # fmt: skip


def test_minibatches_add_up():
    model, data = conjugate.model(), conjugate.DATA
    z = {"slopes": jnp.array([0.3, -1.0])}
    batches = jax.tree.map(lambda leaf: leaf.reshape(7, 2, *leaf.shape[1:]), data)

    @quick_jit
    def values():
        by_hand = dist.Normal(data["x"] @ z["slopes"], conjugate.NOISE).log_prob(data["y"])
        return (
            jnp.sum(dist.Normal(0, conjugate.WIDTH).log_prob(z["slopes"])) + jnp.sum(by_hand),
            jnp.mean(jax.vmap(lambda batch: model.minibatch_log_joint(batch, 14)(z))(batches)),
            model.log_joint(data)(z),
            model.prior.log_prob(z) + model.likelihood(z).log_prob(data),
        )

    np.testing.assert_allclose(values()[1:], values()[0], rtol=1e-5)


def test_fit_with_minibatches_finds_the_posterior():
    """The divergence that is left is that of the last steps' noise; at the start it is 30 nats."""
    objective = tt.Objective(num_samples=16)
    result = tt.fit(
        conjugate.model(start_scale=1.0), conjugate.DATA, objective,
        optimizer=optax.adam(optax.cosine_decay_schedule(5e-2, 1400)),
        num_epochs=200, batch_size=2, key=KEY, show_progress=False,
    )  # fmt: skip
    free = np.asarray(result.model.draws(20_000, key=KEY)["slopes"], np.float64)
    mean, covariance = conjugate.posterior()
    q_mean, q_covariance = free.mean(axis=0), np.cov(free.T)
    shift = mean - q_mean
    inverse = np.linalg.inv(covariance)
    divergence = 0.5 * (
        np.trace(inverse @ q_covariance) + shift @ inverse @ shift - 2
        - np.linalg.slogdet(inverse @ q_covariance)[1]
    )  # fmt: skip
    assert divergence < 0.02
    np.testing.assert_array_equal(result.model.prior.parts["slopes"].scale, conjugate.WIDTH)


def test_densities_over_every_support():
    """E_q[p/q] = 1 for each prior: densities and Jacobians agree, and no mass is missed."""

    def log_weights(keys):
        each = {}
        for name, prior in SUPPORTS.items():
            model = BayesianModel(SCALAR, prior, posterior="student-t", start_scale=1.5)
            posterior, density = model.posterior(), model.prior.log_prob
            z = jax.vmap(posterior.rsample)(keys)
            each[name] = jax.vmap(density)(z) - jax.vmap(posterior.log_prob)(z)
        return each

    for name, values in quick_jit(log_weights)(jax.random.split(KEY, 20_000)).items():
        ratios = np.exp(np.asarray(values, np.float64))
        error = ratios.std(ddof=1) / np.sqrt(len(ratios))
        assert abs(ratios.mean() - 1) < 5 * error, name
        assert error < 0.02, name


def test_real_numbers_to_parameters_and_back():
    prior = ParameterPrior(SUPPORTS)
    free = jax.random.normal(KEY, (20, prior.num_free))
    back, log_dets = quick_jit(jax.vmap(lambda u: prior.free(prior.constrained(u)[0])))(free)
    _, ahead = quick_jit(jax.vmap(prior.constrained))(free)
    np.testing.assert_allclose(back, free, atol=1e-4)
    np.testing.assert_allclose(log_dets, ahead, atol=1e-4)


def test_ends_of_float32():
    """Rounding puts no draw on the end of a support, where densities are infinite."""
    names = ("positive", "unit", "interval", "below", "simplex", "ordered")
    prior = ParameterPrior({name: SUPPORTS[name] for name in names})
    far = jnp.array([-300.0, -60.0, 60.0, 300.0])[:, None] * jnp.ones((1, prior.num_free))

    def there_and_back(free):
        value, _ = prior.constrained(free)
        back, log_det = prior.free(value)
        return log_det, (value, back)

    (log_dets, (value, back)), gradient = quick_jit(
        jax.vmap(jax.value_and_grad(there_and_back, has_aux=True))
    )(far)
    for leaf in jax.tree.leaves((log_dets, value, back, gradient)):
        assert bool(jnp.all(jnp.isfinite(leaf)))
    assert bool(jnp.all(value["positive"] > 0))
    assert bool(jnp.all(value["below"] < 2))
    assert bool(jnp.all(value["interval"] > jnp.array([[-1.0, 10.0]])))
    assert bool(jnp.all(value["interval"] < jnp.array([[3.0, 11.0]])))
    # Where a float holds them, the numbers themselves come back: "positive" is the seventh.
    np.testing.assert_allclose(back[1:3, 6], [-60, 60], rtol=1e-4)


# The rest differ by what posterior families have in their own tests.
QUICK = ("full-rank", "low-rank", "mixture", "spline")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in BAYESIAN_POSTERIORS
    ],
)
def test_families_are_densities(name):
    """E_q[p/q] = 1 for a narrower p: q's draws and its density belong together."""
    model = conjugate.model(name, start_scale=1.0, key=KEY)
    posterior = model.posterior()
    narrow = dist.Normal(jnp.zeros(2), 0.6)

    def ratio(key):
        z = posterior.rsample(key)
        return jnp.exp(jnp.sum(narrow.log_prob(z["slopes"])) - posterior.log_prob(z))

    ratios = np.asarray(quick_jit(jax.vmap(ratio))(jax.random.split(KEY, 4000)), np.float64)
    assert abs(ratios.mean() - 1) < 5 * ratios.std(ddof=1) / np.sqrt(len(ratios))


def test_another_family_starts_where_the_first_one_is(exact):
    richer = exact.with_posterior("flow", key=KEY)
    mean, covariance = conjugate.posterior()
    # Of 4,020 draws.
    error = np.sqrt(np.diagonal(covariance) / 4020)
    assert (np.abs(richer.location - mean) < 5 * error).all()
    ratio = np.asarray(richer.scale @ richer.scale.T) / covariance
    np.testing.assert_allclose(np.diagonal(ratio), 1, atol=5 * np.sqrt(2 / 4020))
    assert exact.with_posterior("mean-field", key=KEY).scale.shape == (2,)


def test_a_funnel_has_no_peak_to_start_from():
    def log_likelihood(parameters, _):
        return dist.Normal(0.0, parameters["sd"]).log_prob(parameters["z"]).sum()

    prior = {
        "sd": dist.HalfCauchy(1.0),
        "z": dist.ImproperUniform(constraints.real, (), event_shape=(4,)),
    }
    model = BayesianModel(log_likelihood, prior, start_scale=0.3)
    with pytest.warns(UserWarning, match="no peak of the posterior density was found"):
        started = model.initialized_from(np.zeros((1, 1)))
    np.testing.assert_array_equal(started.location, model.location)
    np.testing.assert_array_equal(started.scale, model.scale)


EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12], np.float32)
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18], np.float32)


@pytest.mark.parametrize("family", ["mean-field", "full-rank"])
def test_eight_schools_start_where_the_mass_is(family):
    """The density's peak, in the real numbers, is at τ = 29, and τ's mean is 3.60, its sd 3.20."""

    def log_likelihood(parameters, datum):
        mean = parameters["mu"] + parameters["tau"] * parameters["z"]
        return dist.Normal(mean, datum["error"]).log_prob(datum["effect"]).sum()

    prior = {
        "mu": dist.Normal(0.0, 5.0),
        "tau": dist.HalfCauchy(5.0),
        "z": dist.Normal(jnp.zeros(8), 1.0),
    }
    model = BayesianModel(log_likelihood, prior, posterior=family)
    data = {"effect": EFFECTS[None], "error": ERRORS[None]}
    draws = model.initialized_from(data).draws(4000, key=KEY)
    # Reference draws of posteriordb, 10 chains of 1,000.
    assert abs(draws["mu"].mean() - 4.4105) < 0.3 * 3.3093
    assert abs(draws["tau"].mean() - 3.6021) < 0.3 * 3.1985
    schools = draws["mu"][:, None] + draws["tau"][:, None] * draws["z"]
    means = np.array([6.1505, 4.9396, 3.9059, 4.7960, 3.6144, 4.0511, 6.3172, 4.8840])
    sds = np.array([5.6159, 4.6456, 5.2807, 4.7709, 4.6147, 4.7962, 5.0029, 5.3177])
    assert (np.abs(np.asarray(schools).mean(axis=0) - means) < 0.3 * sds).all()


def test_a_start_that_is_far_off_says_so():
    """Logarithms of 101 exponential variates, each a little askew: more than are moved."""
    log_likelihood = lambda z, _: jnp.sum(z - jnp.exp(z))  # noqa: E731
    one, many = (
        BayesianModel(log_likelihood, dist.ImproperUniform(constraints.real, (), (size,)))
        for size in (1, 101)
    )
    one.initialized_from(np.zeros(1))  # a warning is an error here
    with pytest.warns(UserWarning, match="is not near the Gaussian .* of 2,048 effective"):
        many.initialized_from(np.zeros(1))


def test_a_saddle_is_no_peak():
    def log_likelihood(z, _):
        return jnp.logaddexp(dist.Normal(3.0, 1.0).log_prob(z), dist.Normal(-3.0, 1.0).log_prob(z))

    flat = dist.ImproperUniform(constraints.real, (), event_shape=())
    with pytest.warns(UserWarning, match="no peak"):
        started = BayesianModel(log_likelihood, flat).initialized_from(np.zeros(1))
    assert started.location == 0
    assert started.scale == np.float32(0.1)
    aside = BayesianModel(log_likelihood, flat, start=jnp.asarray(1.0)).initialized_from(
        np.zeros(1)
    )
    np.testing.assert_allclose(aside.location, 3, atol=0.02)


def test_density_of_data_held_out(exact):
    x = np.array([[0.5, 2.0], [3.0, -1.0], [0.0, 0.0]])
    y = np.array([0.1, 2.0, 5.0])
    expected = conjugate.predictive(x, y)
    held_out = {"x": x.astype(np.float32), "y": y.astype(np.float32)}
    estimate = log_predictive(exact, exact.draws(20_000, key=KEY), held_out)
    assert (np.abs(estimate.value - expected) < 5 * estimate.standard_error + 1e-5).all()
    assert (estimate.standard_error[:2] > 1e-4).all()
    assert abs(estimate.mean - expected.mean()) < 5 * estimate.mean_error
    assert 0 < estimate.mean_error < estimate.standard_error.mean()


def test_data_drawn_anew(exact):
    num = 20_000
    sample = lambda parameters, key: dist.Normal(  # noqa: E731
        jnp.array([[1.0, 2.0]]) @ parameters["slopes"], conjugate.NOISE
    ).sample(key)
    ys = np.asarray(posterior_predictive(exact.draws(num, key=KEY), sample, key=jax.random.key(1)))
    assert ys.shape == (num, 1)
    mean, covariance = conjugate.posterior()
    at = np.array([1.0, 2.0])
    variance = at @ covariance @ at + conjugate.NOISE**2
    assert abs(ys.mean() - at @ mean) < 5 * np.sqrt(variance / num)
    assert abs(ys.var() / variance - 1) < 5 * np.sqrt(2 / num)


def test_prior_is_held_and_likelihood_learns():
    class Scaled(eqx.Module):
        log_sd: jax.Array

        def __call__(self, parameters, y):
            return dist.Normal(parameters, jnp.exp(self.log_sd)).log_prob(y)

    model = BayesianModel(Scaled(jnp.zeros(())), dist.Normal(0.0, jnp.asarray(2.0)))
    gradient = eqx.filter_grad(lambda model: model.log_joint(jnp.ones(3))(jnp.ones(())))(model)
    assert gradient.parameter_prior.parts.scale == 0
    assert gradient.datum_log_likelihood.log_sd == -3  # Σ (y − μ)² / σ² − 1


def test_a_masked_prior_is_flat_where_the_mask_is_false():
    mask = jnp.array([True, False])
    noise = lambda z, y: dist.Normal(z, 1.0).log_prob(y).sum()  # noqa: E731
    model = BayesianModel(noise, dist.Normal(jnp.zeros(2), 1.0).mask(mask), posterior="full-rank")
    data = jnp.array([[2.0, 2.0], [4.0, 4.0]])
    started = model.initialized_from(data)
    # With the prior 6 / 3, without it 6 / 2.
    np.testing.assert_allclose(started.location, [2, 3], atol=1e-3)
    np.testing.assert_allclose(np.diagonal(started.scale), [3**-0.5, 2**-0.5], rtol=1e-3)
    assert eqx.partition(started, eqx.is_inexact_array)[0].parameter_prior is not None


def test_data_of_different_lengths_or_not_finite(exact):
    draws = exact.draws(30, key=KEY)
    for evaluated in (log_predictive, leave_one_out_from_draws):
        short = {"x": conjugate.DATA["x"], "y": conjugate.DATA["y"][:9]}
        with pytest.raises(InputError, match=r"data\['x'\] has 14, data\['y'\] has 9"):
            evaluated(exact, draws, short)
        for data, told in ((None, "no array"), (2.0, r"shape \(\)"), (np.ones((0, 2)), "shape")):
            with pytest.raises(InputError, match=told):
                evaluated(exact, draws, data)
    bad = {"x": conjugate.DATA["x"], "y": conjugate.DATA["y"].copy()}
    bad["y"][3] = np.nan
    for call in (
        lambda: leave_one_out_from_draws(exact, draws, bad),
        lambda: leave_one_out(exact, bad, key=KEY),
        lambda: posterior_check(exact, bad, key=KEY),
        lambda: exact.initialized_from(bad),
    ):
        with pytest.raises(InputError, match=r"data\['y'\] has values that are not finite in 1 of"):
            call()


@pytest.mark.parametrize(
    ("log_likelihood", "told"),
    [
        (lambda p, y: None, "got NoneType"),
        (lambda p, y: {"a": 1.0}, "got dict"),
        (lambda p, y: dist.Normal(p["a"], 1.0), "the distribution Normal: end with"),
        (lambda p, y: p["a"] + 1j, "complex64"),
        (lambda p, y: p["a"] * jnp.ones(3), r"shape \(3,\)"),
        (lambda p, y: p["b"], "reads 'b', and the prior has a"),
    ],
)
def test_a_likelihood_that_is_no_number(log_likelihood, told):
    model = BayesianModel(log_likelihood, {"a": NORMAL})
    at = {"a": jnp.zeros(())}
    for call in (model.log_joint(jnp.ones(2)), lambda z: model.likelihood(z).log_prob(jnp.ones(2))):
        with pytest.raises(InputError, match=told):
            call(at)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: BayesianModel(SCALAR, {}), "one distribution or more"),
        (lambda: BayesianModel(SCALAR, {"m": NORMAL}, start={"m": "a"}), r"\['m'\] is of real"),
        (
            lambda: BayesianModel(SCALAR, NORMAL, start_scale=np.inf),
            "is a finite number above 0, got inf",
        ),
        (lambda: BayesianModel(SCALAR, NORMAL).draws(-1, key=KEY), "at least 1, got -1"),
        (lambda: BayesianModel(SCALAR, {"m": dist.Delta(1.0)}), r"Delta of \['m'\] fixes"),
        (lambda: BayesianModel(SCALAR, dist.Delta(jnp.ones(2)).to_event(1)), "fixes"),
        (lambda: BayesianModel(SCALAR, dist.Levy(0.0, 1.0)), "prior Levy has no bijection"),
        (lambda: BayesianModel(SCALAR, {"a": 3.0}), r"got 3.0 as \['a'\]"),
        (lambda: BayesianModel(SCALAR, {"a": dist.Poisson(1.0)}), "is discrete"),
        (lambda: BayesianModel(SCALAR, NORMAL, posterior="fullrank"), "did you mean 'full-rank'"),
        (lambda: BayesianModel(SCALAR, NORMAL, posterior="low-rank:x"), "no whole number"),
        (lambda: BayesianModel(SCALAR, NORMAL, posterior="low-rank:2"), "at most the rank"),
        (lambda: BayesianModel(SCALAR, NORMAL, posterior="flow"), "2 latent dimensions or more"),
        (lambda: BayesianModel(SCALAR, NORMAL, start_scale=0.0), "is a finite number above 0"),
        (lambda: BayesianModel(SCALAR, {"a": NORMAL}, start={"b": 1.0}), "prior's parts"),
        (lambda: BayesianModel(SCALAR, NORMAL, start=jnp.zeros(2)), r"shape \(\), got \(2,\)"),
        (
            lambda: BayesianModel(lambda p, y: p * y, NORMAL).log_joint(np.ones((3, 2)))(0.0),
            r"scalar for one datum, got shape \(2,\)",
        ),
        (
            lambda: BayesianModel(SCALAR, NORMAL).log_joint({"x": np.ones(3), "y": np.ones(2)}),
            "same leading axis",
        ),
        (
            lambda: BayesianModel(SCALAR, WIDE).initialized_from(np.ones(1)),
            "1,000",
        ),
        (
            lambda: BayesianModel(
                SCALAR, dist.ImproperUniform(constraints.real, (), ())
            ).prior.sample(KEY),
            "flat prior",
        ),
        (
            lambda: BayesianModel(SCALAR, NORMAL).sample(KEY, 2),
            "posterior_predictive takes",
        ),
    ],
)  # fmt: skip
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
