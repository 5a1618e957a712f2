"""Every posterior family with the estimators without a score: noise, bias, training, storage."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
import scipy.stats
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._rows import rows_of_batch
from tighter.bounds import ELBO, IWAE
from tighter.distributions import Flow
from tighter.gradients import DoublyReparameterized, Reparameterized, StickingTheLanding
from tighter.models import (
    VAE,
    DiagonalGaussian,
    FlowPosterior,
    FullCovarianceGaussian,
    LowRankGaussian,
    posterior_from_name,
)
from tighter.training.arrays import load_parameters, save_parameters

KEY = jax.random.key(7)
REPLICATES = 30_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A family of two dimensions, far from where it starts; its parameters as one vector."""

    parameters: np.ndarray
    build: Any  # parameters -> posterior


@functools.cache
def case(name: str, num_layers: int) -> Case:
    family = posterior_from_name(name, 2, key=KEY)
    if isinstance(family, FlowPosterior):  # small, for speed
        family = FlowPosterior.create(
            name, 2, num_context=2, num_layers=num_layers, width=4, key=KEY
        )
    arrays, rest = eqx.partition(family, eqx.is_inexact_array)
    rng = np.random.default_rng(5)
    output = 0.3 * rng.normal(size=family.shape(2))
    arrays = jax.tree.map(lambda leaf: leaf + 0.25 * rng.normal(size=leaf.shape), arrays)
    shapes = jax.eval_shape(lambda: (arrays, output))
    leaves, structure = jax.tree.flatten((arrays, output))
    sizes = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def build(parameters):
        parts = jnp.split(parameters, sizes)
        shaped = [
            part.reshape(leaf.shape)
            for part, leaf in zip(parts, jax.tree.leaves(shapes), strict=True)
        ]
        arrays, output = jax.tree.unflatten(structure, shaped)
        return eqx.combine(arrays, rest).distribution(output)

    return Case(np.concatenate([np.ravel(leaf) for leaf in leaves]), build)


def log_joint(z):
    """No Gaussian: bent, and skewed."""
    bent = dist.Normal(0.4 * z[0] ** 2 - 0.5, 0.9, validate_args=False).log_prob(z[1])
    return dist.Normal(0.0, 1.0, validate_args=False).log_prob(z[0]) + bent - jnp.exp(0.3 * z[0])


def draw_of(posterior, noise):
    """A draw made of two standard normal numbers."""
    if isinstance(posterior, Flow):
        return posterior.from_noise(noise)
    if isinstance(posterior, dist.Independent):
        return posterior.mean + jnp.sqrt(posterior.variance) * noise
    return posterior.mean + jnp.linalg.cholesky(posterior.covariance_matrix) @ noise


def slopes_of(objectives, build, log_joint, parameters, replicates):
    """Values and gradients of several objectives by the posterior's parameters."""

    @quick_jit
    def run(parameters, keys):
        def one(parameters, key, objective):
            return objective(log_joint, build(parameters), key=key)

        return [
            jax.vmap(jax.value_and_grad(one), in_axes=(None, 0, None))(parameters, keys, objective)
            for objective in objectives
        ]

    keys = jax.random.split(jax.random.key(0), replicates)
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), run(jnp.asarray(parameters, jnp.float32), keys)
    )


def exact_slopes(case, *, log_num_points=17, seed=0):
    """Values and gradients of the expected ELBO and IWAE of two draws, on Sobol points.

    In the four dimensions of two draws' noise; a spline's derivatives jump at its knots, which
    Gauss-Hermite quadrature does not bear. The error is a tenth of the replicates' and less.
    """
    points = scipy.stats.qmc.Sobol(4, seed=seed).random_base2(log_num_points)
    noises = scipy.stats.norm.ppf(points).reshape(32, -1, 2, 2)

    def expected(parameters, noises):
        posterior = case.build(parameters)

        def log_weight(noise):
            z = draw_of(posterior, noise)
            return log_joint(z) - posterior.log_prob(z)

        log_weights = jax.vmap(jax.vmap(log_weight))(noises)
        pairs = jnp.logaddexp(log_weights[:, 0], log_weights[:, 1]) - jnp.log(2.0)
        return jnp.stack([jnp.mean(log_weights), jnp.mean(pairs)])

    @quick_jit
    def run(parameters, noises):
        def some(noises):
            values, back = jax.vjp(lambda parameters: expected(parameters, noises), parameters)
            return values, jax.vmap(lambda unit: back(unit)[0])(jnp.eye(2, dtype=values.dtype))

        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(some, noises))

    with jax.enable_x64(True):
        values, slopes = run(jnp.asarray(case.parameters), jnp.asarray(noises))
        return list(zip(np.asarray(values), np.asarray(slopes), strict=True))


def standard_errors_off(samples, truth):
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    rounding = 1e-5 * (1 + np.abs(truth))
    off = np.maximum(np.abs(samples.mean(axis=0) - truth) - rounding, 0)
    return np.max(off / np.maximum(error, 1e-12))


GAUSSIANS_AND_FLOWS = [
    "diagonal", "full", "low-rank", "coupling", "masked-autoregressive", "neural-spline",
]  # fmt: skip


def some(*quick):
    """All of these families, those not named among the tests run by hand."""
    return [
        pytest.param(n, marks=[] if n in quick else [pytest.mark.slow]) for n in GAUSSIANS_AND_FLOWS
    ]


@pytest.mark.parametrize("name", some("diagonal", "coupling"))
def test_no_noise_at_the_exact_posterior(name):
    """Without the score every draw gives the bound and no gradient; with it, one."""
    here = case(name, 1)
    target = here.build(jnp.asarray(here.parameters, jnp.float32))
    # With one draw the two are the same.
    pairs = [
        (DoublyReparameterized(), 1),
        (DoublyReparameterized(), 5),
        (StickingTheLanding(), 5),
        (Reparameterized(), 1),
    ]
    objectives = [tt.Objective(IWAE(), *pair) for pair in pairs]
    results = slopes_of(
        objectives, here.build, lambda z: target.log_prob(z) - 3.0, here.parameters, 200
    )
    for (gradient, _), (value, slope) in zip(pairs, results, strict=True):
        np.testing.assert_allclose(value, -3, atol=1e-4)
        if isinstance(gradient, Reparameterized):
            assert np.quantile(np.abs(slope).max(axis=1), 0.1) > 0.1
        else:
            np.testing.assert_allclose(slope, 0, atol=1e-3)


@pytest.mark.parametrize("name", some("full"))
def test_unbiased(name):
    """Against quadrature; sticking the landing with IWAE is not, and seen not to be.

    For the ELBO the two estimators are the same.
    """
    here = case(name, 2)
    elbo, iwae = exact_slopes(here)
    table = [
        (ELBO(), StickingTheLanding(), elbo),
        (IWAE(), DoublyReparameterized(), iwae),
        (IWAE(), StickingTheLanding(), iwae),
    ]
    objectives = [tt.Objective(bound, gradient, 2) for bound, gradient, _ in table]
    results = slopes_of(objectives, here.build, log_joint, here.parameters, REPLICATES)
    off = []
    for (value, slope), (_, _, (truth, slope_truth)) in zip(results, table, strict=True):
        assert standard_errors_off(value[:, None], truth) < 5
        off.append(standard_errors_off(slope, slope_truth))
    assert max(off[:2]) < 5
    assert off[2] > 20


@pytest.mark.parametrize("name", some("diagonal"))
def test_trained_and_stored(name, tmp_path):
    """Made by one compiled program, trained with the bound rising, and read again."""

    def create(key):
        family = name
        if name in ("coupling", "masked-autoregressive", "neural-spline"):
            family = FlowPosterior.create(
                name, 2, num_context=3, num_layers=1, width=4, key=jax.random.fold_in(key, 9)
            )
        return VAE.create((6,), num_latent=2, hidden=(8,), posterior=family, key=key)

    options = {"xla_backend_optimization_level": 0}
    create = eqx.filter_jit(create, compiler_options=options)
    start, other = create(KEY), create(jax.random.key(8))
    rng = np.random.default_rng(3)
    xs = (rng.uniform(size=(64, 6)) < rng.choice([0.1, 0.9], size=(64, 1))).astype(np.float32)
    result = tt.fit(
        start,
        xs,
        tt.Objective(num_samples=2),
        optimizer=optax.adam(1e-2),
        num_epochs=20,
        batch_size=16,
        key=KEY,
    )
    model = result.model

    @eqx.filter_jit(compiler_options=options)
    def bounds(model, xs):
        return tt.Objective(num_samples=50).batch(model, xs, key=KEY)

    before, after = (np.asarray(bounds(model, xs)) for model in (start, model))
    assert after.mean() > before.mean() + 0.3
    families = (eqx.filter(part.family, eqx.is_inexact_array) for part in (start, model))
    moved = jax.tree.map(lambda old, new: np.abs(old - new).max(), *families)
    assert all(distance > 0 for distance in jax.tree.leaves(moved)), moved
    save_parameters(tmp_path / "parameters.safetensors", model)
    read = load_parameters(tmp_path / "parameters.safetensors", other)
    np.testing.assert_array_equal(bounds(read, xs), after)


@pytest.mark.parametrize("name", GAUSSIANS_AND_FLOWS)
def test_networks_of_a_flow_are_not_copied_for_each_example(name):
    def make():
        model = VAE.create((6,), num_latent=4, hidden=(8,), posterior=name, key=KEY)
        return model, rows_of_batch(model, jnp.ones((3, 6)), key=KEY).batched

    model, batched = eqx.filter_eval_shape(make)
    batched = sum(leaf.size for leaf in jax.tree.leaves(batched))
    numbers = {"full": 4 + 4 * 4, "low-rank": 4 * 6 + 4 * 4}.get(
        name, np.prod(model.family.shape(4))
    )
    assert batched == 3 * numbers


def test_the_rest_of_the_autoencoder_is_the_same():
    """The diagonal one as ever, and the decoder whatever the posterior."""
    models = [
        VAE.create((6,), num_latent=2, hidden=(8,), key=KEY, **given)
        for given in ({}, {"posterior": "diagonal"}, {"posterior": DiagonalGaussian()})
    ]
    x = jnp.linspace(0.0, 1.0, 6)
    mean, log_scale = models[0].encoder(x)
    for model in models:
        assert model.family == DiagonalGaussian()
        q = model.posterior(x)
        assert isinstance(q.base_dist, dist.Normal)
        np.testing.assert_array_equal(q.mean, mean)
        np.testing.assert_array_equal(q.base_dist.scale, jnp.exp(log_scale))
    flow = VAE.create((6,), num_latent=2, hidden=(8,), posterior="coupling", key=KEY)
    for one, other in zip(
        jax.tree.leaves(flow.decoder), jax.tree.leaves(models[0].decoder), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_covariances():
    """Of the Gaussians, by numpy."""
    rng = np.random.default_rng(6)
    full = rng.normal(size=14)  # 4 means, 4 log scales, 6 below the diagonal
    q = FullCovarianceGaussian().distribution(jnp.asarray(full, jnp.float32))
    np.testing.assert_allclose(q.mean, full[:4], rtol=1e-6)
    factor = np.asarray(q.scale_tril)
    np.testing.assert_allclose(np.diag(factor), np.exp(full[4:8]), rtol=1e-5)
    assert (np.triu(factor, 1) == 0).all()
    below = (factor / np.exp(full[4:8])[:, None])[np.tril_indices(4, -1)] * 2
    np.testing.assert_allclose(np.sort(below), np.sort(full[8:]), rtol=1e-4)
    rows = rng.normal(size=(5, 4))
    q = LowRankGaussian(3).distribution(jnp.asarray(rows, jnp.float32))
    scale = np.diag(np.exp(rows[1]))
    covariance = scale @ (np.eye(4) + rows[2:].T @ rows[2:] / 3) @ scale
    np.testing.assert_allclose(q.mean, rows[0], rtol=1e-6)
    np.testing.assert_allclose(q.covariance_matrix, covariance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: posterior_from_name("ful", 3, key=KEY), "unknown posterior 'ful'; did you mean"),
        (lambda: posterior_from_name("full:3", 3, key=KEY), "'full:3': it takes no number"),
        (lambda: posterior_from_name("low-rank:two", 3, key=KEY), "'two' is no number"),
        (lambda: LowRankGaussian(0), "a rank of 1 or more, got 0"),
        (lambda: LowRankGaussian(4).shape(3), "got 4 of 3: lower it"),
        (lambda: posterior_from_name("coupling", 1, key=KEY), "2 latent dimensions or more, got 1"),
        (lambda: FlowPosterior.create("coupling", 3, key=KEY).shape(4), "made for 3 latent .* 4"),
        (
            lambda: VAE.create((6,), num_latent=2, posterior="low-rank:3", key=KEY),
            "at most the rank",
        ),
        (lambda: VAE.create((6,), posterior="gaussian", key=KEY), "unknown posterior 'gaussian'"),
    ],
)
def test_what_is_no_posterior(make, message):
    with pytest.raises(tt.InputError, match=message):
        make()


def test_numbers_in_names():
    assert posterior_from_name("low-rank:2", 3, key=KEY) == LowRankGaussian(2)
    assert posterior_from_name("low-rank", 3, key=KEY) == LowRankGaussian(3)
    flow = posterior_from_name("coupling:1", 3, key=KEY)
    assert len(flow.bijection.bijections) == 2  # a layer, and the reversal of the order
