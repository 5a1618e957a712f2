"""Imputation against conditionals of a Gaussian, which a linear VAE is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.evaluation import impute
from tighter.models import VAE, FullGaussian, Gaussian, Missing, Standardized
from tighter.models.missing_not_at_random import MissingNotAtRandom

KEY = jax.random.key(4)
WEIGHT = np.array([[0.9, 0.4, -0.6], [-0.3, 0.8, 0.5]])
LOCATION, SCALE, NOISE = np.array([2.0, -30.0, 0.1]), np.array([1.5, 20.0, 0.01]), 0.7


def linear_vae():
    """Standardized, (x − m) / s = z W + noise, with an encoder of little use."""
    family = Missing(Standardized(Gaussian(NOISE), (3,), LOCATION, SCALE))
    model = VAE.create((3,), num_latent=2, hidden=(), observation=family, key=KEY)
    where = lambda vae: (vae.decoder.layers[0].weight, vae.encoder.layers[0].weight)  # noqa: E731
    weights = jnp.asarray(WEIGHT, jnp.float32), 0.1 * model.encoder.layers[0].weight
    return eqx.tree_at(where, model, weights)


def conditional(x):
    """Mean and covariance of the missing entries given the others, by the formula."""
    covariance = np.outer(SCALE, SCALE) * (WEIGHT.T @ WEIGHT + NOISE**2 * np.eye(3))
    absent = np.isnan(x)
    gain = covariance[np.ix_(absent, ~absent)] @ np.linalg.inv(covariance[np.ix_(~absent, ~absent)])
    mean = LOCATION[absent] + gain @ (x - LOCATION)[~absent]
    rest = covariance[np.ix_(absent, absent)] - gain @ covariance[np.ix_(~absent, absent)]
    return mean, rest


XS = np.array(
    [[3.1, np.nan, np.nan], [np.nan, -12.0, 0.12], [1.0, np.nan, 0.09], [2.2, -40.0, 0.1]]
)


def test_values_and_draws_are_those_of_the_conditional():
    num_draws = 400
    made = impute(linear_vae(), XS, num_samples=40_000, num_draws=num_draws, key=KEY)
    for x, values, draws, ess in zip(
        XS, made.values, made.draws.swapaxes(0, 1), made.ess, strict=True
    ):
        absent = np.isnan(x)
        np.testing.assert_array_equal(values[~absent], x[~absent].astype(np.float32))
        np.testing.assert_array_equal(draws[:, ~absent], np.tile(values[~absent], (num_draws, 1)))
        if not absent.any():
            continue
        mean, covariance = conditional(x)
        sds = np.sqrt(np.diag(covariance))
        # The values average E[x|z], whose spread is at most that of x.
        assert (np.abs(values[absent] - mean) < 5 * sds / np.sqrt(ess)).all()
        assert (np.abs(draws[:, absent].mean(axis=0) - mean) < 5 * sds / np.sqrt(num_draws)).all()
        of_sds = np.abs(draws[:, absent].std(axis=0) / sds - 1)
        assert (of_sds < 5 / np.sqrt(2 * num_draws)).all()
        if absent.sum() == 2:
            correlation = np.corrcoef(draws[:, absent].T)[0, 1]
            exact = covariance[0, 1] / np.prod(sds)
            assert abs(np.arctanh(correlation) - np.arctanh(exact)) < 5 / np.sqrt(num_draws - 3)
    assert (made.ess > 1000).all()


def test_imputations_of_one_z_are_draws_given_it():
    """K = 1: all have the same z, and x given z has the noise's spread."""
    num_draws = 400
    made = impute(linear_vae(), XS, num_samples=1, num_draws=num_draws, key=KEY)
    spread = made.draws.std(axis=0) / (NOISE * SCALE)
    shift = (made.draws.mean(axis=0) - made.values) / (NOISE * SCALE)
    absent = np.isnan(XS)
    np.testing.assert_allclose(spread[absent], 1.0, atol=5 / np.sqrt(2 * num_draws))
    np.testing.assert_allclose(shift[absent], 0.0, atol=5 / np.sqrt(num_draws))
    assert (made.draws[:, ~absent] == made.values[~absent]).all()


def test_chunks_change_no_values():
    model = linear_vae()
    whole, chunked = (
        impute(model, XS, num_samples=60, num_draws=30, chunk_size=size, key=KEY)
        for size in (60, 25)
    )
    np.testing.assert_allclose(whole.values, chunked.values, rtol=1e-5)
    np.testing.assert_array_equal(whole.draws, chunked.draws)


def test_the_bound_is_of_what_is_observed():
    """The log-likelihood with missing entries is the marginal's."""
    estimates = tt.log_likelihood(linear_vae(), XS, num_samples=20_000, key=KEY)
    covariance = np.outer(SCALE, SCALE) * (WEIGHT.T @ WEIGHT + NOISE**2 * np.eye(3))
    for x, value, error in zip(XS, estimates.value, estimates.standard_error, strict=True):
        there = ~np.isnan(x)
        part, centered = covariance[np.ix_(there, there)], (x - LOCATION)[there]
        quadratic = centered @ np.linalg.solve(part, centered)
        exact = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * part)[1])
        assert abs(value - exact) < 5 * error


def mask_model():
    """Entries the likelier missing the larger they are, in standard units."""
    model = MissingNotAtRandom.create(linear_vae(), (3,), key=KEY)
    slopes = jnp.array([-1.0, -2.0, 0.5]), jnp.array([0.3, 0.0, -0.2])
    return eqx.tree_at(lambda model: (model.mask.slope, model.mask.intercept), model, slopes)


def test_not_at_random_against_quadrature():
    """One entry missing: log p(x_o, s) and E[x_m | x_o, s] by a sum over x_m."""
    model, x = mask_model(), XS[1]
    mean, covariance = conditional(x)
    grid = np.linspace(-12, 12, 4001) * np.sqrt(covariance[0, 0]) + mean[0]
    log_conditional = -0.5 * ((grid - mean[0]) ** 2 / covariance[0, 0])
    log_conditional -= np.log(np.exp(log_conditional).sum())
    units = (
        np.stack([grid, np.full_like(grid, x[1]), np.full_like(grid, x[2])], 1) - LOCATION
    ) / SCALE
    logits = np.array([0.3, 0.0, -0.2]) + units * np.array([-1.0, -2.0, 0.5])
    log_mask = -np.logaddexp(0, logits[:, 0]) - np.logaddexp(0, -logits[:, 1:]).sum(axis=1)
    weights = np.exp(log_conditional + log_mask)
    exact_mean = (weights * grid).sum() / weights.sum()
    at_random = tt.log_likelihood(linear_vae(), x[None], num_samples=40_000, key=KEY)
    estimate = tt.log_likelihood(model, x[None], num_samples=40_000, key=KEY)
    error = np.hypot(at_random.standard_error, estimate.standard_error)[0]
    assert abs(estimate.value[0] - at_random.value[0] - np.log(weights.sum())) < 5 * error
    made = impute(model, x[None], num_samples=40_000, key=KEY)
    spread = np.sqrt((weights * (grid - exact_mean) ** 2).sum() / weights.sum())
    assert abs(made.values[0, 0] - exact_mean) < 5 * spread / np.sqrt(made.ess[0])
    # What is missing is likely large: the mask says more than the other entries.
    assert exact_mean - mean[0] > 0.3 * spread


def test_not_at_random_where_entries_tell_of_each_other():
    """The weight has log p(x_o | x_m, z), and not log p(x_o | z), where x|z is correlated."""
    family = FullGaussian((2,))
    family = eqx.tree_at(lambda family: family.lower, family, jnp.array([[0.0, 0], [4, 0]]))
    vae = VAE.create((2,), num_latent=1, hidden=(), observation=Missing(family), key=KEY)
    model = MissingNotAtRandom.create(vae, (2,), key=KEY)
    x, z = jnp.array([1.5, jnp.nan]), {"z": jnp.array([0.3]), "x": jnp.array([7.0, 2.0])}
    factor = np.array([[1, 0], [4 / np.sqrt(2), 1]])
    mean, covariance = np.asarray(vae.decoder(z["z"])), factor @ factor.T
    log_prob = stats.multivariate_normal(mean, covariance).logpdf([1.5, 2.0])
    log_weight = model.log_joint(x)(z) - model.posterior(x).log_prob(z)
    of_z = stats.norm().logpdf(0.3) - vae.posterior(x).log_prob(z["z"])
    of_missing = stats.norm(mean[1], np.sqrt(covariance[1, 1])).logpdf(2.0)
    exact = of_z + log_prob - of_missing - 2 * np.log(2)
    np.testing.assert_allclose(log_weight, exact, rtol=1e-5)


@pytest.mark.slow
def test_not_at_random_gradients_agree():
    """Doubly reparameterized and total derivative have one mean, through x as through z."""
    model, xs = mask_model(), jnp.asarray(XS[:3], jnp.float32)

    def gradients(estimator):
        objective = tt.Objective(tt.bounds.IWAE(), estimator, num_samples=4)
        arrays, static = eqx.partition(model, eqx.is_inexact_array)

        def of_key(key):
            def bound(arrays):
                return jnp.mean(objective.batch(eqx.combine(arrays, static), xs, key=key))

            return jnp.concatenate(
                [leaf.reshape(-1) for leaf in jax.tree.leaves(jax.grad(bound)(arrays))]
            )

        return of_key

    names = tt.gradients.Reparameterized(), tt.gradients.DoublyReparameterized()
    total, doubly = (gradients(estimator) for estimator in names)
    keys = jax.random.split(KEY, 4000)
    differences = np.asarray(
        quick_jit(
            lambda keys: jax.lax.map(lambda key: total(key) - doubly(key), keys, batch_size=500)
        )(keys)
    )
    spread = differences.std(axis=0, ddof=1)
    moving = spread > 1e-7
    scores = differences.mean(axis=0)[moving] / (spread[moving] / np.sqrt(len(keys)))
    assert moving.sum() > 10
    assert np.abs(scores).max() < 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: impute(VAE.create((3,), hidden=(2,), key=KEY), XS, key=KEY), "model.missing=true"),
        (lambda: impute(linear_vae(), XS, num_samples=0, key=KEY), "at least 1"),
        (
            lambda: MissingNotAtRandom.create(
                VAE.create((3,), hidden=(2,), key=KEY), (3,), key=KEY
            ),
            "observation=Missing",
        ),
        (
            lambda: MissingNotAtRandom.create(linear_vae(), (3,), mask="self", key=KEY),
            "did you mean 'self-masking'",
        ),
    ],
    ids=["model", "number", "vae", "mask"],
)
def test_what_can_not_be(make, words):
    with pytest.raises(InputError, match=words):
        make()
