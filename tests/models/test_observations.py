"""Observation families: densities, draws, starts, features, and what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from tests.oracles.observation_densities import SCIPY
from tests.oracles.observations import (
    ALL,
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
    families_of_entries,
    family_of,
    grid_of,
    grids_of,
    log_prob,
    made_of,
    output_of,
    rows,
    support_of,
)
from tests.oracles.thinning import every

from tighter._errors import InputError
from tighter.models import VAE
from tighter.models.observations import (
    Factorized,
    Mixed,
    Observation,
    observation_from_name,
)

# Log densities


@pytest.mark.parametrize("name", every(2, [name for name in ALL if name in SCIPY]))
def test_densities_are_those_of_scipy(name):
    family, output, (draws, told, _, _) = family_of(name), output_of(name), facts(name)
    xs = draws[:NUM_ROWS]
    expected = SCIPY[name](output, xs, family)
    np.testing.assert_allclose(log_prob(family, output, xs), expected, rtol=1e-8, atol=1e-8)
    # numpyro's negative binomial is right to six digits.
    np.testing.assert_allclose(told, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", every(2, FACTORIZED))
def test_densities_sum_to_one(name):
    log_probs, (_, weights) = facts(name)[3], grids_of(name)
    np.testing.assert_allclose((np.exp(log_probs) * weights).sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_differences(name):
    output, x = output_of(name), facts(name)[0][0]
    rng = np.random.default_rng(6)
    directions = rng.normal(size=(NUM_ROWS // 2, *output.shape))
    step = 1e-5
    outputs = np.concatenate([output + step * directions, output - step * directions])
    xs = np.broadcast_to(x, (NUM_ROWS, *x.shape))
    value, gradient = rows(family_of(name), outputs, xs)
    change = np.subtract(*np.split(value, 2)) / (2 * step)
    slopes = (np.mean(np.split(gradient, 2), axis=0) * directions).reshape(len(change), -1).sum(-1)
    np.testing.assert_allclose(change, slopes, rtol=1e-6, atol=1e-6)


def extremes(name):
    """Outputs up to 30, and values of all the support with its ends or next to them."""
    rng = np.random.default_rng(7)
    output = rng.choice([-30, -8, -1, 0, 1, 8, 30], (NUM_ROWS, *output_of(name).shape))
    # In float32's digits, but on no edge of a bin, of which the last digit says the side.
    output = np.float32(output + rng.uniform(-0.1, 0.1, output.shape))
    ends = {
        "beta": [1e-6, 0.01, 0.3, 0.97, 1 - 2.0**-20],
        "log-normal": [1e-6, 0.3, 1.0, 2e6],
        "continuous-bernoulli": [0.0, 0.25, 0.5, 1.0],
        "negative-binomial": [0.0, 1, 2, 7, 100],
    }
    columns = []
    for family in families_of_entries(name):
        values = grid_of(family)[0]
        values = ends.get(family, values[np.abs(values) < 101])
        columns.append(rng.choice(np.float32(values), NUM_ROWS))
        columns[-1][:20] = support_of(family).inside  # what stands in for a missing entry
    return output.astype(np.float64), np.stack(columns, axis=1).astype(np.float64)


@pytest.mark.parametrize("name", every(2, ALL))
def test_extreme_outputs_in_float32(name):
    outputs, xs = extremes(name)
    # Other digits than float32 has make another question: a bin, a share next to 1.
    value, gradient = rows(family_of(name), outputs, xs, "float32")
    exact, exact_gradient = rows(family_of(name), outputs, xs)
    np.testing.assert_allclose(value, exact, rtol=3e-5, atol=3e-4)
    size = np.abs(exact_gradient).reshape(NUM_ROWS, -1).max(-1)
    error = np.abs(gradient - exact_gradient).reshape(NUM_ROWS, -1).max(-1)
    np.testing.assert_array_less(error, 3e-5 * size + 3e-4)


@pytest.mark.parametrize("count", [9, 1e3, 1e6, 1e8])
def test_large_counts_and_many_degrees_in_float32(count):
    """As populations and incomes are: log Γ of a million has one decimal in float32."""
    mean = np.log(np.float32(count * (1 + 2 / np.sqrt(count))))
    whole = np.array([count, 0.5 * count // 1, 2 * count])
    x = np.float32(whole)

    def told(name, *output):
        outputs = np.broadcast_to(np.float32(output), (3, len(output)))
        family = observation_from_name(name, (3,))
        return np.asarray(family.log_probs(jnp.asarray(outputs).squeeze(), jnp.asarray(x)))

    rate = np.exp(np.float64(mean))
    exact = scipy.stats.poisson.logpmf(whole, rate)
    np.testing.assert_allclose(told("poisson", mean), exact, rtol=5e-6, atol=6e-3)
    for log_r in (-3.0, 2.0, 12.0):
        r = np.exp(np.float64(np.float32(log_r)))
        exact = scipy.stats.nbinom.logpmf(whole, r, 1 / (1 + rate / r))
        np.testing.assert_allclose(told("negative-binomial", mean, log_r), exact, rtol=1e-4)
    raw = np.float32(count)
    exact = scipy.stats.t.logpdf(whole / count, 1 + np.float64(raw))
    family = observation_from_name("student-t", (3,))
    output = jnp.stack([jnp.zeros(3), jnp.zeros(3), jnp.full(3, raw)], axis=-1)
    np.testing.assert_allclose(
        family.log_probs(output, jnp.asarray(x / np.float32(count))), exact, rtol=1e-5
    )
    logits = np.float32([0.3, -0.2, 0.1])
    exact = scipy.stats.multinomial(whole.sum(), scipy.special.softmax(np.float64(logits))).logpmf(
        whole
    )
    found = observation_from_name("multinomial", (3,)).log_prob(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=2e-3)


# Draws and means


@pytest.mark.parametrize("name", FACTORIZED)
def test_draws_fit_the_density(name):
    draws, _, _, log_probs = facts(name)
    values, weights = grids_of(name)
    for i, family in enumerate(families_of_entries(name)):
        masses = np.exp(log_probs[:, i]) * weights[:, i]
        grid = grid_of(family)[0]
        masses = masses[: len(grid)]
        if len(grid) > 2000:
            cdf = np.cumsum(masses) - masses / 2
            order = np.argsort(grid)
            heights = np.interp(draws[:, i], grid[order], cdf[order])
            assert scipy.stats.kstest(heights, "uniform").pvalue > 1e-3, (family, i)
            continue
        places = np.abs(draws[:, i, None] - grid).argmin(1)
        np.testing.assert_allclose(draws[:, i], grid[places], atol=1e-12)
        assert fits(np.bincount(places, minlength=len(grid)), masses), (family, i)
    assert values.shape == weights.shape


def fits(counts, masses):
    """Pearson's test, with the rarest values together: five are expected of each at least."""
    expected = NUM_DRAWS * masses / masses.sum()
    assert counts[expected == 0].sum() == 0
    order = np.argsort(expected)
    num_rare = np.searchsorted(np.cumsum(expected[order]), 5) + 1
    num_rare = max(num_rare, np.searchsorted(expected[order], 5))
    rare, others = np.split(order, [num_rare])
    counts, expected = (np.append(v[others], v[rare].sum()) for v in (counts, expected))
    return scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("name", CORRELATED)
def test_correlated_draws(name):
    factor = np.linalg.cholesky(covariance_of(family_of(name)))
    white = np.linalg.solve(factor, (facts(name)[0] - output_of(name)).T)
    for sample in (*white, (white[0] + white[1]) / np.sqrt(2), (white[0] - white[2]) / np.sqrt(2)):
        assert scipy.stats.kstest(sample, "norm").pvalue > 1e-3


def test_multinomial_draws():
    draws, logits = facts("multinomial")[0], output_of("multinomial")
    outcomes = [x for x in itertools.product(range(6), repeat=3) if sum(x) == 5]
    places = (draws[:, None] == np.array(outcomes)).all(-1)
    assert (places.sum(1) == 1).all()
    masses = scipy.stats.multinomial.pmf(outcomes, 5, scipy.special.softmax(logits))
    assert fits(places.sum(0), masses)


@pytest.mark.parametrize("name", ALL)
def test_means_are_those_of_draws(name):
    draws, _, mean, _ = facts(name)
    error = draws.std(0) / np.sqrt(NUM_DRAWS)
    assert mean.shape == draws.shape[1:]
    np.testing.assert_array_less(np.abs(mean - draws.mean(0)), 5 * error)


# Starts


@pytest.mark.parametrize("name", every(2, ALL))
def test_the_start_explains_the_data(name):
    xs = facts(name)[0].astype(np.float32)
    truth, at = family_of(name), xs[:NUM_ROWS]
    family = truth.initialized_from(xs)
    start = np.asarray(family.initial_output(xs))
    assert start.shape == family.output_shape(xs.shape[1:])
    assert np.isfinite(start).all()
    # As good as the truth, up to a tenth of a nat an entry, and better than what knows nothing.
    ours = log_prob(family, start, at)
    nothing = log_prob(made_of(name), np.zeros_like(start), at)
    assert ours.mean() > log_prob(truth, output_of(name), at).mean() - 0.1 * at.shape[1]
    assert ours.mean() > nothing.mean()
    with IN_64():
        mean = np.asarray(family.mean(jnp.asarray(start)))
    sd = xs.std(0)
    np.testing.assert_array_less(np.abs(mean - xs.mean(0)), 5 * sd / np.sqrt(NUM_DRAWS) + 2e-3 * sd)


@pytest.mark.parametrize("name", ["diagonal-gaussian", *CORRELATED])
def test_learned_scales_start_at_those_of_the_data(name):
    xs = np.float32(facts(name)[0])
    np.testing.assert_allclose(
        family_of(name).initialized_from(xs).log_scale, np.log(xs.std(0)), rtol=1e-4
    )


@pytest.mark.parametrize("name", ALL)
def test_starts_of_what_never_changes_and_of_what_is_missing(name):
    xs = facts(name)[0][:40].astype(np.float32)
    constant = np.repeat(xs[:1], 40, axis=0)
    with_gaps = xs.copy()
    if name != "multinomial":
        with_gaps[::3, 1] = np.nan
        with_gaps[1::3, 0] = np.nan
    for examples in (constant, with_gaps):
        family = family_of(name).initialized_from(examples)
        output = np.asarray(family.initial_output(examples))
        assert np.isfinite(output).all()
        at = np.resize(np.where(np.isnan(examples), xs, examples), (NUM_ROWS, xs.shape[1]))
        assert np.isfinite(log_prob(family, output, at)).all()
    if name != "multinomial":  # the entry without gaps starts as ever
        whole = family_of(name).initialized_from(xs)
        gaps = family_of(name).initialized_from(with_gaps)
        with IN_64():
            means = [
                np.asarray(f.mean(jnp.asarray(f.initial_output(x))))[2]
                for f, x in ((whole, xs), (gaps, with_gaps))
            ]
        np.testing.assert_allclose(*means, rtol=1e-6)


@pytest.mark.parametrize(
    "name", by_hand(ALL, ("student-t", "categorical", "multinomial", "low-rank-gaussian", "mixed"))
)
def test_the_autoencoder_starts_there(name):
    xs = facts(name)[0][:50].astype(np.float32)
    family, shape = family_of(name), xs.shape[1:]
    family = cast(family, "float32")
    model = VAE.create(shape, num_latent=2, hidden=(4,), observation=family, key=KEY)
    started = model.initialized_from(xs)
    start = family.initialized_from(xs).initial_output(xs)
    np.testing.assert_allclose(started.decoder.layers[-1].bias, start.reshape(-1), rtol=1e-5)
    features = jax.eval_shape(family.features, xs[0])
    assert features.shape == family.features_shape(shape)
    log_joints = jax.eval_shape(jax.vmap(lambda x: started.log_joint(x)(jnp.zeros(2))), xs)
    assert log_joints.shape == (50,)


# Features


def test_features():
    def features(name, x, **kwargs):
        family = MADE[name]() if name in MADE else observation_from_name(name, np.shape(x))
        return np.asarray(family.features(jnp.asarray(x, jnp.float32)))

    one_hot = features("categorical", [[0, 3], [np.nan, 1]])
    nan = [np.nan] * 4
    np.testing.assert_array_equal(one_hot, [[1, 0, 0, 0, 0, 0, 0, 1], [*nan, 0, 1, 0, 0]])
    np.testing.assert_allclose(features("discretized-logistic", [0, 1, 0.5]), [-1, 1, 0])
    np.testing.assert_allclose(features("categorical-pixels", [0, 1, 0.5]), [-1, 1, 0])
    for name in ("poisson", "negative-binomial", "zero-inflated-poisson", "multinomial"):
        np.testing.assert_allclose(features(name, [0, 1, 6]), np.log([1, 2, 7]), rtol=1e-6)
    np.testing.assert_allclose(features("log-normal", [1, 10]), [0, np.log(10)], rtol=1e-6)
    np.testing.assert_allclose(features("beta", [0.5, 0.9]), [0, np.log(9)], atol=1e-6)
    x = np.array([2.0, 1, 0.5, 3, 1, 6, 1, 0], np.float32)
    expected = [2, 3, 0, 1, 0, 0, 1, np.log(7), 0, 0]
    np.testing.assert_allclose(features("mixed", x), expected, atol=1e-6)


# Bad data


BAD = {
    "bernoulli": 1.5,
    "continuous-bernoulli": -0.1,
    "categorical": 4.0,
    "categorical-pixels": 0.5,
    "multinomial": 1.5,
    "poisson": -1.0,
    "negative-binomial": 0.5,
    "zero-inflated-poisson": -1.0,
    "zero-inflated-negative-binomial": 2.5,
    "discretized-logistic": 0.5,
    "discretized-logistic-mixture": 1.1,
    "beta": 1.0,
    "log-normal": 0.0,
}


@pytest.mark.parametrize("name", BAD)
def test_values_outside_the_support(name):
    family, xs = family_of(name), facts(name)[0][:20].copy()
    family.check(xs)
    xs[[3, 7], 1] = BAD[name]
    with pytest.raises(InputError, match=rf"entry 1 has {BAD[name]:g} in rows 3, 7: take") as error:
        family.check(xs)
    assert "\n" not in str(error.value)
    xs[:, 1] = np.nan
    family.check(xs)


@pytest.mark.parametrize("name", [name for name in ALL if name not in BAD and name != "mixed"])
def test_families_over_all_numbers(name):
    family_of(name).check(np.array([[-1e30, 0.5, 1e30]]))


def test_a_table_names_its_columns():
    xs = facts("mixed")[0][:20].copy()
    xs[5, 2] = 1.0
    words = r"Beta explains numbers above 0 and below 1, but column 'share' has 1 in row 5"
    with pytest.raises(InputError, match=words):
        Mixed(COLUMNS).check(xs)
    with pytest.raises(InputError, match=r"8 columns has examples of shape \(8,\), got \(3,\)"):
        Mixed(COLUMNS).check(xs[:, :3])


def test_every_family_is_tested():
    assert set(SCIPY) | set(FACTORIZED) >= set(ALL)
    assert all(isinstance(family_of(name), Observation) for name in ALL)
    assert [name for name in ALL if not isinstance(family_of(name), Factorized)] == [
        "full-gaussian",
        "low-rank-gaussian",
        "multinomial",
        "mixed",
    ]
