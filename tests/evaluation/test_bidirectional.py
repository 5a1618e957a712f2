import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.oracles.quick import quick_jit

from tighter._errors import InputError
from tighter.evaluation.bidirectional import bidirectional, reverse_annealed_log_likelihood
from tighter.models import VAE, LinearGaussian

KEY = jax.random.key(5)


class Shifted(eqx.Module):
    """p(z, x) = N(z; 0, 1) whatever x, and q = N(δ, 1): f_β = N((1 − β)δ, 1), log p(x) = 0."""

    delta: jax.Array

    def posterior(self, x):
        return dist.Normal(self.delta + 0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob


def perfect(position, path, temperature, step_size, *, key):
    """A draw of f_β itself."""
    return jax.random.normal(key) + (1 - temperature) * path.start.loc, jnp.ones(())


@pytest.mark.parametrize("delta", [0.5, 2.0])
@pytest.mark.parametrize("num_temperatures", [1, 4, 100])
def test_perfect_transitions(delta, num_temperatures):
    """E[−log w'] = +δ²/(2T), so that the gap is δ²/T, and Var log w' = δ²/T."""
    num = 2000
    z = quick_jit(lambda key: jax.random.normal(key, (num,)))(jax.random.key(1))
    result = reverse_annealed_log_likelihood(
        Shifted(jnp.asarray(delta)),
        jnp.zeros(num),
        z,
        num_temperatures=num_temperatures,
        num_chains=1,
        schedule="geometric",
        transition=perfect,
        key=KEY,
    )
    variance = delta**2 / num_temperatures
    assert abs(result.value.mean() - variance / 2) < 5 * math.sqrt(variance / num)
    assert abs(result.value.var(ddof=1) / variance - 1) < 5 * math.sqrt(2 / num)


def test_without_a_transition_it_is_the_weight_of_z():
    """One temperature and chains that stay: log p(x, z)/q(z) itself."""
    z, delta = jnp.array([-1.0, 0.0, 3.0]), 0.5

    def still(position, path, temperature, step_size, *, key):
        return position, jnp.ones(())

    result = reverse_annealed_log_likelihood(
        Shifted(jnp.asarray(delta)), jnp.zeros(3), z, num_temperatures=1, transition=still, key=KEY
    )
    expected = -0.5 * z**2 + 0.5 * (z - delta) ** 2
    np.testing.assert_allclose(result.value, expected, rtol=1e-5)
    np.testing.assert_allclose(result.standard_error, 0, atol=1e-6)


def linear_gaussian():
    """Two latents, and an encoder that is shifted and wider than the exact posterior."""
    loading = np.random.default_rng(0).normal(size=(3, 2))
    covariance = np.linalg.inv(np.eye(2) + loading.T @ loading)
    numbers = {
        "prior_mean": np.zeros(2),
        "loading": loading,
        "offset": np.zeros(3),
        "log_scale": np.zeros(()),
        "encoder_weight": covariance @ loading.T,
        "encoder_bias": np.full(2, 1.5),
        "encoder_log_scale": 0.5 * np.log(2 * np.diag(covariance)),
    }
    return LinearGaussian(**{name: jnp.asarray(part, float) for name, part in numbers.items()})


NUM = 1000


@functools.cache
def both_sides(num_temperatures, num_leapfrog=10, num_chains=1):
    model = linear_gaussian()
    result = bidirectional(
        model,
        num_examples=NUM,
        num_temperatures=num_temperatures,
        num_chains=num_chains,
        num_leapfrog=num_leapfrog,
        schedule="geometric",
        key=KEY,
    )
    evidence = quick_jit(jax.vmap(model.log_evidence))(jnp.asarray(result.x))
    return result, np.asarray(evidence, np.float64)


def mean_and_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(values.size)


@pytest.mark.parametrize("num_temperatures", [4, 64])
def test_the_evidence_lies_between(num_temperatures):
    result, evidence = both_sides(num_temperatures)
    assert result.x.shape == (NUM, 3)
    assert result.z.shape == (NUM, 2)
    below, error = mean_and_error(evidence - result.lower.value)
    assert below > 3 * error
    above, error = mean_and_error(result.upper.value - evidence)
    assert above > 3 * error
    mean, error = mean_and_error(result.gap)
    np.testing.assert_allclose(mean, below + above, rtol=1e-6)
    np.testing.assert_allclose([result.mean_gap, result.mean_gap_error], [mean, error])
    assert "simulated" in result.note


@pytest.mark.slow
def test_both_sides_are_unbiased_though_the_transitions_hardly_mix():
    """E[w] = p(x), and E[w'] = 1/p(x), with one leapfrog step at each of four temperatures."""
    result, evidence = both_sides(4, num_leapfrog=1, num_chains=8)
    for log_ratio in (result.lower.value - evidence, evidence - result.upper.value):
        mean, error = mean_and_error(np.exp(log_ratio))
        assert error < 0.05
        assert abs(mean - 1) < 5 * error


@pytest.mark.slow
def test_the_gap_falls_as_one_over_the_temperatures():
    """Log-log slope of the mean gap over T = 8 ... 256, weighted by the errors."""
    numbers = np.array([8, 16, 32, 64, 128, 256])
    gaps, errors = np.array(
        [(r.mean_gap, r.mean_gap_error) for r, _ in (both_sides(int(n)) for n in numbers)]
    ).T
    weights = (gaps / errors) ** 2
    centered = np.log(numbers) - np.average(np.log(numbers), weights=weights)
    spread = np.sum(weights * centered**2)
    slope = np.sum(weights * centered * np.log(gaps)) / spread
    error = spread**-0.5
    assert error < 0.1
    assert abs(slope + 1) < 5 * error


@pytest.mark.slow
def test_images_that_a_vae_draws():
    model = VAE.create((4, 3), num_latent=2, hidden=(6,), key=jax.random.key(2))
    result = bidirectional(
        model, num_examples=8, num_temperatures=50, num_chains=16, start="prior", key=KEY
    )
    assert result.x.shape == (8, 4, 3)
    assert set(np.unique(result.x)) == {0, 1}
    errors = np.hypot(result.lower.standard_error, result.upper.standard_error)
    assert (errors < 0.3).all()
    assert (result.gap > -5 * errors).all()
    assert abs(result.mean_gap) < 0.3


def test_one_example_has_no_error_of_the_mean():
    result, _ = both_sides(4)
    one = result._replace(
        lower=type(result.lower)(*(part[:1] for part in result.lower)),
        upper=type(result.upper)(*(part[:1] for part in result.upper)),
    )
    assert math.isnan(one.mean_gap_error)
    assert one.mean_gap == one.gap[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_examples": 0}, "num_examples is a whole number of at least 1, got 0"),
        ({"num_chains": 0}, "num_chains is a whole number of at least 1, got 0"),
        ({"temperatures": [0, 2, 1]}, r"within \[0, 1\], got 2.0"),
        ({"model": Shifted(jnp.ones(()))}, "Shifted has no prior: make it a LatentVariableModel"),
    ],
)
def test_what_cannot_be_simulated(arguments, words):
    arguments = {"model": linear_gaussian(), **arguments}
    with pytest.raises(InputError, match=words):
        bidirectional(arguments.pop("model"), **arguments, key=KEY)


@pytest.mark.parametrize("z", [jnp.zeros(4), jnp.zeros((3, 2)), {"z": jnp.zeros(3)}])
def test_draws_that_are_none_of_the_latents(z):
    with pytest.raises(InputError, match="an exact posterior draw for each of 3 examples"):
        reverse_annealed_log_likelihood(Shifted(jnp.ones(())), jnp.zeros(3), z, key=KEY)
