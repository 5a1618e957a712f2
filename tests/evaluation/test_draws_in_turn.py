"""Draws of several experts in turn: groups of whole turns, and the errors of stratified means.

log p(x) = 1.5 whatever x, so that many examples are one example many times, and the errors that
are told can be compared with the spread that there is.
"""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from tighter import InputError, Objective, log_likelihood
from tighter.bounds import CUBO, ELBO, IWAE, Combination, Grouped, Jackknife
from tighter.distributions import Experts, Mixture
from tighter.evaluation import sandwich
from tighter.evaluation.groups import bootstrap_interval, jackknife
from tighter.evaluation.verdicts import verdict
from tighter.gradients import GeneralizedDoublyReparameterized

KEY = jax.random.key(5)
NUM = 400
GRID = np.linspace(-15, 15, 20_001)
LOG_P = stats.norm(0.3, 1.0).logpdf(GRID) + 1.5


def parameters(num):
    """Experts that miss the target by far and by little, all of them wide enough."""
    return np.linspace(0.5, 6, num), np.linspace(1.2, 2, num)


def components(num):
    means, scales = parameters(num)
    return dist.Normal(jnp.asarray(means, float), jnp.asarray(scales, float), validate_args=False)


class InTurn(eqx.Module):
    """x says which experts there are."""

    num: int = eqx.field(static=True)
    missing: bool = eqx.field(static=True, default=False)

    def posterior(self, x):
        return Experts(components(self.num), present=x > 0 if self.missing else None)

    def log_joint(self, x):
        return lambda z: dist.Normal(0.3, 1.0, validate_args=False).log_prob(z) + 1.5


class AtRandom(InTurn):
    """The same posterior, experts drawn at random."""

    def posterior(self, x):
        return Mixture(jnp.zeros(self.num), components(self.num))


@functools.cache
def exact(there):
    """Relative variance of a weight within the experts, and as a draw of their mixture."""
    means, scales = parameters(max(there) + 1) if there == tuple(range(len(there))) else there
    densities = stats.norm(np.array(means)[:, None], np.array(scales)[:, None]).pdf(GRID[None])
    weights = np.exp(LOG_P - 1.5) / densities.mean(axis=0)
    step = GRID[1] - GRID[0]
    first, second = ((densities * weights**power).sum(axis=1) * step for power in (1, 2))
    np.testing.assert_allclose(first.mean(), 1, atol=1e-6)
    return (second - first**2).mean(), second.mean() - 1


@pytest.mark.parametrize(("num", "turns"), [(2, 512), (3, 341), (4, 16), (5, 9)])
def test_errors_are_those_of_a_stratified_mean(num, turns):
    within, whole = exact(tuple(range(num)))
    assert whole > 1.9 * within  # so that errors without strata would be told too large
    result = log_likelihood(
        InTurn(num), jnp.zeros((NUM, 1)), num_samples=num * turns, chunk_size=100, key=KEY
    )
    spread = result.value.std(ddof=1)
    # A standard deviation of n numbers has a relative error of 1/√(2(n − 1)).
    close = 5 / math.sqrt(2 * (NUM - 1))
    assert abs(spread / math.sqrt(within / (num * turns)) - 1) < close + 2 * within / (num * turns)
    half_width = (result.bootstrap_upper - result.bootstrap_lower) / 2 / 1.96
    for told in (result.standard_error, half_width):
        assert abs(math.sqrt(np.mean(told**2)) / spread - 1) < close
    # The bias of −½ within / K is gone, but for the next order.
    error = result.jackknife.std(ddof=1) / math.sqrt(NUM)
    assert abs(result.jackknife.mean() - 1.5) < 5 * error
    assert abs(result.jackknife.std(ddof=1) / spread - 1) < close


def test_each_example_has_its_own_turns():
    """One, two or three of three experts are there, in one program."""
    kinds = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1]])
    xs = jnp.asarray(np.repeat(kinds, NUM, axis=0), float)
    result = log_likelihood(InTurn(3, missing=True), xs, num_samples=204, key=KEY)
    means, scales = parameters(3)
    for row, kind in enumerate(kinds.astype(bool)):
        within, _ = exact((tuple(means[kind]), tuple(scales[kind])))
        own = slice(row * NUM, (row + 1) * NUM)
        spread, error = result.value[own].std(ddof=1), result.standard_error[own]
        close = 5 / math.sqrt(2 * (NUM - 1))
        assert abs(spread / math.sqrt(within / 204) - 1) < close
        assert abs(math.sqrt(np.mean(error**2)) / spread - 1) < close
        error = result.jackknife[own].std(ddof=1) / math.sqrt(NUM)
        assert abs(result.jackknife[own].mean() - 1.5) < 5 * error


@pytest.mark.parametrize("num", [2, 3, 5])
def test_the_sandwich_closes_as_that_of_the_mixture_does(num):
    x, most = jnp.zeros((40, 1)), 4096
    in_turn, at_random = (
        sandwich(kind(num), x, gap=1e-3, max_samples=most, key=KEY) for kind in (InTurn, AtRandom)
    )
    assert (in_turn.num_samples <= most).all()
    assert (in_turn.num_samples % (32 * num) == 0).all()
    within, whole = exact(tuple(range(num)))
    for result, half_chi_square in ((in_turn, within / 2), (at_random, whole / 2)):
        draws = result.num_samples[0]
        gap = result.upper - result.lower
        # ½χ²/K above, of K = N/32 draws, and ½χ²/N below.
        expected = half_chi_square * 31 / draws
        assert abs(gap.mean() - expected) < 5 * gap.std(ddof=1) / math.sqrt(40) + 0.05 * expected
        for value, error in (
            (result.lower, result.lower_standard_error),
            (result.upper, result.upper_standard_error),
            (result.jensen_gap.log_likelihood, result.jensen_gap.log_likelihood_standard_error),
        ):
            told = math.sqrt(np.mean(error**2))
            assert abs(value.std(ddof=1) / told - 1) < 5 / math.sqrt(2 * 39)
            assert abs(value.mean() - 1.5) < 5 * told / math.sqrt(40) + expected
        fit, error = result.jensen_gap[2:]
        mean_error = math.sqrt(np.mean(error**2) / 40)
        assert abs(fit.mean() - half_chi_square) < 5 * mean_error


def test_the_sandwich_of_examples_with_other_turns():
    xs = jnp.asarray(np.repeat([[1, 0, 1], [1, 1, 1]], 20, axis=0), float)
    result = sandwich(InTurn(3, missing=True), xs, gap=0.2, key=KEY)
    assert result.closed.all()
    assert (result.num_samples % (32 * 6) == 0).all()
    assert (np.abs(result.lower - 1.5) < 5 * result.lower_standard_error + 0.02).all()


def test_the_sandwich_asks_for_whole_turns():
    with pytest.raises(InputError, match=r"turns of 5, .* 640 draws, got max_samples=512"):
        sandwich(InTurn(5), jnp.zeros((1, 1)), num_samples=128, max_samples=512, key=KEY)


def test_one_turn_knows_nothing_of_itself():
    result = log_likelihood(InTurn(30), jnp.zeros((2, 1)), num_samples=30, key=KEY)
    assert np.isfinite(result.value).all()
    for part in (result.standard_error, result.jackknife, result.bootstrap_lower):
        assert np.isnan(part).all()
    assert "its error is not known" in result.verdict
    assert "its error is not known" in verdict(np.array([0.1]), np.array([np.nan]))


def test_more_experts_than_groups():
    result = log_likelihood(InTurn(100), jnp.zeros((NUM, 1)), num_samples=200, key=KEY)
    told, spread = math.sqrt(np.mean(result.standard_error**2)), result.value.std(ddof=1)
    assert abs(told / spread - 1) < 5 / math.sqrt(2 * (NUM - 1))


def test_groups_of_other_sizes():
    """Leaving out one of unequal groups, and drawing them anew."""
    rng = np.random.default_rng(0)
    sizes = np.array([[3, 3, 2, 2, 2]])
    draws = rng.lognormal(size=(20_000, 12)) ** 0.5
    sums = np.add.reduceat(draws, [0, 3, 6, 8, 10], axis=1)
    means = draws.mean(axis=1)
    by_hand = 5 * np.log(means[0]) - sum(
        (1 - size / 12) * np.log((draws[0].sum() - total) / (12 - size))
        for size, total in zip(sizes[0], sums[0], strict=True)
    )
    sizes = np.repeat(sizes, len(draws), axis=0)
    corrected = np.log(means) + jackknife(sums, sizes)
    np.testing.assert_allclose(corrected[0], by_hand)
    truth = np.log(stats.lognorm(0.5).mean())
    assert abs(corrected.mean() - truth) < 5 * corrected.std() / math.sqrt(len(draws)) + 1e-3
    # Four of the five drawn anew, so that their mean varies as that of all does: enumerated.
    low, high = bootstrap_interval(sums[:1], sizes[:1], num_resamples=20_000, key=KEY)
    drawn = np.array(list(itertools.product(range(5), repeat=4)))
    logs = np.log(sums[0][drawn].sum(axis=1) / sizes[0][drawn].sum(axis=1)) - np.log(means[0])
    for end, level in ((low, 0.025), (high, 0.975)):
        at_most, below = (logs <= end + 1e-9).mean(), (logs < end - 1e-9).mean()
        error = math.sqrt(level * (1 - level) / 20_000)
        assert below - 5 * error < level < at_most + 5 * error


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (Jackknife(1), "Jackknife takes means"),
        (Grouped(IWAE(), 4), "Grouped takes means of 12 draws"),
        (Combination({IWAE(): 0.5, Jackknife(2): 0.5}), "Combination takes means"),
        (Grouped(Grouped(CUBO(2.0), 2), 2), "Grouped takes means"),
    ],
)
def test_bounds_of_parts_of_a_turn_are_refused(bound, words):
    q, log_joint = InTurn(2).posterior(0), InTurn(2).log_joint(0)
    objective = Objective(bound, GeneralizedDoublyReparameterized(), num_samples=12)
    with pytest.raises(ValueError, match=words):
        objective(log_joint, q, key=KEY)


@pytest.mark.parametrize("bound", [Grouped(IWAE(), 2), Grouped(ELBO(), 4), Jackknife(0)])
def test_bounds_of_whole_turns_hold(bound):
    q, log_joint = InTurn(2).posterior(0), InTurn(2).log_joint(0)
    objective = Objective(bound, GeneralizedDoublyReparameterized(), num_samples=4)
    assert np.isfinite(objective(log_joint, q, key=KEY))
