"""What a log-likelihood says of itself: smoothing, jackknife, intervals, words; any posterior."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from arviz_stats.base import array_stats
from scipy.special import logsumexp
from tests.oracles.thinning import every

from tighter import InputError, log_likelihood
from tighter._rows import rows_of_batch
from tighter.distributions import Chain, Experts, Mixture
from tighter.evaluation.groups import bootstrap_interval, jackknife
from tighter.evaluation.verdicts import verdict
from tighter.objectives.log_weights import log_weight

KEY = jax.random.key(21)


class Shifted(eqx.Module):
    """log p(x) = 0, log w ~ N(−δ²/2, δ²)."""

    delta: float

    def posterior(self, x):
        return dist.Normal(self.delta + 0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob


def log_weights(model, x, num_samples):
    rows = rows_of_batch(model, x, key=KEY)
    draws = jnp.broadcast_to(jnp.arange(num_samples), (x.shape[0], num_samples))
    return np.asarray(rows.evaluate(log_weight, draws), float)


@pytest.mark.parametrize("num_samples", [30, 777])
def test_smoothing_is_that_of_all_weights(num_samples):
    x = jnp.zeros(3)
    result = log_likelihood(Shifted(1.5), x, num_samples=num_samples, key=KEY)
    for row, smoothed, k in zip(
        log_weights(Shifted(1.5), x, num_samples),
        result.pareto_smoothed,
        result.pareto_k,
        strict=True,
    ):
        normalized, shape = array_stats.psislw(-row)
        moved = normalized - row
        expected = logsumexp(normalized - moved[np.argmin(row)]) - np.log(num_samples)
        np.testing.assert_allclose(smoothed, expected, atol=2e-5)
        np.testing.assert_allclose(k, shape, rtol=1e-3)


def test_smoothing_takes_noise_away():
    """Where the weights' second moment is infinite (q of half the variance: k = ½)."""

    class Narrow(Shifted):
        def posterior(self, x):
            return dist.Normal(0 * x, self.delta, validate_args=False)

    result = log_likelihood(Narrow(0.5**0.5), jnp.zeros(2000), num_samples=400, key=KEY)
    plain, smoothed = result.value, result.pareto_smoothed
    assert smoothed.std() < plain.std()
    assert np.abs(smoothed.mean()) < 5 * smoothed.std() / np.sqrt(2000) + 0.01


# Bias of IWAE times K, and bias of its jackknife (TARGETS 1f), weights lognormal with σ² = ½.
@pytest.mark.parametrize(
    ("num_samples", "bias", "left"), [(4, -0.292, -0.00697), (16, -0.314, -0.00059)]
)
@pytest.mark.slow
def test_the_jackknife_takes_the_bias_away(num_samples, bias, left):
    x = jnp.zeros(2**16)
    result = log_likelihood(Shifted(0.5**0.5), x, num_samples=num_samples, key=KEY)
    for estimate, expected, rounding in (
        (result.value, bias / num_samples, 0.0005 / num_samples),
        (result.jackknife, left, 5e-6),
    ):
        error = estimate.std() / np.sqrt(x.size)
        assert abs(estimate.mean() - expected) < 5 * error + rounding


def test_the_jackknife_of_groups():
    weights = np.random.default_rng(0).lognormal(size=(2, 6))
    by_hand = [
        6 * np.log(row.mean()) - 5 * np.mean([np.log(np.delete(row, i).mean()) for i in range(6)])
        for row in weights
    ]
    np.testing.assert_allclose(jackknife(weights) + np.log(weights.mean(axis=1)), by_hand)


def test_the_bootstrap_against_scipy():
    weights = np.random.default_rng(1).lognormal(size=(3, 64))
    low, high = bootstrap_interval(weights, num_resamples=20_000, key=KEY)
    for row, ends in zip(weights, zip(low, high, strict=True), strict=True):
        theirs = scipy.stats.bootstrap(
            (row,), lambda w, axis: np.log(w.mean(axis)), n_resamples=20_000, method="percentile",
            rng=np.random.default_rng(2),
        )  # fmt: skip
        interval = np.array(theirs.confidence_interval) - np.log(row.mean())
        # A quantile's error, with the density at it of a normal of the same spread.
        density = scipy.stats.norm.pdf(1.96) / theirs.standard_error
        error = np.sqrt(2 * 0.025 * 0.975 / 20_000) / density
        np.testing.assert_allclose(ends, interval, atol=5 * error)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    """In as many cases as they say, but for what 64 groups and a skewed mean cost."""
    result = log_likelihood(Shifted(0.5), jnp.zeros(4000), num_samples=1000, key=KEY)
    for low, high in (
        result.interval(),
        (result.bootstrap_lower, result.bootstrap_upper),
    ):
        covered = ((low < 0) & (high > 0)).mean()
        assert 0.92 < covered < 0.97
    low, high = result.interval(0.5)
    assert abs(((low < 0) & (high > 0)).mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_one_draw_knows_nothing_of_itself():
    result = log_likelihood(Shifted(0.5), jnp.zeros(3), num_samples=1, key=KEY)
    assert np.isfinite(result.value).all()
    np.testing.assert_array_equal(result.pareto_smoothed, result.value)
    for part in (result.jackknife, result.bootstrap_lower, result.bootstrap_upper):
        assert np.isnan(part).all()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([0.831], "k̂ = .83: not to be trusted; more samples will hardly help, a wider posterior"),
        ([1.2], "k̂ = 1.20: not to be trusted; more samples will not help"),
        ([np.inf], "k̂ = ∞: not to be trusted"),
        ([0.4], "k̂ = .40: to be trusted; the error is 0.02 nats,"),
        ([0.1, 0.5], "k̂ = .50 at most: to be trusted"),
        ([0.1, 0.9, np.nan, 0.2], r"for 1 of 3 examples \(33.3 %\), .90 at worst: not to be"),
        ([np.nan], "25 draws or more"),
    ],
)
def test_verdicts(shapes, words):
    shapes = np.array(shapes)
    assert re.search(words, verdict(shapes, np.full(shapes.shape, 0.02)))


@pytest.mark.parametrize(
    ("bad", "level"), [(0, "good"), (1, "fair"), (5, "fair"), (6, "poor"), (100, "poor")]
)
def test_the_level_says_what_the_sentence_says(bad, level):
    # One verdict: no example that is not to be trusted under a level that calls all of them good.
    shapes = np.where(np.arange(100) < bad, 0.9, 0.3)
    told = verdict(shapes, np.full(100, 0.02), np.zeros(100))
    assert told.level == level
    assert ("not to be trusted" in told) == (level != "good")


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_one_value_that_is_not_finite_spoils_the_mean(value):
    values = np.array([-3.0, value, -2.0])
    told = verdict(np.full(3, 0.2), np.full(3, 0.02), values)
    assert told.level == "poor"
    assert told.startswith("1 of 3 log-likelihoods, row 1 first, not finite: not to be trusted")


def test_without_k_the_level_is_unknown():
    assert verdict(np.full(2, np.nan), np.full(2, np.nan)).level == "unknown"


# Every posterior that there is: log p(x) = 1.5 whatever x.

_TARGET = dist.Normal(0.3, 1.0, validate_args=False)
_WIDE = dist.Normal(jnp.array([-0.5, 1.0]), jnp.array([1.2, 1.5]), validate_args=False)
_PAIR = dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.6], [0.6, 1.0]]))


def _chain(z):
    return _TARGET.log_prob(z["a"]) + dist.Normal(z["a"], 0.5).log_prob(z["b"])


POSTERIORS = {
    "mixture": (lambda: Mixture(jnp.array([0.3, -0.2]), _WIDE), _TARGET.log_prob),
    "experts": (lambda: Experts(_WIDE), _TARGET.log_prob),
    "student": (lambda: dist.StudentT(4.0, 0.0, 1.0), _TARGET.log_prob),
    "full covariance": (
        lambda: dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.5, 0.5], [0.5, 1.3]])),
        _PAIR.log_prob,
    ),
    "chain": (
        lambda: Chain({"a": dist.Normal(0.0, 1.3), "b": lambda z: dist.Normal(z["a"], 0.7)}),
        _chain,
    ),
    "categorical": (
        lambda: dist.Categorical(logits=jnp.array([0.1, 0.7, -0.5])),
        dist.Categorical(logits=jnp.array([0.5, 0.2, 0.0])).log_prob,
    ),
    "gamma": (lambda: dist.Gamma(2.0, 1.0), dist.Gamma(2.5, 1.5).log_prob),
    "dirichlet": (
        lambda: dist.Dirichlet(jnp.array([1.0, 1.5, 0.8])),
        dist.Dirichlet(jnp.array([1.5, 2.0, 1.0])).log_prob,
    ),
}


@pytest.mark.parametrize("name", every(2, POSTERIORS))
def test_any_posterior(name):
    make, density = POSTERIORS[name]

    class Model(eqx.Module):
        def posterior(self, x):
            return make()

        def log_joint(self, x):
            return lambda z: density(z) + 1.5

    result = log_likelihood(Model(), jnp.zeros((20, 1)), num_samples=512, key=KEY)
    assert (result.pareto_k < 0.7).all()
    assert (np.abs(result.jackknife - 1.5) < 5 * result.standard_error + 1e-4).all()
    mean_error = np.sqrt((result.standard_error**2).sum()) / 20
    assert abs(result.jackknife.mean() - 1.5) < 5 * mean_error


def test_experts_take_turns():
    class Model(eqx.Module):
        def posterior(self, x):
            return Experts(_WIDE)

        def log_joint(self, x):
            return _TARGET.log_prob

    with pytest.raises(InputError, match="multiple of 2, got 51"):
        log_likelihood(Model(), jnp.zeros((2, 1)), num_samples=51, key=KEY)
