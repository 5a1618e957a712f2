import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from tests.oracles.expected_bound import by_quadrature
from tests.oracles.thinning import every

import tighter as tt
from tighter._errors import InputError
from tighter._rows import rows_of_batch
from tighter.bounds import ELBO, IWAE
from tighter.diagnostics import active_units
from tighter.gradients import DoublyReparameterized, Reparameterized, StickingTheLanding
from tighter.models.hierarchical import LAYERED_ENCODERS, HierarchicalVAE
from tighter.models.observations import Bernoulli, Gaussian, Missing

KEY = jax.random.key(11)
POSTERIORS = list(LAYERED_ENCODERS)
SCALE = 0.7  # of x given z1

# z2 ~ N(0, 1), z1 ~ N(.8 z2 + .3, .6²), x ~ N(1.3 z1 − .4, .7²): every number of the model.
CHAIN = {"a": 0.8, "b": 0.3, "log_s": np.log(0.6), "c": 1.3, "d": -0.4}
X = 1.1


def exact(posterior, *, a, b, log_s, c, d):
    """The encoder's numbers that make the posterior exact, from Bayes' rule for Gaussians."""
    s = np.exp(log_s)
    if posterior == "bottom-up":
        precision = 1 / (a**2 + s**2) + c**2 / SCALE**2
        first = (c / SCALE**2, b / (a**2 + s**2) - c * d / SCALE**2, precision)
        second = (a / s**2, -a * b / s**2, 1 + a**2 / s**2)
    else:  # what x suggests of z1 is its likelihood; of z2, all that is known
        first = (c / SCALE**2, -c * d / SCALE**2, c**2 / SCALE**2)
        noise = c**2 * s**2 + SCALE**2
        second = (c * a / noise, -c * a * (d + c * b) / noise, 1 + (c * a) ** 2 / noise)
    return {
        name: np.array([slope / precision, offset / precision, -0.5 * np.log(precision)])
        for name, (slope, offset, precision) in (("q1", first), ("q2", second))
    }


def evidence(xs, *, a, b, log_s, c, d):
    variance = c**2 * (a**2 + np.exp(2 * log_s)) + SCALE**2
    return scipy.stats.norm(c * b + d, np.sqrt(variance)).logpdf(xs)


def linear(mlp, slope, offset, log_scale=None):
    """A linear network of one number with these coefficients."""
    weight = jnp.stack([slope] if log_scale is None else [slope, jnp.zeros_like(slope)])[None]
    bias = jnp.stack([offset] if log_scale is None else [offset, log_scale])
    return eqx.tree_at(lambda m: (m.layers[0].weight, m.layers[0].bias), mlp, (weight, bias))


def chain_model(posterior, numbers):
    """Two layers of one number each, from the numbers of the chain and of its posterior."""
    numbers = jax.tree.map(jnp.asarray, numbers)
    model = HierarchicalVAE.create(
        (1,),
        num_latent=(1, 1),
        hidden=((), ()),
        observation=Gaussian(SCALE),
        posterior=posterior,
        key=KEY,
    )
    field = "networks" if posterior == "bottom-up" else "heads"
    encoders = [
        linear(mlp, *numbers[name])
        for mlp, name in zip(getattr(model.encoder, field), ("q1", "q2"), strict=True)
    ]
    return eqx.tree_at(
        lambda m: (m.decoders, getattr(m.encoder, field)),
        model,
        (
            (
                linear(model.decoders[0], numbers["c"], numbers["d"]),
                linear(model.decoders[1], numbers["a"], numbers["b"], numbers["log_s"]),
            ),
            tuple(encoders),
        ),
    )


def exact_model(posterior):
    return chain_model(posterior, CHAIN | exact(posterior, **CHAIN))


def off_by_some(posterior):
    """The chain's numbers with a posterior beside the exact one."""
    near = jax.tree.map(
        lambda numbers: numbers + np.array([0.1, -0.2, 0.15]), exact(posterior, **CHAIN)
    )
    return CHAIN | near


def small(posterior, **options):
    """Networks with hidden layers, three pixels, two layers of two and two."""
    options = {"num_latent": (2, 2), "hidden": ((4,), (3,)), "posterior": posterior} | options
    return HierarchicalVAE.create((3,), **options, key=KEY)


def bits():
    """200 examples of three pixels, two of them at most as the first."""
    drawn = jax.random.bernoulli(KEY, jnp.full((200, 3), 0.6))
    return np.asarray(drawn & drawn[:, :1], np.float32)


# Exact answers


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_at_the_exact_posterior_the_bound_is_the_evidence_and_has_no_noise(posterior):
    with jax.enable_x64(True):
        model, xs = exact_model(posterior), jnp.asarray([[X], [-2.0]])
        truth = evidence(np.asarray(xs)[:, 0], **CHAIN)
        for bound, gradient in (
            (ELBO(), StickingTheLanding()),
            (IWAE(), DoublyReparameterized()),
        ):
            objective = tt.Objective(bound, gradient, num_samples=3)

            def bounds(encoder, objective=objective):
                changed = eqx.tree_at(lambda m: m.encoder, model, encoder)
                values = objective.batch(changed, xs, key=KEY)
                return jnp.sum(values), values

            slope_and_values = jax.jit(jax.grad(bounds, has_aux=True))
            slope, values = slope_and_values(model.encoder)
            np.testing.assert_allclose(values, truth, rtol=1e-12)
            assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slope)) < 1e-12


@pytest.mark.slow
def test_log_likelihood_is_that_of_the_chain():
    xs = np.linspace(-3, 3, 7)[:, None].astype(np.float32)
    model = chain_model("ladder", off_by_some("ladder"))
    estimate = tt.log_likelihood(model, xs, num_samples=4000, key=KEY)
    assert np.all(estimate.pareto_k < 0.7)
    error = estimate.value - evidence(xs[:, 0].astype(float), **CHAIN)
    assert np.all(np.abs(error) < 5 * estimate.standard_error)


def noisy_log_weight(posterior, numbers, noise):
    """log p(x, z) − log q(z|x) of one draw, written out for the chain."""

    def log_normal(value, mean, log_scale):
        squares = ((value - mean) * jnp.exp(-log_scale)) ** 2
        return -0.5 * squares - log_scale - 0.5 * jnp.log(2 * jnp.pi)

    slope, offset, log_scale = numbers["q1"]
    other_slope, other_offset, other_log_scale = numbers["q2"]
    if posterior == "bottom-up":
        of_z1 = slope * X + offset, log_scale
        z1 = of_z1[0] + jnp.exp(log_scale) * noise[0]
        of_z2 = other_slope * z1 + other_offset, other_log_scale
        z2 = of_z2[0] + jnp.exp(other_log_scale) * noise[1]
    else:
        of_z2 = other_slope * X + other_offset, other_log_scale
        z2 = of_z2[0] + jnp.exp(other_log_scale) * noise[1]
        prior_mean = numbers["a"] * z2 + numbers["b"]
        own, priors = jnp.exp(-2 * log_scale), jnp.exp(-2 * numbers["log_s"])
        mean = (own * (slope * X + offset) + priors * prior_mean) / (own + priors)
        of_z1 = mean, -0.5 * jnp.log(own + priors)
        z1 = mean + jnp.exp(of_z1[1]) * noise[0]
    joint = log_normal(z2, 0.0, 0.0)
    joint += log_normal(z1, numbers["a"] * z2 + numbers["b"], numbers["log_s"])
    joint += log_normal(X, numbers["c"] * z1 + numbers["d"], np.log(SCALE))
    return joint - log_normal(z1, *of_z1) - log_normal(z2, *of_z2)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradients_are_those_of_the_expected_bound(posterior):
    """Of every number, by quadrature: for the ladder three of them are in p and in q."""
    with jax.enable_x64(True):
        numbers = jax.tree.map(jnp.asarray, off_by_some(posterior))

        def expected(numbers):
            return by_quadrature(
                IWAE(),
                lambda noise: noisy_log_weight(posterior, numbers, noise),
                num_noise=2,
                num_samples=2,
                num_nodes=12,
            )

        value, slope = jax.jit(jax.value_and_grad(expected))(numbers)
        objective = tt.Objective(IWAE(), DoublyReparameterized(), num_samples=2)

        def estimate(numbers, key):
            model = chain_model(posterior, numbers)
            return objective.batch(model, jnp.asarray([[X]]), key=key)[0]

        keys = jax.random.split(KEY, 20_000)
        of_keys = jax.jit(jax.vmap(jax.value_and_grad(estimate), (None, 0)))
        estimates = of_keys(numbers, keys)
        for truth, drawn in zip(
            jax.tree.leaves((value, slope)), jax.tree.leaves(estimates), strict=True
        ):
            error = np.std(drawn, axis=0, ddof=1) / np.sqrt(len(keys))
            assert np.all(np.abs(np.mean(drawn, axis=0) - truth) <= 5 * error + 1e-12)


@pytest.mark.parametrize("posterior", every(2, POSTERIORS))
def test_the_doubly_reparameterized_gradient_is_unbiased_for_every_parameter(posterior):
    """The paired difference to the total derivative, networks with hidden layers."""
    with jax.enable_x64(True):
        arrays, static = eqx.partition(small(posterior), eqx.is_inexact_array)
        x = jnp.asarray([[1.0, 0.0, 1.0]])

        def difference(key):
            slopes = [
                jax.grad(
                    lambda arrays, gradient=gradient: tt.Objective(IWAE(), gradient, 3).batch(
                        eqx.combine(arrays, static), x, key=key
                    )[0]
                )(arrays)
                for gradient in (DoublyReparameterized(), Reparameterized())
            ]
            return jax.tree.map(jnp.subtract, *slopes)

        differences = jax.jit(jax.vmap(difference))(jax.random.split(KEY, 3000))
        differences = jax.tree.map(np.asarray, differences)
    mean = jax.tree.map(lambda d: np.mean(d, axis=0), differences)
    error = jax.tree.map(lambda d: np.std(d, axis=0, ddof=1) / np.sqrt(3000), differences)
    for m, e in zip(jax.tree.leaves(mean), jax.tree.leaves(error), strict=True):
        assert np.all(np.abs(m) <= 5 * e + 1e-12)
    # Parameters of p(z1|z2) are the ladder posterior's too, and only there differ.
    noisy = [np.all(leaf > 1e-6) for leaf in jax.tree.leaves(error.decoders[1])]
    assert all(noisy) if posterior == "ladder" else not any(noisy)


# Densities and draws


def joint_normal(*, given_x):
    """Mean and covariance of (z1, z2), before or after x = X."""
    a, b, s, c = CHAIN["a"], CHAIN["b"], np.exp(CHAIN["log_s"]), CHAIN["c"]
    mean, covariance = np.array([b, 0]), np.array([[a**2 + s**2, a], [a, 1]])
    if not given_x:
        return mean, covariance
    precision = np.linalg.inv(covariance) + np.diag([c**2 / SCALE**2, 0])
    shift = np.linalg.solve(covariance, mean) + np.array([c * (X - CHAIN["d"]) / SCALE**2, 0])
    return np.linalg.solve(precision, shift), np.linalg.inv(precision)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_densities_and_draws_are_those_of_the_joint_normals(posterior):
    with jax.enable_x64(True):
        model, at = exact_model(posterior), np.array([0.4, -1.2])
        for of_z, given_x in ((model.prior, False), (model.posterior(jnp.asarray([X])), True)):
            mean, covariance = joint_normal(given_x=given_x)
            log_prob = eqx.filter_jit(of_z.log_prob)(
                {"z1": jnp.asarray(at[:1]), "z2": jnp.asarray(at[1:])}
            )
            truth = scipy.stats.multivariate_normal(mean, covariance).logpdf(at)
            np.testing.assert_allclose(log_prob, truth, rtol=1e-12)
            z = jax.jit(lambda key, of_z=of_z: of_z.sample(key, (2, 2000)))(KEY)
            z = np.concatenate([z["z1"], z["z2"]], axis=-1).reshape(-1, 2)
            white = np.linalg.solve(np.linalg.cholesky(covariance), (z - mean).T)
            assert all(scipy.stats.kstest(row, "norm").pvalue > 1e-6 for row in white)
            assert abs(scipy.stats.pearsonr(*white).statistic) < 5 / np.sqrt(4000)


def test_samples_are_those_of_the_chain():
    xs = np.asarray(exact_model("ladder").sample(KEY, 4000))
    _, covariance = joint_normal(given_x=False)
    scale = np.sqrt(CHAIN["c"] ** 2 * covariance[0, 0] + SCALE**2)
    law = scipy.stats.norm(CHAIN["c"] * CHAIN["b"] + CHAIN["d"], scale)
    assert scipy.stats.kstest(xs[:, 0], law.cdf).pvalue > 1e-6


def test_three_layers():
    model = small("ladder", num_latent=(3, 2, 1), hidden=((4,), (3,), (2,)))
    posterior = model.posterior(jnp.ones(3))
    z = eqx.filter_jit(posterior.rsample)(KEY)
    assert {name: leaf.shape for name, leaf in z.items()} == {"z1": (3,), "z2": (2,), "z3": (1,)}
    given = [model.decoders[1](z["z2"]), model.decoders[2](z["z3"]), np.zeros((2, 1))]
    prior = sum(
        scipy.stats.norm(np.asarray(mean), np.exp(log_scale)).logpdf(np.asarray(z[name])).sum()
        for name, (mean, log_scale) in zip(("z1", "z2", "z3"), given, strict=True)
    )
    np.testing.assert_allclose(model.prior.log_prob(z), prior, rtol=1e-5)


# Rows, training, units


@pytest.mark.parametrize(
    ("posterior", "numbers"), [("bottom-up", 2 * 2), ("ladder", 2 * 2 + 2 * 2)]
)
def test_rows_share_the_networks(posterior, numbers):
    rows = rows_of_batch(small(posterior), jnp.ones((5, 3)), key=KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(rows.batched)) == 5 * numbers


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_it_starts_from_the_data(posterior):
    xs = bits()
    model = small(posterior).initialized_from(xs)
    np.testing.assert_allclose(
        jax.nn.sigmoid(model.decoders[0].layers[-1].bias), xs.mean(axis=0), atol=1e-6
    )
    first = model.encoder.networks[0] if posterior == "bottom-up" else model.encoder.trunks[0]
    hidden = jnp.asarray(xs) @ first.layers[0].weight + first.layers[0].bias[None]
    np.testing.assert_allclose(np.mean(hidden, axis=0), 0, atol=1e-6)


@pytest.mark.slow
def test_it_trains():
    xs = bits()
    model = small("ladder").initialized_from(xs)
    result = tt.fit(
        model,
        xs,
        tt.Objective(IWAE(), DoublyReparameterized(), num_samples=4),
        optimizer=optax.adam(3e-3),
        num_epochs=30,
        batch_size=50,
        key=KEY,
        show_progress=False,
    )
    bounds = [row["bound"] for row in result.history]
    assert np.mean(bounds[-5:]) > np.mean(bounds[:5]) + 0.05
    assert result.model.reconstruct(jnp.asarray(xs[0]), KEY).shape == (3,)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_units_are_told_layer_by_layer(posterior):
    xs = np.asarray(jax.random.normal(KEY, (300, 1)))
    model = exact_model(posterior)
    result = active_units(model, xs, num_samples=64, key=KEY)
    assert result.parts == {"z1": slice(0, 1), "z2": slice(1, 2)}
    assert result.counts == {"z1": 1, "z2": 1}
    # E[z1|x] and E[z2|x] are linear in x.
    noise = CHAIN["c"] ** 2 * np.exp(2 * CHAIN["log_s"]) + SCALE**2
    total = noise + (CHAIN["c"] * CHAIN["a"]) ** 2
    slopes = np.array(
        [CHAIN["c"] * (CHAIN["a"] ** 2 + np.exp(2 * CHAIN["log_s"])), CHAIN["c"] * CHAIN["a"]]
    )
    truth = (slopes / total) ** 2 * xs.var(ddof=1)
    assert np.all(np.abs(result.variance - truth) < 5 * result.standard_error)
    alone = CHAIN | {"a": 0.0}
    idle = chain_model(posterior, alone | exact(posterior, **alone))
    result = active_units(idle, xs, num_samples=64, key=KEY)
    assert result.counts == {"z1": 1, "z2": 0}
    assert any("z2 0" in word for word in result.warnings)


def test_burda():
    model = HierarchicalVAE.create((28, 28), key=KEY)
    shapes = [[layer.weight.shape for layer in mlp.layers] for mlp in model.encoder.networks]
    assert shapes == [
        [(784, 200), (200, 200), (200, 200)],
        [(100, 100), (100, 100), (100, 100)],
    ]
    shapes = [[layer.weight.shape for layer in mlp.layers] for mlp in model.decoders]
    assert shapes == [
        [(100, 200), (200, 200), (200, 784)],
        [(50, 100), (100, 100), (100, 200)],
    ]


def test_missing_entries_are_left_out():
    model = small("ladder", observation=Missing(Bernoulli()))
    assert model.takes_missing
    assert not small("ladder").takes_missing
    x = jnp.asarray([1.0, jnp.nan, 0.0])
    z = model.posterior(x).rsample(KEY)
    logits = np.asarray(model.decoders[0](z["z1"]), float)
    expected = -np.log1p(np.exp(-logits[0])) - np.log1p(np.exp(logits[2]))
    np.testing.assert_allclose(model.log_likelihood(x)(z), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"posterior": "laddr"}, "did you mean 'ladder'"),
        ({"activation": "tan"}, "did you mean 'tanh'"),
        ({"num_latent": ()}, "one layer of latents or more"),
        ({"num_latent": (3, 0)}, "sizes are 1 or more"),
        ({"hidden": ((4,), (0,))}, "sizes are 1 or more"),
        ({"hidden": ((4,),)}, "2 layers of latents"),
        ({"observation": "bernouli"}, "did you mean"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        HierarchicalVAE.create(
            (3,), **({"num_latent": (2, 2), "hidden": ((4,), (3,))} | options), key=KEY
        )


def test_examples_of_another_shape_or_support():
    with pytest.raises(InputError, match="don't fit a decoder"):
        small("ladder").initialized_from(np.zeros((5, 4)))
    with pytest.raises(InputError, match="Bernoulli explains"):
        small("ladder").initialized_from(np.full((5, 3), 2.0))
