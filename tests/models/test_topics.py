"""Topic models against enumeration of every word's topic, and quadrature over two topics."""

import dataclasses
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import sparse
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.distributions import kl
from tighter.evaluation.perplexity import document_completion, perplexity
from tighter.models.topics.log_simplex import LogDirichlet, LogisticNormal, laplace_of_dirichlet
from tighter.models.topics.model import TOPIC_POSTERIORS, TopicModel
from tighter.models.topics.words import BatchNorm, DirichletTopics, MixtureOfTopics

KEY = jax.random.key(5)
TOPICS = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6], [0.05, 0.55, 0.35, 0.05]])
DOCUMENTS = np.array(
    [[2, 1, 0, 0], [0, 1, 1, 3], [1, 1, 1, 1], [0, 0, 0, 1], [4, 0, 0, 2]], np.float32
)


def log_evidence(x, topics, alpha):
    """Sum over the topic of every word, θ integrated out: a Dirichlet-multinomial."""
    words = np.repeat(np.arange(len(x)), np.asarray(x, int))
    num, total = len(topics), 0.0
    for assigned in itertools.product(range(num), repeat=len(words)):
        counts = np.bincount(assigned, minlength=num)
        log_p = math.lgamma(num * alpha) - math.lgamma(num * alpha + len(words))
        log_p += sum(math.lgamma(alpha + n) - math.lgamma(alpha) for n in counts)
        total += math.exp(log_p) * np.prod(topics[list(assigned), words])
    return math.log(total)


def line(far=60.0, num=601):
    """Log proportions of two topics over a line of log ratios, and the step."""
    ratio = jnp.linspace(-far, far, num)
    log_theta = jnp.stack([jax.nn.log_sigmoid(ratio), jax.nn.log_sigmoid(-ratio)], axis=1)
    return log_theta, ratio[1] - ratio[0]


def moved(model, key=KEY, by=0.5):
    """Trained arrays, random."""
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    return eqx.combine(unravel(flat + by * jax.random.normal(key, flat.shape)), static)


@pytest.mark.parametrize("alpha", [0.02, pytest.param(0.7, marks=pytest.mark.slow)])
def test_evidence_is_that_of_enumeration(alpha):
    model = TopicModel.from_topics(TOPICS, alpha=alpha)
    exact = np.array([log_evidence(x, TOPICS, alpha) for x in DOCUMENTS])
    estimate = tt.log_likelihood(model.refined(), DOCUMENTS, num_samples=20_000, key=KEY)
    error = np.abs(estimate.value - exact)
    assert (error < 5 * estimate.standard_error + 1e-5).all(), (error, estimate.standard_error)


def test_the_evidence_of_a_model_as_it_is_trained_is_that_of_enumeration():
    """Mean field alone misses it by 13 standard errors here."""
    topics = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.1, 0.25, 0.6]])
    documents = np.array([[1, 0, 0, 0], [1, 1, 1, 1]], np.float32)
    model = TopicModel.from_topics(topics, alpha=0.1)
    exact = np.array([log_evidence(x, topics, 0.1) for x in documents])
    estimate = tt.log_likelihood(model, documents, num_samples=5000, key=jax.random.key(2))
    assert (np.abs(estimate.value - exact) < 5 * estimate.standard_error).all()
    assert (estimate.pareto_k < 0.7).all()
    assert model.for_scoring().for_scoring() == model.for_scoring()
    product = TopicModel.create(4, num_topics=2, product=True, hidden=(), key=KEY)
    assert product.for_scoring() is product


@pytest.mark.slow
@pytest.mark.parametrize("posterior", TOPIC_POSTERIORS)
def test_bounds_are_below_the_evidence(posterior):
    model = TopicModel.create(4, num_topics=3, posterior=posterior, alpha=0.5, key=KEY)
    model = moved(model, by=0.2)
    topics = np.asarray(model.topics, np.float64)
    exact = np.array([log_evidence(x, topics, 0.5) for x in DOCUMENTS])
    bounds = [
        quick_jit(tt.Objective(bound, num_samples=2048).batch)(model, DOCUMENTS, key=KEY)
        for bound in (tt.bounds.ELBO(), tt.bounds.IWAE())
    ]
    assert (bounds[0] < bounds[1]).all()
    assert (np.asarray(bounds[0]) < exact).all()


@pytest.mark.slow
def test_densities_are_of_one_measure():
    """Both integrate to one over log ratios, and are numpyro's there."""
    with jax.enable_x64(True):
        log_theta, step = line()
        concentration = jnp.array([0.6, 1.7])
        dirichlet = LogDirichlet(concentration)
        normal = LogisticNormal(jnp.array([0.3, -0.4]), jnp.array([0.1, -0.5]))
        for density in (dirichlet, normal):
            np.testing.assert_allclose(
                jnp.sum(jnp.exp(density.log_prob(log_theta))) * step, 1, rtol=1e-8
            )
        mean = jnp.sum(jnp.exp(dirichlet.log_prob(log_theta) + log_theta[:, 0])) * step
        np.testing.assert_allclose(dirichlet.mean_proportions[0], mean, rtol=1e-8)
        loc, log_scale = jnp.array([0.3, -0.4, 0.2]), jnp.array([0.1, -0.5, 0.3])
        ratios = jnp.array([0.7, -1.1])
        z = jax.nn.log_softmax(jnp.append(ratios, 0.0))
        variance = jnp.exp(2 * log_scale)
        ours = dist.MultivariateNormal(loc[:2] - loc[2], jnp.diag(variance[:2]) + variance[2])
        q = LogisticNormal(loc, log_scale)
        np.testing.assert_allclose(q.log_prob(z), ours.log_prob(ratios), rtol=1e-10)
        p = laplace_of_dirichlet(jnp.array([0.5, 1.0, 2.0]))
        spread = jnp.exp(2 * p.log_scale)
        theirs = dist.MultivariateNormal(p.loc[:2] - p.loc[2], jnp.diag(spread[:2]) + spread[2])
        np.testing.assert_allclose(kl(q, p), kl(ours, theirs), rtol=1e-10)
        other = jnp.array([1.1, 0.9])
        expected = kl(dist.Dirichlet(concentration), dist.Dirichlet(other))
        np.testing.assert_allclose(kl(dirichlet, LogDirichlet(other)), expected, rtol=1e-10)
        # Srivastava & Sutton, eq. 3, for equal concentrations.
        equal = laplace_of_dirichlet(jnp.full(4, 0.5))
        np.testing.assert_allclose(jnp.exp(2 * equal.log_scale), 2 * (1 - 1 / 4), rtol=1e-10)
        ratio = dist.biject_to(normal.support)
        np.testing.assert_allclose(ratio(ratio.inv(z)), z, rtol=1e-10)
        assert float(ratio.log_abs_det_jacobian(ratios, z)) == 0


def two_topics(posterior, *, product=False):
    model = TopicModel.create(
        4, num_topics=2, posterior=posterior, product=product, alpha=0.8, hidden=(), key=KEY
    )
    return moved(model)


ESTIMATED = [
    ("dirichlet", False, tt.gradients.DoublyReparameterized()),
    pytest.param(
        "logistic-normal", True, tt.gradients.DoublyReparameterized(), marks=pytest.mark.slow
    ),
    pytest.param("logistic-normal", False, tt.gradients.Reparameterized(), marks=pytest.mark.slow),
    pytest.param("dirichlet", False, tt.gradients.ScoreFunction(), marks=pytest.mark.slow),
    pytest.param("dirichlet", True, tt.gradients.Reparameterized(), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("posterior", "product", "gradient"), ESTIMATED)
def test_gradients_of_a_bound_are_those_of_quadrature(posterior, product, gradient):
    """IWAE of two draws, by a sum over the two log ratios."""
    model, x = two_topics(posterior, product=product), jnp.asarray(DOCUMENTS[1])
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    objective = tt.Objective(tt.bounds.IWAE(), gradient, num_samples=2)

    def estimate(flat, key):
        model = eqx.combine(unravel(flat), static)
        return objective(model.log_joint(x), model.posterior(x), key=key)

    keys = jax.random.split(KEY, 2**13)
    values, gradients = quick_jit(jax.vmap(jax.value_and_grad(estimate), (None, 0)))(flat, keys)
    with jax.enable_x64(True):
        _, unravel = ravel_pytree(jax.tree.map(lambda a: np.asarray(a, np.float64), arrays))

        def expected(flat):
            model = eqx.combine(unravel(flat), static)
            log_theta, step = line()
            log_q = model.posterior(x.astype(float)).log_prob(log_theta)
            log_w = jax.vmap(model.log_joint(x.astype(float)))(log_theta) - log_q
            mass = jnp.exp(log_q) * step
            bound = jnp.logaddexp(log_w[:, None], log_w[None]) - jnp.log(2)
            return mass @ bound @ mass

        value, exact = jax.jit(jax.value_and_grad(expected))(np.asarray(flat, np.float64))
    for draws, truth in ((values[:, None], np.array([value])), (gradients, np.asarray(exact))):
        draws = np.asarray(draws, np.float64)
        error, standard = np.abs(draws.mean(axis=0) - truth), draws.std(axis=0) / len(draws) ** 0.5
        assert (error < 5 * standard + 2e-5).all(), (error / (standard + 1e-9)).max()


@pytest.mark.slow
def test_a_product_of_experts_is_normalized():
    """p(x) of one word each, by quadrature with the prior's log ratio normal, is the estimate."""
    model = TopicModel.create(4, num_topics=2, product=True, alpha=0.8, hidden=(), key=KEY)
    words = np.eye(4, dtype=np.float32)
    log_theta, step = line(40.0, 401)
    scale = math.sqrt(2 / 0.8 * (1 - 1 / 2))
    prior = dist.Normal(0, scale).log_prob(log_theta[:, 0] - log_theta[:, 1])
    centered = jnp.exp(log_theta) @ model.words.weights - model.words.normalization.mean[None]
    spread = jnp.sqrt(model.words.normalization.variance + 1e-5)
    logits = centered / spread[None] + model.words.normalization.bias[None]
    exact = np.log(jnp.exp(prior) @ jax.nn.softmax(logits) * step)
    assert abs(np.exp(exact).sum() - 1) < 1e-4
    estimate = tt.log_likelihood(model, words, num_samples=20_000, key=KEY)
    assert (np.abs(estimate.value - exact) < 5 * estimate.standard_error + 1e-5).all()


def test_names_of_topics_and_words_do_not_matter():
    model = TopicModel.from_topics(TOPICS, alpha=0.4)
    z, topic, word = jnp.log(jnp.array([0.5, 0.2, 0.3])), [2, 0, 1], [3, 1, 0, 2]
    renamed = TopicModel.from_topics(TOPICS[topic][:, word], alpha=0.4)
    for x in jnp.asarray(DOCUMENTS[1:2]):
        before, after = model.log_joint(x)(z), renamed.log_joint(x[jnp.array(word)])
        np.testing.assert_allclose(after(z[jnp.array(topic)]), before, rtol=1e-6)
        ours, theirs = model.proportions(x), renamed.proportions(x[jnp.array(word)])
        np.testing.assert_allclose(theirs, ours[jnp.array(topic)], rtol=1e-4)


def test_coordinate_ascent_is_at_its_fixed_point():
    model, x = TopicModel.from_topics(TOPICS, alpha=0.4), DOCUMENTS[1]
    gamma = np.asarray(model.words.guess(jnp.asarray(x), alpha=0.4, num_steps=500))
    share = np.exp(np.asarray(jax.scipy.special.digamma(gamma)))[:, None] * TOPICS
    share /= share.sum(axis=0)
    np.testing.assert_allclose(gamma, 0.4 + share @ x, atol=5e-3)


def test_evaluation_of_a_document_depends_on_no_other():
    model = two_topics("logistic-normal", product=True)
    xs = jnp.asarray(DOCUMENTS)
    objective = tt.Objective(tt.bounds.ELBO(), num_samples=2)
    bound = quick_jit(lambda model, xs: objective.batch(model, xs, key=KEY))
    in_training = quick_jit(lambda xs: model.in_training(xs, key=KEY))
    after = quick_jit(lambda xs: model.after_step(xs, key=KEY))(xs)
    seen, other = in_training(xs), in_training(xs[::-1] * 3)
    assert bound(after, xs)[0] == bound(after, xs.at[1:].set(2.0))[0]
    assert abs(bound(seen, xs)[0] - bound(other, xs)[0]) > 1e-3
    # Parameters of q are of mean 0, but for the bias, and variance 1 in the batch.
    outputs = jax.vmap(seen.inference.normalized)(xs)
    np.testing.assert_allclose(
        jnp.mean(outputs, axis=0), seen.inference.normalization.bias, atol=1e-4
    )
    np.testing.assert_allclose(jnp.var(outputs, axis=0), np.ones(4), rtol=1e-2)
    for part in ("words", "inference"):
        old, new, batch = (getattr(m, part).normalization for m in (model, after, seen))
        for name in ("mean", "variance"):
            expected = 0.98 * getattr(old, name) + 0.02 * getattr(batch, name)
            np.testing.assert_allclose(getattr(new, name), expected, rtol=1e-5)
            np.testing.assert_array_equal(new.bias, old.bias)


def test_a_batch_normalizes_the_words_logits():
    """By the moments of θ, as by those of the logits themselves."""
    words = two_topics("logistic-normal", product=True).words
    log_theta = LogDirichlet(jnp.ones((50, 2))).sample(KEY)
    batch = words.in_training(lambda: log_theta, key=KEY)
    logits = jax.vmap(lambda z: batch.normalization(jnp.exp(z) @ batch.weights))(log_theta)
    np.testing.assert_allclose(jnp.mean(logits, axis=0), words.normalization.bias, atol=1e-4)
    np.testing.assert_allclose(jnp.var(logits, axis=0), np.ones(4), rtol=1e-2)


def test_averages_are_not_trained_and_a_batchs_statistics_are_differentiated():
    held = BatchNorm.create((3,))
    slope = jax.grad(lambda norm: jnp.sum(norm(jnp.arange(3.0)) ** 2))
    of_held, of_batch = slope(held), slope(held.of_batch(jnp.ones(3), 2 * jnp.ones(3)))
    assert (of_held.mean == 0).all()
    assert (of_held.variance == 0).all()
    assert (of_batch.mean[0] != 0) & (of_batch.variance[0] != 0)


@pytest.mark.slow
def test_dropout_is_of_training_and_of_each_document():
    model = TopicModel.create(4, num_topics=2, product=True, hidden=(64,), key=KEY)
    zero, twice = jnp.zeros(4), jnp.asarray(DOCUMENTS[:2])
    assert model.inference.dropout is None
    seen = model.in_training(twice, key=KEY).inference
    masks = [np.asarray(seen._hidden(x)) == 0 for x in (*twice, zero)]
    assert any((a != b).any() for a, b in itertools.combinations(masks, 2))
    share = np.mean([(~mask).mean() for mask in masks])
    assert abs(share - 0.4) < 5 * math.sqrt(0.24 / 192)


@pytest.mark.slow
def test_topics_with_a_prior_pay_their_divergence():
    model = TopicModel.create(4, num_topics=3, eta=0.6, key=KEY).initialized_from(DOCUMENTS)
    words = model.words
    assert isinstance(words, DirichletTopics)
    concentration = jnp.exp(words.log_concentration)
    prior = dist.Dirichlet(jnp.full((3, 4), 0.6))
    expected = jnp.sum(kl(dist.Dirichlet(concentration), prior))
    np.testing.assert_allclose(words.kl, expected, rtol=1e-4)
    np.testing.assert_allclose(
        model.topics, concentration / concentration.sum(axis=1, keepdims=True), rtol=1e-5
    )
    keys = jax.random.split(KEY, 4096)
    draws = jax.vmap(lambda key: model.in_training(jnp.asarray(DOCUMENTS), key=key).topics)
    seen = quick_jit(draws)(keys)
    error = np.asarray(jnp.std(seen, axis=0)) / math.sqrt(4096)
    assert (np.abs(jnp.mean(seen, axis=0) - model.topics) < 5 * error).all()
    x, z = jnp.asarray(DOCUMENTS[0]), jnp.log(jnp.array([0.2, 0.5, 0.3]))

    @quick_jit
    def of_drawn(z):
        drawn = model.in_training(jnp.asarray(DOCUMENTS), key=KEY)
        likelihood = x @ jnp.log(jnp.exp(z) @ drawn.topics)
        return drawn.log_joint(x)(z), likelihood + model.prior.log_prob(z)

    ours, without = of_drawn(z)
    np.testing.assert_allclose(ours, without - expected / 5, rtol=1e-4)


@pytest.mark.slow
def test_perplexity_where_all_topics_are_one():
    """Then p(x) is known, and so are the errors."""
    topics = np.tile(TOPICS[:1], (3, 1))
    model = TopicModel.from_topics(topics, alpha=0.5)
    log_p, lengths = DOCUMENTS @ np.log(TOPICS[0]), DOCUMENTS.sum(axis=1)
    rate = log_p.sum() / lengths.sum()
    got = perplexity(model, DOCUMENTS, num_samples=4000, key=KEY)
    assert abs(got.value - math.exp(-rate)) < 5 * got.monte_carlo_error + 1e-4
    residual = log_p - rate * lengths
    spread = math.sqrt(5 / 4 * np.sum(residual**2)) / lengths.sum()
    np.testing.assert_allclose(got.standard_error, math.exp(-rate) * spread, rtol=0.02)


def test_completion_is_the_predictive_probability():
    """Of a document of one word twice: p(w, w) / p(w)."""
    model = TopicModel.from_topics(TOPICS, alpha=0.5)
    twice = 2 * np.eye(4, dtype=np.float32)
    exact = [
        log_evidence(x, TOPICS, 0.5) - log_evidence(x / 2, TOPICS, 0.5) for x in twice.astype(int)
    ]
    got = document_completion(model, twice, num_samples=20_000, key=KEY)
    assert (np.abs(got.log_probability - exact) < 0.05).all()
    assert abs(np.log(got.value) + np.mean(exact)) < 5 * got.monte_carlo_error / got.value


@pytest.mark.slow
def test_sampled_documents_have_the_length_and_the_words_of_their_topics():
    model = dataclasses.replace(TopicModel.from_topics(TOPICS, alpha=0.5), length=7)
    xs = np.asarray(model.sample(KEY, 2000))
    assert (xs.sum(axis=1) == 7).all()
    error = xs.std(axis=0) / math.sqrt(len(xs))
    assert (np.abs(xs.mean(axis=0) - 7 * TOPICS.mean(axis=0)) < 5 * error).all()


def test_topics_start_from_documents_alike():
    random = np.random.default_rng(0)
    groups = np.repeat(np.eye(3), 4, axis=1) * 0.9 / 4 + 0.1 / 12
    documents = np.concatenate([random.multinomial(30, p, size=40) for p in groups])
    model = TopicModel.create(12, num_topics=3, key=KEY)
    topics = np.asarray(model.initialized_from(documents).topics)
    assert sorted(np.argmax(topics @ groups.T, axis=1)) == [0, 1, 2]
    np.testing.assert_array_equal(model.initialized_from(documents).topics, topics)
    assert model.initialized_from(documents).length == 30


def test_training_is_the_same_under_a_seed_and_moves_the_averages():
    xs = np.random.default_rng(1).poisson(1.0, size=(40, 6)).astype(np.float32) + 1
    model = TopicModel.create(6, num_topics=2, product=True, hidden=(3,), key=KEY).initialized_from(
        xs
    )

    optimizer = optax.adam(0.01)

    def trained():
        return tt.fit(
            model, xs, tt.Objective(tt.bounds.ELBO(), num_samples=1),
            optimizer=optimizer, num_epochs=2, batch_size=20, key=KEY, show_progress=False,
        ).model  # fmt: skip

    one, two = trained(), trained()
    jax.tree.map(np.testing.assert_array_equal, *(eqx.filter(m, eqx.is_array) for m in (one, two)))
    assert (one.words.normalization.variance != 1).all()
    assert (one.inference.normalization.mean != 0).all()


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (DOCUMENTS * [[1], [0], [1], [1], [0]], r"2 of 5 documents have no words .*rows 1, 4"),
        (DOCUMENTS - 1, r"got -1 in document 0, word 2"),
        (DOCUMENTS / 2, r"got 0.5 in document 0, word 1"),
        (DOCUMENTS * np.nan, r"got nan in document 0, word 0"),
        (DOCUMENTS[:, :3], r"got counts of 3 words, the model has 4"),
        (DOCUMENTS * [1, 0, 0, 0] + [1, 0, 0, 0], r"has 1 of the vocabulary's 4"),
        (DOCUMENTS[0], r"a row a document"),
        (np.array([["a", "b", "c", "d"]]), r"a row a document"),
        ([[1, 2, 3, 4], [1, 2]], r"rows of different lengths"),
        (sparse.csr_array(DOCUMENTS - 1), r"got -1 in document 0, word 2"),
    ],
)
def test_documents_that_are_none(documents, message):
    with pytest.raises(InputError, match=message):
        TopicModel.create(4, num_topics=2, key=KEY).initialized_from(documents)


def test_what_can_not_be():
    model = TopicModel.from_topics(TOPICS, alpha=0.5)
    with pytest.raises(InputError, match=r"document of shape \(3,\), the model has 4 words"):
        model.log_joint(jnp.ones(3))
    with pytest.raises(InputError, match=r"fewer than 2 words .*rows 3"):
        document_completion(model, DOCUMENTS, key=KEY)
    with pytest.raises(InputError, match="no words"):
        perplexity(model, 0 * DOCUMENTS, key=KEY)
    with pytest.raises(InputError, match="got -1 in document 0"):
        tt.log_likelihood(model, DOCUMENTS - 1, key=KEY)
    with pytest.raises(InputError, match=r"no words .*rows 0"):
        tt.log_likelihood(model, 0 * DOCUMENTS, key=KEY)
    empty = np.array([[1, 2, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(InputError, match=r"no words .*rows 1"):
        tt.fit(
            model, empty, tt.Objective(), optimizer=optax.sgd(0.1), num_epochs=1, batch_size=2,
            key=KEY,
        )  # fmt: skip
    with pytest.raises(InputError, match="alpha=inf"):
        TopicModel.from_topics(TOPICS, alpha=math.inf)
    started, same = (
        model.initialized_from(form(DOCUMENTS)) for form in (np.asarray, sparse.csr_array)
    )
    np.testing.assert_array_equal(started.topics, same.topics)
    with pytest.raises(InputError, match="add up to one"):
        TopicModel.from_topics(TOPICS * 2, alpha=0.5)
    wrong = [
        ({"num_topics": 1}, "num_topics=1"),
        ({"posterior": "dirichlett"}, "did you mean 'dirichlet'"),
        ({"alpha": 0.0}, "above zero, got alpha=0"),
        ({"alpha": math.inf}, "finite and above zero, got alpha=inf"),
        ({"eta": -1.0}, "eta=-1"),
        ({"product": True, "posterior": "coordinate-ascent"}, "no coordinate ascent"),
        ({"product": True, "eta": 0.1}, "no eta"),
    ]
    for options, message in wrong:
        with pytest.raises(InputError, match=message):
            TopicModel.create(4, **{"num_topics": 3, "key": KEY, **options})
    with pytest.raises(InputError, match="product of experts"):
        TopicModel.create(4, num_topics=3, product=True, key=KEY).refined()
    assert set(TOPIC_POSTERIORS) == {"dirichlet", "logistic-normal", "coordinate-ascent"}
    assert isinstance(model.words, MixtureOfTopics)
