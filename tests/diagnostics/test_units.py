import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from tighter._errors import InputError
from tighter.diagnostics.units import active_units, aggregated_posterior
from tighter.distributions import Chain
from tighter.models import LinearGaussian

KEY = jax.random.key(7)


class Given(eqx.Module):
    """A prior, and what makes a posterior of x; no likelihood to speak of."""

    prior: dist.Distribution
    make: object = eqx.field(static=True)

    def posterior(self, x):
        return self.make(x)

    def log_joint(self, x):
        return lambda z: jnp.zeros(())


def standard_normal(num):
    return dist.Normal(jnp.zeros(num), 1.0).to_event(1)


def draws(distribution, num):
    return jax.vmap(distribution.sample)(jax.random.split(KEY, num))


def means_and_half(x):
    return dist.Normal(x, 0.5).to_event(1)


# Active units


def test_linear_gaussian():
    model = LinearGaussian.create(4, 3, key=jax.random.key(0))
    idle = model.encoder_weight.at[1].multiply(0.01)
    model = eqx.tree_at(lambda m: m.encoder_weight, model, idle)
    xs = jax.random.normal(jax.random.key(1), (500, 4))
    result = active_units(model, xs)
    covariance = np.cov(np.asarray(xs, np.float64), rowvar=False)
    weight = np.asarray(idle, np.float64)
    exact = np.diag(weight @ covariance @ weight.T)
    np.testing.assert_allclose(result.variance, exact, rtol=1e-4)
    assert result.count == 2
    assert result.active.tolist() == [True, False, True]
    assert result.num_examples == 500
    # Posteriors are N(Ax, I), and the prior N(0, I).
    means = np.asarray(xs, np.float64) @ weight.T
    np.testing.assert_allclose(result.kl, 0.5 * (means**2).mean(axis=0), rtol=1e-4)
    assert result.warnings == (
        "1 of 3 units carry nothing (the posterior's mean varies by no more than 0.01): 1",
    )


@pytest.mark.slow
def test_the_error_is_the_spread_over_choices_of_examples():
    variances, errors = [], []
    model = Given(standard_normal(2), means_and_half)
    for key in jax.random.split(KEY, 100):
        result = active_units(model, jax.random.laplace(key, (200, 2)))
        variances.append(result.variance)
        errors.append(result.standard_error)
    spread, told = np.std(variances, ddof=1), np.sqrt(np.mean(np.square(errors)))
    # Of 200 standard deviations; those of squares of Laplace numbers have heavy tails.
    assert abs(spread / told - 1) < 0.3
    assert abs(np.mean(variances) - 2) < 5 * told / math.sqrt(200)


class NoMean(eqx.Module):
    """A normal that has nothing but draws and a density."""

    base: dist.Distribution

    def sample(self, key, sample_shape=()):
        return self.base.sample(key, sample_shape)

    def log_prob(self, z):
        return self.base.log_prob(z)


def test_the_variance_of_drawn_means_is_subtracted():
    """With 4 draws of variance 1/4 it would be .0625 too large, above the threshold."""
    xs = jax.random.normal(KEY, (4000, 2)) * jnp.array([[1.0, 0.01]])
    model = Given(standard_normal(2), lambda x: NoMean(means_and_half(x)))
    exact = active_units(Given(standard_normal(2), means_and_half), xs)
    drawn = active_units(model, xs, num_samples=4, key=KEY)
    assert drawn.kl is None
    assert (np.abs(drawn.variance - exact.variance) < 5 * drawn.standard_error).all()
    assert drawn.active.tolist() == exact.active.tolist() == [True, False]
    assert (drawn.standard_error > exact.standard_error).all()


def test_latents_that_are_pytrees():
    xs = jax.random.normal(KEY, (300, 2))
    make = lambda x: Chain({"b": dist.Normal(2 * x[0], 0.1), "a": means_and_half(x)})  # noqa: E731
    result = active_units(Given(standard_normal(3), make), xs, num_samples=2, key=KEY)
    a, b = np.var(xs, axis=0, ddof=1), 4 * np.var(xs[:, 0], ddof=1)
    assert (np.abs(result.variance - [*a, b]) < 5 * result.standard_error).all()


def test_signs_of_collapse_in_words():
    def collapsed(x):
        return dist.Normal(0 * x + jnp.array([0.0, 1.0]), 1.0).to_event(1)

    xs = jax.random.normal(KEY, (50, 2))
    result = active_units(Given(standard_normal(2), collapsed), xs)
    assert result.count == 0
    np.testing.assert_allclose(result.kl, [0, 0.5], atol=1e-6)
    assert result.warnings == (
        "all 2 units carry nothing (the posterior's mean varies by no more than 0.01): the "
        "posterior has collapsed",
        "units that carry nothing and yet cost nats, their posterior not being the prior: 1 (0.5)",
    )
    near = active_units(Given(standard_normal(2), means_and_half), xs * jnp.array([[1.0, 0.1]]))
    assert any(
        "too few examples to tell" in word and word.endswith(": 1") for word in near.warnings
    )
    assert active_units(Given(standard_normal(2), means_and_half), xs).warnings == ()


# The aggregated posterior


def test_the_right_encodings_agree_with_the_prior():
    """x ~ N(0, 3/4) and q = N(x, 1/4): their mixture is the prior. Statistics as by scipy."""
    xs = jax.random.normal(KEY, (2000, 3)) * math.sqrt(0.75)
    xs = xs + jnp.array([[0.0, 0.3, 0.0]])
    model = Given(standard_normal(3), means_and_half)
    result = aggregated_posterior(model, xs, key=KEY)
    assert result.compared_with == "distribution function"
    assert result.p_value[0] > 1e-3
    assert result.p_value[1] < 1e-6
    assert result.p_value[2] > 1e-3
    # sup |Φ(z − .3) − Φ(z)| = 2Φ(.15) − 1, and the statistic's noise is at most of size 1/√N.
    exact = 2 * scipy.stats.norm.cdf(0.15) - 1
    assert abs(result.statistic[1] - exact) < 2 / math.sqrt(2000)
    assert (np.abs(result.mean - [0, 0.3, 0]) < 5 / math.sqrt(2000)).all()
    assert (np.abs(result.standard_deviation - 1) < 5 / math.sqrt(4000)).all()
    levels = (np.arange(99) + 0.5) / 99
    expected = np.broadcast_to(scipy.stats.norm.ppf(levels), (3, 99))
    np.testing.assert_allclose(result.theoretical_quantiles, expected, atol=1e-4)
    # A quantile errs by √(p(1 − p)/N) over the density there.
    error = np.sqrt(levels * (1 - levels) / 2000) / scipy.stats.norm.pdf(expected)
    shifted = expected + np.array([0, 0.3, 0])[:, None]
    assert (np.abs(result.sample_quantiles - shifted) < 5 * error).all()


def certain(x):
    """One code, without noise: the encodings are the examples."""
    return dist.Normal(x, 1e-6).to_event(1)


def test_statistics_and_p_values_are_those_of_scipy():
    xs = np.asarray(jax.random.laplace(KEY, (300, 2))) + np.array([[0.3, -0.3]], np.float32)
    result = aggregated_posterior(Given(standard_normal(2), certain), xs, key=KEY)
    for j in range(2):
        oracle = scipy.stats.kstest(xs[:, j], "norm")
        np.testing.assert_allclose(result.statistic[j], oracle.statistic, atol=1e-5)
        np.testing.assert_allclose(result.p_value[j], oracle.pvalue, rtol=2e-2)


@pytest.mark.parametrize(
    ("prior", "oracle"),
    [
        (dist.Laplace(jnp.zeros(1), 2.0).to_event(1), scipy.stats.laplace(0, 2)),
        (dist.Normal(1.0, 2.0).expand([1]).to_event(1), scipy.stats.norm(1, 2)),
        (dist.Normal(1.0, 2.0), scipy.stats.norm(1, 2)),
        (dist.Gamma(jnp.full(1, 3.0), 2.0).to_event(1), scipy.stats.gamma(3, scale=0.5)),
    ],
    ids=["Laplace", "expanded", "scalar", "Gamma"],
)
@pytest.mark.slow
def test_other_priors(prior, oracle):
    xs = np.asarray(draws(prior, 500)).reshape(500)
    make = lambda x: dist.Delta(x, event_dim=len(prior.event_shape))  # noqa: E731
    x = xs.reshape(500, *prior.event_shape)
    result = aggregated_posterior(Given(prior, make), x, key=KEY)
    exact = scipy.stats.kstest(xs, oracle.cdf)
    np.testing.assert_allclose(result.statistic, [exact.statistic], atol=1e-5)
    assert result.p_value[0] > 1e-3
    levels = (np.arange(99) + 0.5) / 99
    np.testing.assert_allclose(result.theoretical_quantiles[0], oracle.ppf(levels), atol=2e-4)


def test_a_prior_with_a_full_covariance_is_whitened():
    covariance = jnp.array([[2.0, 1.2], [1.2, 1.0]])
    prior = dist.MultivariateNormal(jnp.array([1.0, -1.0]), covariance)
    xs = draws(prior, 1000)
    result = aggregated_posterior(Given(prior, certain), xs, key=KEY)
    assert result.compared_with == "whitened normal"
    assert (result.p_value > 1e-3).all()
    assert (np.abs(result.mean) < 5 / math.sqrt(1000)).all()
    # The same marginals without the correlation.
    alone = draws(dist.Normal(prior.mean, jnp.sqrt(jnp.diag(covariance))), 1000)
    result = aggregated_posterior(Given(prior, certain), alone, key=KEY)
    assert result.p_value[1] < 1e-6


def test_a_prior_without_a_distribution_function_is_drawn_from():
    """Of bits, of which an eighth too many are on: so far apart are the distribution functions."""
    prior = dist.BernoulliProbs(jnp.array([0.5, 0.25])).to_event(1)
    make = lambda x: dist.Delta(x, event_dim=1)  # noqa: E731
    xs = np.zeros((400, 2), np.int32)
    xs[:250, 0], xs[:100, 1] = 1, 1
    result = aggregated_posterior(Given(prior, make), xs, key=KEY)
    assert result.compared_with == "draws"
    # That of 50,000 draws errs by .5/√50000.
    np.testing.assert_allclose(result.statistic, [0.125, 0.0], atol=5 * 0.5 / math.sqrt(50_000))
    assert result.p_value[0] < 1e-4
    assert result.p_value[1] > 0.5
    np.testing.assert_allclose(result.mean, [0.625, 0.25])


def test_bad_input():
    model = Given(standard_normal(2), means_and_half)
    with pytest.raises(InputError, match="takes 30 examples or more to tell, got 29"):
        active_units(model, jnp.zeros((29, 2)))
    with pytest.raises(InputError, match="takes 50 examples or more to tell, got 49"):
        aggregated_posterior(model, jnp.zeros((49, 2)), key=KEY)
    model = Given(standard_normal(2), lambda x: NoMean(means_and_half(x)))
    for arguments in ({}, {"num_samples": 5}, {"num_samples": 1, "key": KEY}):
        with pytest.raises(InputError, match="NoMean has no finite mean in closed form: give"):
            active_units(model, jnp.zeros((40, 2)), **arguments)
    xs = jnp.zeros((40, 2)).at[3].set(jnp.nan)
    with pytest.raises(InputError, match="not finite in 1 of 40 examples, row 3 first"):
        active_units(Given(standard_normal(2), means_and_half), xs)
