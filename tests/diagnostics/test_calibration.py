"""Ranks of an exact posterior are uniform; those of wrong ones are caught, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from tighter._errors import InputError
from tighter.diagnostics.calibration import simulation_based_calibration

KEY = jax.random.key(6)
PRIOR = dist.Normal(jnp.zeros(2), 1.0).to_event(1)


def simulate(z, key):
    return z + jax.random.normal(key, (2,))


def calibration(factor=1.0, shift=0.0, **options):
    """x = z + noise: the posterior is N(x / 2, 1/2); only the second parameter's is wrong."""
    scale = jnp.sqrt(0.5) * jnp.array([1.0, factor])

    def posterior(x, key):
        return dist.Normal(x / 2 + jnp.array([0.0, shift]), scale).to_event(1)

    return simulation_based_calibration(
        PRIOR, simulate, posterior, num_simulations=1000, key=KEY, **options
    )


def test_the_exact_posterior_is_calibrated():
    told = calibration()
    assert told.verdict.startswith("calibrated")
    assert told.ranks.shape == (1000, 2)
    assert told.ranks.min() >= 0
    assert told.ranks.max() <= 99
    np.testing.assert_array_equal(told.counts.sum(axis=1), 1000)
    by_scipy = [stats.chisquare(counts) for counts in told.counts]
    np.testing.assert_allclose(told.statistic, [each.statistic for each in by_scipy])
    np.testing.assert_allclose(told.p_value, [each.pvalue for each in by_scipy])
    inside = np.mean((told.counts >= told.band[0]) & (told.counts <= told.band[1]))
    assert inside > 0.9
    # Ranks are uniform on 0 … 99: mean 49.5, variance (100² − 1) / 12.
    error = np.sqrt((100**2 - 1) / 12 / 1000)
    assert (np.abs(told.ranks.mean(axis=0) - 49.5) < 5 * error).all()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"factor": 0.6}, "too narrow"),
        pytest.param({"factor": 1.6}, "too wide", marks=pytest.mark.slow),
        ({"shift": 0.4}, "too high"),
        pytest.param({"shift": -0.4}, "too low", marks=pytest.mark.slow),
    ],
)
def test_wrong_posteriors_are_caught(wrong, kind):
    told = calibration(**wrong)
    assert f"posteriors are {kind}" in told.verdict
    assert "parameter[1]" in told.verdict
    assert told.p_value[1] < 1e-6
    assert told.p_value[0] > 1e-3


class Both:
    """A number of three and a real one, side by side."""

    def __init__(self, logits=(0.0, 0.0, 0.0), mean=0.0, sd=1.0):
        self.parts = {"kind": dist.Categorical(logits=jnp.asarray(logits)),
                      "mean": dist.Normal(mean, sd)}  # fmt: skip

    def sample(self, key, sample_shape=()):
        keys = dict(zip(self.parts, jax.random.split(key), strict=True))
        return {name: part.sample(keys[name]) for name, part in self.parts.items()}

    def log_prob(self, value):
        return sum(part.log_prob(value[name]) for name, part in self.parts.items())


def discrete_calibration(temperature=1.0):
    """x = kind + noise, y = mean + noise: exact posteriors of both, or a flattened one of kind."""

    def simulate(z, key):
        return jnp.stack([z["kind"], z["mean"]]) + jax.random.normal(key, (2,))

    def posterior(x, key):
        likelihood = dist.Normal(jnp.arange(3.0), 1.0).log_prob(x[:1])
        return Both(likelihood / temperature, x[1] / 2, jnp.sqrt(0.5))

    return simulation_based_calibration(
        Both(), simulate, posterior, num_simulations=1000, num_draws=19, key=jax.random.key(7)
    )


def test_an_exact_posterior_of_a_discrete_parameter_is_calibrated():
    told = discrete_calibration()
    assert told.names == ("kind", "mean")
    assert told.p_value.min() > 1e-3
    assert told.verdict.startswith("calibrated")
    error = np.sqrt((20**2 - 1) / 12 / 1000)
    assert (np.abs(told.ranks.mean(axis=0) - 9.5) < 5 * error).all()


def test_a_wrong_posterior_of_a_discrete_parameter_is_caught():
    told = discrete_calibration(temperature=0.1)
    assert "posteriors are too narrow (p = " in told.verdict
    assert told.p_value[0] < 1e-6


def test_nan_has_no_rank():
    broken = lambda x, key: dist.Normal(x * jnp.nan, 1.0).to_event(1)  # noqa: E731
    with pytest.raises(InputError, match=r"in 500 of 500 simulations parameter\[0\]"):
        simulation_based_calibration(PRIOR, simulate, broken, key=KEY)


@pytest.mark.slow
def test_the_same_ranks_in_chunks():
    options = {"num_draws": 19, "num_bins": 4}
    whole = calibration(chunk_size=1000, **options)
    np.testing.assert_array_equal(whole.ranks, calibration(chunk_size=300, **options).ranks)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_draws": 100}, "multiple of the number of bins"),
        ({"num_draws": 99, "num_bins": 1}, "2 bins or more"),
        ({"num_draws": 499, "num_bins": 250}, "5 simulations a bin"),
    ],
)
def test_bad_input(options, told):
    with pytest.raises(InputError, match=told):
        calibration(**options)


def test_draws_of_another_shape_are_refused():
    wrong = lambda x, key: dist.Normal(x[0] / 2, 1.0)  # noqa: E731
    with pytest.raises(InputError, match=r"one of shape \(2,\), got one of shape \(\)"):
        simulation_based_calibration(PRIOR, simulate, wrong, key=KEY)
