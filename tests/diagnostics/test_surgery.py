import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from tighter._errors import InputError
from tighter.diagnostics import surgery
from tighter.diagnostics.surgery import elbo_surgery
from tighter.models import LatentVariableModel, LinearGaussian, ProbabilisticPCA

KEY = jax.random.key(5)


class Drawn(eqx.Module):
    """A distribution of which nothing is known but draws and a density."""

    base: dist.Distribution

    def sample(self, key, sample_shape=()):
        return self.base.sample(key, sample_shape)

    def log_prob(self, z):
        return self.base.log_prob(z)


class Codes(LatentVariableModel):
    """z ~ N(0, I) and p(x|z) = N(x; z, I), with posteriors that are written in x itself.

    x is (means, scales), shape (2, latent).
    """

    kind: str = eqx.field(static=True, default="diagonal")
    correlation: float = eqx.field(static=True, default=0.0)

    @property
    def prior(self):
        return dist.Normal(jnp.zeros(2), 1.0).to_event(1)

    def likelihood(self, z):
        return dist.Normal(jnp.stack([z, z]), 1.0).to_event(2)

    def posterior(self, x):
        if self.kind == "diagonal":
            return dist.Normal(x[0], x[1]).to_event(1)
        factor = jnp.array([[1.0, 0.0], [self.correlation, 1.0]])
        full = dist.MultivariateNormal(x[0], scale_tril=x[1][:, None] * factor)
        return full if self.kind == "full" else Drawn(full)

    def log_joint(self, x):
        return lambda z: self.prior.log_prob(z) + self.likelihood(z).log_prob(x)


def codes(num, scale, spread, seed=0):
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(num, 2))
    return np.stack([means, np.full((num, 2), scale)], axis=1).astype(np.float32)


def by_quadrature(means, scales):
    """Mutual information and marginal KL with N(0, 1), in one dimension."""
    grid = np.linspace(-12, 12, 40_001)
    log_q = norm.logpdf(grid[:, None], means, scales)
    log_mixture = logsumexp(log_q, axis=1) - math.log(len(means))
    step = grid[1] - grid[0]
    information = np.sum(np.exp(log_q) * (log_q - log_mixture[:, None])) * step / len(means)
    marginal = np.sum(np.exp(log_mixture) * (log_mixture - norm.logpdf(grid))) * step
    return information, marginal


def gaussian_kl(means, scales):
    return (0.5 * (scales**2 + means**2 - 1) - np.log(scales)).mean(axis=0)


def within_errors(result, name, exact):
    return abs(getattr(result, name) - exact) < 5 * getattr(result.standard_error, name) + 1e-5


@pytest.fixture(scope="module")
def linear_gaussian():
    model = LinearGaussian.create(3, 1, key=jax.random.key(1))
    model = eqx.tree_at(lambda m: m.encoder_log_scale, model, jnp.full(1, math.log(0.4)))
    xs = jax.random.normal(jax.random.key(2), (300, 3))
    return model, xs, elbo_surgery(model, xs, num_samples=16, key=KEY)


def test_linear_gaussian_is_exact(linear_gaussian):
    model, xs, result = linear_gaussian
    means = np.asarray(jax.vmap(lambda x: model.posterior(x).mean)(xs), np.float64)[:, 0]
    exact_kl = gaussian_kl(means, 0.4)
    information, marginal = by_quadrature(means, 0.4)
    np.testing.assert_allclose(information + marginal, exact_kl, rtol=1e-6)

    assert result.closed_form
    assert result.standard_error.average_kl == 0
    np.testing.assert_allclose(result.average_kl, exact_kl, rtol=1e-5)
    exact_elbo = float(jnp.mean(jax.vmap(model.elbo)(xs)))
    assert within_errors(result, "elbo", exact_elbo)
    assert within_errors(result, "reconstruction", exact_elbo + exact_kl)
    assert within_errors(result, "index_code_mutual_information", information)
    assert within_errors(result, "marginal_kl", marginal)
    # A hundredth of a nat or so: the errors are no excuse.
    assert max(result.standard_error) < 0.03


def test_identity_holds_to_rounding(linear_gaussian):
    result = linear_gaussian[2]
    parts = result.index_code_mutual_information + result.marginal_kl
    np.testing.assert_allclose(result.average_kl, parts, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        result.elbo, result.reconstruction - result.average_kl, rtol=0, atol=1e-12
    )


def test_one_unit_is_the_whole(linear_gaussian):
    result = linear_gaussian[2]
    for name in ("average_kl", "index_code_mutual_information", "marginal_kl"):
        np.testing.assert_allclose(
            getattr(result.per_dimension, name), [getattr(result, name)], rtol=1e-5
        )


def test_units_are_taken_apart():
    x = codes(200, 0.3, 1.0)
    x[:, 0, 1] *= 0.1
    x[:, 1] *= np.exp(np.random.default_rng(1).normal(size=(200, 2)) / 2)
    result = elbo_surgery(Codes(), x, num_samples=8, key=KEY)
    units = result.per_dimension
    for j in range(2):
        information, marginal = by_quadrature(*x[:, :, j].astype(np.float64).T)
        errors = [error[j] for error in units.standard_error]
        assert errors[0] == 0
        assert abs(units.index_code_mutual_information[j] - information) < 5 * errors[1]
        assert abs(units.marginal_kl[j] - marginal) < 5 * errors[2]
    np.testing.assert_allclose(units.average_kl.sum(), result.average_kl, rtol=1e-5)
    # Units that are independent given the index tell no less together than the better one alone.
    assert result.index_code_mutual_information > units.index_code_mutual_information.max()


@pytest.mark.slow
def test_errors_are_the_spread_over_keys():
    """Of all examples, and of a choice of half of them, which differ."""
    x = codes(40, 0.5, 1.0)
    x[::2, 1] *= 0.1
    results = [
        elbo_surgery(Codes(), x, num_samples=2, num_evaluated=evaluated, key=key)
        for key in jax.random.split(KEY, 30)
        for evaluated in (40, 20)
    ]
    for some in (results[::2], results[1::2]):
        for name in ("elbo", "reconstruction", "index_code_mutual_information", "marginal_kl"):
            spread = np.std([getattr(result, name) for result in some], ddof=1)
            told = np.sqrt(np.mean([getattr(result.standard_error, name) ** 2 for result in some]))
            # A standard deviation of 30 numbers has a relative error of 1/√58.
            assert abs(math.log(spread / told)) < 5 / math.sqrt(58)


@pytest.mark.parametrize(
    ("x", "exact"),
    [
        (codes(1, 0.5, 1.0), 0.0),
        (np.repeat(codes(1, 0.5, 1.0), 64, axis=0), 0.0),
        (codes(64, 1e-3, 10.0), math.log(64)),
    ],
    ids=["one example", "identical codes", "separate codes"],
)
def test_information_at_its_ends(x, exact):
    result = elbo_surgery(Codes(), x, key=KEY)
    np.testing.assert_allclose(result.index_code_mutual_information, exact, atol=2e-6)
    for information in (
        result.index_code_mutual_information,
        *result.per_dimension.index_code_mutual_information,
    ):
        assert 0 <= information <= math.log(len(x))


@pytest.mark.parametrize("scale", [2.0, 5.0])
def test_information_that_is_nearly_none_is_not_negative(scale):
    """Where log q(z|x)/q(z) has a mean far below its noise."""
    x = codes(50, scale, 0.01)
    for key in jax.random.split(KEY, 4):
        result = elbo_surgery(Codes(), x, num_samples=1, key=key)
        assert result.index_code_mutual_information >= 0
        assert result.index_code_mutual_information < 1e-3


def test_narrow_codes_far_from_the_origin():
    """Pairs of codes a standard deviation apart, which float32 must tell from one another."""
    means = np.repeat(codes(32, 1e-3, 1.0)[:, 0], 2, axis=0).astype(np.float64)
    means[::2, 0] += 1e-3
    x = np.stack([means, np.full_like(means, 1e-3)], axis=1).astype(np.float32)
    means = x[:, 0].astype(np.float64)
    gaps = np.abs(means[::2, 0] - means[1::2, 0]) / 1e-3
    exact = np.mean([by_quadrature(np.array([-gap / 2, gap / 2]), 1.0)[0] for gap in gaps])
    result = elbo_surgery(Codes(), x, num_samples=200, key=KEY)
    assert within_errors(result, "index_code_mutual_information", math.log(32) + exact)
    assert result.standard_error.index_code_mutual_information < 5e-3


@pytest.mark.slow
def test_chunks_and_blocks_change_nothing():
    x = codes(150, 0.3, 1.0)
    whole = elbo_surgery(Codes(), x, num_samples=3, key=KEY)
    for chunk in (7, 64, 1000):
        result = elbo_surgery(Codes(), x, num_samples=3, chunk_size=chunk, key=KEY)
        for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_posteriors_of_every_kind_agree():
    """The same normals, told as a full covariance: the draws differ, the numbers do not."""
    x = codes(60, 0.5, 1.0)
    x[::2, 1] *= 0.3
    diagonal = elbo_surgery(Codes(), x, num_samples=20, key=KEY)
    full = elbo_surgery(Codes("full"), x, num_samples=20, key=KEY)
    assert full.per_dimension is None
    for name in diagonal.standard_error._fields:
        errors = math.hypot(
            getattr(diagonal.standard_error, name), getattr(full.standard_error, name)
        )
        difference = getattr(diagonal, name) - getattr(full, name)
        assert abs(difference) < 5 * errors + 1e-5


def test_full_covariances_are_those_of_the_density():
    """The same draws, and the density by a factor's inverse or by the distribution's own."""
    x = codes(60, 0.5, 1.0)
    x[::2, 1] *= 0.3
    full, drawn = (
        elbo_surgery(Codes(kind, 0.9), x, num_samples=20, key=KEY) for kind in ("full", "drawn")
    )
    assert full.closed_form
    assert not drawn.closed_form
    assert drawn.per_dimension is None
    name = "index_code_mutual_information"
    np.testing.assert_allclose(getattr(full, name), getattr(drawn, name), rtol=1e-5)
    assert abs(full.average_kl - drawn.average_kl) < 5 * drawn.standard_error.average_kl
    assert full.standard_error.marginal_kl < drawn.standard_error.marginal_kl


@pytest.mark.slow
def test_as_many_examples_as_the_time_allows(monkeypatch):
    x = codes(60, 0.5, 1.0)
    monkeypatch.setattr(surgery, "_BUDGET", 2.0 * 60 * 30 * 3)  # draws, codes, examples, terms
    some = elbo_surgery(Codes(), x, num_samples=2, key=KEY)
    assert (some.num_examples, some.num_evaluated) == (60, 30)
    monkeypatch.undo()
    every = elbo_surgery(Codes(), x, num_samples=2, key=KEY)
    assert every.num_evaluated == 60
    # What is cheap is of all examples in any case.
    assert some.reconstruction == every.reconstruction
    assert some.average_kl == every.average_kl
    assert elbo_surgery(Codes("drawn"), x, num_samples=1, key=KEY).num_evaluated == 60


class Bits(LatentVariableModel):
    """Two bits, whose posterior is given by x as probabilities, one of them certain."""

    @property
    def prior(self):
        return dist.BernoulliProbs(jnp.array([0.5, 0.3])).to_event(1)

    def likelihood(self, z):
        return dist.Normal(z.astype(float), 1.0).to_event(1)

    def posterior(self, x):
        return dist.BernoulliProbs(x).to_event(1)

    def log_joint(self, x):
        return lambda z: self.prior.log_prob(z) + self.likelihood(z).log_prob(x)


def test_discrete_latents_by_enumeration():
    x = np.array([[0.0, 0.3], [0.9, 0.3], [0.5, 1.0]], np.float32)
    result = elbo_surgery(Bits(), x, num_samples=4000, key=KEY)
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    q = np.prod(np.where(states[:, None] == 1, x, 1 - x), axis=2)  # (state, example)
    mixture = q.mean(axis=1)
    log = lambda p: np.log(np.where(p > 0, p, 1))  # noqa: E731
    exact = np.sum(q * (log(q) - log(mixture)[:, None])) / 3
    assert within_errors(result, "index_code_mutual_information", exact)
    prior = np.prod(np.where(states == 1, [0.5, 0.3], [0.5, 0.7]), axis=1)
    marginal = np.sum(mixture * (log(mixture) - np.log(prior)))
    assert within_errors(result, "marginal_kl", marginal)
    assert result.standard_error.marginal_kl < 0.01


class NoClosedForm(Codes):
    """Codes with a prior of heavy tails."""

    @property
    def prior(self):
        return dist.StudentT(5.0, jnp.zeros(2), 1.0).to_event(1)


@pytest.mark.slow
def test_without_a_closed_form():
    x = codes(100, 0.4, 1.0)
    result = elbo_surgery(NoClosedForm(), x, num_samples=50, key=KEY)
    assert not result.closed_form
    grid = np.linspace(-12, 12, 20_001)
    for j in range(2):
        density = norm.pdf(grid[:, None], x[:, 0, j], 0.4)
        log_prior = np.asarray(dist.StudentT(5.0, 0.0, 1.0).log_prob(grid), np.float64)
        log_density = norm.logpdf(grid[:, None], x[:, 0, j], 0.4)
        exact = np.sum(density * (log_density - log_prior[:, None]))
        exact *= (grid[1] - grid[0]) / 100
        error = result.per_dimension.standard_error.average_kl[j]
        assert 0 < error < 0.02
        assert abs(result.per_dimension.average_kl[j] - exact) < 5 * error
    np.testing.assert_allclose(result.per_dimension.average_kl.sum(), result.average_kl, rtol=1e-5)
    np.testing.assert_allclose(
        result.index_code_mutual_information + result.marginal_kl, result.average_kl, atol=1e-12
    )


@pytest.mark.slow
def test_full_covariances_of_probabilistic_pca():
    """The aggregated posterior of the right model is near the prior: the rest is information."""
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)), jnp.float32)
    xs = xs + 0.5 * jnp.asarray(rng.normal(size=(400, 4)), jnp.float32)
    model = ProbabilisticPCA.from_data(xs, 2)
    result = elbo_surgery(model, xs, num_samples=4, key=KEY)
    assert within_errors(result, "elbo", float(jnp.mean(jax.vmap(model.log_evidence)(xs))))
    assert result.marginal_kl < 0.05
    assert result.index_code_mutual_information > 1


class NoPrior(eqx.Module):
    def posterior(self, x):
        return dist.Normal(x, 1.0)

    def log_joint(self, x):
        return dist.Normal(0.0, 1.0).log_prob


def test_bad_input():
    x = codes(4, 0.5, 1.0)
    with pytest.raises(InputError, match="NoPrior has no prior"):
        elbo_surgery(NoPrior(), jnp.zeros(3), key=KEY)
    with pytest.raises(InputError, match="num_samples is a whole number of at least 1, got 0"):
        elbo_surgery(Codes(), x, num_samples=0, key=KEY)
    with pytest.raises(InputError, match="got 5 of 4"):
        elbo_surgery(Codes(), x, num_evaluated=5, key=KEY)
    with pytest.raises(InputError, match="leading axis of at least 1"):
        elbo_surgery(Codes(), x[:0], key=KEY)
    x[2, 0] = np.nan
    with pytest.raises(InputError, match="not finite in 1 of 4 examples, row 2 first"):
        elbo_surgery(Codes(), x, key=KEY)
