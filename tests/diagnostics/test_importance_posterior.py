import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import kstest
from tests.oracles.quick import quick_jit

from tighter._errors import InputError
from tighter.diagnostics.importance_posterior import importance_weighted_posterior
from tighter.distributions import Chain

KEY = jax.random.key(3)
# Sums over it are as good as exact: everything here is smooth and vanishes at its ends.
GRID = np.linspace(-9, 9, 1801)
STEP = GRID[1] - GRID[0]
Q = dist.Normal(0.3, 1.4, validate_args=False)


def log_joint(z):
    """Two humps of different widths, with a mass of 0.7."""
    left = dist.Normal(-1.0, 0.5, validate_args=False).log_prob(z) + math.log(0.5)
    right = dist.Normal(1.5, 1.0, validate_args=False).log_prob(z) + math.log(0.2)
    return jnp.logaddexp(left, right)


def posterior_of(num_samples, q=Q):
    return importance_weighted_posterior(log_joint, q, num_samples=num_samples)


@functools.cache
def on_grid():
    """p(x, z) and q(z) in double precision."""

    def normal(mean, scale):
        return np.exp(-0.5 * ((GRID - mean) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))

    return 0.5 * normal(-1.0, 0.5) + 0.2 * normal(1.5, 1.0), normal(0.3, 1.4)


@functools.cache
def exact(num_samples):
    """By quadrature over the others: q_EW on the grid, L_K, and E[q̃²] on the grid."""
    joint, q = on_grid()
    weight = joint / q
    if num_samples == 1:
        return q, float(np.sum(q * np.log(weight)) * STEP), q**2
    if num_samples == 2:
        mean = (weight[:, None] + weight[None]) / 2
        density = joint * np.sum(q / mean, axis=1) * STEP
        bound = float(q @ np.log(mean) @ q * STEP**2)
        return density, bound, joint**2 * np.sum(q / mean**2, axis=1) * STEP
    density, second, bound = np.zeros_like(q), np.zeros_like(q), 0.0
    coarse, step = slice(None, None, 20), 20 * STEP
    others = weight[coarse][:, None] + weight[coarse][None]
    both = q[coarse][:, None] * q[coarse][None] * step**2
    for i, value in enumerate(weight):
        mean = (value + others) / 3
        density[i] = joint[i] * np.sum(both / mean)
        second[i] = joint[i] ** 2 * np.sum(both / mean**2)
        bound += q[i] * STEP * np.sum(both * np.log(mean))
    return density, float(bound), second


def elbo(density):
    joint, _ = on_grid()
    return float(np.sum(density * np.log(joint / density)) * STEP)


def test_the_unnormalized_density_averages_to_the_density():
    """K = 2, exactly: a mean over the other draw by quadrature."""
    model = posterior_of(2)
    log_weights = jax.vmap(lambda z: log_joint(z) - Q.log_prob(z))(jnp.asarray(GRID, jnp.float32))
    points = jnp.asarray(GRID[::100], jnp.float32)

    @quick_jit
    def over_others(z):
        return jax.vmap(model.unnormalized_log_prob, (None, 0))(z, log_weights[:, None])

    log_densities = np.asarray(jax.vmap(over_others)(points), np.float64)
    averaged = np.exp(log_densities) @ on_grid()[1] * STEP
    np.testing.assert_allclose(averaged, exact(2)[0][::100], rtol=2e-5)


def test_it_is_a_density_and_the_unnormalized_one_is_not():
    for num_samples in (1, 2, 3):
        np.testing.assert_allclose(np.sum(exact(num_samples)[0]) * STEP, 1, rtol=1e-6)
    model = posterior_of(2)
    z = jnp.asarray(GRID, jnp.float32)
    masses = []
    for other in (-2.0, 1.0):
        given = jnp.asarray([other])
        log_densities = jax.vmap(lambda z, given=given: model.unnormalized_log_prob(z, given))(z)
        masses.append(np.sum(np.exp(np.asarray(log_densities, np.float64))) * STEP)
    assert masses[0] > 1.1
    assert masses[1] < 0.9


def test_chain_of_inequalities():
    """L_1 ≤ L_K ≤ ELBO[q_EW] ≤ log p(x), all strict here."""
    joint, _ = on_grid()
    log_evidence = math.log(np.sum(joint) * STEP)
    np.testing.assert_allclose(log_evidence, math.log(0.7), rtol=1e-9)
    first = exact(1)[1]
    for num_samples in (2, 3):
        density, bound, _ = exact(num_samples)
        assert first + 0.01 < bound < elbo(density) - 0.01
        assert elbo(density) < log_evidence - 0.01
    np.testing.assert_allclose(elbo(exact(1)[0]), first, rtol=1e-9)
    # The ELBO is log p(x) less the divergence, which so falls strictly.
    divergences = [log_evidence - elbo(exact(num_samples)[0]) for num_samples in (1, 2, 3)]
    assert divergences[0] > divergences[1] + 0.02
    assert divergences[1] > divergences[2] + 0.02


def test_the_mean_elbo_of_unnormalized_densities_is_the_bound():
    """K = 2: the mean over the other draw of ∫ q̃ log(p/q̃) is L_2, by quadrature."""
    model = posterior_of(2)
    z = jnp.asarray(GRID[::9], jnp.float32)
    log_joints = jax.vmap(log_joint)(z)
    log_weights = log_joints - Q.log_prob(z)

    @quick_jit
    def of_other(other):
        log_densities = jax.vmap(lambda z: model.unnormalized_log_prob(z, other[None]))(z)
        return jnp.sum(jnp.exp(log_densities) * (log_joints - log_densities)) * 9 * STEP

    values = np.asarray(jax.vmap(of_other)(log_weights), np.float64)
    mean = np.sum(on_grid()[1][::9] * values) * 9 * STEP
    np.testing.assert_allclose(mean, exact(2)[1], rtol=1e-5)


@pytest.mark.parametrize("num_samples", [2, 3])
def test_log_prob_matches_quadrature(num_samples):
    num_outer, points = 4000, slice(600, 1500, 100)
    model = posterior_of(num_samples)
    estimate = quick_jit(lambda z: model.log_prob(z, num_outer=num_outer, key=KEY))
    log_probs = np.asarray(jax.vmap(estimate)(jnp.asarray(GRID[points], jnp.float32)))
    density, _, second = (part[points] if np.ndim(part) else part for part in exact(num_samples))
    error = np.sqrt(np.maximum(second / density**2 - 1, 0) / num_outer)
    assert (np.abs(np.exp(log_probs) / density - 1) < 5 * error + 1e-5).all()
    assert error.max() < 0.05


def test_one_draw_is_the_posterior_itself():
    model = posterior_of(1)
    for z in (-2.0, 0.5):
        np.testing.assert_allclose(
            model.log_prob(z, num_outer=3, key=KEY), Q.log_prob(z), rtol=1e-6
        )


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_draws_have_the_density(num_samples):
    draws = quick_jit(lambda key: posterior_of(num_samples).sample(key, (20_000,)))(KEY)
    density = exact(num_samples)[0]
    cumulative = np.cumsum((density[1:] + density[:-1]) / 2) * STEP
    function = lambda z: np.interp(z, GRID[1:], cumulative)  # noqa: E731
    assert kstest(np.asarray(draws), function).pvalue > 1e-3
    # The next K would be told from this one.
    if num_samples == 2:
        other = np.cumsum(exact(3)[0]) * STEP
        assert kstest(np.asarray(draws), lambda z: np.interp(z, GRID, other)).pvalue < 1e-3


@pytest.mark.slow
def test_draws_in_chunks_have_a_shape_and_are_the_same():
    model = posterior_of(2)
    draws = model.sample(KEY, (3, 2))
    assert draws.shape == (3, 2)
    np.testing.assert_allclose(draws.reshape(-1), model.sample(KEY, (6,)), rtol=1e-6)
    assert model.sample(KEY).shape == ()


@pytest.mark.slow
def test_with_the_posterior_itself_nothing_changes():
    """Weights are all the same: as many effective draws as draws, and the density is q."""
    p = lambda z: Q.log_prob(z) - 2.0  # noqa: E731
    model = importance_weighted_posterior(p, Q, num_samples=5)
    np.testing.assert_allclose(model.ess(KEY), 5, rtol=1e-5)
    np.testing.assert_allclose(
        model.log_prob(1.1, num_outer=10, key=KEY), Q.log_prob(1.1), rtol=1e-5
    )


def test_effective_sample_size_of_the_shifted_gaussian():
    """p = N(0, 1) and q = N(δ, 1): ESS/K → exp(−δ²)."""
    shift, num_samples = 0.5, 50_000
    q = dist.Normal(shift, 1.0, validate_args=False)
    model = importance_weighted_posterior(
        dist.Normal(0.0, 1.0, validate_args=False).log_prob, q, num_samples=num_samples
    )
    ratio = quick_jit(model.ess)(KEY) / num_samples
    # Delta method on the means of w and w², lognormal with σ = δ.
    e = math.exp(shift**2)
    relative = (4 * (e - 1) + (e**4 - 1) - 4 * (e**2 - 1)) / num_samples
    assert abs(ratio / math.exp(-(shift**2)) - 1) < 5 * math.sqrt(relative)


def test_latents_that_are_pytrees():
    """z = (a, b), where only a has weights: b is as in q given a."""
    q = Chain({"a": Q, "b": lambda z: dist.Normal(z["a"], 0.1, validate_args=False)})

    def joint(z):
        given = dist.Normal(z["a"], 0.1, validate_args=False)
        return jnp.add(log_joint(z["a"]), given.log_prob(z["b"]))

    model = importance_weighted_posterior(joint, q, num_samples=2)
    z = quick_jit(lambda key: model.sample(key, (5000,)))(KEY)
    cumulative = np.cumsum(exact(2)[0]) * STEP
    assert kstest(np.asarray(z["a"]), lambda z: np.interp(z, GRID, cumulative)).pvalue > 1e-3
    assert kstest(np.asarray((z["b"] - z["a"]) / 0.1), "norm").pvalue > 1e-3


def test_where_q_has_no_mass_there_is_none():
    q = dist.Uniform(-1.0, 1.0, validate_args=True)
    model = posterior_of(2, q)
    with pytest.warns(UserWarning, match="Out-of-support"):
        assert model.log_prob(jnp.asarray(2.0), num_outer=5, key=KEY) == -jnp.inf


def test_bad_input():
    with pytest.raises(InputError, match="num_samples is a whole number of at least 1, got 0"):
        posterior_of(0)
    with pytest.raises(InputError, match="num_outer is a whole number of at least 1, got 0"):
        posterior_of(2).log_prob(0.0, num_outer=0, key=KEY)
    with pytest.raises(InputError, match="of 3 draws 2 are others, got 1"):
        posterior_of(3).unnormalized_log_prob(0.0, jnp.zeros(1))
    vector = importance_weighted_posterior(lambda z: z, Q.expand([2]), num_samples=2)
    with pytest.raises(ValueError, match="is a scalar for one example, got shape"):
        vector.sample(KEY)
