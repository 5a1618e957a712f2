"""Estimators for Bernoulli latents: their variance as enumerated on all states, and its order."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import tighter as tt
from tests.oracles.quick import quick_jit
from tighter.bounds import IWAE
from tighter.gradients import ARM, OVIS, VIMCO, DisARM, LeaveOneOut, ScoreFunction

LOGITS = np.array([0.4, -0.7, 0.2, 1.1], np.float32)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(4, 6)).astype(np.float32)
X = (RNG.uniform(size=6) < 0.5).astype(np.float32)
REPLICATES = 200_000


def log_joint(z):
    z = jnp.asarray(z, jnp.float32)
    prior = dist.Bernoulli(logits=jnp.zeros(4)).to_event(1)
    likelihood = dist.Bernoulli(logits=z @ WEIGHTS).to_event(1)
    return prior.log_prob(z) + likelihood.log_prob(X)


def posterior(logits):
    return dist.Bernoulli(logits=logits, validate_args=False).to_event(1)


def moments_by_enumeration(gradient):
    """Mean and variance of the φ-gradient with K = 2, over all 16² pairs of states."""
    states = jnp.array(list(itertools.product([0, 1], repeat=4)))
    log_q = jax.vmap(posterior(LOGITS).log_prob)(states)
    scores = jax.vmap(jax.grad(lambda phi, z: posterior(phi).log_prob(z)), (None, 0))(
        jnp.asarray(LOGITS), states
    )
    log_weights = jax.vmap(log_joint)(states) - log_q
    first, second, mass = np.zeros(4), np.zeros(4), np.exp(np.asarray(log_q, np.float64))
    coefficients = jax.jit(lambda ell: gradient.coefficients(IWAE(), ell).score)
    for i, j in itertools.product(range(16), repeat=2):
        score = np.asarray(coefficients(log_weights[jnp.array([i, j])]))
        slope = score[0] * np.asarray(scores[i]) + score[1] * np.asarray(scores[j])
        first += mass[i] * mass[j] * slope
        second += mass[i] * mass[j] * slope**2
    return first, second - first**2


@pytest.mark.parametrize("gradient", [VIMCO(), OVIS(), ScoreFunction(baseline=LeaveOneOut())])
def test_moments_are_those_enumerated_on_all_states(gradient):
    mean, variance = moments_by_enumeration(gradient)
    objective = tt.Objective(IWAE(), gradient, num_samples=2)

    def bound(phi, key):
        return objective(log_joint, posterior(phi), key=key)

    keys = jax.random.split(jax.random.key(0), REPLICATES)
    slopes = quick_jit(jax.vmap(jax.grad(bound), (None, 0)))(jnp.asarray(LOGITS), keys)
    slopes = np.asarray(slopes, np.float64)
    centered = slopes - slopes.mean(axis=0)
    assert (np.abs(slopes.mean(axis=0) - mean) < 5 * np.sqrt(variance / REPLICATES)).all()
    error = np.sqrt(((centered**4).mean(axis=0) - variance**2) / REPLICATES)
    assert (np.abs((centered**2).mean(axis=0) - variance) < 5 * error).all()


@pytest.mark.slow
def test_the_order_of_the_variances():
    """DisARM ≤ ARM, and DisARM ≤ leave-one-out ≤ plain, two evaluations each."""

    def value(phi, key, gradient):
        q = posterior(phi)
        return tt.expectation(
            lambda z: log_joint(z) - q.log_prob(z), q, gradient=gradient, num_samples=2, key=key
        )

    keys = jax.random.split(jax.random.key(1), 20_000)
    spreads = {}
    for gradient in (DisARM(), ARM(), ScoreFunction(baseline=LeaveOneOut()), ScoreFunction()):
        run = quick_jit(jax.vmap(jax.grad(lambda p, k, g=gradient: value(p, k, g)), (None, 0)))
        spreads[repr(gradient)] = float(jnp.sum(jnp.var(run(jnp.asarray(LOGITS), keys), axis=0)))
    disarm, arm, leave_one_out, plain = spreads.values()
    assert disarm <= arm
    assert disarm <= leave_one_out <= plain
