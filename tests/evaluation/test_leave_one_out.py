"""PSIS-LOO against exact leave-one-out densities, and against arviz-stats' own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats
from scipy import stats
from tests.models.bayesian import conjugate

from tighter._errors import InputError
from tighter.evaluation.leave_one_out import LeaveOneOut, leave_one_out, leave_one_out_from_draws
from tighter.evaluation.posterior_check import posterior_check
from tighter.evaluation.psis import smoothed_weights

KEY = jax.random.key(2)


class Fixed(eqx.Module):
    """A model whose posterior is what it is handed."""

    of_datum: object = eqx.field(static=True)
    prior: dist.Distribution
    q: dist.Distribution

    def posterior(self, data):
        return self.q

    def log_likelihoods(self, z, data):
        return jax.vmap(lambda datum: self.of_datum(z, datum))(data)

    def log_joint(self, data):
        return lambda z: self.prior.log_prob(z) + self.log_likelihoods(z, data).sum()


def with_posterior(mean, covariance):
    both = jnp.asarray(mean, float), jnp.asarray(np.linalg.cholesky(covariance), float)
    return eqx.tree_at(lambda m: (m.location, m.scale), conjugate.model(), both)


@pytest.fixture(scope="module")
def exact():
    return with_posterior(*conjugate.posterior())


@pytest.fixture(scope="module")
def wide():
    """Twice the variance, and shifted."""
    mean, covariance = conjugate.posterior()
    return with_posterior(mean + 0.1, 2 * covariance)


def spread(model, function, replicates=6):
    """Mean over keys, and the standard error of it, of what a function of a key tells."""
    values = np.array([function(model, key) for key in jax.random.split(KEY, replicates)])
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(replicates)


@pytest.mark.parametrize("kind", ["exact", "wide"])
def test_exact_leave_one_out(kind, request):
    model = request.getfixturevalue(kind)
    mean, error = spread(model, lambda m, key: leave_one_out(m, conjugate.DATA, key=key).pointwise)
    # With six replicates the error itself is told by t's distribution: 5.9 of it are 3 in 1,000,
    # of 14 data. A datum without its correction would be off by its share of p_loo, 0.15.
    assert (np.abs(mean - conjugate.left_out()) < 5.9 * error).all()
    assert error.max() < 0.02
    estimate = leave_one_out(model, conjugate.DATA, key=KEY)
    terms = estimate.pointwise
    np.testing.assert_allclose(estimate.elpd, terms.sum(), rtol=1e-10)
    np.testing.assert_allclose(estimate.standard_error, np.sqrt(14) * terms.std(ddof=1))
    in_sample = conjugate.predictive(conjugate.X, conjugate.Y).sum()
    assert abs(estimate.p_loo - (in_sample - conjugate.left_out().sum())) < 0.1
    assert estimate.verdict.endswith("to be trusted")


def test_the_same_as_arviz_stats(exact):
    draws = exact.draws(1000, key=KEY)
    ours = leave_one_out_from_draws(exact, draws, conjugate.DATA)
    likelihoods = np.asarray(jax.vmap(lambda z: exact.log_likelihoods(z, conjugate.DATA))(draws))
    elpd, shape, p_loo = array_stats.loo(likelihoods.T[:, None].astype(float))
    np.testing.assert_allclose(ours.pointwise, elpd, rtol=1e-5)
    np.testing.assert_allclose(ours.pareto_k, shape, atol=1e-3)
    np.testing.assert_allclose(ours.p_loo, np.sum(p_loo), rtol=1e-3)


def test_weights_are_those_of_the_posterior(wide):
    mean, covariance = conjugate.posterior()

    def corrected(model, key):
        check = posterior_check(model, conjugate.DATA, num_samples=4000, key=key)
        return [*check.corrected_mean["slopes"], *check.corrected_sd["slopes"], check.log_evidence]

    estimate, error = spread(wide, corrected)
    sd = np.sqrt(np.diagonal(covariance))
    assert (np.abs(estimate - [*mean, *sd, conjugate.log_evidence()]) < 5.9 * error).all()
    check = posterior_check(wide, conjugate.DATA, num_samples=4000, key=KEY)
    np.testing.assert_allclose(check.sd["slopes"], np.sqrt(2) * sd, rtol=5 / np.sqrt(8000))
    np.testing.assert_allclose(check.mean["slopes"], mean + 0.1, atol=5 * 0.25 / np.sqrt(4000))
    assert 1 < check.ess < 4000
    again = np.asarray(check.resampled(3000, key=KEY)["slopes"])
    # Systematic resampling of weights whose ESS is half of the draws.
    np.testing.assert_allclose(again.mean(axis=0), check.corrected_mean["slopes"], atol=0.02)
    np.testing.assert_allclose(again.std(axis=0), check.corrected_sd["slopes"], rtol=0.05)


def test_what_k_says(exact):
    check = posterior_check(exact, conjugate.DATA, num_samples=2000, key=KEY)
    assert "to be trusted;" in check.verdict
    np.testing.assert_allclose(check.ess, 2000, rtol=1e-3)
    mean, covariance = conjugate.posterior()
    narrow = with_posterior(mean, covariance / 25)
    told = posterior_check(narrow, conjugate.DATA, num_samples=2000, key=KEY)
    assert told.pareto_k > 0.7
    assert "not to be trusted" in told.verdict
    assert "flow" in told.verdict
    loo = leave_one_out(narrow, conjugate.DATA, key=KEY)
    assert loo.verdict.startswith("k̂ of the posterior is")


def test_a_posterior_that_its_weights_still_correct(exact):
    """What is off is told with its amount, where the weights still correct it."""
    mean, covariance = conjugate.posterior()
    sd = np.sqrt(np.diagonal(covariance))
    narrow = with_posterior(mean + 0.4 * sd, 0.55 * covariance)
    check = posterior_check(narrow, conjugate.DATA, num_samples=20_000, key=KEY)
    assert check.pareto_k < 0.7
    shift, share = check.corrections
    assert abs(shift - 0.4) < 0.1
    assert abs(share - (1 - 0.55**0.5)) < 0.1
    assert "to be trusted; the error" in check.verdict
    assert "but q itself is not: its weights correct a mean by 0." in check.verdict
    assert " and a standard deviation by " in check.verdict
    near = with_posterior(mean + 0.1 * sd, 1.1 * covariance)
    check = posterior_check(near, conjugate.DATA, num_samples=20_000, key=KEY)
    assert "itself" not in check.verdict
    assert "itself" not in posterior_check(exact, conjugate.DATA, key=KEY).verdict


def test_outliers_are_named(exact):
    far = {"x": conjugate.DATA["x"], "y": conjugate.DATA["y"].copy()}
    far["y"][3] += 9
    x, y = far["x"].astype(float), far["y"].astype(float)
    loo = leave_one_out(with_posterior(*conjugate.posterior(x, y)), far, key=KEY)
    assert loo.pareto_k.argmax() == 3
    assert loo.pareto_k[3] > 0.7
    assert f"for {np.sum(loo.pareto_k > 0.7)} of 14 data" in loo.verdict


def test_draws_at_which_a_datum_is_impossible():
    """Uniform(0, θ) under a Pareto prior: given all data, and all but one, θ is Pareto."""
    y = np.array([0.5, 1.0, 2.0, 4.0, 5.0])
    within = lambda theta, y: jnp.where(y < theta, -jnp.log(theta), -jnp.inf)  # noqa: E731
    q = dist.Pareto(1.0, 2.0)
    model = Fixed(within, dist.Pareto(1.0, 3.0), q)
    loo = leave_one_out(model, y.astype(np.float32), num_samples=20_000, key=KEY)
    # p(y) = 3 / (3 + N) max^-(3 + N), up to the least θ, 1.
    evidence = lambda y: 3 / (3 + len(y)) * max(1, *y) ** -(3.0 + len(y))  # noqa: E731
    expected = np.log([evidence(y) / evidence(np.delete(y, n)) for n in range(5)])
    theta, replicates = stats.pareto(2).rvs((200, 20_000), random_state=0), []
    for column in theta:
        weights = column**-4 * 3 / (2 * column**-3) * column**-4.0
        inside = column > np.delete(y, -1).max()
        replicates.append(np.log((weights / column * (column > 5)).sum() / weights[inside].sum()))
    # The largest datum, without which 1 of 16 draws count instead of 1 of 25.
    error = np.std(replicates)
    assert abs(np.mean(replicates) - expected[-1]) < 5 * error / np.sqrt(200)
    assert (np.abs(loo.pointwise - expected) < 5 * error).all()
    with pytest.raises(InputError, match="draws a datum is impossible"):
        leave_one_out_from_draws(model, jnp.array([3.0, 6.0]), y.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nothing_that_is_not_finite_is_trusted(value, exact):
    loo = LeaveOneOut(value, 1.0, 1.0, np.array([0.0, value]), np.zeros(2), 0.0)
    assert "row 1 first: not to be trusted" in loo.verdict
    check = posterior_check(exact, conjugate.DATA, num_samples=50, key=KEY)
    assert "not to be trusted" in check._replace(log_evidence=value).verdict


@pytest.mark.parametrize("call", [posterior_check, leave_one_out])
def test_too_few_draws(call, exact):
    with pytest.raises(InputError, match="25 draws or more, got 24"):
        call(exact, conjugate.DATA, num_samples=24, key=KEY)


def test_smoothed_weights_of_odd_columns():
    rng = np.random.default_rng(0)
    columns = np.stack([rng.normal(size=200), np.zeros(200), *rng.normal(size=(2, 200))], axis=1)
    columns[5, 2:] = -np.inf, np.nan
    weights = smoothed_weights(columns)
    np.testing.assert_allclose(np.exp(weights.log_weights[:, :3]).sum(axis=0), 1, rtol=1e-10)
    assert weights.pareto_k[1] == 0
    assert weights.log_weights[5, 2] == -np.inf
    np.testing.assert_array_equal(np.isnan(weights.pareto_k), [False, False, False, True])
