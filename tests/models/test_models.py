import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpyro.distributions import MultivariateNormal
from sklearn.decomposition import PCA

from tighter import Objective
from tighter._errors import InputError
from tighter.bounds import ELBO, IWAE, Renyi
from tighter.models import (
    ACTIVATIONS,
    MLP,
    OBSERVATIONS,
    VAE,
    Bernoulli,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    Gaussian,
    LearnedGaussian,
    LinearGaussian,
    ProbabilisticPCA,
    Support,
)

# Compiling is what takes the time here: the machine code need not be the fastest.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(5)
normal = scipy.stats.multivariate_normal


# Linear and Gaussian


def numbers_of_a_model():
    """Nothing at its default: three features, two latents."""
    rng = np.random.default_rng(0)
    return {
        "prior_mean": np.array([0.4, -0.9]),
        "loading": rng.normal(size=(3, 2)),
        "offset": rng.normal(size=3),
        "log_scale": np.array(-0.35),
        "encoder_weight": 0.3 * rng.normal(size=(2, 3)),
        "encoder_bias": rng.normal(size=2),
        "encoder_log_scale": np.array([-0.2, -0.7]),
    }


def linear_gaussian(**changes):
    """In 64 bits."""
    with jax.enable_x64(True):
        return LinearGaussian(**jax.tree.map(jnp.asarray, numbers_of_a_model() | changes))


def conditioned(numbers, x):
    """p(x) and p(z|x) from the joint covariance of z and x, as textbooks condition Gaussians."""
    m, w, c = numbers["prior_mean"], numbers["loading"], numbers["offset"]
    covariance = w @ w.T + math.exp(2 * numbers["log_scale"]) * np.eye(len(c))
    gain = np.linalg.solve(covariance, w).T
    mean = m + gain @ (x - w @ m - c)
    return normal(w @ m + c, covariance), normal(mean, np.eye(len(m)) - gain @ w)


X = np.array([0.7, -1.4, 2.2])
ZS = np.random.default_rng(1).normal(0, 4, size=(5, 2))


@functools.cache
def answers():
    """All that the model says of the example, in 64 bits."""

    @quick_jit
    def run(model, x, zs):
        exact = model.exact_posterior(x)

        def at(z):
            return {
                "prior": model.prior.log_prob(z),
                "likelihood": model.likelihood(z).log_prob(x),
                "joint": model.log_joint(x)(z),
                "posterior": model.posterior(x).log_prob(z),
                "exact posterior": exact.log_prob(z),
            }

        whole = {"evidence": model.log_evidence(x), "elbo": model.elbo(x)}
        return whole, (exact.mean, exact.covariance_matrix), jax.vmap(at)(zs)

    with jax.enable_x64(True):
        results = run(linear_gaussian(), jnp.asarray(X), jnp.asarray(ZS))
        return jax.tree.map(np.asarray, results)


def test_linear_gaussian_densities():
    numbers, (_, _, ours) = numbers_of_a_model(), answers()
    prior = normal(numbers["prior_mean"]).logpdf(ZS)
    means = ZS @ numbers["loading"].T + numbers["offset"]
    likelihood = normal(np.zeros(3), math.exp(-0.7) * np.eye(3)).logpdf(X - means)
    q_mean = numbers["encoder_weight"] @ X + numbers["encoder_bias"]
    posterior = normal(q_mean, np.diag(np.exp(2 * numbers["encoder_log_scale"]))).logpdf(ZS)
    np.testing.assert_allclose(ours["prior"], prior, rtol=1e-12)
    np.testing.assert_allclose(ours["likelihood"], likelihood, rtol=1e-12)
    np.testing.assert_allclose(ours["joint"], prior + likelihood, rtol=1e-12)
    np.testing.assert_allclose(ours["posterior"], posterior, rtol=1e-12)


def test_linear_gaussian_evidence_and_posterior():
    evidence, posterior = conditioned(numbers_of_a_model(), X)
    ours, (mean, covariance), _ = answers()
    np.testing.assert_allclose(ours["evidence"], evidence.logpdf(X), rtol=1e-12)
    np.testing.assert_allclose(mean, posterior.mean, rtol=1e-12)
    np.testing.assert_allclose(covariance, posterior.cov, rtol=1e-12)


def test_evidence_is_joint_over_posterior_at_any_latent():
    whole, _, ours = answers()
    evidence = np.full(5, whole["evidence"])
    np.testing.assert_allclose(ours["joint"] - ours["exact posterior"], evidence, rtol=1e-10)


def test_elbo_of_the_linear_gaussian_is_that_of_simulation():
    numbers, (ours, _, _), num = numbers_of_a_model(), answers(), 200_000
    evidence, posterior = conditioned(numbers, X)
    q_mean = numbers["encoder_weight"] @ X + numbers["encoder_bias"]
    q = normal(q_mean, np.diag(np.exp(2 * numbers["encoder_log_scale"])))
    zs = q.rvs(num, random_state=2)
    log_weights = evidence.logpdf(X) + posterior.logpdf(zs) - q.logpdf(zs)
    assert abs(ours["elbo"] - log_weights.mean()) < 5 * log_weights.std() / math.sqrt(num)
    assert ours["elbo"] < ours["evidence"]


def with_exact_encoder():
    """Of loadings at right angles, so that a diagonal posterior can be the exact one."""
    numbers = numbers_of_a_model()
    w = np.array([[1.2, 0.5], [0.4, -1.5], [-0.9, 0.0]])
    w[:, 1] -= w[:, 0] * (w[:, 0] @ w[:, 1]) / (w[:, 0] @ w[:, 0])
    variance = math.exp(2 * numbers["log_scale"])
    covariance = np.linalg.inv(np.eye(2) + w.T @ w / variance)
    weight = covariance @ w.T / variance
    return linear_gaussian(
        loading=w,
        encoder_weight=weight,
        encoder_bias=covariance @ numbers["prior_mean"] - weight @ numbers["offset"],
        encoder_log_scale=0.5 * np.log(np.diag(covariance)),
    )


def test_elbo_is_the_evidence_where_the_posterior_is_exact():
    model = with_exact_encoder()

    @quick_jit
    def both(model):
        x = jnp.asarray(X)
        elbo = jax.value_and_grad(lambda model: model.elbo(x))(model)
        return elbo, jax.value_and_grad(lambda model: model.log_evidence(x))(model)

    with jax.enable_x64(True):
        (elbo, gradient), (evidence, of_evidence) = jax.tree.map(np.asarray, both(model))
    np.testing.assert_allclose(elbo, evidence, rtol=1e-12)
    for name in ("encoder_weight", "encoder_bias", "encoder_log_scale"):
        np.testing.assert_allclose(getattr(gradient, name), 0, atol=1e-10)
    for name in ("prior_mean", "loading", "offset", "log_scale"):
        ours, theirs = getattr(gradient, name), getattr(of_evidence, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_random_linear_gaussian_and_its_samples():
    num = 40_000

    @quick_jit
    def draw(key):
        model = LinearGaussian.create(4, 2, key=KEY)
        x = jnp.ones(4)
        return model, model.sample(key, num), model.elbo(x), model.log_evidence(x)

    model, draws, elbo, log_evidence = jax.tree.map(np.asarray, draw(jax.random.key(1)))
    assert model.loading.shape == (4, 2)
    assert model.encoder_weight.shape == (2, 4)
    assert elbo < log_evidence
    numbers = {name: getattr(model, name) for name in numbers_of_a_model()}
    evidence, _ = conditioned(numbers, np.ones(4))
    assert draws.shape == (num, 4)
    error = np.sqrt(np.diag(evidence.cov) / num)
    assert (np.abs(draws.mean(axis=0) - evidence.mean) < 5 * error).all()
    products = draws[:, :, None] * draws[:, None, :]
    error = products.std(axis=0) / math.sqrt(num)
    assert (np.abs(products.mean(axis=0) - evidence.cov) < 5 * error).all()


def test_reconstruction_is_the_mean_at_a_draw_from_the_posterior():
    model, x = linear_gaussian(), jnp.asarray(X, jnp.float32)
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model)
    z = model.posterior(x).rsample(KEY)
    np.testing.assert_allclose(
        model.reconstruct(x, KEY), model.loading @ z + model.offset, rtol=1e-5
    )


# Probabilistic PCA


def examples(num=60, features=5, seed=3):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(features, features)) * np.geomspace(3, 0.1, features)
    return rng.normal(size=(num, features)) @ mixing.T + rng.normal(size=features)


def pca_of(xs, num_components):
    """In 64 bits, its numbers as numpy's."""
    with jax.enable_x64(True):
        model = ProbabilisticPCA.from_data(jnp.asarray(xs, float), num_components)
    return jax.tree.map(np.asarray, model)


def evidence_of(model, xs):
    with jax.enable_x64(True):
        run = quick_jit(lambda model, xs: jax.vmap(model.log_evidence)(xs))
        return np.asarray(run(jax.tree.map(jnp.asarray, model), jnp.asarray(xs, float)))


@pytest.mark.parametrize("num_components", [1, 2, 4])
def test_pca_is_that_of_scikit_learn(num_components):
    """Its covariance divides by n − 1, where maximum likelihood divides by n."""
    xs = examples()
    model = pca_of(xs, num_components)
    theirs = PCA(num_components, svd_solver="full").fit(xs)
    covariance = model.loading @ model.loading.T + np.exp(2 * model.log_scale) * np.eye(5)
    rescaled = theirs.get_covariance() * (len(xs) - 1) / len(xs)
    np.testing.assert_allclose(covariance, rescaled, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.mean, theirs.mean_, rtol=1e-12)
    ours = evidence_of(model, xs)
    np.testing.assert_allclose(ours, normal(theirs.mean_, rescaled).logpdf(xs), rtol=1e-10)
    # At the maximum the quadratic form has the mean D.
    expected = -0.5 * (5 * math.log(2 * math.pi) + np.linalg.slogdet(rescaled)[1] + 5)
    np.testing.assert_allclose(ours.mean(), expected, rtol=1e-10)
    assert theirs.score(xs) < ours.mean()


def test_pca_is_a_maximum_of_the_likelihood():
    xs = examples()
    model = pca_of(xs, 2)

    @quick_jit
    def gradient(model):
        return jax.grad(lambda model: jnp.mean(jax.vmap(model.log_evidence)(xs)))(model)

    with jax.enable_x64(True):
        for leaf in jax.tree.leaves(gradient(jax.tree.map(jnp.asarray, model))):
            np.testing.assert_allclose(leaf, 0, atol=1e-10)


def test_pca_with_fewer_examples_than_features():
    xs = examples(num=6, features=20)
    model = pca_of(xs, 3)
    assert model.loading.shape == (20, 3)
    eigenvalues = np.linalg.eigvalsh(np.cov(xs.T, bias=True))[::-1]
    np.testing.assert_allclose(np.exp(2 * model.log_scale), eigenvalues[3:].mean(), rtol=1e-10)
    assert np.isfinite(evidence_of(model, xs)).all()


def test_bounds_over_pca_are_its_evidence():
    """Without noise: the posterior is exact."""
    xs = examples()[:4]
    model = pca_of(examples(), 2)
    expected = evidence_of(model, xs)

    @quick_jit
    def bounds(model, key):
        return [
            Objective(bound, num_samples=3).batch(model, xs, key=key)
            for bound in (ELBO(), IWAE(), Renyi(-1))
        ]

    with jax.enable_x64(True):
        for bound in bounds(jax.tree.map(jnp.asarray, model), KEY):
            np.testing.assert_allclose(bound, expected, rtol=1e-10)


def test_pca_in_float32():
    xs = jnp.asarray(examples(), jnp.float32)
    model = ProbabilisticPCA.from_data(xs, 2)
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {np.dtype("float32")}
    expected = evidence_of(pca_of(xs, 2), xs)
    np.testing.assert_allclose(jax.vmap(model.log_evidence)(xs), expected, rtol=1e-4)
    samples, mean = jax.eval_shape(
        lambda key: (model.sample(key, 3), model.reconstruct(xs[0], key)), KEY
    )
    assert samples.shape == (3, 5)
    assert mean.shape == (5,)


def test_evidence_in_float32_where_the_noise_is_small():
    """A thousandth of what z explains: the covariance itself would have lost it."""
    rng = np.random.default_rng(0)
    loading, scale = np.float32(3 * rng.normal(size=(20, 3))), np.float32(1e-3)
    x = np.float32(loading @ rng.normal(size=3) + scale * rng.normal(size=20))
    model = ProbabilisticPCA(jnp.asarray(loading), jnp.zeros(20), jnp.log(scale))
    noise = np.float64(scale) ** 2 * np.eye(20)
    covariance = np.float64(loading) @ loading.T + noise
    exact = normal(np.zeros(20), covariance).logpdf(x)
    np.testing.assert_allclose(model.log_evidence(jnp.asarray(x)), exact, atol=0.005)
    q = model.posterior(jnp.asarray(x))
    assert isinstance(q, MultivariateNormal)
    factor = np.asarray(q.scale_tril, np.float64)
    precision = np.eye(3) + np.float64(loading).T @ loading / np.float64(scale) ** 2
    np.testing.assert_allclose(factor.T @ precision @ factor, np.eye(3), atol=1e-4)


@pytest.mark.parametrize(("num", "num_components"), [(60, 0), (60, -1), (60, 5), (60, 6), (3, 2)])
def test_pca_with_nothing_to_fit(num, num_components):
    """Three examples span two directions, and leave no noise beside them."""
    words = rf"got shape \({num}, 5\) and {num_components} components"
    with pytest.raises(InputError, match=words):
        ProbabilisticPCA.from_data(jnp.asarray(examples(num), jnp.float32), num_components)


def test_pca_of_as_few_examples_as_it_takes():
    xs = jnp.asarray(examples(num=4), jnp.float32)
    assert np.isfinite(ProbabilisticPCA.from_data(xs, 2).log_evidence(xs[0]))


# Observations


FAMILIES = {
    **{
        name: make((3, 4))
        for name, make in OBSERVATIONS.items()
        if name in ("bernoulli", "gaussian", "learned-gaussian")
    },
    "gaussian of scale 0.3": Gaussian(0.3),
    "learned-gaussian of scale 2": LearnedGaussian(jnp.log(2.0)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fast_densities_are_those_of_the_distribution(dtype):
    rng = np.random.default_rng(4)
    output, x = rng.normal(0, 3, size=(3, 4)), rng.integers(0, 2, size=(3, 4))

    def fast(family, output, x):
        return family.log_prob(output, x)

    def plain(family, output, x):
        return family.distribution(output).log_prob(x)

    @quick_jit
    def both(families, output, x):
        return {
            name: [
                jax.value_and_grad(density, argnums=(0, 1))(family, output, x)
                for density in (fast, plain)
            ]
            for name, family in families.items()
        }

    with jax.enable_x64(dtype == "float64"):
        families = jax.tree.map(lambda leaf: leaf.astype(dtype), FAMILIES)
        results = both(families, jnp.asarray(output, dtype), jnp.asarray(x, dtype))
    rtol = 1e-5 if dtype == "float32" else 1e-10
    for ours, theirs in results.values():
        assert ours[0].shape == ()
        assert ours[0].dtype == dtype
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)


def test_densities_by_hand():
    output, x = np.array([0.3, -1.2]), np.array([1.0, 0.25])
    sigmoid = 1 / (1 + np.exp(-output))
    log_p = np.sum(x * np.log(sigmoid) + (1 - x) * np.log(1 - sigmoid))
    gaussian = scipy.stats.norm.logpdf(x, output, 0.3).sum()
    with jax.enable_x64(True):
        given = jnp.asarray(output), jnp.asarray(x)
        np.testing.assert_allclose(Bernoulli().log_prob(*given), log_p, rtol=1e-12)
        np.testing.assert_allclose(Gaussian(0.3).log_prob(*given), gaussian, rtol=1e-12)
        learned = LearnedGaussian(jnp.log(0.3))
        np.testing.assert_allclose(learned.log_prob(*given), gaussian, rtol=1e-12)


def test_bernoulli_with_large_logits():
    output = jnp.array([1e4, -1e4, 1e4, -1e4, 200.0])
    x = jnp.array([1.0, 0.0, 0.0, 1.0, 1.0])
    value, gradient = quick_jit(jax.value_and_grad(Bernoulli().log_prob))(output, x)
    np.testing.assert_allclose(value, -2e4, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0, 0, -1, 1, 0], atol=1e-7)
    assert Bernoulli().log_prob(output[:2], x[:2]) == 0


def test_bernoulli_at_logit_zero():
    x = jnp.array([0.0, 1.0, 0.25])
    gradient = quick_jit(jax.grad(Bernoulli().log_prob))(jnp.zeros(3), x)
    np.testing.assert_allclose(gradient, x - 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_start_has_the_mean_of_the_data(name):
    mean = np.array([[0.2, 0.5], [0.999, 0.001]])
    output = jnp.asarray(FAMILIES[name].initial_output(mean[None]))
    np.testing.assert_allclose(FAMILIES[name].distribution(output).mean, mean, rtol=1e-5)


def test_the_start_of_pixels_that_never_change():
    output = jnp.asarray(Bernoulli().initial_output(np.array([[0.0, 1.0]])))
    mean = Bernoulli().distribution(output).mean
    np.testing.assert_allclose(mean, [0.001, 0.999], rtol=1e-4)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_what_is_no_standard_deviation(scale):
    with pytest.raises(ValueError, match="standard deviation is above zero"):
        Gaussian(scale)


def test_supports():
    assert Bernoulli().support == Support(0.0, 1.0)
    assert Gaussian().support == LearnedGaussian().support == Support()


# Networks


def test_mlp_by_hand():

    @quick_jit
    def run(x):
        network = MLP((2, 3), (4,), (5, 1), activation="tanh", key=KEY)
        return network.layers, network(x)

    x = np.random.default_rng(5).normal(size=(2, 3)).astype(np.float32)
    (first, last), output = run(x)
    hidden = np.tanh(x.reshape(-1) @ np.asarray(first.weight) + np.asarray(first.bias))
    expected = hidden @ np.asarray(last.weight) + np.asarray(last.bias)
    assert output.shape == (5, 1)
    np.testing.assert_allclose(output[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_layers_start_as_glorot_says():
    layer = MLP((300,), (), (500,), key=KEY).layers[0]
    limit = math.sqrt(6 / 800)
    assert np.abs(layer.weight).max() <= limit
    # The variance of a uniform and the error of its estimate.
    variance, num = limit**2 / 3, 300 * 500
    assert abs(np.var(layer.weight) - variance) < 5 * math.sqrt(0.8 / num) * variance
    np.testing.assert_array_equal(layer.bias, 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    x = jnp.linspace(-2, 2, 5)
    expected = {
        "tanh": np.tanh,
        "relu": lambda x: np.maximum(x, 0),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "softplus": lambda x: np.log1p(np.exp(x)),
        "gelu": lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    }[activation](np.asarray(x, np.float64))
    np.testing.assert_allclose(ACTIVATIONS[activation](x), expected, rtol=1e-5, atol=1e-6)


def there_and_back(shape, key):
    """An image through both networks, and the gradient of something that all of it enters."""
    keys = jax.random.split(key, 3)
    networks = (
        ConvolutionalEncoder(shape, (3, 5), (2, 4), key=keys[0]),
        ConvolutionalDecoder((4,), (3, 5), shape, key=keys[1]),
    )

    def total(networks, x):
        encoder, decoder = networks
        code = encoder(x)
        image = decoder(code[0])
        return jnp.sum(code**2) + jnp.sum(image**2), (code, image)

    x = jax.random.normal(keys[2], shape)
    gradient, outputs = eqx.filter_grad(total, has_aux=True)(networks, x)
    return jax.tree.leaves(gradient), outputs


@pytest.mark.parametrize("shape", [(9, 7, 3), (28, 28), (8, 8), (8, 8, 1), (1, 3)])
def test_convolutions_fit_any_image(shape):
    _, (code, image) = jax.eval_shape(functools.partial(there_and_back, shape), KEY)
    assert code.shape == (2, 4)
    assert image.shape == shape


def test_every_parameter_of_the_convolutions_has_a_say():
    gradient, _ = quick_jit(functools.partial(there_and_back, (9, 7, 3)))(KEY)
    for leaf in gradient:
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)


def test_convolutions_keep_rows_columns_and_channels_apart():
    """One layer of the encoder against the sum that a convolution is."""

    @quick_jit
    def encode(x):
        encoder = ConvolutionalEncoder((4, 6, 2), (1,), (6,), activation="softplus", key=KEY)
        return encoder, encoder(x)

    x = np.random.default_rng(6).normal(size=(4, 6, 2))
    encoder, output = encode(jnp.asarray(x, jnp.float32))
    kernel = np.asarray(encoder.convolutions[0].weight, np.float64)[
        ..., 0
    ]  # (row, column, channel)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    image = np.array(
        [[np.sum(kernel * padded[2 * i :, 2 * j :][:3, :3]) for j in range(3)] for i in range(2)]
    )
    image = np.log1p(np.exp(image + float(encoder.convolutions[0].bias.squeeze())))
    expected = image.reshape(-1) @ np.asarray(encoder.last.weight, np.float64)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_the_decoder_adds_its_bias_last():
    @quick_jit
    def difference(bias, z):
        decoder = ConvolutionalDecoder((2,), (3,), (5, 4, 2), key=KEY)
        return eqx.tree_at(lambda d: d.bias, decoder, bias)(z) - decoder(z)

    bias = np.random.default_rng(9).normal(size=(5, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(difference(bias, np.array([0.3, -0.4])), bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(784,), ()])
@pytest.mark.parametrize("make", [ConvolutionalEncoder, ConvolutionalDecoder])
def test_what_is_no_image(make, shape):
    shapes = (shape, (2, 4)) if make is ConvolutionalEncoder else ((4,), shape)
    with pytest.raises(ValueError, match=r"images.*take the MLP"):
        make(shapes[0], (4,), shapes[1], key=KEY)


# Variational autoencoders


@pytest.mark.parametrize(
    ("network", "family"),
    [
        ("mlp", "bernoulli"),
        ("convolutional", "learned-gaussian of scale 2"),
        ("residual", "gaussian"),
    ],
)
def test_log_joint_is_prior_and_likelihood(network, family):
    shape = (6, 5)
    z = np.array([0.5, -1.0, 2.0], np.float32)

    def create(key):
        observation = FAMILIES[family]
        return VAE.create(
            shape, num_latent=3, hidden=(4,), network=network, observation=observation, key=key
        )

    @quick_jit
    def parts(key, z):
        model, x = create(key), jax.random.bernoulli(key, 0.3, shape).astype(jnp.float32)
        q = model.posterior(x)
        densities = (model.prior.log_prob(z), model.likelihood(z).log_prob(x), q.log_prob(z))
        return model.log_joint(x)(z), densities, (model.encoder(x), q.mean, q.variance)

    joint, (prior, likelihood, log_q), (code, mean, variance) = parts(KEY, jnp.asarray(z))
    np.testing.assert_allclose(joint, prior + likelihood, rtol=1e-5)
    np.testing.assert_allclose(prior, scipy.stats.norm.logpdf(z).sum(), rtol=1e-5)
    scale = np.exp(code[1])
    np.testing.assert_allclose(log_q, scipy.stats.norm.logpdf(z, code[0], scale).sum(), rtol=1e-5)
    np.testing.assert_allclose(mean, code[0], rtol=1e-6)
    np.testing.assert_allclose(variance, scale**2, rtol=1e-5)
    samples, mean = jax.eval_shape(
        lambda key: (create(key).sample(key, 2), create(key).reconstruct(jnp.ones(shape), key)), KEY
    )
    assert samples.shape == (2, *shape)
    assert mean.shape == shape


def test_fully_connected_widths_are_mirrored():
    def create():
        return VAE.create((3, 4), num_latent=2, hidden=(7, 5), key=KEY)

    model = jax.eval_shape(create)
    assert [layer.weight.shape for layer in model.encoder.layers] == [(12, 7), (7, 5), (5, 4)]
    assert [layer.weight.shape for layer in model.decoder.layers] == [(2, 5), (5, 7), (7, 12)]
    assert isinstance(model.observation, Bernoulli)


def test_convolutional_widths_are_mirrored():
    """On the way up as on the way down: 3 to 4 to 6 channels, and 9 to 5 to 3 rows."""

    def create():
        return VAE.create((9, 7, 3), hidden=(4, 6), network="convolutional", key=KEY)

    model = jax.eval_shape(create)
    encoder, decoder = (
        [sorted(layer.weight.shape[2:]) for layer in network.convolutions]
        for network in (model.encoder, model.decoder)
    )
    assert encoder == [[3, 4], [4, 6]]
    assert decoder == encoder[::-1]
    assert model.encoder.last.weight.shape == (6 * 3 * 2, 2 * 20)
    assert model.decoder.first.weight.shape == (20, 6 * 3 * 2)


def test_the_mean_of_the_data_centers_an_mlp():
    """The encoder sees x less its mean, the decoder starts at the mean."""
    rng = np.random.default_rng(7)
    mean, x = rng.uniform(0.1, 0.9, size=(3, 2)), rng.normal(size=(3, 2))

    plain = VAE.create((3, 2), num_latent=2, hidden=(4,), key=KEY)
    centered = plain.initialized_from(mean[None])

    @quick_jit
    def both(plain, centered, mean, x):
        z = jnp.array([0.3, -0.2])
        return (
            (centered.encoder(x), plain.encoder(x - mean)),
            (centered.decoder(z), plain.decoder(z)),
            (centered.likelihood(0 * z).mean, plain.likelihood(0 * z).mean),
        )

    given = jnp.asarray(mean, jnp.float32), jnp.asarray(x, jnp.float32)
    encoders, decoders, starts = both(plain, centered, *given)
    np.testing.assert_allclose(*encoders, rtol=1e-4, atol=1e-5)
    logits = np.log(mean / (1 - mean))
    np.testing.assert_allclose(decoders[0], decoders[1] + logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(starts[0], mean, rtol=1e-5)
    np.testing.assert_allclose(starts[1], 0.5, rtol=1e-5)


def test_the_mean_of_the_data_in_convolutions():
    mean = np.random.default_rng(8).normal(size=(5, 4, 2)).astype(np.float32)
    model = VAE.create(
        (5, 4, 2),
        num_latent=2,
        hidden=(3,),
        network="convolutional",
        observation="gaussian",
        key=KEY,
    )
    decoded = quick_jit(lambda model: model.decoder(jnp.array([0.2, -0.1])))
    plain, centered = decoded(model), decoded(model.initialized_from(mean[None]))
    np.testing.assert_allclose(centered, plain + mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": "convolution"}, InputError, "did you mean 'convolutional'"),
        ({"activation": "tan"}, InputError, "unknown activation 'tan'; did you mean 'tanh'"),
        ({"num_latent": 0}, ValueError, "num_latent=0"),
        ({"hidden": (10, 0)}, ValueError, r"hidden=\(10, 0\)"),
        ({"hidden": (-1,)}, ValueError, r"hidden=\(-1,\)"),
        ({"shape": (12,), "network": "convolutional"}, ValueError, "take the MLP"),
        ({"posterior": "student"}, InputError, "unknown posterior 'student'"),
        ({"prior": "normal"}, InputError, "unknown prior 'normal'"),
        ({"observation": "bernouli"}, InputError, "did you mean 'bernoulli'"),
    ],
)
def test_what_is_no_autoencoder(arguments, error, words):
    arguments = {"shape": (4, 3), "hidden": (5,), **arguments}
    with pytest.raises(error, match=words):
        VAE.create(**arguments, key=KEY)


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_a_start_from_examples_of_another_shape(network):
    model = VAE.create((4, 3), num_latent=2, hidden=(5,), network=network, key=KEY)
    with pytest.raises(InputError, match=r"examples of shape \(12,\).* output of shape \(4, 3\)"):
        model.initialized_from(np.zeros((7, 12)))
