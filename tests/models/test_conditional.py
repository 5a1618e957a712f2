import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import tighter as tt
from tighter._errors import InputError
from tighter.bounds import ELBO, IWAE
from tighter.diagnostics import active_units
from tighter.gradients import DoublyReparameterized, StickingTheLanding
from tighter.models.conditional import ConditionalVAE, halves, one_hot
from tighter.models.observations import Bernoulli, Gaussian, Missing

KEY = jax.random.key(12)
# z | c ~ N(w c + b, s²); x | z, c ~ N(A z + E c + d, .6² I), with two numbers in c and in x.
W, B, S = np.array([0.8, -0.5]), 0.3, 0.7
A, E, D, SCALE = (
    np.array([1.2, -0.4]),
    np.array([[0.5, -1.0], [0.2, 0.6]]),
    np.array([0.1, -0.2]),
    0.6,
)
X, C = np.array([0.9, -1.1]), np.array([-0.7, 1.4])
EXAMPLE = {"x": X, "context": C}


def linear(mlp, weight, bias):
    """A linear network; weight (in, out)."""
    arrays = jnp.asarray(weight), jnp.asarray(bias)
    return eqx.tree_at(lambda m: (m.layers[0].weight, m.layers[0].bias), mlp, arrays)


def linear_model(*, conditional_prior=True, beside=0.0):
    """The model above with its exact posterior, or one beside it; else the prior is N(0, 1)."""
    w, b, s = (W, B, S) if conditional_prior else (np.zeros(2), 0.0, 1.0)
    model = ConditionalVAE.create(
        (2,),
        (2,),
        num_latent=1,
        hidden=(),
        observation=Gaussian(SCALE),
        conditional_prior=conditional_prior,
        key=KEY,
    )
    precision = 1 / s**2 + A @ A / SCALE**2
    slope = np.concatenate([A / SCALE**2, w / s**2 - A @ E / SCALE**2]) / precision + beside
    offset = (b / s**2 - A @ D / SCALE**2) / precision
    zeros = np.zeros((2, 1))
    encoder = np.stack([slope, np.zeros(4)], axis=1), np.array([[offset, -0.5 * np.log(precision)]])
    networks = [
        linear(model.encoder, encoder[0], encoder[1][0]),
        linear(model.decoder, np.concatenate([A[None], E.T]), D),
    ]
    model = eqx.tree_at(lambda m: (m.encoder, m.decoder), model, networks)
    if not conditional_prior:
        return model
    network = linear(
        model.of_z.network, np.concatenate([w[:, None], zeros], axis=1), [b, np.log(s)]
    )
    return eqx.tree_at(lambda m: m.of_z.network, model, network)


def law(context, *, conditional_prior=True):
    """p(x | c)."""
    w, b, s = (W, B, S) if conditional_prior else (np.zeros(2), 0.0, 1.0)
    covariance = s**2 * np.outer(A, A) + SCALE**2 * np.eye(2)
    return scipy.stats.multivariate_normal(A * (w @ context + b) + E @ context + D, covariance)


def small(**options):
    options = {"num_latent": 2, "hidden": (4,)} | options
    return ConditionalVAE.create((2, 3), (2, 2), **options, key=KEY)


def small_examples(num=60):
    bits = np.asarray(jax.random.bernoulli(KEY, 0.5, (num, 2, 5)), np.float32)
    return {"x": bits[:, :, :3], "context": bits[:, :, 3:]}


# Exact answers


@pytest.mark.parametrize("conditional_prior", [True, False])
def test_at_the_exact_posterior_the_bound_is_the_evidence_and_has_no_noise(conditional_prior):
    with jax.enable_x64(True):
        model = linear_model(conditional_prior=conditional_prior)
        examples = {"x": jnp.asarray(np.stack([X, C])), "context": jnp.asarray(np.stack([C, X]))}
        truth = [law(c, conditional_prior=conditional_prior).logpdf(x) for x, c in ((X, C), (C, X))]
        for objective in (
            tt.Objective(ELBO(), StickingTheLanding()),
            tt.Objective(IWAE(), DoublyReparameterized(), num_samples=3),
        ):

            def bounds(encoder, objective=objective):
                changed = eqx.tree_at(lambda m: m.encoder, model, encoder)
                values = objective.batch(changed, examples, key=KEY)
                return jnp.sum(values), values

            slope, values = jax.jit(jax.grad(bounds, has_aux=True))(model.encoder)
            np.testing.assert_allclose(values, truth, rtol=1e-12)
            assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slope)) < 1e-12


def test_the_joint_is_prior_and_likelihood():
    with jax.enable_x64(True):
        model, z = linear_model(), jnp.asarray([0.4])
        of_z = scipy.stats.norm(W @ C + B, S).logpdf(0.4)
        of_x = scipy.stats.norm(A * 0.4 + E @ C + D, SCALE).logpdf(X).sum()
        np.testing.assert_allclose(model.prior_given(jnp.asarray(C)).log_prob(z), of_z, rtol=1e-12)
        np.testing.assert_allclose(model.log_prior(EXAMPLE)(z), of_z, rtol=1e-12)
        np.testing.assert_allclose(model.log_likelihood(EXAMPLE)(z), of_x, rtol=1e-12)
        likelihood = model.likelihood(z, jnp.asarray(C))
        np.testing.assert_allclose(likelihood.log_prob(jnp.asarray(X)), of_x, rtol=1e-12)
        np.testing.assert_allclose(model.log_joint(EXAMPLE)(z), of_z + of_x, rtol=1e-12)


def test_samples_are_of_the_context():
    xs = linear_model().sample(KEY, 3000, context=jnp.asarray(C))
    truth = law(C)
    white = np.linalg.solve(np.linalg.cholesky(truth.cov), (np.asarray(xs) - truth.mean).T)
    assert all(scipy.stats.kstest(row, "norm").pvalue > 1e-6 for row in white)
    assert abs(scipy.stats.pearsonr(*white).statistic) < 5 / np.sqrt(3000)


# Training


def test_it_starts_from_the_data():
    examples = small_examples()
    model = small(conditional_prior=True).initialized_from(examples)
    mean = jax.nn.sigmoid(model.decoder.layers[-1].bias).reshape(2, 3)
    np.testing.assert_allclose(mean, examples["x"].mean(axis=0), atol=1e-6)
    both = np.concatenate([examples[part].reshape(60, -1) for part in ("x", "context")], axis=1)
    first = model.encoder.layers[0]
    hidden = both @ np.asarray(first.weight) + np.asarray(first.bias)
    np.testing.assert_allclose(hidden.mean(axis=0), 0, atol=1e-6)


@pytest.mark.slow
def test_it_learns_what_the_context_tells():
    """On data of the linear model: within .02 nat of the exact log p(x|c)."""
    rng = np.random.default_rng(0)
    contexts = rng.normal(size=(2000, 2))
    xs = np.stack([law(c).rvs(random_state=rng) for c in contexts])
    examples = {"x": xs.astype(np.float32), "context": contexts.astype(np.float32)}
    model = ConditionalVAE.create(
        (2,), (2,), num_latent=1, hidden=(), observation=Gaussian(SCALE), key=KEY
    )
    result = tt.fit(
        model.initialized_from(examples),
        examples,
        tt.Objective(ELBO(), StickingTheLanding()),
        optimizer=optax.adam(optax.cosine_decay_schedule(2e-2, 1000)),
        num_epochs=100,
        batch_size=200,
        key=KEY,
        show_progress=False,
    )
    fresh = rng.normal(size=(2000, 2))
    drawn = np.stack([law(c).rvs(random_state=rng) for c in fresh])
    test = {"x": drawn.astype(np.float32), "context": fresh.astype(np.float32)}
    estimate = tt.log_likelihood(result.model, test, num_samples=30, key=KEY)
    truth = np.array([law(c).logpdf(x) for x, c in zip(drawn, fresh, strict=True)])
    assert abs(np.mean(estimate.value - truth)) < 0.02


# Priors, contexts, halves


def test_a_conditional_prior_is_no_prior():
    model = small(conditional_prior=True)
    with pytest.raises(InputError, match=r"prior_given\(context\)"):
        _ = model.prior
    assert not hasattr(model, "prior")
    assert small().prior.event_shape == (2,)
    result = active_units(model, small_examples())
    assert result.kl is None
    assert result.counts == {"z": result.count}


@pytest.mark.parametrize("prior", ["mixture:3", "vampprior:3"])
def test_priors_that_start_from_examples(prior):
    """A pseudo-input is an x and its context."""
    examples = small_examples()
    model = small(prior=prior).initialized_from(examples)
    example = jax.tree.map(lambda part: jnp.asarray(part[0]), examples)
    z = jnp.asarray([0.3, -0.4])
    given = model.prior_given(example["context"]).log_prob(z)
    np.testing.assert_allclose(model.log_prior(example)(z), given, rtol=1e-6)
    if prior == "vampprior:3":
        pseudo = model.of_z.pseudo_inputs
        parts = {"x": pseudo[:, :6].reshape(3, 2, 3), "context": pseudo[:, 6:].reshape(3, 2, 2)}
        terms = jax.vmap(lambda pair: model.posterior(pair).log_prob(z))(parts)
        mixture = jax.nn.logsumexp(terms) - np.log(3)
        np.testing.assert_allclose(given, mixture, rtol=1e-5)


def test_one_hot():
    np.testing.assert_array_equal(one_hot([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(one_hot(np.array([1.0]), 2), [[0, 1]])
    model = ConditionalVAE.create((4,), (3,), num_latent=2, hidden=(4,), key=KEY)
    assert model.sample(KEY, 5, context=one_hot([1], 3)[0]).shape == (5, 4)
    with pytest.raises(InputError, match=r"from 0 to 9, got 10 in row 1 \(2 of 3 are wrong\)"):
        one_hot([9, 10, -1], 10)
    with pytest.raises(InputError, match="got nan in row 0"):
        one_hot([np.nan], 10)
    with pytest.raises(InputError, match="one an example"):
        one_hot(np.eye(2), 2)


def test_halves():
    images = np.arange(24).reshape(2, 4, 3)
    parts = halves(images)
    np.testing.assert_array_equal(parts["context"], images[:, :2])
    np.testing.assert_array_equal(parts["x"], images[:, 2:])
    assert jax.jit(halves)(jnp.zeros((2, 5, 3, 1)))["x"].shape == (2, 3, 3, 1)
    with pytest.raises(InputError, match="reshape them"):
        halves(np.zeros((5, 784)))


@pytest.mark.slow
def test_structured_prediction_binarizes_and_halves_in_fit():
    images = np.asarray(jax.random.uniform(KEY, (40, 4, 3)))
    result = tt.fit(
        ConditionalVAE.create(
            (2, 3), (2, 3), num_latent=2, hidden=(4,), conditional_prior=True, key=KEY
        ),
        images,
        tt.Objective(IWAE(), DoublyReparameterized(), num_samples=2),
        optimizer=optax.adam(1e-2),
        num_epochs=2,
        batch_size=20,
        key=KEY,
        validation=images[:10],
        transform=lambda xs, *, key: halves((jax.random.uniform(key, xs.shape) < xs).astype(float)),
        show_progress=False,
    )
    example = jax.tree.map(lambda part: part[0], halves(jnp.asarray(images)))
    assert result.model.reconstruct(example, KEY).shape == (2, 3)


def test_missing_entries_of_x():
    model = small(observation=Missing(Bernoulli()))
    assert model.takes_missing
    assert not small().takes_missing
    examples = small_examples()
    examples["x"][:, 0, 0] = np.where(np.arange(60) < 30, np.nan, 1)
    started = model.initialized_from(examples)
    example = jax.tree.map(lambda part: jnp.asarray(part[0]), examples)
    z = started.posterior(example).rsample(KEY)
    logits = np.asarray(started.likelihood(z, example["context"]).base_dist.logits, float)
    terms = example["x"] * logits - np.logaddexp(0, logits)
    np.testing.assert_allclose(started.log_likelihood(example)(z), np.nansum(terms), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "tan"}, "did you mean 'tanh'"),
        ({"num_latent": 0}, "sizes are 1 or more"),
        ({"hidden": (3, 0)}, "sizes are 1 or more"),
        ({"prior": "standard", "conditional_prior": True}, "not both"),
        ({"posterior": "diagnal"}, "did you mean 'diagonal'"),
    ],
)
def test_bad_sizes_and_names(options, words):
    with pytest.raises(InputError, match=words):
        small(**options)


def test_bad_examples():
    model, examples = small(), small_examples(6)
    first = jax.tree.map(lambda part: jnp.asarray(part[0]), examples)
    with pytest.raises(InputError, match=r"got \['x'\]: give"):
        model.posterior({"x": first["x"]})
    with pytest.raises(InputError, match="got ndarray"):
        model.initialized_from(examples["x"])
    with pytest.raises(InputError, match=r"context of shape \(2, 2\), got \(4,\)"):
        model.posterior(first | {"context": jnp.zeros(4)})
    with pytest.raises(InputError, match=r"x of shape \(2, 3\), got \(3, 2\)"):
        model.log_joint(first | {"x": first["x"].T})
    for ask in (lambda: model.sample(KEY, 3), lambda: model.likelihood(jnp.zeros(2))):
        with pytest.raises(InputError, match="give context="):
            ask()
    with pytest.raises(InputError, match="got 6 and 5"):
        model.initialized_from(examples | {"context": examples["context"][:5]})
    holed = examples["context"].copy()
    holed[3, 0, 0] = np.nan
    with pytest.raises(InputError, match="not finite in 1 of 6 examples, row 3"):
        model.initialized_from(examples | {"context": holed})
    with pytest.raises(InputError, match="Bernoulli explains"):
        model.initialized_from(examples | {"x": examples["x"] + 1})
