"""Bounds from both sides of a log p(x) that is known, and the law of the gap between."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from tighter import InputError
from tighter.evaluation import fit_jensen_gap, sandwich
from tighter.evaluation.sandwich import _bounds

KEY = jax.random.key(31)
NUM = 100


class Gaussian(eqx.Module):
    """log p(x) = 2, posterior N(0, 1), q = N(mean, variance)."""

    mean: float
    variance: float

    def posterior(self, x):
        return dist.Normal(self.mean + 0 * x, self.variance**0.5, validate_args=False)

    def log_joint(self, x):
        return lambda z: dist.Normal(0.0, 1.0, validate_args=False).log_prob(z) + 2.0


WIDE = Gaussian(0.0, 1.5)  # TARGETS 1h: ½χ² = .0303
SHIFTED = Gaussian(0.7, 1.0)  # χ² = e^{δ²} − 1
HALF_CHI_SQUARE = {WIDE: (1.5 / 2**0.5 - 1) / 2, SHIFTED: np.expm1(0.49) / 2}


@functools.cache
def of(model, gap):
    return sandwich(model, jnp.zeros(NUM), gap=gap, key=KEY)


@pytest.mark.parametrize("model", [WIDE, SHIFTED])
@pytest.mark.parametrize("gap", [0.2, 0.03])
def test_the_truth_lies_between(model, gap):
    result = of(model, gap)
    assert result.closed.all()
    width = result.upper - result.lower
    assert ((width > 0) & (width < gap)).all()
    # The two share their draws' noise, so that each example's may lie off by it, and the means
    # by a tenth of it.
    assert (result.lower - 2 < 5 * result.lower_standard_error).all()
    assert (2 - result.upper < 5 * result.upper_standard_error).all()
    for bound, error, sign in (
        (result.lower, result.lower_standard_error, 1),
        (result.upper, result.upper_standard_error, -1),
        (result.cubo, result.cubo_standard_error, -1),
    ):
        mean_error = np.sqrt((error**2).sum()) / NUM
        assert sign * (bound.mean() - 2) < 5 * mean_error
        # The error told is that over examples, which are alike here.
        assert abs(bound.std(ddof=1) / np.sqrt((error**2).mean()) - 1) < 5 / np.sqrt(2 * NUM) + 0.05


def test_the_upper_bounds_gap_is_exact():
    """For one draw EUBO − log p = KL(p‖q) and CUBO₂ − log p = ½ log(1 + χ²), both known."""
    delta = 0.7
    draws = np.random.default_rng(0).normal(-(delta**2) / 2, delta, size=(4000, 32, 1))
    numbers = np.array([_bounds(rows) for rows in draws])
    for column, exact in ((2, delta**2 / 2), (4, delta**2 / 2)):
        values = numbers[:, column]
        # The jackknife leaves a bias of the second order in 1/32.
        assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(4000) + 0.004


def test_the_gap_falls_like_one_over_the_draws():
    few, many = (
        sandwich(SHIFTED, jnp.zeros(NUM), gap=1e-9, num_samples=n, max_samples=n, key=KEY)
        for n in (1024, 8192)
    )
    gaps = [(r.upper - r.lower) for r in (few, many)]
    means = [g.mean() for g in gaps]
    error = np.hypot(*(g.std() / g.mean() / np.sqrt(NUM) for g in gaps))
    # The log-log slope; at K = 32 of 1,024 the gap is not yet quite its law.
    assert abs(np.log(means[0] / means[1]) / np.log(8) - 1) < 5 * error / np.log(8) + 0.03
    # Of K = N/32 draws it is ½χ²/K above and ½χ²/N below.
    expected = HALF_CHI_SQUARE[SHIFTED] * 31 / 8192
    assert abs(means[1] - expected) < 5 * gaps[1].std() / np.sqrt(NUM) + 0.02 * expected


@pytest.mark.parametrize("model", [WIDE, SHIFTED])
def test_the_law_of_the_gap(model):
    fit = of(model, 0.03).jensen_gap
    chi, error = fit.half_chi_square, fit.half_chi_square_standard_error
    mean_error = np.sqrt((error**2).sum()) / NUM
    assert abs(chi.mean() - HALF_CHI_SQUARE[model]) < 5 * mean_error
    value, error = fit.log_likelihood, fit.log_likelihood_standard_error
    assert abs(value.mean() - 2) < 5 * np.sqrt((error**2).sum()) / NUM
    assert (np.abs(value - 2) < 5 * error).all()


def test_the_fit_of_an_exact_law():
    """Weights whose L_K are known: constant ones have neither gap nor error."""
    fit = fit_jensen_gap([np.full((32, 16), -3.0), np.full((32, 64), 1.0)])
    np.testing.assert_allclose(fit.log_likelihood, [-3.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(fit.half_chi_square, 0, atol=1e-10)
    np.testing.assert_allclose(fit.half_chi_square_standard_error, 0, atol=1e-10)


def test_what_cannot_be_closed_says_why():
    narrow = sandwich(Gaussian(0.0, 0.15), jnp.zeros(5), gap=0.01, max_samples=1024, key=KEY)
    assert not narrow.closed.all()
    assert "k̂ is above 0.7" in narrow.verdict
    assert "a wider posterior" in narrow.verdict
    near = sandwich(SHIFTED, jnp.zeros(5), gap=1e-4, max_samples=2048, key=KEY)
    assert "what is left is Monte Carlo error" in near.verdict
    assert "closed for all 100 with" in of(WIDE, 0.2).verdict


def test_examples_without_weight():
    class Nowhere(Gaussian):
        def log_joint(self, x):
            return lambda z: jnp.where(x > 0, -jnp.inf, -(z**2))

    result = sandwich(
        Nowhere(0.0, 1.0), jnp.array([0.0, 1.0]), num_samples=256, max_samples=256, key=KEY
    )
    assert np.isfinite(result.lower[0])
    assert result.lower[1] == -np.inf
    assert result.upper[1] == np.inf
    assert not result.closed[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gap": 0.0}, "gap is in nats, above zero, got 0.0"),
        ({"num_samples": 100}, "a multiple of 32 from 128 to max_samples, got 100"),
        ({"num_samples": 32}, "a multiple of 32 from 128"),
        ({"max_samples": 128}, "got 1024 and 128"),
    ],
)
def test_what_cannot_be_asked(changes, words):
    with pytest.raises(InputError, match=words):
        sandwich(WIDE, jnp.zeros(2), key=KEY, **changes)
