"""Every posterior family of the table: density, draws, gradients, and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from tests.oracles.latent_grids import kolmogorov_smirnov, latent_grid
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter.distributions import draw, is_reparameterizable, kl
from tighter.models._families import Space
from tighter.models.posteriors import (
    POSTERIORS,
    CategoricalPosterior,
    DirichletPosterior,
    MixturePosterior,
    posterior_from_name,
)
from tighter.models.posteriors.constrained import OneHot

KEY = jax.random.key(7)
DRAWS = 4000
REPLICATES = 20_000
TEXTBOOK = ("student-t", "mixture", "beta", "logit-normal", "dirichlet", "bernoulli", "categorical")
# The numbers that keep discrete ones enumerable and the rest small.
NAMES = {"categorical": "categorical:3", "low-rank": "low-rank:1", "flow": None} | {
    name: f"{name}:1" for name in ("coupling", "masked-autoregressive", "neural-spline")
}


def family_and_output(name, num_latent=2):
    """A family away from where it starts, and an encoder's output."""
    rng = np.random.default_rng(3)
    family = posterior_from_name(NAMES.get(name, name), num_latent, key=KEY)
    arrays, rest = eqx.partition(family, eqx.is_inexact_array)
    arrays = jax.tree.map(
        lambda leaf: leaf + np.float32(0.1) * rng.normal(size=leaf.shape).astype(np.float32),
        arrays,
    )
    output = 0.5 * rng.normal(size=family.shape(num_latent))
    if name == "student-t":  # of heavy tails
        output[2] -= 8
    return eqx.combine(arrays, rest), output.astype(np.float32)


def softplus(x):
    return np.log1p(np.exp(x))


def concentration(free, least):
    return least + softplus(free + np.log(np.expm1(1 - least)))


def by_scipy(name, output, z):
    """Log density by the textbook."""
    if name == "student-t":
        df = 2 + softplus(output[2] + np.log(np.expm1(8.0)))
        return stats.t.logpdf(z, df, output[0], np.exp(output[1])).sum()
    if name == "mixture":
        parts = stats.norm.logpdf(z, output[:, 1:3], np.exp(output[:, 3:])).sum(1)
        return special.logsumexp(special.log_softmax(output[:, 0]) + parts)
    if name == "beta":
        return stats.beta.logpdf(z, *concentration(output, 0.5)).sum()
    if name == "logit-normal":
        loc = 8 * np.tanh(output[0] / 8)
        log_density = stats.norm.logpdf(special.logit(z), loc, np.exp(output[1]))
        return (log_density - np.log(z) - np.log1p(-z)).sum()
    if name == "dirichlet":
        return stats.dirichlet.logpdf(z, concentration(output, 0.1))
    if name == "bernoulli":
        return stats.bernoulli.logpmf(z, special.expit(output)).sum()
    return (special.log_softmax(output, axis=1) * z).sum()


def wide(name, z):
    """In double precision, the simplex without its rounding."""
    z = np.asarray(z, np.float64)
    return z / z.sum() if name == "dirichlet" else z


def some(names, slow):
    """All names but the alias, those named among the tests run by hand."""
    names = (name for name in names if name != "flow")
    return [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in names]


@pytest.mark.parametrize(
    "name", some(POSTERIORS, slow=("coupling", "neural-spline", "low-rank", "mixture", "exact"))
)
def test_density_and_draws(name):
    """The density is the textbook's and sums to one, and draws are its own."""
    family, output = family_and_output(name)
    points, weights = latent_grid(
        family.space, 2, num_points=2001 if family.space is Space.SIMPLEX else 241
    )

    @quick_jit
    def run(output, points):
        q = family.distribution(output)
        zs = jax.vmap(lambda key: draw(q, key=key))(jax.random.split(KEY, DRAWS))
        every = jax.lax.map(q.log_prob, jnp.concatenate([points, zs]), batch_size=4096)
        return every[: len(points)], zs, every[len(points) :]

    log_probs, zs, of_draws = run(jnp.asarray(output), jnp.asarray(points, jnp.float32))
    assert zs.shape == (DRAWS, *family.latent_shape(2))
    assert zs.dtype == jnp.float32
    mass = weights * np.exp(np.asarray(log_probs, np.float64))
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-3)
    discrete = family.space in (Space.BITS, Space.CATEGORIES)
    assert kolmogorov_smirnov(zs, points, mass, discrete=discrete) < 2.2
    if name in TEXTBOOK:
        expected = [by_scipy(name, output.astype(np.float64), wide(name, z)) for z in zs[:20]]
        np.testing.assert_allclose(of_draws[:20], expected, rtol=2e-5, atol=2e-5)


def smooth(z):
    return jnp.cos(jnp.sum(z * jnp.arange(1.0, 3.0, dtype=z.dtype))) + jnp.sin(z[0])


@pytest.mark.parametrize("name", some(TEXTBOOK[:5], slow=("beta",)))
def test_gradients_against_quadrature(name):
    """Of E_q[f] through the draws, by every number of the encoder's output."""
    family, output = family_and_output(name)

    def estimate(output, key):
        return smooth(draw(family.distribution(output), key=key))

    keys = jax.random.split(jax.random.key(0), REPLICATES)
    found = quick_jit(jax.vmap(jax.grad(estimate), in_axes=(None, 0)))(jnp.asarray(output), keys)
    with jax.enable_x64(True):
        points, weights = latent_grid(family.space, 2, num_points=401)

        def expected(output):
            density = jnp.exp(jax.vmap(family.distribution(output).log_prob)(jnp.asarray(points)))
            return jnp.sum(density * weights * jax.vmap(smooth)(jnp.asarray(points)))

        truth = np.asarray(quick_jit(jax.grad(expected))(jnp.asarray(output, jnp.float64)))
    samples = np.asarray(found, np.float64)
    assert np.isfinite(samples).all()
    error = samples.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
    assert (np.abs(samples.mean(axis=0) - truth) < 5 * error + 2e-5).all()
    assert (np.abs(truth) > 10 * error).any()  # a test that could fail


def test_tails_of_student_t():
    """Many draws against the textbook's distribution function: a slip in the tail is small."""
    family, output = family_and_output("student-t")
    q = family.distribution(jnp.asarray(output))
    zs = np.asarray(quick_jit(lambda key: q.rsample(key, (100_000,)))(KEY), np.float64)
    df = 2 + softplus(output[2] + np.log(np.expm1(8.0)))
    for i in range(2):
        known = stats.t(df[i], output[0, i], np.exp(output[1, i]))
        assert stats.kstest(zs[:, i], known.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", some(TEXTBOOK[2:5], slow=("dirichlet",)))
def test_at_the_ends_of_single_precision(name):
    """An encoder that runs off gives draws inside, with the density that double precision has."""
    family, output = family_and_output(name)

    @quick_jit
    def run(output, keys):
        def one(output, key):
            z = draw(family.distribution(output), key=key)
            return family.distribution(output).log_prob(z), z

        return jax.vmap(jax.value_and_grad(one, has_aux=True), in_axes=(None, 0))(output, keys)

    for far in (-100.0, 100.0):
        output = np.concatenate([np.full_like(output[:1], far), output[1:]])
        (values, zs), slopes = run(jnp.asarray(output), jax.random.split(KEY, 1000))
        assert (zs > 0).all()
        assert name == "dirichlet" or (zs < 1).all()
        expected = [by_scipy(name, output.astype(np.float64), wide(name, z)) for z in zs]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-3)
        assert np.isfinite(slopes).all()


def test_where_they_start():
    """At an output of zero: the flat ones, and Student's t of ten degrees of freedom."""
    for name in ("beta", "dirichlet"):
        family = posterior_from_name(name, 2, key=KEY)
        q = family.distribution(jnp.zeros(family.shape(2)))
        np.testing.assert_allclose(q.log_prob(jnp.array([0.3, 0.7])), 0.0, atol=1e-5)
    q = posterior_from_name("student-t", 2, key=KEY).distribution(jnp.zeros((3, 2)))
    np.testing.assert_allclose(q.variance, 10 / 8, rtol=1e-5)


def test_bits_and_categories_have_no_path():
    for name in ("bernoulli", "categorical"):
        family, output = family_and_output(name)
        q = family.distribution(jnp.asarray(output))
        assert not is_reparameterizable(q)
        with pytest.raises(TypeError, match="no reparameterized"):
            jax.eval_shape(lambda q: tt.Objective()(lambda z: -jnp.sum(z**2), q, key=KEY), q)


def test_divergences_of_bits_and_categories():
    """Closed forms against the sum over all values."""
    for name in ("bernoulli", "categorical"):
        family, output = family_and_output(name)
        q = family.distribution(jnp.asarray(output))
        p = family.distribution(0.5 * jnp.asarray(output)[::-1])
        points = jnp.asarray(latent_grid(family.space, 2)[0], jnp.float32)
        ours, theirs = (jax.vmap(d.log_prob)(points) for d in (q, p))
        np.testing.assert_allclose(kl(q, p), jnp.sum(jnp.exp(ours) * (ours - theirs)), rtol=1e-5)
        np.testing.assert_allclose(q.entropy(), -jnp.sum(jnp.exp(ours) * ours), rtol=1e-5)
        mean = jnp.einsum("n,n...->...", jnp.exp(ours), points)
        np.testing.assert_allclose(q.mean, mean, rtol=1e-5)


def test_a_category_of_probability_zero():
    def told(logit):
        q = OneHot(jnp.stack([logit, jnp.array(1.0), -jnp.array(jnp.inf)]))
        second, third = jnp.eye(3)[1:]
        return q.entropy(), q.log_prob(second), q.log_prob(third)

    first, second = 1 / (1 + np.e), np.e / (1 + np.e)
    entropy = -first * np.log(first) - second * np.log(second)
    np.testing.assert_allclose(told(jnp.array(0.0)), [entropy, np.log(second), -np.inf], rtol=1e-6)
    slopes = jax.jacfwd(told)(jnp.array(0.0))[:2]
    np.testing.assert_allclose(slopes, [first * second, -first], rtol=1e-6)
    slopes = [jax.grad(lambda logit, i=i: told(logit)[i])(jnp.array(0.0)) for i in range(2)]
    np.testing.assert_allclose(slopes, [first * second, -first], rtol=1e-6)


def test_the_usual_flow_is_the_coupling_one():
    one, other = (posterior_from_name(name, 3, key=KEY) for name in ("flow", "coupling"))
    assert eqx.tree_equal(one, other)
    assert one.space is Space.REAL


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: posterior_from_name("beta:2", 3, key=KEY), "'beta:2': it takes no number, got 2"),
        (lambda: posterior_from_name("student-t:4", 3, key=KEY), "takes no number"),
        (lambda: posterior_from_name("mixture:0", 3, key=KEY), "at least 1, got 0"),
        (lambda: posterior_from_name("categorical:1", 3, key=KEY), "at least 2, got 1"),
        (lambda: posterior_from_name("flow:0", 3, key=KEY), "got 0"),
        (lambda: MixturePosterior(0), "at least 1, got 0"),
        (lambda: CategoricalPosterior(1), "at least 2, got 1"),
        (lambda: DirichletPosterior().shape(1), "at least 2, got 1"),
        (lambda: posterior_from_name("gamma", 3, key=KEY), "unknown posterior 'gamma'"),
    ],
)
def test_what_is_no_posterior(make, message):
    with pytest.raises(tt.InputError, match=message):
        make()
