"""What is known exactly at q = posterior, and on the shifted Gaussian (log w normal)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from tighter import Objective
from tighter.bounds import BOUNDS, CUBO, ELBO, IWAE, Renyi
from tighter.gradients import ESTIMATORS, DoublyReparameterized, Reparameterized

REPLICATES = 60_000
SIGMA = 0.7


def gradients(objective, *, mean=0.4, sigma=SIGMA, replicates=REPLICATES):
    """Gradients with respect to q's mean and log scale where p(z|x) = N(0.4, 0.7²)."""

    def log_joint(z):
        return dist.Normal(0.4, SIGMA, validate_args=False).log_prob(z) - 3.0

    def bound(phi, key):
        q = dist.Normal(phi[0], jnp.exp(phi[1]), validate_args=False)
        return objective(log_joint, q, key=key)

    keys = jax.random.split(jax.random.key(0), replicates)
    phi = jnp.array([mean, np.log(sigma)])
    run = jax.jit(jax.vmap(jax.value_and_grad(bound), in_axes=(None, 0)))
    value, gradient = run(phi, keys)
    return np.asarray(value, np.float64), np.asarray(gradient, np.float64)


def test_variance_of_the_total_derivative_of_the_elbo():
    """1/σ² for the mean and 2 for log σ, over K for the mean of K draws."""
    for number in (1, 4):
        _, gradient = gradients(Objective(ELBO(), Reparameterized(), num_samples=number))
        variances = gradient.var(axis=0, ddof=1)
        # The variance of a sample variance, from the fourth moments.
        fourth = ((gradient - gradient.mean(axis=0)) ** 4).mean(axis=0)
        error = np.sqrt((fourth - variances**2) / REPLICATES)
        exact = np.array([1 / SIGMA**2, 2.0]) / number
        assert (np.abs(variances - exact) < 5 * error).all()


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("estimator", ["sticking-the-landing", "doubly-reparameterized"])
def test_no_noise_without_the_score(bound, estimator):
    value, gradient = gradients(
        Objective(BOUNDS[bound](), ESTIMATORS[estimator](), num_samples=4), replicates=1000
    )
    np.testing.assert_allclose(value, -3.0, rtol=1e-5)
    np.testing.assert_allclose(gradient, 0.0, atol=2e-5)


@pytest.mark.parametrize("delta", [pytest.param(0.3, marks=pytest.mark.slow), 0.6])
def test_bounds_on_the_shifted_gaussian(delta):
    """p(z, x) = N(z; 0, 1), q = N(δ, 1): log w ~ N(−δ²/2, δ²), with many draws a bound."""

    def log_joint(z):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob(z)

    q = dist.Normal(delta, 1.0, validate_args=False)
    num_samples, replicates = 2000, 400
    keys = jax.random.split(jax.random.key(3), replicates)
    for bound, exact in (
        (ELBO(), -(delta**2) / 2),
        (IWAE(), 0.0),
        (Renyi(0.5), -0.5 * delta**2 / 2),
        (Renyi(2.0), -2.0 * delta**2 / 2),
        (CUBO(2.0), delta**2 / 2),
        (CUBO(3.0), 2 * delta**2 / 2),
    ):
        objective = Objective(bound, num_samples=num_samples)
        run = jax.jit(jax.vmap(lambda key, o=objective: o(log_joint, q, key=key)))
        values = np.asarray(run(keys), np.float64)
        error = values.std(ddof=1) / np.sqrt(replicates)
        # Log of a mean of w^p is biased downward by its relative variance / (2 K p).
        power = {Renyi: lambda b: 1 - b.alpha, CUBO: lambda b: b.order}.get(
            type(bound), lambda b: 1.0
        )(bound)
        excess = 0.0 if isinstance(bound, ELBO) else np.expm1(power**2 * delta**2)
        bias = -excess / (2 * num_samples * power) if power else 0.0
        # The next order of the expansion, as a bound on what is left.
        left = 3 * (excess / num_samples) ** 2 * np.exp(4 * power**2 * delta**2)
        assert abs(values.mean() - (exact + bias)) < 5 * error + left


def test_gap_of_the_importance_weighted_bound():
    """K times the gap tends to (exp δ² − 1)/2."""
    delta, num_samples = 0.6, 256

    def log_joint(z):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob(z)

    q = dist.Normal(delta, 1.0, validate_args=False)
    objective = Objective(IWAE(), DoublyReparameterized(), num_samples=num_samples)
    keys = jax.random.split(jax.random.key(4), 40_000)
    values = np.asarray(jax.jit(jax.vmap(lambda key: objective(log_joint, q, key=key)))(keys))
    gap, error = -values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    exact = np.expm1(delta**2) / 2
    # The next term of the gap is of order 1/K relative to the first.
    assert abs(num_samples * gap - exact) < 5 * num_samples * error + 2 / num_samples
