"""KL divergences against quadrature, sums, Monte Carlo, and doubles at the ends of float32."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, special, stats
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.distributions import entropy, has_closed_form, kl
from tighter.distributions.gaussian import low_rank_factor

FACTOR = jnp.array([[1.0, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.2, 0.4, 1.1]])
# Checked one by one, covariances would take a program a step.
FULL = dist.MultivariateNormal(jnp.array([0.2, -0.3, 0.5]), scale_tril=FACTOR, validate_args=False)
LOW = dist.LowRankMultivariateNormal(
    jnp.zeros(3), jnp.full((3, 1), 0.5), jnp.array([1.0, 0.6, 2]), validate_args=False
)
DIAGONAL = dist.Normal(jnp.array([0.1, 0.0, -0.4]), jnp.array([1.0, 0.5, 1.5])).to_event(1)

PAIRS = {
    "normal": (dist.Normal(0.3, 0.8), dist.Normal(-0.2, 1.5)),
    "diagonal": (DIAGONAL, dist.Normal(jnp.zeros(3), 1.0).to_event(1)),
    "full-diagonal": (FULL, DIAGONAL),
    "diagonal-full": (DIAGONAL, FULL),
    "full-full": (FULL, dist.MultivariateNormal(jnp.zeros(3), 2 * jnp.eye(3), validate_args=False)),
    "low-rank-diagonal": (LOW, DIAGONAL),
    "full-low-rank": (FULL, LOW),
    "expanded": (DIAGONAL, dist.Normal(0.0, 1.0).expand([3]).to_event(1)),
    "bernoulli": (dist.Bernoulli(logits=0.4), dist.Bernoulli(probs=0.3)),
    "categorical": (
        dist.Categorical(logits=jnp.array([0.3, -1.0, 0.2])),
        dist.Categorical(probs=jnp.array([0.2, 0.5, 0.3])),
    ),
    "laplace": (dist.Laplace(0.4, 0.7), dist.Laplace(-0.5, 1.3)),
    "lognormal": (dist.LogNormal(0.2, 0.5), dist.LogNormal(-0.1, 0.9)),
    "half-normal": (dist.HalfNormal(0.6), dist.HalfNormal(1.4)),
    "poisson": (dist.Poisson(2.0), dist.Poisson(3.5)),
    "exponential": (dist.Exponential(2.0), dist.Exponential(0.7)),
    "gamma": (dist.Gamma(2.5, 1.5), dist.Gamma(1.2, 0.8)),
    "gamma-exponential": (dist.Gamma(2.5, 1.5), dist.Exponential(0.8)),
    "beta": (dist.Beta(2.5, 1.5), dist.Beta(1.2, 0.8)),
    "dirichlet": (
        dist.Dirichlet(jnp.array([1.5, 2.0, 0.7])),
        dist.Dirichlet(jnp.array([1.0, 1.0, 2.0])),
    ),
    "uniform": (dist.Uniform(0.2, 0.7), dist.Uniform(0.0, 1.0)),
    "geometric": (dist.Geometric(probs=0.4), dist.Geometric(logits=-0.2)),
}


@functools.cache
def divergences():
    """KL(q‖q) and KL(q‖p) of each pair, in one program."""
    return quick_jit(lambda: {name: (kl(q, q), kl(q, p)) for name, (q, p) in PAIRS.items()})()


@pytest.mark.parametrize("pair", every(5, PAIRS))
def test_closed_forms_against_simulation(pair):
    q, p = PAIRS[pair]
    num = 200_000

    @quick_jit
    def log_ratio(key):
        assert has_closed_form(q, p)
        z = q.sample(key, (num,))
        return q.log_prob(z) - p.log_prob(z)

    with jax.numpy_rank_promotion("allow"):
        ratio = np.asarray(log_ratio(jax.random.key(0)), np.float64)
    found = divergences()[pair][1]
    assert found.shape == ()
    assert abs(found - ratio.mean()) < 5 * ratio.std() / np.sqrt(num) + 1e-6


@pytest.mark.parametrize("pair", PAIRS)
def test_zero_only_at_itself(pair):
    of_itself, of_another = divergences()[pair]
    np.testing.assert_allclose(of_itself, 0.0, atol=1e-5)
    assert of_another > 0.01


def test_batches_and_gradients():
    q, p = dist.Laplace(jnp.array([0.1, 0.2]), 1.0), dist.Laplace(0.0, jnp.array([1.0, 2.0]))
    assert jax.eval_shape(lambda: kl(q, p)).shape == (2,)
    slope = quick_jit(jax.grad(lambda loc: kl(dist.Normal(loc, 1.0), dist.Normal(0.0, 2.0))))(0.8)
    np.testing.assert_allclose(slope, 0.8 / 4, rtol=1e-6)


def of_gammas(a, b, c, d):
    """KL of Gamma(a, rate b) and Gamma(c, rate d), in doubles."""
    shapes = (a - c) * special.digamma(a) - special.gammaln(a) + special.gammaln(c)
    return shapes + c * np.log(b / d) + a * (d - b) / b


def of_dirichlets(a, c):
    """The same of Dirichlet distributions."""
    terms = special.gammaln(c) - special.gammaln(a)
    terms = terms + (a - c) * (special.digamma(a) - special.digamma(a.sum(-1, keepdims=True)))
    whole = special.gammaln(a.sum(-1)) - special.gammaln(c.sum(-1))
    return whole + terms.sum(-1)


SHAPES = np.float32([0.05, 0.3, 1.0, 7.5, 100.0, 1e4, 1.01e4])
SCALES = np.float32([1e-30, 1e-20, 1e-3, 1.0, 1.0001, 1e4, 1e20, 1e30])


def corners(*axes):
    """Every combination, as columns."""
    return np.array(list(itertools.product(*axes)), np.float32).T


def doubles(columns):
    """The same numbers in float64."""
    return np.asarray(columns, np.float64)


def close(found, exact, rtol=2e-4):
    """To 2 · 10⁻⁴ nats, or as much of the value; infinite where float32 ends."""
    with np.errstate(over="ignore"):
        exact = np.where(exact < np.finfo(np.float32).max, exact, np.inf)
    np.testing.assert_allclose(np.asarray(found, float), exact, rtol=rtol, atol=2e-4)


def test_gamma_functions_at_the_ends_of_float32():
    columns = corners(SHAPES, [1e-6, 1, 1e4, 1.01e4, 1e6], SHAPES, [1e-6, 1, 1e4, 1.01e4, 1e6])
    shapes = corners(SHAPES, SHAPES, SHAPES, SHAPES)
    a, c = np.repeat(corners(SHAPES, SHAPES)[..., None], 50, axis=2)
    a = a * np.linspace(1, 2, 50, dtype=np.float32)

    @quick_jit
    def run(gammas, betas, dirichlets):
        (a, b, c, d), (e, f, g, h) = gammas, betas
        slope = jax.grad(lambda a: kl(dist.Gamma(a, 1.0), dist.Gamma(2.0, 1.0)))(1e4)
        pairs = (
            (dist.Gamma(a, b), dist.Gamma(c, d)),
            (dist.Beta(e, f), dist.Beta(g, h)),
            tuple(map(dist.Dirichlet, dirichlets)),
        )
        return *(kl(q, p) for q, p in pairs), slope

    gammas, betas, dirichlets, slope = run(columns, shapes, (a, c))
    close(gammas, of_gammas(*doubles(columns)))
    # 10⁴ by a logarithm of 100, less about as much: three digits are left.
    close(betas, of_dirichlets(doubles(shapes[:2]).T, doubles(shapes[2:]).T), rtol=2e-3)
    close(dirichlets, of_dirichlets(doubles(a), doubles(c)))
    # The slope too: of a prior of 1, by a posterior of 10⁴.
    np.testing.assert_allclose(slope, (1e4 - 2) * special.polygamma(1, 1e4), rtol=1e-5)


def test_scales_at_the_ends_of_float32():
    s, t = corners(SCALES, SCALES)
    with np.errstate(over="ignore"):
        ratio, inverse = (doubles(one) / doubles(other) for one, other in ((s, t), (t, s)))
        square = (ratio**2 - 1) / 2 - np.log(ratio)
    rates = doubles(s) * np.log(ratio) - doubles(s) + doubles(t)
    families = {
        dist.HalfNormal: square,
        dist.Exponential: inverse - 1 - np.log(inverse),
        dist.Poisson: rates,
        functools.partial(dist.Normal, 0.0): square,
        functools.partial(dist.LogNormal, 0.0): square,
        functools.partial(dist.Laplace, 0.0): ratio - 1 - np.log(ratio),
    }
    of_each = quick_jit(lambda s, t: [kl(family(s), family(t)) for family in families])
    for found, exact in zip(of_each(s, t), families.values(), strict=True):
        close(found, exact)
    of_rates = quick_jit(lambda one, other: kl(dist.Poisson(one), dist.Poisson(other)))
    close(of_rates(np.float32(1e8), np.float32(1.0001e8)), 0.4999667)
    close(of_rates(0.0, 2.0), 2.0)


def test_weibull_against_gamma():
    columns = corners([0.3, 1, 5, 1e4], [1e-3, 1, 1e3], [0.05, 1, 20, 1e4], [1e-3, 1, 1e3])
    k, scale, a, b = doubles(columns)
    mean, log_mean = scale * special.gamma(1 + 1 / k), np.log(scale) - np.euler_gamma / k
    entropy = np.euler_gamma * (1 - 1 / k) + np.log(scale / k) + 1
    log_p = a * np.log(b) - special.gammaln(a) + (a - 1) * log_mean - b * mean
    run = quick_jit(lambda k, scale, a, b: kl(dist.Weibull(scale, k), dist.Gamma(a, b)))
    close(run(*columns), -entropy - log_p)


def test_logits_at_their_ends():
    odds = np.array([-np.inf, -200.0, -50.0, 0.0, 200.0, np.inf])
    q, p = corners(odds, odds)
    off, on = (stats.logistic.logcdf(sign * doubles([q, p])) for sign in (-1, 1))
    with np.errstate(invalid="ignore"):
        parts = [np.where(s[0] > -np.inf, np.exp(s[0]) * (s[0] - s[1]), 0.0) for s in (off, on)]
    make = lambda logits: dist.BernoulliLogits(logits, validate_args=False)  # noqa: E731
    close(quick_jit(lambda q, p: kl(make(q), make(p)))(q, p), parts[0] + parts[1])

    @quick_jit
    def both(*probs):
        certain, even = (dist.Categorical(probs=each) for each in probs)
        return kl(certain, even), kl(even, certain)

    found, infinite = both(np.float32([1, 0]), np.float32([0.5, 0.5]))
    close(found, np.log(2))
    assert infinite == np.inf


WRAPPERS = {
    "plain": lambda d: d,
    "expanded": lambda d: d.expand([2]),
    "independent": lambda d: d.expand([2]).to_event(1),
    "masked": lambda d: d.mask(jnp.asarray(True)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_series_cut_off_is_no_closed_form(wrapper):
    q, p = (WRAPPERS[wrapper](d) for d in (dist.Kumaraswamy(1.8, 0.9), dist.Beta(2.0, 9.0)))
    assert not has_closed_form(q, p)
    with pytest.raises(tt.InputError, match="has no closed form here: give num_samples and key"):
        kl(q, p)


def test_a_series_cut_off_is_drawn_instead():
    """Of the integral 8.511, of which ten terms have 6.875."""
    q, p = dist.Kumaraswamy(1.8, 0.9), dist.Beta(2.0, 9.0)
    z = lambda u: (1 - (1 - u) ** (1 / 0.9)) ** (1 / 1.8)  # noqa: E731
    log_q = lambda z: np.log(1.8 * 0.9) + 0.8 * np.log(z) - 0.1 * np.log1p(-(z**1.8))  # noqa: E731
    integrand = lambda u: log_q(z(u)) - stats.beta(2, 9).logpdf(z(u))  # noqa: E731
    exact, _ = integrate.quad(integrand, 0, 1, limit=500)
    np.testing.assert_allclose(exact, 8.511, atol=1e-3)
    num = 200_000
    estimate = quick_jit(lambda key: kl(q, p, num_samples=num, key=key))(jax.random.key(0))
    sd = np.sqrt(integrate.quad(lambda u: (integrand(u) - exact) ** 2, 0, 1, limit=500)[0])
    assert abs(estimate - exact) < 5 * sd / np.sqrt(num)


def test_an_expanded_normal_whose_covariance_was_read():
    unit = functools.partial(
        dist.MultivariateNormal, covariance_matrix=jnp.eye(2), validate_args=False
    )
    q, p = unit(jnp.zeros(2)).expand([3]), unit(jnp.ones(2))
    assert q.base_dist.covariance_matrix.shape == (2, 2)
    ones = dist.Normal(jnp.ones((3, 2)), 1.0).to_event(2)
    pairs = (q, p), (q.to_event(1), ones), (ones, q.to_event(1))
    of_rows, *others = quick_jit(lambda: [kl(*pair) for pair in pairs])()
    np.testing.assert_allclose(of_rows, np.ones(3), rtol=1e-6)
    for found in others:
        assert found.shape == ()
        np.testing.assert_allclose(found, 3.0, rtol=1e-6)


def test_masks_that_differ_have_no_closed_form():
    on, some = jnp.array([True, True]), jnp.array([True, False])
    q, p = dist.Normal(jnp.zeros(2), 1.0), dist.Normal(jnp.ones(2), 1.0)
    np.testing.assert_allclose(kl(q.mask(some), p.mask(some)), [0.5, 0.0])
    np.testing.assert_allclose(kl(q.mask(some).to_event(1), p.mask(some + False).to_event(1)), 0.5)
    for pair in ((q.mask(some), p.mask(on)), (q.mask(some), p)):
        assert not has_closed_form(*pair)


def test_points():
    """A point has a divergence from masses, and an infinite one from a density."""
    np.testing.assert_allclose(kl(dist.Delta(1), dist.Bernoulli(0.25)), np.log(4), rtol=1e-6)
    assert kl(dist.Delta(1.0), dist.Delta(1.0)) == 0
    assert kl(dist.Delta(1.0), dist.Delta(2.0)) == np.inf
    with pytest.raises(tt.InputError, match=r"KL\(Delta‖Normal\) is infinite: q is a point"):
        kl(dist.Delta(0.0), dist.Normal(0.0, 1.0))


def test_a_value_never_taken_adds_nothing():
    q = dist.Categorical(logits=jnp.array([0.0, -jnp.inf, 0.0]), validate_args=False)
    p = dist.Categorical(probs=jnp.array([0.25, 0.5, 0.25]))
    np.testing.assert_allclose(kl(q, p), np.log(2), rtol=1e-6)


def test_monte_carlo_only_on_request():
    q, p = dist.StudentT(5.0, 0.0, 1.0), dist.Normal(0.0, 1.2)
    assert not has_closed_form(q, p)
    with pytest.raises(tt.InputError, match=r"KL\(StudentT‖Normal\) has no closed form"):
        kl(q, p)
    estimate = quick_jit(lambda key: kl(q, p, num_samples=50_000, key=key))(jax.random.key(0))
    z = np.linspace(-60, 60, 400_001)
    log_q, log_p = stats.t.logpdf(z, 5), stats.norm.logpdf(z, scale=1.2)
    truth = np.sum(np.exp(log_q) * (log_q - log_p)) * (z[1] - z[0])
    assert abs(estimate - truth) < 0.02


@pytest.mark.parametrize(
    ("q", "p", "message"),
    [
        (dist.Normal(0.0, 1.0), dist.Gamma(1.0, 1.0), "z < 0"),
        (dist.Exponential(1.0), dist.Beta(1.0, 1.0), "z > 1"),
        (dist.Poisson(1.0), dist.Normal(0.0, 1.0), "whole numbers"),
        (dist.Uniform(-1.0, 0.5), dist.Uniform(0.0, 1.0), "z < 0"),
        (DIAGONAL, dist.Normal(0.0, 1.0), "event shapes"),
    ],
)
def test_mass_where_there_is_none(q, p, message):
    with pytest.raises(tt.InputError, match=message):
        kl(q, p)


def test_covariances_of_low_rank_that_hardly_have_a_diagonal():
    """The covariance in float32 would have lost it."""
    column, diagonal = np.array([300.0, -200.0, 100.0]), np.array([0.01, 0.02, 0.03])
    covariance = np.outer(column, column) + np.diag(diagonal)
    q = dist.LowRankMultivariateNormal(jnp.zeros(3), jnp.asarray(column)[:, None], diagonal)
    p = dist.MultivariateNormal(jnp.zeros(3), scale_tril=2 * low_rank_factor(q))
    np.testing.assert_allclose(kl(q, p), 3 * (np.log(2) - 0.375), rtol=1e-5)
    factor = np.asarray(low_rank_factor(q), np.float64)
    log_det = np.linalg.slogdet(covariance)[1]
    np.testing.assert_allclose(2 * np.log(np.diag(factor)).sum(), log_det, atol=1e-4)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-5)


@quick_jit
def entropies(a):
    rows = dist.Beta(jnp.stack([a, jnp.ones_like(a)]), 2.0).to_event(1)
    families = (
        dist.Gamma(a, 2.0), dist.Beta(a, 2 * a), dist.InverseGamma(a, 2.0),
        dist.Dirichlet(jnp.stack([a, a, 3 * a])), rows,
    )  # fmt: skip
    return [entropy(family) for family in families]


@pytest.mark.parametrize("a", [1e-3, 1.0, 1e2, 1e4, 1e6])
def test_entropies_in_float32(a):
    """Of numpyro's, a beta's at 1e6 is off by 2.8 nats."""
    exact = np.float64(np.float32(a))
    families = (
        stats.gamma(exact, scale=0.5), stats.beta(exact, 2 * exact),
        stats.invgamma(exact, scale=2.0), stats.dirichlet(exact * np.array([1, 1, 3])),
    )  # fmt: skip
    of_rows = stats.beta(exact, 2).entropy() + stats.beta(1, 2).entropy()
    theirs = [*(family.entropy() for family in families), of_rows]
    np.testing.assert_allclose(entropies(np.float32(a)), theirs, rtol=2e-5, atol=1e-5)
