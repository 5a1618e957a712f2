"""Every prior family of the table: density, draws, starts, clusters, training with posteriors."""

import dataclasses
import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats
from tests.oracles.latent_grids import kolmogorov_smirnov, latent_grid
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter.bounds import ELBO, IWAE
from tighter.distributions import check_supports, is_reparameterizable
from tighter.gradients import VIMCO, DoublyReparameterized
from tighter.models._composition import latent_families
from tighter.models._families import Space
from tighter.models.clustering import cluster, clustering_accuracy
from tighter.models.flows import FlowPrior
from tighter.models.networks import Applied
from tighter.models.observations import Missing
from tighter.models.posteriors import POSTERIORS, DiagonalGaussian, posterior_from_name
from tighter.models.priors import PRIORS, MixturePrior, StandardNormal, prior_from_name
from tighter.models.vae import VAE

KEY = jax.random.key(11)
DRAWS = 4000
FLOWS = ("coupling", "masked-autoregressive", "neural-spline")
# The numbers that keep discrete ones enumerable and the rest small.
NUMBERS = {"categorical": 3, "mixture": 3, "vampprior": 4, "low-rank": 1}
NUMBERS |= dict.fromkeys(FLOWS, 1)


def named(name):
    return f"{name}:{NUMBERS[name]}" if name in NUMBERS else name


def moved(tree, scale, seed=5):
    """The same pytree, its arrays away from where they start."""
    rng = np.random.default_rng(seed)
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    arrays = jax.tree.map(
        lambda leaf: leaf + (scale * rng.normal(size=leaf.shape)).astype(np.float32), arrays
    )
    return eqx.combine(arrays, rest)


def small(prior, posterior=None, *, num_latent=2, num_features=3, hidden=(4,)):
    return VAE.create(
        (num_features,),
        num_latent=num_latent,
        hidden=hidden,
        observation="gaussian",
        posterior=posterior,
        prior=prior,
        key=KEY,
    )


def some(table, slow):
    """All names but the alias, those named among the tests run by hand."""
    names = (name for name in table if name != "flow")
    return [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in names]


@pytest.mark.parametrize("name", some(PRIORS, slow=("coupling", "neural-spline")))
def test_density_and_draws(name):
    """The density sums to one in both its forms, and draws are its own."""
    model = moved(small(named(name)), 0.2)
    prior = model.prior_family
    points, weights = latent_grid(
        model.family.space, 2, num_points=2001 if name == "dirichlet" else 241
    )

    @quick_jit
    def run(arrays, points):
        model = eqx.combine(arrays, rest)
        prior = model.prior_family
        p = prior.distribution(model)
        log_probs = jax.lax.map(lambda z: prior.log_prob(model, z), points, batch_size=4096)
        keys = jax.random.split(KEY, DRAWS)
        zs = jax.vmap(lambda key: p.sample(key))(keys)
        both = (jax.vmap(lambda z: prior.log_prob(model, z))(zs), jax.vmap(p.log_prob)(zs))
        return log_probs, zs, both

    arrays, rest = eqx.partition(model, eqx.is_array)
    log_probs, zs, (ours, theirs) = run(arrays, jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)
    assert zs.shape == (DRAWS, *model.family.latent_shape(2))
    assert prior.space is Space.ANY or prior.latent_shape(2) == model.family.latent_shape(2)
    assert zs.dtype == jnp.float32
    mass = weights * np.exp(np.asarray(log_probs, np.float64))
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-3)
    discrete = model.family.space in (Space.BITS, Space.CATEGORIES)
    assert kolmogorov_smirnov(zs, points, mass, discrete=discrete) < 2.2


@pytest.mark.parametrize(
    "name", ["standard", "diagonal", "laplace", "mixture", "dirichlet", "bernoulli"]
)
def test_density_by_scipy(name):
    prior = moved(
        prior_from_name(named(name) + ":2" * (name == "dirichlet"), 3, shape=(4,), key=KEY), 0.3
    )
    z = {"dirichlet": np.array([0.1, 0.7, 0.2]), "bernoulli": np.array([1.0, 0.0, 1.0])}.get(
        name, np.array([0.3, -1.0, 2.0])
    )
    arrays = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(prior)]
    expected = {
        "standard": lambda: stats.norm.logpdf(z).sum(),
        "diagonal": lambda loc, log_scale: stats.norm.logpdf(z, loc, np.exp(log_scale)).sum(),
        "laplace": lambda: stats.laplace.logpdf(z).sum(),
        "mixture": lambda logits, locs, log_scales: special.logsumexp(
            special.log_softmax(logits) + stats.norm.logpdf(z, locs, np.exp(log_scales)).sum(1)
        ),
        "dirichlet": lambda: stats.dirichlet.logpdf(z, [2.0] * 3),
        "bernoulli": lambda logits: stats.bernoulli.logpmf(z, special.expit(logits)).sum(),
    }[name](*arrays)
    found = prior.log_prob(None, jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


QUICK = {
    ("vampprior", "mixture"),
    ("mixture", "student-t"),
    ("masked-autoregressive", "diagonal"),
}


def by_space(table, make):
    """Names of a table by the space of their family; the alias of another left out."""
    spaces = {name: eqx.filter_eval_shape(make, named(name)).space for name in table}
    return {
        space: [n for n, own in spaces.items() if own in (space, Space.ANY) and n != "flow"]
        for space in (Space.REAL, Space.BOX, Space.SIMPLEX, Space.BITS, Space.CATEGORIES)
    }


def pairs():
    """Every prior with every posterior of its space; the rest by hand."""
    of_prior = by_space(PRIORS, lambda name: prior_from_name(name, 2, shape=(3,), key=KEY))
    of_posterior = by_space(POSTERIORS, lambda name: posterior_from_name(name, 2, key=KEY))
    for space, priors in of_prior.items():
        posteriors = of_posterior[space]
        for pair in itertools.product(priors, posteriors):
            yield pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.slow])


@pytest.mark.parametrize(("prior", "posterior"), [*pairs()])
@pytest.mark.slow
def test_every_pair_trains(prior, posterior):
    """Two steps: finite bounds, and every array of the prior and of the posterior moves."""
    model = small(named(prior), named(posterior))
    xs = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    model = model.initialized_from(xs, key=KEY)
    path = is_reparameterizable(model.posterior(jnp.asarray(xs[0])))
    objective = tt.Objective(IWAE(), DoublyReparameterized() if path else VIMCO(), 3)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)

    @quick_jit
    def train(arrays, xs, keys):
        def step(arrays, key):
            def loss(arrays):
                bounds = objective.batch(eqx.combine(arrays, rest), xs, key=key)
                return -jnp.mean(bounds), bounds

            slopes, bounds = jax.grad(loss, has_aux=True)(arrays)
            return jax.tree.map(lambda a, s: a - 0.1 * s, arrays, slopes), bounds

        return jax.lax.scan(step, arrays, keys)

    after, bounds = train(arrays, xs, jax.random.split(KEY, 2))
    assert np.isfinite(bounds).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    for part in ("prior_family", "family", "encoder"):
        old, new = (jax.tree.leaves(getattr(tree, part)) for tree in (arrays, after))
        assert all((a != b).any() for a, b in zip(old, new, strict=True) if a.size), part


# Of one dimension each: here posteriors hold the truth for a linear decoder with Gaussian noise.
EXACT = [
    pytest.param("standard", "diagonal", marks=pytest.mark.slow),
    ("diagonal", "full"),
    ("bernoulli", "bernoulli"),
    pytest.param("categorical", "categorical", marks=pytest.mark.slow),
]


def log_evidence(model, xs, space, *, num_latent=1):
    """Log p(x) of each example by quadrature, or by the sum over all z."""
    points, weights = latent_grid(space, num_latent, num_points=801)

    def of_one(x):
        log_joints = jax.vmap(model.log_joint(x))(jnp.asarray(points, jnp.float32))
        return jax.nn.logsumexp(log_joints + jnp.log(jnp.asarray(weights, jnp.float32)))

    return quick_jit(jax.vmap(of_one))(xs)


@pytest.mark.parametrize(("prior", "posterior"), EXACT)
def test_exact_in_one_dimension(prior, posterior):
    """Trained by draws, the ELBO is within .02 nat of log p(x): the encoder finds the truth."""
    model = small(named(prior), named(posterior), num_latent=1, num_features=2, hidden=())
    rng = np.random.default_rng(1)
    side = rng.choice([-1.0, 1.0], size=(64, 1))
    xs = jnp.asarray(side * [[1.0, -0.5]] + 0.8 * rng.normal(size=(64, 2)), jnp.float32)
    space = model.family.space
    path = space is Space.REAL
    objective = tt.Objective(ELBO(), DoublyReparameterized() if path else VIMCO(), 8)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 400))

    @quick_jit
    def train(arrays, keys):
        def step(carry, key):
            arrays, state = carry
            slopes = jax.grad(
                lambda a: -jnp.mean(objective.batch(eqx.combine(a, rest), xs, key=key))
            )(arrays)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(arrays, updates), state), None

        (arrays, _), _ = jax.lax.scan(step, (arrays, optimizer.init(arrays)), keys)
        scored = tt.Objective(ELBO(), objective.gradient, 200)
        return arrays, scored.batch(eqx.combine(arrays, rest), xs, key=KEY)

    arrays, bounds = train(arrays, jax.random.split(KEY, 400))
    truth = log_evidence(eqx.combine(arrays, rest), xs, space)
    gaps = np.asarray(truth - bounds, np.float64)
    assert gaps.mean() < 0.02
    assert gaps.mean() > -5 * gaps.std(ddof=1) / np.sqrt(len(gaps)) - 1e-5


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [
        ("laplace", "student-t"),
        pytest.param("mixture", "mixture", marks=pytest.mark.slow),
        pytest.param("vampprior", "full", marks=pytest.mark.slow),
        pytest.param("uniform", "beta", marks=pytest.mark.slow),
        ("uniform", "logit-normal"),
        pytest.param("dirichlet", "dirichlet", marks=pytest.mark.slow),
    ],
)
def test_weights_average_to_the_evidence(prior, posterior):
    """Where q does not hold the truth: E[w] = p(x) by quadrature, and E[log w] below its log."""
    num_latent = 2 if prior == "dirichlet" else 1
    model = small(named(prior), named(posterior), num_latent=num_latent, num_features=2, hidden=())
    model = moved(model, 0.3)
    xs = jnp.array([[0.3, -0.7], [1.0, 0.4]])
    truth = np.asarray(log_evidence(model, xs, model.family.space, num_latent=num_latent))
    objective = tt.Objective(ELBO())
    keys = jax.random.split(KEY, 20_000)
    log_weights = quick_jit(jax.vmap(lambda key: objective.batch(model, xs, key=key)))(keys)
    log_weights = np.asarray(log_weights, np.float64) - truth
    weights = np.exp(log_weights)
    error = weights.std(axis=0, ddof=1) / np.sqrt(len(keys))
    assert (np.abs(weights.mean(axis=0) - 1) < 5 * error + 1e-4).all()
    assert (error < 0.05).all()
    assert (log_weights.mean(axis=0) < 0).all()


@pytest.mark.parametrize("posterior", ["full", pytest.param("beta", marks=pytest.mark.slow)])
def test_vampprior_is_the_mixture(posterior):
    """Of the posteriors at its pseudo-inputs, its gradient included."""
    model = moved(small("vampprior:4", posterior), 0.3)
    z = jnp.array([0.3, 0.6])

    def explicit(model):
        parts = [model.posterior(u).log_prob(z) for u in model.prior_family.pseudo_inputs]
        return jax.nn.logsumexp(jnp.stack(parts)) - jnp.log(4.0)

    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    for function in (explicit, lambda model: model.prior_family.log_prob(model, z)):
        run = quick_jit(jax.value_and_grad(lambda a: function(eqx.combine(a, rest))))  # noqa: B023
        results = run(arrays)
        if function is explicit:
            expected = results
    np.testing.assert_allclose(results[0], expected[0], rtol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (results[1], expected[1])), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert np.abs(results[1].prior_family.pseudo_inputs).max() > 1e-3


def test_pseudo_inputs_are_encoded_once_a_batch():
    model = small("vampprior:5", hidden=(7,))
    objective = tt.Objective(IWAE(), num_samples=4)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    batch = jax.jit(lambda arrays, xs: objective.batch(eqx.combine(arrays, rest), xs, key=KEY))
    program = batch.lower(arrays, jnp.ones((3, 3))).compile().as_text()
    rows = set(re.findall(r"f32\[([\d,]*),7\]\S* dot\(", program))
    assert rows == {"3", "5", "12"}  # examples, pseudo-inputs, draws (through the decoder)


def test_vampprior_starts_at_examples():
    """At what the encoder sees of them, each once, in an order of their own."""
    xs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    xs[2:, 1] = np.nan
    model = small("vampprior:20")
    model = dataclasses.replace(model, observation=Missing(model.observation))
    started = model.prior_family.initialized_from(model, xs, key=KEY).pseudo_inputs
    seen = np.concatenate([np.nan_to_num(xs), ~np.isnan(xs)], axis=1)
    by_first = lambda rows: rows[np.argsort(rows[:, 0])]  # noqa: E731
    np.testing.assert_array_equal(by_first(started), by_first(seen))
    assert (np.asarray(started) != seen).any()


def test_the_density_of_an_autoregressive_prior_is_one_pass():
    prior = prior_from_name("flow", 4, shape=(3,), key=KEY)
    assert isinstance(prior, FlowPrior)
    z = jnp.zeros(4)
    density = str(jax.make_jaxpr(lambda z: prior.log_prob(None, z))(z))
    draws = str(jax.make_jaxpr(lambda key: prior.distribution(None).sample(key))(KEY))
    assert "scan" not in density
    assert "scan" in draws


def separated(num=600):
    """Encodings in three clusters far apart, and the clusters' numbers."""
    rng = np.random.default_rng(2)
    labels = rng.choice(3, size=num, p=[0.5, 0.3, 0.2])
    centers = np.array([[-6.0, 0.0], [0.0, 5.0], [6.0, 0.0]])
    scales = np.array([[0.5, 1.0], [0.3, 0.3], [1.0, 0.2]])
    zs = centers[labels] + scales[labels] * rng.normal(size=(num, 2))
    return zs.astype(np.float32), labels, centers, scales


def as_encodings(scale):
    """A model whose posterior at x is N(x, scale²)."""
    model = small("mixture:3", num_features=2)
    encode = lambda _, x: jnp.stack([x, jnp.full(2, np.log(scale), jnp.float32)])  # noqa: E731
    return dataclasses.replace(model, encoder=Applied(encode, None))


def test_mixture_starts_where_encodings_are():
    """Means, scales and shares of clusters, the posteriors' own variance added."""
    zs, labels, centers, scales = separated()
    prior = as_encodings(0.4).initialized_from(zs, key=KEY).prior_family
    order = np.argsort(prior.locs[:, 0])
    counts = np.bincount(labels)
    error = scales / np.sqrt(counts)[:, None]
    assert (np.abs(prior.locs[order] - centers) < 5 * error).all()
    variances = np.stack([zs[labels == c].var(axis=0) for c in range(3)])
    # One more encoding a cluster, as far off as all are from their mean.
    pooled = (counts[:, None] * variances + zs.var(axis=0)) / (counts + 1)[:, None]
    np.testing.assert_allclose(np.exp(2 * prior.log_scales[order]), pooled + 0.16, rtol=1e-3)
    np.testing.assert_allclose(jax.nn.softmax(prior.logits)[order], (counts + 1) / 603, rtol=1e-4)


def test_mixture_of_equal_or_few_encodings():
    """Scales stay above zero; no encoding is left without a component."""
    for zs in (np.ones((5, 2)), np.array([[0.0, 0.0], [4.0, 1.0], [9.0, 1.0]])):
        prior = MixturePrior.from_encodings(zs, 3, key=KEY)
        log_probs = jax.vmap(lambda z: prior.log_prob(None, z))(jnp.asarray(zs, jnp.float32))  # noqa: B023
        assert np.isfinite(log_probs).all()
        assert (np.exp(prior.log_scales) > 5e-4).all()


def test_clusters_are_found():
    zs, labels, _, _ = separated()
    model = as_encodings(0.1).initialized_from(zs, key=KEY)
    found = cluster(model, zs, key=KEY)
    assert clustering_accuracy(labels, found) == 1.0
    prior = model.prior_family
    z = np.array([-2.5, 2.0])  # between two of them
    parts = special.log_softmax(np.asarray(prior.logits)) + stats.norm.logpdf(
        z, np.asarray(prior.locs), np.exp(prior.log_scales)
    ).sum(axis=1)
    shares = prior.responsibilities(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(shares, special.softmax(parts), rtol=1e-3)


def test_accuracy_is_that_of_the_best_names():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 4, size=50), rng.integers(0, 5, size=50)
    best = max(
        np.mean(np.array(names)[clusters] == labels)
        for names in itertools.permutations([0, 1, 2, 3, -1])
    )
    assert clustering_accuracy(labels, clusters) == best
    names = np.array(["b", "a", "c", "d"])
    assert clustering_accuracy(names[labels], labels) == 1.0


def families(posterior, prior, num_latent=3):
    return latent_families(posterior, prior, num_latent, shape=(4,), key=KEY)


def test_the_usual_prior_goes_with_a_posterior():
    def check(name):
        family, prior = families(named(name), None)
        assert prior.space is family.space
        output = jnp.zeros(family.shape(3))
        check_supports(family.distribution(output), prior.distribution(None))

    for name in POSTERIORS:
        eqx.filter_eval_shape(check, name)


def test_the_usual_posterior_goes_with_a_prior():
    def check(name):
        family, prior = families(None, named(name))
        assert prior.space in (family.space, Space.ANY)
        assert prior.space is Space.ANY or prior.latent_shape(3) == family.latent_shape(3)

    for name in PRIORS:
        eqx.filter_eval_shape(check, name)


def test_left_out():
    family, prior = families(None, None)
    assert isinstance(family, DiagonalGaussian)
    assert isinstance(prior, StandardNormal)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("diagonal", "uniform"),
        ("diagonal", "dirichlet"),
        ("beta", "dirichlet"),
        ("dirichlet", "uniform"),
        ("bernoulli", "laplace"),
        ("diagonal", "bernoulli"),
        ("categorical", "dirichlet"),
        ("dirichlet", "categorical"),
    ],
)
def test_wrong_pairs(posterior, prior):
    """Refused by name, and by their distributions where a model is put together by hand."""
    with pytest.raises(tt.InputError, match=r"is over .* and the posterior .* take the prior"):
        families(posterior, prior)
    q = posterior_from_name(named(posterior), 3, key=KEY)
    p = prior_from_name(named(prior), 3, shape=(4,), key=KEY)
    with pytest.raises(tt.InputError):
        check_supports(q.distribution(jnp.zeros(q.shape(3))), p.distribution(None))


XS = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: families("categorical:4", "categorical:5"), r"\(3, 5\) in .* \(3, 4\)"),
        (lambda: families(None, "standard:3"), "'standard:3': it takes no number, got 3"),
        (lambda: families(None, "uniform:2"), "takes no number"),
        (lambda: families(None, "mixture:0"), "at least 1, got 0"),
        (lambda: families(None, "vampprior:0"), "at least 1, got 0"),
        (lambda: families(None, "mixture:ten"), "'ten' is no number"),
        (lambda: families(None, "dirichlet:0"), "at least 1, got 0"),
        (lambda: families(None, "dirichlet", num_latent=1), "at least 2, got 1"),
        (lambda: families(None, "categorical:1"), "at least 2, got 1"),
        (lambda: families(None, "flow", num_latent=1), "2 latent dimensions or more"),
        (lambda: families(None, "gamma"), "unknown prior 'gamma'"),
        (
            lambda: small("mixture:5").initialized_from(XS, key=KEY),
            "5 components .* got 4: take fewer",
        ),
        (
            lambda: small("vampprior:5").initialized_from(XS, key=KEY),
            "5 components .* got 4: take fewer",
        ),
        (lambda: cluster(small("standard"), XS, key=KEY), "create it with prior='mixture:10'"),
        (lambda: clustering_accuracy([1, 2], [1]), r"\(2,\) and \(1,\)"),
    ],
)
def test_what_cannot_be_right_is_refused(make, message):
    with pytest.raises(tt.InputError, match=message):
        make()
