import math

import numpy as np
import pytest
import scipy.stats
from arviz_stats.base import array_stats

from tighter.evaluation import pareto_k, pareto_tail
from tighter.evaluation.psis import smoothed_weights, tail_size
from tighter.evaluation.verdicts import TRUSTED, verdict


def largest(log_weights):
    """What `pareto_k` asks for, of whole rows of log weights."""
    return np.sort(log_weights, axis=-1)[..., -tail_size(log_weights.shape[-1]) - 1 :]


def leaning(shape, tail):
    """The fit leans towards one half as if it had seen ten weights more."""
    return (tail * shape + 5) / (tail + 10)


def mean_and_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize(
    ("num", "tail"), [(1, 0), (24, 4), (25, 5), (225, 45), (226, 45), (5000, 212), (10**5, 948)]
)
def test_size_of_the_tail(num, tail):
    assert tail_size(num) == tail


@pytest.mark.parametrize("num", [30, 31, 100, 225, 226, 1000, 10_000])
def test_the_largest_weights_tell_what_all_of_them_do(num):
    """The fit of arviz to all weights (of which it takes minus the logarithm) is the same."""
    log_weights = np.random.default_rng(num).normal(-90, 2, size=(3, num))
    expected = [float(array_stats.psislw(-row)[1]) for row in log_weights]
    np.testing.assert_allclose(pareto_k(largest(log_weights)), expected, rtol=1e-10)


def test_a_tail_of_five():
    """What arviz-stats 0.8 to 1.0 say; later ones refuse it: its first quartile is its least."""
    log_weights = np.random.default_rng(25).normal(-90, 2, size=(3, 25))
    expected = [0.7358540154784579, 0.48085046280099775, 0.20262425098295753]
    np.testing.assert_allclose(pareto_k(largest(log_weights)), expected, rtol=1e-10)


def test_order_and_constant_do_not_matter():
    rng = np.random.default_rng(0)
    rows = largest(rng.normal(size=(2, 1000)))
    expected = pareto_k(rows)
    np.testing.assert_allclose(pareto_k(rng.permuted(rows, axis=1)), expected, rtol=1e-12)
    np.testing.assert_allclose(pareto_k(rows - 500), expected, rtol=1e-9)
    np.testing.assert_allclose(pareto_k(rows.astype(np.float32)), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.9])
def test_known_pareto_tails(shape):
    replicates, num = 40, 40_000
    rng = np.random.default_rng(1)
    weights = scipy.stats.genpareto(shape).rvs((replicates, num), random_state=rng)
    mean, error = mean_and_error(pareto_k(largest(np.log(weights))))
    assert abs(mean - leaning(shape, tail_size(num))) < 5 * error


# t/s, and what another run of 10^5 draws gave.
VARIANCE_RATIOS = [(0.9, 0.120), (0.7, 0.295), (0.5, 0.494), (0.3, 0.653), (0.2, 0.771)]


@pytest.mark.parametrize(("ratio", "simulated"), VARIANCE_RATIOS)
def test_narrow_proposals(ratio, simulated):
    """p = N(0, 1) and q = N(0, t): the weights' tail tends to the shape k = 1 − t, from below.

    With m = z(1 − Φ(z))/φ(z), the derivative of the reciprocal hazard of w = exp(k z²/2), which is
    a Pareto tail's shape, is m/z² + m − 1 + k m. It grows from the threshold to its limit k, and
    the fit is a mean over the tail.
    """
    replicates, num, shape = 20, 10**5, 1 - ratio
    draws = np.random.default_rng(2).normal(size=(replicates, num))
    shapes = pareto_k(largest(0.5 * shape * draws**2))
    mean, error = mean_and_error(shapes)
    # The other was a single run, so its error is that of one.
    assert abs(mean - simulated) < 5 * math.hypot(error, shapes.std(ddof=1))
    tail = tail_size(num)
    threshold = scipy.stats.norm.isf(tail / num / 2)
    m = threshold * scipy.stats.norm.sf(threshold) / scipy.stats.norm.pdf(threshold)
    at_threshold = m / threshold**2 + m - 1 + shape * m
    assert mean > leaning(at_threshold, tail) - 5 * error
    assert mean < leaning(shape, tail) + 5 * error


def test_equal_weights_have_no_tail():
    assert pareto_k(np.full((1, 95), -3.0)) == 0


@pytest.mark.parametrize("size", [1, 2, 5])
def test_too_few_weights_have_no_shape(size):
    assert np.isnan(pareto_k(np.random.default_rng(3).normal(size=(2, size)))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tail_that_is_not_finite_has_no_shape(bad):
    rows = np.random.default_rng(4).normal(size=(2, 46))
    rows[1, 7] = bad
    shapes = pareto_k(rows)
    assert np.isfinite(shapes[0])
    assert np.isnan(shapes[1])


def test_a_tail_with_draws_without_weight_is_not_trusted():
    rows = np.random.default_rng(4).normal(size=(2, 46))
    rows[1, 7:9] = -np.inf  # one of them is the weight below the tail
    tail = pareto_tail(rows)
    assert np.isfinite(tail.shape[0])
    assert tail.shape[1] == np.inf
    np.testing.assert_allclose(tail.log_smoothed[1], np.logaddexp.reduce(rows[1]), rtol=1e-12)


def test_draws_without_weight_below_the_tail():
    """Of 225 weights 45 are the tail; if the others are zero, so is the threshold."""
    log_weights = np.full(225, -np.inf)
    log_weights[:45] = np.random.default_rng(5).normal(size=45)
    almost = np.where(np.isfinite(log_weights), log_weights, -600.0)
    expected = pareto_k(largest(almost)[None])
    np.testing.assert_allclose(pareto_k(largest(log_weights)[None]), expected, rtol=1e-10)


@pytest.mark.parametrize("spread", [10, 100, 300])
def test_hopeless_weights_are_not_trusted(spread):
    log_weights = np.random.default_rng(6).normal(0, spread, size=(3, 5000))
    assert (pareto_k(largest(log_weights)) > 0.7).all()


@pytest.mark.parametrize("spread", [500, 2000])
def test_weights_beyond_all_hope_are_not_trusted_either(spread):
    log_weights = np.random.default_rng(6).normal(0, spread, size=(3, 5000))
    assert not (pareto_k(largest(log_weights)) <= 0.7).any()


def test_bounded_weights_with_ties_at_the_foot_of_their_tail_are_trusted():
    """Proportions of a topic near 0 or 1, and weights linear in them: the fit alone says 4."""
    above = np.log1p(0.77 * np.random.default_rng(7).beta(0.1, 0.3, size=212))
    log_weights = np.concatenate([np.zeros(4788), above])
    assert float(array_stats.psislw(-log_weights)[1]) > 4
    assert pareto_k(largest(log_weights)[None]) == 0
    # A tail as wide as those of k = 0.7 is fitted, ties or not.
    assert pareto_k(largest(log_weights * 10)[None]) > 0.7


def test_draws_without_weight_have_none_and_the_others_are_smoothed():
    ratios = np.random.default_rng(9).normal(0, 2, size=(1000, 4))
    ratios[::3, 1:] = -np.inf
    ratios[0, 2], ratios[0, 3] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        smoothed, shapes = smoothed_weights(ratios)
    np.testing.assert_array_equal(smoothed[::3, 1], -np.inf)
    np.testing.assert_allclose(np.exp(smoothed[:, :2]).sum(axis=0), 1, rtol=1e-10)
    expected = pareto_k(largest(ratios[:, 1])[None])
    np.testing.assert_allclose(shapes[1], expected, rtol=1e-8)
    assert np.isnan(shapes[2:]).all()
    few = np.where(np.arange(1000) < 7, 0.0, -np.inf)[:, None]
    assert smoothed_weights(few).pareto_k > 0.7
    none = np.full((1000, 1), -np.inf)
    assert np.isnan(smoothed_weights(none).pareto_k).all()


def drawn(kind, num):
    """Weights as good as equal, all of whose estimates can be trusted at any number of draws."""
    rng = np.random.default_rng(num)
    name, _, size = kind.partition(" ")
    match name:
        case "equal":
            return np.full(num, -3.7)
        case "noise":
            return -3.7 + float(size) * rng.normal(size=num)
        case "rounded":  # as float32 has them: multiples of a unit in the last place
            return np.round(float(size) * rng.normal(size=num)) * 2.0**-18
        case "heavy":  # so near to equal that no draw will be seen to matter
            return np.log1p(float(size) * rng.pareto(1.1, size=num))
        case "two":  # states of a discrete latent
            return np.where(rng.uniform(size=num) < float(size), 0.35, 0.0)
        case "three":
            return np.log(rng.choice([1, 1.2, 1.5], p=[0.9, 0.08, 0.02], size=num))
    raise AssertionError(kind)


EQUAL = ["equal", *(f"noise 1e-{n}" for n in (7, 6, 5, 4, 3)), "rounded 0.4", "rounded 2"]
EQUAL += ["rounded 8", "heavy 1e-7", "two .5", "two .1", "two .02", "three"]


@pytest.mark.parametrize("kind", EQUAL)
@pytest.mark.parametrize("num", [25, 40, 226, 1000, 40_000])
def test_weights_as_good_as_equal_are_trusted(kind, num):
    log_weights = drawn(kind, num)
    tail = pareto_tail(largest(log_weights)[None])
    smoothed, shape = smoothed_weights(log_weights[:, None])
    assert np.isfinite(tail.shape)
    assert tail.shape <= TRUSTED
    np.testing.assert_array_equal(shape, tail.shape)
    assert ": to be trusted" in verdict(shape, np.zeros(1))
    # Smoothing leaves alone what has no tail.
    plain = np.exp(log_weights - np.logaddexp.reduce(log_weights))
    spread = np.ptp(np.exp(log_weights)) / np.exp(log_weights).mean()
    np.testing.assert_allclose(np.exp(smoothed[:, 0]), plain, rtol=spread + 1e-9)
    np.testing.assert_allclose(tail.log_smoothed, tail.log_raw, atol=spread + 1e-9)


def of(*counts):
    """Log weights of which so many have each value."""
    return np.concatenate([np.full(number, value, float) for value, number in counts])


@pytest.mark.parametrize(
    ("log_weights", "least", "most"),
    [
        # Seen by 25 draws or more, the largest weights are known to be the largest.
        (of((0, 4900), (7, 100)), 0, 0),
        (of((0, 4000), (7, 1000)), 0, 0),
        (of((0, 4850), (3, 100), (7, 50)), 0, 0),
        (of((-np.inf, 4900), (7, 100)), 0, 0),
        (of((-np.inf, 4000), (7, 1000)), 0, 0),
        # By a few they tell of others that are yet to be seen, if they matter.
        (of((0, 4997), (7, 3)), 7 / math.log(212), 7 / math.log(212)),
        (of((0, 4990), (7, 8), (9, 2)), 0.7, 3),
        (of((0, 4997), (2, 3)), 2 / math.log(212), 2 / math.log(212)),
        (of((0, 20), (7, 5)), 0.7, 10),
        (of((-np.inf, 4993), (0, 7)), np.inf, np.inf),
        (of((-np.inf, 20), (0, 5)), np.inf, np.inf),
        (of((-np.inf, 24), (0, 1)), np.inf, np.inf),
        # Fewer than 25 draws know nothing.
        (of((0, 24)), np.nan, np.nan),
    ],
)
def test_few_distinct_weights(log_weights, least, most):
    (shape,) = pareto_k(largest(log_weights)[None])
    smoothed, (same,) = smoothed_weights(log_weights[:, None])
    np.testing.assert_array_equal(same, shape)
    np.testing.assert_allclose(np.clip(shape, least, most), shape, rtol=1e-12)
    plain = log_weights - np.logaddexp.reduce(log_weights)
    np.testing.assert_allclose(smoothed[:, 0], plain, rtol=1e-12)


@pytest.mark.parametrize("num", [30, 60, 226, 4000])
@pytest.mark.parametrize("spread", [0.01, 0.5, 2])
def test_both_ways_are_those_of_arviz_where_weights_differ(num, spread):
    log_weights = np.random.default_rng(num).normal(0, spread, size=num)
    expected, shape = array_stats.psislw(-log_weights)
    smoothed, ours = smoothed_weights(log_weights[:, None])
    np.testing.assert_allclose(smoothed[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(ours, shape, rtol=1e-9)
    np.testing.assert_allclose(pareto_k(largest(log_weights)[None]), shape, rtol=1e-9)
