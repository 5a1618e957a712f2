"""Entries that are missing: left out of densities, filled in, drawn given the rest."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from tests.oracles.observations import (
    COLUMNS,
    CORRELATED,
    FACTORIZED,
    IN_64,
    KEY,
    MADE,
    NUM_DRAWS,
    NUM_ROWS,
    by_hand,
    cast,
    covariance_of,
    facts,
    family_of,
    output_of,
    rows,
    units_of,
)
from tests.oracles.quick import quick_jit

from tighter._errors import InputError
from tighter.models.observations import (
    Missing,
    Mixed,
    Multinomial,
    Standardized,
    observation_from_name,
)


@pytest.mark.parametrize(
    "name", by_hand(FACTORIZED, ("bernoulli", "laplace", "log-normal", "mixed"))
)
def test_a_missing_entry_is_left_out(name):
    family, output, seen = family_of(name), output_of(name), facts(name)[0][:NUM_ROWS]
    at, lost = np.arange(NUM_ROWS), np.arange(NUM_ROWS) % seen.shape[1]
    xs = seen.copy()
    xs[at, lost] = np.nan
    outputs = np.broadcast_to(output, (NUM_ROWS, *output.shape))
    value, gradient = rows(Missing(family), outputs, xs)
    with IN_64():
        each = jax.vmap(lambda x: cast(family).log_probs(jnp.asarray(output), x))
        each = np.array(quick_jit(each)(seen))
    each[at, lost] = 0
    np.testing.assert_allclose(value, each.sum(1), rtol=1e-10)
    if name == "mixed":  # numbers of the output by column, in the order of the groups
        columns = np.array([0, 0, 3, 3, 1, 1, 1, 2, 2, 4, 5, 6, 6, 7, 7, 7])
        gone = columns[None] == lost[:, None]
    else:
        gone = np.zeros(gradient.shape, bool)
        gone[at, lost] = True
    assert (gradient[gone] == 0).all()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient[~gone]) > 0).mean() > 0.99


def in_units(name, units):
    """A correlated family, an output, and the mean and covariance in the units of x."""
    family, output = family_of(name), output_of(name)
    mean, covariance = output, covariance_of(family)
    if units == "standardized":
        family = Standardized(family, (3,), [0.3, -1.0, 2.0], [0.5, 2.0, 1.5])
        location, scale = units_of(family)
        mean, covariance = location + scale * mean, scale[:, None] * covariance * scale
    return family, output, mean, covariance


@pytest.mark.parametrize("units", ["plain", "standardized"])
@pytest.mark.parametrize("name", CORRELATED)
def test_missing_entries_of_what_is_correlated(name, units):
    family, output, mean, covariance = in_units(name, units)
    xs = np.array(list(itertools.product([np.nan, -0.7, 1.3], [np.nan, 0.4], [np.nan, 2.5])))
    value, gradient = rows(
        Missing(family),
        np.broadcast_to(output, (NUM_ROWS, 3)),
        np.resize(xs, (NUM_ROWS, 3)),
    )
    seen = ~np.isnan(xs)
    for x, o, ours in zip(xs, seen, value, strict=False):
        part = scipy.stats.multivariate_normal
        expected = part.logpdf(x[o], mean[o], covariance[np.ix_(o, o)]) if o.any() else 0.0
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("units", ["plain", "standardized"])
@pytest.mark.parametrize("name", CORRELATED)
def test_what_is_missing_is_drawn_given_the_rest(name, units):
    family, output, mean, covariance = in_units(name, units)
    x, observed = np.array([0.9, 0.0, 0.0]), np.array([True, False, False])

    @quick_jit
    def completed(family, output, x, observed, keys):
        draws = jax.vmap(lambda key: family.complete(output, x, observed, key=key))(keys)
        return family.statistic(output, x, observed), draws

    with IN_64():
        keys = jax.random.split(KEY, NUM_DRAWS)
        given = jnp.asarray(output), jnp.asarray(x), jnp.asarray(observed)
        statistic, draws = map(np.asarray, completed(cast(family), *given, keys))
    gain = covariance[1:, 0] / covariance[0, 0]
    expected = mean[1:] + gain * (0.9 - mean[0])
    rest = covariance[1:, 1:] - np.outer(gain, covariance[0, 1:])
    np.testing.assert_allclose(statistic[1:], expected, rtol=1e-9)
    assert (draws[:, 0] == 0.9).all()
    white = np.linalg.solve(np.linalg.cholesky(rest), (draws[:, 1:] - expected).T)
    for sample in (*white, (white[0] + white[1]) / np.sqrt(2)):
        assert scipy.stats.kstest(sample, "norm").pvalue > 1e-3


def test_float32_holds_where_entries_nearly_agree():
    """Standard deviations given the entries before are a thousandth of what they have in common."""
    family = observation_from_name("full-gaussian", (3,))
    lower = np.sqrt(3) * np.array([[0, 0, 0], [1000, 0, 0], [1000, 0.5, 0]])
    log_scale = np.log([1.0, 1e-3, 1e-3])
    family = eqx.tree_at(lambda f: (f.log_scale, f.lower), family, (log_scale, lower))
    x = np.array([1.0, 1.0015, np.nan])
    covariance = covariance_of(family)[:2, :2]
    expected = scipy.stats.multivariate_normal.logpdf(x[:2], cov=covariance)
    xs, outputs = np.broadcast_to(x, (NUM_ROWS, 3)), np.zeros((NUM_ROWS, 3))
    value, gradient = rows(Missing(family), outputs, xs, "float32")
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    assert np.isfinite(gradient).all()


def test_categories_are_filled_in_by_the_likeliest():
    @quick_jit
    def filled(family, output, x, observed):
        statistic = family.statistic(output, x, observed)
        return statistic, family.point(statistic), family.mean(output)

    output = np.array([[0, 2, 1, 0], [3, 0, 0, 2.9]], np.float32)
    probabilities, codes, _ = filled(MADE["categorical"](), output, np.zeros(2), np.zeros(2, bool))
    np.testing.assert_allclose(probabilities, scipy.special.softmax(output, -1), rtol=1e-6)
    np.testing.assert_array_equal(codes, [1, 0])
    output = np.float32(output_of("mixed"))
    _, point, expected = filled(Mixed(COLUMNS), output, np.zeros(8), np.zeros(8, bool))
    expected = np.array(expected)
    expected[1] = output[4:7].argmax()
    np.testing.assert_allclose(point, expected, rtol=1e-6)


def test_counts_of_a_total_cannot_be_missing():
    with pytest.raises(InputError, match="can't be missing"):
        Missing(Multinomial(5)).log_prob(jnp.zeros(3), jnp.array([1.0, jnp.nan, 2]))
