import functools
import itertools
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

from tighter._errors import InputError
from tighter.models import VAE
from tighter.models.observations import (
    OBSERVATIONS,
    DiscretizedLogisticMixture,
    Factorized,
    Missing,
    Mixed,
    Multinomial,
    Observation,
    Standardized,
    observation_from_name,
)

KEY = jax.random.key(11)
NUM_ROWS, NUM_DRAWS = 256, 2500
COLUMNS = {
    "length": "heteroscedastic-gaussian",
    "color": "categorical:3",
    "share": "beta",
    "width": "heteroscedastic-gaussian",
    "sick": "bernoulli",
    "visits": "poisson",
    "wage": "log-normal",
    "shock": "student-t",
}
# Families that need more than a name, or are slow in a table's size; all others are made of theirs.
MADE = {
    "categorical": lambda: observation_from_name("categorical:4", (3,)),
    "categorical-pixels": lambda: observation_from_name("categorical-pixels:16", (3,)),
    "multinomial": lambda: observation_from_name("multinomial:5", (3,)),
    "low-rank-gaussian": lambda: observation_from_name("low-rank-gaussian:2", (3,)),
    "discretized-logistic": lambda: observation_from_name("discretized-logistic:16", (3,)),
    "discretized-logistic-mixture": lambda: DiscretizedLogisticMixture(2, num_levels=16),
    "mixed": lambda: Mixed(COLUMNS),
}
ALL = tuple(OBSERVATIONS)


def made_of(name):
    return MADE[name]() if name in MADE else observation_from_name(name, (3,))


def family_of(name):
    """Its learned arrays and units away from their defaults."""
    family = made_of(name)
    rng = np.random.default_rng(3)
    moved = lambda leaf: np.asarray(leaf + rng.uniform(0.1, 0.6, leaf.shape), np.float32)  # noqa: E731
    family = jax.tree.map(moved, family)
    if name == "low-rank-gaussian":  # as much in common as alone
        return eqx.tree_at(lambda family: family.factors, family, 3 * family.factors)
    return family


def cast(family, dtype="float64"):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), family)


def shape_of(name):
    return (len(COLUMNS),) if name == "mixed" else (3,)


def families_of_entries(name):
    return list(COLUMNS.values()) if name == "mixed" else [name] * 3


def output_of(name):
    output = np.random.default_rng(4).normal(0, 0.6, family_of(name).output_shape(shape_of(name)))
    # A Student's t with a variance, and Beta values that float32 tells from 1.
    if name in ("student-t", "beta"):
        output[:, -1] += 3
    if name == "mixed":
        output[[8, -1]] += 3
    return output


IN_64 = functools.partial(jax.enable_x64, True)
FACTORIZED = tuple(name for name in ALL if name not in ("full-gaussian", "low-rank-gaussian"))
FACTORIZED = tuple(name for name in FACTORIZED if name != "multinomial")
CORRELATED = ("full-gaussian", "low-rank-gaussian")


def support_of(family):
    return made_of(family).support


def by_hand(names, quick):
    """All names; those whose test takes the same way as a quick one's are run by hand."""
    slow = pytest.mark.slow
    return [name if name in quick else pytest.param(name, marks=slow) for name in names]


def grid_of(family):
    """Values and the weights of a sum over them, or of an integral by the trapezoidal rule."""
    if family == "bernoulli":
        return np.array([0.0, 1.0]), np.ones(2)
    support = support_of(family)
    if support.step:
        values = np.arange(support.low, support.high + support.step / 2, support.step)
        return values, np.ones_like(values)
    if support.whole:
        values = np.arange(0.0, min(support.high, 1500) + 1)
        return values, np.ones_like(values)
    u = np.linspace(-34, 34, 12_001)
    step = np.full_like(u, u[1] - u[0])
    if np.isinf(support.low):
        return np.sinh(u), step * np.cosh(u)
    if np.isinf(support.high):
        return np.exp(u), step * np.exp(u)
    return scipy.special.expit(u), step * scipy.special.expit(u) * scipy.special.expit(-u)


def grids_of(name):
    """A column an entry, the shorter ones filled up with weight zero."""
    grids = [grid_of(family) for family in families_of_entries(name)]
    longest = max(len(values) for values, _ in grids)
    values = [np.pad(v, (0, longest - len(v)), mode="edge") for v, _ in grids]
    weights = [np.pad(w, (0, longest - len(w))) for _, w in grids]
    return np.stack(values, axis=1), np.stack(weights, axis=1)


@quick_jit
def _facts(family, output, grid, keys):
    distribution = family.distribution(output)
    draws = jax.vmap(lambda key: jnp.asarray(distribution.sample(key), output.dtype))(keys)
    told = jax.vmap(distribution.log_prob)(draws[:NUM_ROWS])
    each = None
    if grid is not None:
        each = jax.vmap(lambda x: family.log_probs(output, x))(grid)
    return draws, told, family.mean(output), each


@functools.cache
def facts(name):
    """Draws, their log densities by the distribution, the mean, log densities on the grid."""
    family = family_of(name)
    with IN_64():
        grid = jnp.asarray(grids_of(name)[0]) if name in FACTORIZED else None
        keys = jax.random.split(KEY, NUM_DRAWS)
        made = _facts(cast(family), jnp.asarray(output_of(name)), grid, keys)
        return jax.tree.map(np.asarray, made)


@quick_jit
def _rows(family, outputs, xs):
    return jax.vmap(jax.value_and_grad(family.log_prob))(outputs, xs)


def rows(family, outputs, xs, dtype="float64"):
    """Log density and its gradient at each of `NUM_ROWS` outputs and examples."""
    assert len(outputs) == len(xs) == NUM_ROWS  # else it would be compiled anew
    with jax.enable_x64(dtype == "float64"):
        made = _rows(cast(family, dtype), jnp.asarray(outputs, dtype), jnp.asarray(xs, dtype))
        assert all(part.dtype == dtype for part in made)
        return [np.asarray(part, np.float64) for part in made]


def log_prob(family, output, xs):
    return rows(family, np.broadcast_to(output, (NUM_ROWS, *np.shape(output))), xs)[0]


# Log densities


def _gaussian(scale):
    return lambda output, x, family: scipy.stats.norm.logpdf(x, output, scale(family)).sum(-1)


def _of_pairs(logpdf):
    return lambda output, x, _: logpdf(x, output[:, 0], output[:, 1]).sum(-1)


def _negative_binomial(x, m, c):
    r = np.exp(c)
    return scipy.stats.nbinom.logpmf(x, r, r / (r + np.exp(m)))


def _inflated(log_pmf, x, logit):
    share = scipy.special.expit(logit)
    return np.log(share * (x == 0) + (1 - share) * np.exp(log_pmf)).sum(-1)


def _student_t(output, x, _):
    freedom = 1 + np.logaddexp(0, output[:, 2])
    return scipy.stats.t.logpdf(x, freedom, output[:, 0], np.exp(output[:, 1])).sum(-1)


def _codes(num):
    def log_pmf(output, x, _):
        codes = np.round(x * num).astype(int)
        return scipy.special.log_softmax(output, -1)[np.arange(3), codes].sum(-1)

    return log_pmf


def _bins(x, location, log_scale, levels=16):
    edges = (2 * np.arange(levels + 1) - 1) / (levels - 1) - 1
    edges[[0, -1]] = -np.inf, np.inf
    k = np.round(x * (levels - 1)).astype(int)
    cdf = [scipy.stats.logistic.cdf(edges[k + i], location, np.exp(log_scale)) for i in (0, 1)]
    return cdf[1] - cdf[0]


def _mixture_of_bins(output, x, _):
    logits, location, log_scale = np.split(output, 3, axis=-1)
    each = _bins(x[..., None], location, log_scale)
    return np.log((scipy.special.softmax(logits, -1) * each).sum(-1)).sum(-1)


def _beta(x, logit, log_precision):
    mean, precision = scipy.special.expit(logit), np.exp(log_precision)
    return scipy.stats.beta.logpdf(x, mean * precision, (1 - mean) * precision)


def _log_sinh_over(half):
    return np.log(np.sinh(half) / half)


def units_of(family):
    return np.float64(family.location), np.float64(family.scale)


def covariance_of(family):
    """As the formulas of the docstrings say, in x's units."""
    scale = np.exp(np.asarray(family.log_scale, np.float64))
    if hasattr(family, "factors"):
        factors = np.asarray(family.factors, np.float64)
        inner = np.eye(3) + factors @ factors.T / family.rank
    else:
        unit = np.eye(3) + np.tril(np.asarray(family.lower, np.float64), -1) / np.sqrt(3)
        inner = unit @ unit.T
    return scale[:, None] * inner * scale


def _correlated(output, x, family):
    return scipy.stats.multivariate_normal.logpdf(x - output, cov=covariance_of(family))


def _mixed(output, x, family):
    """By hand, from the order of the groups."""
    location, scale = units_of(family.groups[0])
    of_t, scale_of_t = units_of(family.groups[-1])
    pair = output[:4].reshape(2, 2)
    standard = (x[:, [0, 3]] - location) / scale
    t = scipy.stats.t.logpdf(
        (x[:, 7] - of_t[0]) / scale_of_t[0],
        1 + np.logaddexp(0, output[15]),
        output[13],
        np.exp(output[14]),
    )
    return (
        (scipy.stats.norm.logpdf(standard, pair[:, 0], np.exp(pair[:, 1])) - np.log(scale)).sum(-1)
        + scipy.special.log_softmax(output[4:7])[x[:, 1].astype(int)]
        + _beta(x[:, 2], output[7], output[8])
        + scipy.stats.bernoulli.logpmf(x[:, 4], scipy.special.expit(output[9]))
        + scipy.stats.poisson.logpmf(x[:, 5], np.exp(output[10]))
        + scipy.stats.lognorm.logpdf(x[:, 6], np.exp(output[12]), scale=np.exp(output[11]))
        + (t - np.log(scale_of_t[0]))
    )


SCIPY = {
    "bernoulli": lambda o, x, _: scipy.stats.bernoulli.logpmf(x, scipy.special.expit(o)).sum(-1),
    "continuous-bernoulli": lambda o, x, _: ((x - 0.5) * o - _log_sinh_over(o / 2)).sum(-1),
    "gaussian": _gaussian(lambda family: 1.0),
    "learned-gaussian": _gaussian(lambda family: np.exp(float(family.log_scale))),
    "diagonal-gaussian": _gaussian(lambda family: np.exp(np.float64(family.log_scale))),
    "heteroscedastic-gaussian": _of_pairs(lambda x, m, s: scipy.stats.norm.logpdf(x, m, np.exp(s))),
    "full-gaussian": _correlated,
    "low-rank-gaussian": _correlated,
    "laplace": _of_pairs(lambda x, m, s: scipy.stats.laplace.logpdf(x, m, np.exp(s))),
    "student-t": _student_t,
    "categorical": _codes(1),
    "categorical-pixels": _codes(15),
    "multinomial": lambda o, x, _: scipy.stats.multinomial.logpmf(x, 5, scipy.special.softmax(o)),
    "poisson": lambda o, x, _: scipy.stats.poisson.logpmf(x, np.exp(o)).sum(-1),
    "negative-binomial": _of_pairs(_negative_binomial),
    "zero-inflated-poisson": lambda o, x, _: _inflated(
        scipy.stats.poisson.logpmf(x, np.exp(o[:, 0])), x, o[:, 1]
    ),
    "zero-inflated-negative-binomial": lambda o, x, _: _inflated(
        _negative_binomial(x, o[:, 0], o[:, 1]), x, o[:, 2]
    ),
    "discretized-logistic": lambda o, x, _: np.log(_bins(x, o[:, 0], o[:, 1])).sum(-1),
    "discretized-logistic-mixture": _mixture_of_bins,
    "beta": _of_pairs(_beta),
    "log-normal": _of_pairs(
        lambda x, m, s: scipy.stats.lognorm.logpdf(x, np.exp(s), scale=np.exp(m))
    ),
    "mixed": _mixed,
}


@pytest.mark.parametrize("name", every(2, [name for name in ALL if name in SCIPY]))
def test_densities_are_those_of_scipy(name):
    family, output, (draws, told, _, _) = family_of(name), output_of(name), facts(name)
    xs = draws[:NUM_ROWS]
    expected = SCIPY[name](output, xs, family)
    np.testing.assert_allclose(log_prob(family, output, xs), expected, rtol=1e-8, atol=1e-8)
    # numpyro's negative binomial is right to six digits.
    np.testing.assert_allclose(told, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FACTORIZED)
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


@pytest.mark.parametrize("name", ALL)
def test_extreme_outputs_in_float32(name):
    outputs, xs = extremes(name)
    # Other digits than float32 has make another question: a bin, a share next to 1.
    value, gradient = rows(family_of(name), outputs, xs, "float32")
    exact, exact_gradient = rows(family_of(name), outputs, xs)
    np.testing.assert_allclose(value, exact, rtol=3e-5, atol=3e-4)
    size = np.abs(exact_gradient).reshape(NUM_ROWS, -1).max(-1)
    error = np.abs(gradient - exact_gradient).reshape(NUM_ROWS, -1).max(-1)
    np.testing.assert_array_less(error, 3e-5 * size + 3e-4)


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


@pytest.mark.parametrize("name", ALL)
def test_the_start_explains_the_data(name):
    xs = facts(name)[0].astype(np.float32)
    truth, at = family_of(name), xs[:NUM_ROWS]
    family = truth.fitted(xs)
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
    np.testing.assert_allclose(family_of(name).fitted(xs).log_scale, np.log(xs.std(0)), rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_starts_of_what_never_changes_and_of_what_is_missing(name):
    xs = facts(name)[0][:40].astype(np.float32)
    constant = np.repeat(xs[:1], 40, axis=0)
    with_gaps = xs.copy()
    if name != "multinomial":
        with_gaps[::3, 1] = np.nan
        with_gaps[1::3, 0] = np.nan
    for examples in (constant, with_gaps):
        family = family_of(name).fitted(examples)
        output = np.asarray(family.initial_output(examples))
        assert np.isfinite(output).all()
        at = np.resize(np.where(np.isnan(examples), xs, examples), (NUM_ROWS, xs.shape[1]))
        assert np.isfinite(log_prob(family, output, at)).all()
    if name != "multinomial":  # the entry without gaps starts as ever
        whole = family_of(name).fitted(xs)
        gaps = family_of(name).fitted(with_gaps)
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
    started = model.started(xs)
    start = family.fitted(xs).initial_output(xs)
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


# Missing entries


@pytest.mark.parametrize(
    "name", by_hand(FACTORIZED, ("bernoulli", "laplace", "poisson", "beta", "log-normal", "mixed"))
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


@pytest.mark.parametrize("units", ["plain", "standardized"])
@pytest.mark.parametrize("name", CORRELATED)
def test_missing_entries_of_what_is_correlated(name, units):
    family, output = family_of(name), output_of(name)
    mean, covariance = output, covariance_of(family)
    if units == "standardized":
        family = Standardized(family, (3,), [0.3, -1.0, 2.0], [0.5, 2.0, 1.5])
        location, scale = units_of(family)
        mean, covariance = location + scale * mean, scale[:, None] * covariance * scale
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
    family, output = family_of(name), output_of(name)
    mean, covariance = output, covariance_of(family)
    if units == "standardized":
        family = Standardized(family, (3,), [0.3, -1.0, 2.0], [0.5, 2.0, 1.5])
        location, scale = units_of(family)
        mean, covariance = location + scale * mean, scale[:, None] * covariance * scale
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


# Names and tables


def test_every_family_is_tested():
    assert set(SCIPY) | set(FACTORIZED) >= set(ALL)
    assert all(isinstance(family_of(name), Observation) for name in ALL)
    assert [name for name in ALL if not isinstance(family_of(name), Factorized)] == [
        "full-gaussian",
        "low-rank-gaussian",
        "multinomial",
        "mixed",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("categorical", "write categorical:5"),
        ("categorical:1.5", "takes a whole number, got 1.5"),
        ("categorical:1", "two categories or more, got 1"),
        ("discretized-logistic:1", "two levels or more, got 1"),
        ("discretized-logistic-mixture:0", "one component or more, got 0"),
        ("low-rank-gaussian:4", "rank from 1 to 3, got 4"),
        ("multinomial:0", "total is 1 or more, got 0"),
        ("student-t:3", "'student-t' takes no number, got 3"),
        ("diagonal-gaussian:3", "'diagonal-gaussian' takes no number, got 3"),
        ("mixed", "Mixed.from_schema"),
    ],
)
def test_names_that_make_no_family(name, words):
    with pytest.raises(InputError, match=words):
        observation_from_name(name, (3,))


def test_a_multinomial_takes_its_total_from_the_examples():
    xs = np.array([[1.0, 3, 0], [2, 2, 2], [9, 0, 0]])
    assert Multinomial().fitted(xs).total == 6
    assert Multinomial(4).fitted(xs).total == 4
    with pytest.raises(InputError, match="write multinomial:100"):
        Multinomial().distribution(jnp.zeros(3)).sample(KEY)


def columns_of(**kinds):
    return [
        types.SimpleNamespace(name=name, kind=kind, categories=tuple("abcd"[:num]))
        for name, (kind, num) in kinds.items()
    ]


def test_the_families_of_a_schema():
    columns = columns_of(
        a=("real", 0),
        b=("categorical", 3),
        c=("positive", 0),
        d=("unit", 0),
        e=("count", 0),
        f=("binary", 2),
        g=("categorical", 3),
        h=("categorical", 4),
        i=("real", 0),
    )
    schema = types.SimpleNamespace(columns=columns)
    mixed = Mixed.from_schema(schema, {"i": "laplace", "e": "poisson"})
    assert mixed.columns == (
        ("a", "student-t"),
        ("b", "categorical:3"),
        ("c", "log-normal"),
        ("d", "beta"),
        ("e", "poisson"),
        ("f", "bernoulli"),
        ("g", "categorical:3"),
        ("h", "categorical:4"),
        ("i", "laplace"),
    )
    assert len(mixed.groups) == 8  # b and g are one
    assert mixed.output_shape((9,)) == (3 + 6 + 2 + 2 + 1 + 1 + 4 + 2,)
    assert mixed.features_shape((9,)) == (1 + 6 + 1 + 1 + 1 + 1 + 4 + 1,)
    standard = [isinstance(family, Standardized) for family in mixed.groups]
    assert standard == [True, *[False] * 6, True]
    assert Mixed.from_schema(columns).columns[4] == ("e", "negative-binomial")
    with pytest.raises(InputError, match="unknown column 'z'"):
        Mixed.from_schema(schema, {"z": "laplace"})
    with pytest.raises(InputError, match="unknown kind 'date'"):
        Mixed.from_schema(columns_of(a=("date", 0)))
    with pytest.raises(InputError, match="those of 'full-gaussian' are not"):
        Mixed({"a": "full-gaussian"})
    with pytest.raises(InputError, match="one column at least"):
        Mixed({})


def test_images():
    """An axis more changes nothing of what each entry says."""
    for name in (name for name in ALL if name != "mixed"):
        make = lambda shape, name=name: (  # noqa: E731
            MADE[name]()
            if name in MADE and name != "low-rank-gaussian"
            else observation_from_name(name, shape)
        )
        family = make((4, 2, 3))

        def told(family, x):
            output = jnp.zeros(family.output_shape(x.shape))
            draw = family.distribution(output).sample(KEY)
            return draw, family.mean(output), family.log_prob(output, x), family.features(x)

        x = jnp.zeros((4, 2, 3))
        draw, mean, log_prob, features = jax.eval_shape(told, family, x)
        assert draw.shape == mean.shape == x.shape
        assert log_prob.shape == ()
        assert features.shape == family.features_shape(x.shape)


@pytest.mark.parametrize("name", ["multinomial", "zero-inflated-poisson", "low-rank-gaussian"])
def test_an_image_is_its_rows(name):
    flat = family_of(name)
    xs, outputs = np.float32(facts(name)[0][:2]), np.float32(np.stack([output_of(name)] * 2))
    outputs[1] *= 0.5
    log_prob = quick_jit(lambda family, output, x: family.log_prob(output, x))
    each = [float(log_prob(flat, o, x)) for o, x in zip(outputs, xs, strict=True)]
    if name == "low-rank-gaussian":  # of an image, all entries are correlated
        flat, image = cast(flat, "float32"), observation_from_name(f"{name}:2", (1, 3))
        where = lambda family: (family.log_scale, family.factors)  # noqa: E731
        image = eqx.tree_at(where, image, (flat.log_scale[None], flat.factors))
        whole = log_prob(image, outputs[:1], xs[:1])
        np.testing.assert_allclose(whole, each[0], rtol=1e-5)
        return
    np.testing.assert_allclose(log_prob(flat, outputs, xs), sum(each), rtol=1e-5)
    xs = np.resize(xs, (5, 2, 3))
    start = flat.initial_output(xs)
    np.testing.assert_allclose(start[0], flat.initial_output(xs[:, 0]), rtol=1e-5)
