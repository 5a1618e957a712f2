"""How signal and noise scale with K on the linear-Gaussian example of Rainforth et al. 2018.

z ~ N(mu, I), x|z ~ N(z, I), q = N(x/2 + b, 2/3 I) with b off its optimum by 0.15 in every one of
20 dimensions. The total derivative's mean is that of the doubly reparameterized one (`test_pairs`
shows both unbiased), which is known far more precisely than from its own noisy replicates.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import (
    DoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
    WakePhi,
)
from tighter.models import LinearGaussian

# The quick tests of `gradient_noise` hold the same laws.
pytestmark = pytest.mark.slow

DIMENSIONS, SHIFT = 20, 0.15


def linear_gaussian_example(x, prior_mean) -> LinearGaussian:
    identity = jnp.eye(DIMENSIONS)
    return LinearGaussian(
        prior_mean=prior_mean,
        loading=identity,
        offset=jnp.zeros(DIMENSIONS),
        log_scale=jnp.zeros(()),
        encoder_weight=identity / 2,
        encoder_bias=prior_mean / 2 + SHIFT,
        encoder_log_scale=jnp.full(DIMENSIONS, 0.5 * jnp.log(2 / 3)),
    )


@functools.cache
def replicates(estimator, num_samples, num_replicates):
    """Gradients with respect to b and mu, (replicates, 20) each, at one x."""
    prior_mean = jax.random.normal(jax.random.key(1), (DIMENSIONS,))
    x = prior_mean + jnp.sqrt(2.0) * jax.random.normal(jax.random.key(2), (DIMENSIONS,))
    model = linear_gaussian_example(x, prior_mean)
    objective = Objective(IWAE(), estimator, num_samples=num_samples)

    def bound(part, key):
        moved = eqx.tree_at(lambda m: (m.encoder_bias, m.prior_mean), model, part)
        return objective(moved.log_joint(x), moved.posterior(x), key=key)

    part = (model.encoder_bias, model.prior_mean)
    block = max(1, 2**20 // (num_samples * DIMENSIONS))
    keys = jax.random.split(jax.random.key(num_samples), num_replicates)

    @jax.jit
    def run(part, keys):
        return jax.lax.map(lambda key: jax.grad(bound)(part, key), keys, batch_size=block)

    return tuple(np.asarray(leaf, np.float64) for leaf in run(part, keys))


def snr(mean, gradients):
    """|mean| over standard deviation, averaged over coordinates."""
    return np.mean(np.abs(mean) / gradients.std(axis=0, ddof=1))


def slope(numbers, ratios):
    return np.polyfit(np.log(numbers), np.log(ratios), 1)[0]


def phi_mean(num_samples):
    """The exact gradient with respect to b, the same in every coordinate by symmetry."""
    doubly, _ = replicates(DoublyReparameterized(), num_samples, 3000)
    return doubly.mean()


def test_total_derivative_loses_its_signal_as_one_over_root_k():
    numbers = [16, 64, 256, 1024]
    ratios = []
    for number in numbers:
        total, _ = replicates(Reparameterized(), number, 1000)
        ratios.append(snr(phi_mean(number), total))
    assert abs(slope(numbers, ratios) - -0.5) < 0.05
    # Within the error of the table itself: 6e4 replicates of 20 coordinates, at a ratio near zero.
    tabled = [0.060, 0.031, 0.0155, 0.0075]
    np.testing.assert_allclose(ratios, tabled, rtol=0, atol=3 / np.sqrt(6e4 * DIMENSIONS))


def test_doubly_reparameterized_gains_signal_as_root_k():
    numbers = [1, 4, 16, 64, 256, 1024]
    ratios = [
        snr(phi_mean(number), replicates(DoublyReparameterized(), number, 3000)[0])
        for number in numbers
    ]
    np.testing.assert_allclose(ratios, [0.74, 0.73, 0.87, 1.36, 2.49, 4.86], rtol=0.05)
    assert abs(slope(numbers[-2:], ratios[-2:]) - 0.48) < 0.05


def test_model_gains_signal_as_root_k_with_any_estimator():
    numbers = [4, 16, 64, 256, 1024]
    ratios = []
    for number in numbers:
        _, theta = replicates(DoublyReparameterized(), number, 3000)
        signals = np.abs(theta.mean(axis=0)) / theta.std(axis=0, ddof=1)
        # Coordinates that are nearly at their optimum have no signal to measure.
        ratios.append(np.median(signals))
    assert abs(slope(numbers[1:], ratios[1:]) - 0.49) < 0.05


@pytest.mark.parametrize(
    ("estimator", "means"),
    [
        (StickingTheLanding(), [-0.300, -0.252, -0.233, -0.227, -0.2256, -0.2251]),
        (WakePhi(), [0.0, -0.144, -0.200, -0.218, -0.2233, -0.2246]),
    ],
)
def test_other_objectives_tend_to_the_divergence_of_the_posterior_from_q(estimator, means):
    """Neither tends to zero as the bound's own gradient does: -0.225 is -d KL(p||q) / db."""
    for number, mean in zip([1, 4, 16, 64, 256, 1024], means, strict=True):
        gradients, _ = replicates(estimator, number, 2000)
        per_replicate = gradients.mean(axis=1)
        error = per_replicate.std(ddof=1) / np.sqrt(len(per_replicate))
        last_digit = 5e-4 if number < 256 else 5e-5
        assert abs(per_replicate.mean() - mean) < 5 * error + last_digit
