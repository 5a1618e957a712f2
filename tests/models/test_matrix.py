"""Every prior × observation × posterior over one space: it trains, and is traced once."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter.distributions import is_reparameterizable
from tighter.models import (
    OBSERVATIONS,
    POSTERIORS,
    PRIORS,
    VAE,
    Mixed,
    Space,
    observation_from_name,
    posterior_from_name,
    prior_from_name,
)

KEY = jax.random.key(8)
SHAPE, LATENT, NUM = (4,), 2, 24
MIXED = {"a": "heteroscedastic-gaussian", "b": "bernoulli", "c": "categorical:3", "d": "poisson"}


def observation(name):
    if name == "mixed":
        return Mixed(MIXED)
    return observation_from_name(name + ":3" * (name == "categorical"), SHAPE)


def examples(name):
    """Data that each family can explain, with something for z to explain."""
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(NUM, 1)) * np.array([1.0, -1.0, 0.5, 0.8])
    noisy = hidden + 0.5 * rng.normal(size=(NUM, 4))
    unit = 1 / (1 + np.exp(-2 * noisy))
    if name == "mixed":
        columns = (
            noisy[:, 0],
            noisy[:, 1] > 0,
            np.floor(2.99 * unit[:, 2]),
            np.floor(6 * unit[:, 3]),
        )
        return np.stack(columns, axis=1).astype(np.float32)
    support = observation(name).support
    if support.whole:
        return np.floor(np.minimum(support.high + 0.99, 6) * unit).astype(np.float32)
    if support.step:
        return (np.round(255 * unit) / 255).astype(np.float32)
    if np.isfinite(support.high):
        return np.clip(unit, 0.01, 0.99).astype(np.float32)
    return (np.exp(noisy) if support.low == 0 else noisy).astype(np.float32)


def spaces():
    """Names of priors and posteriors by space; a VampPrior goes with each posterior."""
    priors = {name: prior_from_name(name, LATENT, shape=SHAPE, key=KEY).space for name in PRIORS}
    posteriors = {name: posterior_from_name(name, LATENT, key=KEY).space for name in POSTERIORS}
    return priors, posteriors


PRIOR_SPACES, POSTERIOR_SPACES = spaces()
PAIRS = [
    (prior, posterior)
    for prior, posterior in itertools.product(PRIORS, POSTERIORS)
    if PRIOR_SPACES[prior] in (Space.ANY, POSTERIOR_SPACES[posterior])
]
MATRIX = [(prior, name, posterior) for name in OBSERVATIONS for prior, posterior in PAIRS]


def covering():
    """Few of the matrix: every prior, every posterior and every observation once or more."""
    chosen, seen = [], set()
    order = np.random.default_rng(0).permutation(len(MATRIX))
    while True:
        news = [(len(set(enumerate(MATRIX[i])) - seen), -rank, i) for rank, i in enumerate(order)]
        gain, _, best = max(news)
        if gain == 0:
            return chosen
        chosen.append(MATRIX[best])
        seen |= set(enumerate(MATRIX[best]))


QUICK = covering()


def check(prior, name, posterior):
    xs = examples(name)
    model = VAE.create(
        SHAPE, num_latent=LATENT, hidden=(8,), observation=observation(name),
        prior=prior + ":3" * (prior in ("mixture", "vampprior")), posterior=posterior, key=KEY,
    ).initialized_from(xs, key=KEY)  # fmt: skip
    moving = is_reparameterizable(model.posterior(jnp.asarray(xs[0])))
    gradient = tt.gradients.DoublyReparameterized() if moving else tt.gradients.VIMCO()
    objective = tt.Objective(tt.bounds.IWAE(), gradient, num_samples=4)
    optimizer, traces = optax.adam(1e-2), []
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def step(arrays, state, key):
        traces.append(1)

        def loss(arrays):
            model = eqx.combine(arrays, static)
            return -jnp.mean(objective.batch(model, jnp.asarray(xs), key=key))

        value, derivative = jax.value_and_grad(loss)(arrays)
        updates, state = optimizer.update(derivative, state)
        return optax.apply_updates(arrays, updates), state, value

    step, state, losses = quick_jit(step), optimizer.init(arrays), []
    for key in jax.random.split(KEY, 50):
        arrays, state, value = step(arrays, state, key)
        losses.append(float(value))
        if len(losses) == 2:
            leaves = jax.tree.leaves(arrays)
            assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in leaves)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert len(traces) == 1


def test_the_few_cover_all():
    for i, names in enumerate((PRIORS, OBSERVATIONS, POSTERIORS)):
        assert {triple[i] for triple in QUICK} == set(names)


# Those that CI runs; `-m slow` runs the rest.
FIRST = QUICK[1:2]
REST = [triple for triple in MATRIX if triple not in FIRST]


@pytest.mark.parametrize(("prior", "name", "posterior"), FIRST, ids=map("-".join, FIRST))
def test_it_trains(prior, name, posterior):
    check(prior, name, posterior)


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "name", "posterior"), REST, ids=map("-".join, REST))
def test_all_train(prior, name, posterior):
    check(prior, name, posterior)
