"""The ELBO's forms: the same expectation and gradient, exactly known, and what differs."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jax.flatten_util import ravel_pytree
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.distributions import Mixture, kl

MODEL = tt.models.LinearGaussian.create(3, 2, key=jax.random.key(5))
MODEL = eqx.tree_at(
    lambda m: (m.encoder_bias, m.encoder_log_scale, m.log_scale, m.prior_mean),
    MODEL,
    (jnp.array([0.3, -0.4]), jnp.array([-0.5, -0.1]), jnp.asarray(-0.2), jnp.array([0.5, 0.2])),
)
XS = jax.random.normal(jax.random.key(6), (2, 3))
REPLICATES = 2**14

FORMS = {
    "log weights": tt.Objective(tt.bounds.ELBO(), tt.gradients.StickingTheLanding()),
    "entropy": tt.AnalyticEntropy(),
    "KL": tt.AnalyticKL(),
    "KL, two draws": tt.AnalyticKL(num_samples=2, chunk_size=1),
    "entropy, score": tt.AnalyticEntropy(gradient=tt.gradients.ScoreFunction(), num_samples=3),
    "KL, score": tt.AnalyticKL(gradient=tt.gradients.ScoreFunction(), num_samples=3),
    "KL, VIMCO": tt.AnalyticKL(gradient=tt.gradients.VIMCO(), num_samples=3),
}


@functools.cache
def replicated(name):
    """Values and gradients of the sum over the batch, a row a replicate."""
    arrays, unravel = ravel_pytree(MODEL)

    def one(key):
        def bounds(flat):
            return jnp.sum(FORMS[name].batch(unravel(flat), XS, key=key))

        return jax.value_and_grad(bounds)(arrays)

    def many(key):
        return jax.vmap(one)(jax.random.split(key, REPLICATES))

    return jax.tree.map(lambda a: np.asarray(a, float), quick_jit(many)(jax.random.key(7)))


@functools.cache
def exact():
    arrays, unravel = ravel_pytree(MODEL)

    def elbo(flat):
        return jnp.sum(jax.vmap(unravel(flat).elbo)(XS))

    return jax.tree.map(np.asarray, quick_jit(jax.value_and_grad(elbo))(arrays))


@pytest.mark.parametrize("name", every(2, FORMS))
def test_value_and_gradient_are_those_of_the_elbo(name):
    for drawn, expected in zip(replicated(name), exact(), strict=True):
        error = drawn.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
        assert (np.abs(drawn.mean(axis=0) - expected) <= 5 * error + 1e-5).all()


def test_the_forms_differ_in_noise():
    noise = {name: replicated(name)[0].std() for name in FORMS}
    assert noise["KL"] < noise["entropy"]
    np.testing.assert_allclose(noise["KL, two draws"], noise["KL"] / np.sqrt(2), rtol=0.05)


def test_at_the_posterior_only_the_log_weights_are_silent():
    @quick_jit
    def gaps(x, key):
        posterior, log_joint = MODEL.exact_posterior(x), MODEL.log_joint(x)
        log_weights = tt.Objective(tt.bounds.ELBO())(log_joint, posterior, key=key)
        of_entropy = tt.AnalyticEntropy()(log_joint, posterior, key=key)
        of_kl = tt.AnalyticKL()(MODEL.log_likelihood(x), posterior, MODEL.prior, key=key)
        return jnp.abs(jnp.stack([log_weights, of_entropy, of_kl]) - MODEL.log_evidence(x))

    silent, of_entropy, of_kl = gaps(XS[0], jax.random.key(0))
    assert silent < 1e-5
    assert of_entropy > 0.01
    assert of_kl > 0.01


@quick_jit
def divergences():
    """KL of each example and unit."""
    posterior = jax.vmap(MODEL.posterior)(XS)
    mean, scale = posterior.base_dist.loc, posterior.base_dist.scale
    return kl(dist.Normal(mean, scale), dist.Normal(MODEL.prior_mean[None], 1.0))


@quick_jit
def batch_of(form, key):
    return form.batch(MODEL, XS, key=key)


@pytest.mark.parametrize(("beta", "free"), [(1.0, 0.0), (0.0, 0.0), (4.0, 0.0), (2.0, 0.4)])
def test_beta_and_free_bits(beta, free):
    """Against the formula, on the same draws; the second unit is below its free bits."""
    units = np.asarray(divergences())
    assert (units.mean(axis=0) > 0.4).tolist() == [True, False] or free == 0
    paid = np.where(units.mean(axis=0) > free, units, free).sum(axis=1)
    key = jax.random.key(3)
    plain = batch_of(tt.AnalyticKL(beta=0.0), key)
    values = batch_of(tt.AnalyticKL(beta=beta, free_bits=free), key)
    np.testing.assert_allclose(values, plain - beta * paid, rtol=1e-5)


def test_free_bits_take_the_pressure_off():
    def scale_gradient(free):
        form = tt.AnalyticKL(free_bits=free, beta=1e6)
        bounds = lambda m: jnp.sum(form.batch(m, XS, key=jax.random.key(3)))  # noqa: E731
        return np.abs(quick_jit(jax.grad(bounds))(MODEL).encoder_log_scale)

    pressed, freed = scale_gradient(0.0), scale_gradient(0.4)
    assert freed[0] == pressed[0]
    assert freed[1] < 1e-3 * pressed[1]


def test_correlated_posteriors_are_one_unit():
    @quick_jit
    def both(x, key):
        posterior = MODEL.exact_posterior(x)
        return [
            form(MODEL.log_likelihood(x), posterior, MODEL.prior, key=key)
            for form in (tt.AnalyticKL(free_bits=100.0, beta=1.0), tt.AnalyticKL(beta=0.0))
        ]

    value, free = both(XS[0], jax.random.key(1))
    np.testing.assert_allclose(free - value, 100.0, rtol=1e-5)


def test_a_batch_is_its_examples():
    keys = jax.random.split(jax.random.key(2), 2)
    for form, arguments in (
        (tt.AnalyticEntropy(num_samples=3), lambda x: (MODEL.log_joint(x), MODEL.posterior(x))),
        (
            tt.AnalyticKL(num_samples=3, beta=0.5),
            lambda x: (MODEL.log_likelihood(x), MODEL.posterior(x), MODEL.prior),
        ),
    ):
        single = quick_jit(lambda x, key, f=form, a=arguments: f(*a(x), key=key))
        singles = [single(x, key) for x, key in zip(XS, keys, strict=True)]
        batch = batch_of(form, jax.random.key(2))
        np.testing.assert_allclose(batch, np.stack(singles), rtol=1e-5)


# Warm-up


@pytest.mark.slow
def test_warm_up_in_training():
    """β rises with the steps, and the validation bound is that of the last step's β."""
    xs = np.asarray(jax.random.normal(jax.random.key(8), (20, 3)))
    form = tt.AnalyticKL(beta=optax.linear_schedule(0.0, 1.0, 4))
    arguments = {
        "optimizer": optax.sgd(0.0), "num_epochs": 4, "batch_size": 10,
        "key": jax.random.key(1), "validation": xs, "show_progress": False,
    }  # fmt: skip
    warmed = tt.fit(MODEL, xs, form, **arguments).history
    full = tt.fit(MODEL, xs, tt.AnalyticKL(), **arguments).history
    none = tt.fit(MODEL, xs, tt.AnalyticKL(beta=0.0), **arguments).history
    cost = [w["bound"] - n["bound"] for w, n in zip(warmed, none, strict=True)]
    whole = [f["bound"] - n["bound"] for f, n in zip(full, none, strict=True)]
    # Steps 0 and 1 have β = 0 and ¼, steps 2 and 3 ½ and ¾, then 1. The KL of both halves of the
    # data differ, so that an epoch's share lies between its two β.
    share = np.array(cost) / np.array(whole)
    assert 0 < share[0] < 0.25
    assert 0.5 < share[1] < 0.75
    np.testing.assert_allclose(share[2:], 1.0, rtol=1e-4)
    np.testing.assert_allclose(
        [row["validation_bound"] for row in warmed],
        [row["validation_bound"] for row in full],
        rtol=1e-6,
    )


def test_a_schedule_asks_for_a_step():
    form = tt.AnalyticKL(beta=optax.linear_schedule(0.0, 1.0, 4))
    with pytest.raises(tt.InputError, match=r"objective\.at\(step\)"):
        form.batch(MODEL, XS, key=jax.random.key(0))
    assert float(form.at(jnp.asarray(3)).beta) == 0.75


# Errors


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: tt.AnalyticKL(beta=-1.0), ValueError, "weight of at least 0"),
        (lambda: tt.AnalyticKL(free_bits=-1.0), ValueError, "free_bits is in nats"),
        (lambda: tt.AnalyticKL(num_samples=0), ValueError, "num_samples is at least 1"),
        (lambda: tt.AnalyticEntropy(chunk_size=0), ValueError, "chunk_size is at least 1"),
        (lambda: tt.AnalyticEntropy(gradient=tt.gradients.WakePhi()), TypeError, "unbiased"),
        (lambda: tt.AnalyticKL(gradient=tt.gradients.VIMCO()), ValueError, "of 2 or more"),
    ],
)
def test_what_cannot_be_built(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_what_has_no_closed_form():
    mixture = Mixture(jnp.zeros(2), dist.Normal(jnp.array([-1.0, 1.0]), 1.0))
    key = jax.random.key(0)
    with pytest.raises(tt.InputError, match="Mixture has no entropy in closed form"):
        tt.AnalyticEntropy()(lambda z: -(z**2), mixture, key=key)
    with pytest.raises(tt.InputError, match="has no closed form"):
        tt.AnalyticKL()(lambda z: -(z**2), mixture, dist.Normal(), key=key)
    with pytest.raises(tt.InputError, match="z < 0, where p has none"):
        tt.AnalyticKL()(lambda z: -(z**2), dist.Normal(), dist.HalfNormal(), key=key)

    class NoPrior(eqx.Module):
        def posterior(self, x):
            return dist.Normal()

        def log_joint(self, x):
            return lambda z: -(z**2)

    with pytest.raises(tt.InputError, match="NoPrior has no prior"):
        tt.AnalyticKL().batch(NoPrior(), XS, key=key)


ENTROPIES = [
    dist.Normal(0.3, 2.0), dist.Laplace(0.3, 2.0), dist.LogNormal(0.1, 0.5), dist.Exponential(2.0),
    dist.Gamma(2.5, 1.5), dist.Beta(2.0, 3.0), dist.Bernoulli(logits=0.7),
    dist.Categorical(logits=jnp.array([0.1, 1.0, -1.0])), dist.StudentT(5.0, 0.2, 1.5),
    dist.Dirichlet(jnp.array([1.5, 2.0, 0.7])), dist.Normal(jnp.zeros(3), 2.0).to_event(1),
    dist.MultivariateNormal(
        jnp.zeros(2), jnp.array([[2.0, 0.5], [0.5, 1.0]]), validate_args=False
    ),
    dist.LowRankMultivariateNormal(jnp.zeros(3), jnp.ones((3, 1)), jnp.array([1.0, 2.0, 0.5])),
    dist.Uniform(-1.0, 3.0), dist.Weibull(2.0, 1.5), dist.Logistic(0.3, 2.0),
]  # fmt: skip


@pytest.mark.parametrize("family", every(2, ENTROPIES), ids=lambda d: type(d).__name__)
def test_entropies_are_those_of_the_densities(family):
    """We stand on numpyro's closed forms: each is the mean of −log q over draws."""

    @quick_jit
    def run(key):
        one = lambda key: -family.log_prob(family.sample(key))  # noqa: E731
        return jax.vmap(one)(jax.random.split(key, 40_000)), family.entropy()

    surprise, entropy = (np.asarray(part, float) for part in run(jax.random.key(4)))
    error = surprise.std() / 200
    assert abs(surprise.mean() - entropy) <= 5 * error + 1e-6


def test_dataclass_fields_stay_those_of_an_objective():
    """`fit` and what explains its failures ask every objective for these."""
    for form in FORMS.values():
        assert form.num_samples >= 1
        assert form.num_outer == 1
        assert form.at(jnp.asarray(0)) is form
        assert dataclasses.replace(form, num_samples=4).num_samples == 4


@pytest.mark.parametrize("form", [tt.AnalyticKL(), tt.AnalyticEntropy()])
def test_they_answer_for_their_bias(form):
    assert not form.bias
