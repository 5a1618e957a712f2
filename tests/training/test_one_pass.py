"""Compiled loops hold no more matrix products than steps written by hand: one pass over the draws.

Outside of loops XLA merges two passes, and inside it does not, so it is loops that are counted.
"""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

from tighter import AnalyticEntropy, AnalyticKL, Objective
from tighter.bounds import ELBO, IWAE, Grouped, Renyi
from tighter.gradients import (
    ESTIMATORS,
    VIMCO,
    DoublyReparameterized,
    Reparameterized,
    ScoreFunction,
    Split,
)
from tighter.models import VAE
from tighter.training.feed import Block
from tighter.training.steps import Steps, keys_of

BATCH, FEATURES, LATENTS, HIDDEN = 7, 11, 3, 5
XS = (jnp.sin(jnp.arange(4 * BATCH * FEATURES * 1.0)) > 0).astype(float).reshape(-1, FEATURES)
ADAM = optax.adam(1e-3)


def model():
    sizes = {"num_latent": LATENTS, "hidden": (HIDDEN, HIDDEN)}
    return VAE.create((FEATURES,), **sizes, key=jax.random.key(1))


def products(lowered):
    """Matrix products in a compiled program."""
    compiled = lowered.compile()
    text = getattr(compiled, "compiled", compiled).as_text()  # of a filtered program, or of JAX's
    return len(re.findall(r" dot\(|custom-call\(.*matmul", text))


def products_of_fit(objective):
    """In the loop that `fit` runs."""
    arrays, static = eqx.partition(model(), eqx.is_inexact_array)
    keys = keys_of(jax.random.key(0))
    steps = Steps(static, objective, ADAM, None, BATCH, len(XS), jnp.asarray(8), keys)
    block = Block(XS, jnp.arange(len(XS)), jnp.asarray(0))
    lowered = Steps.run.lower(steps, steps.initial(arrays), block, jnp.asarray(4))
    return products(lowered)


def products_of_scan(loss):
    """In a user's own loop, of a loss of parameters, examples and a key."""
    arrays, static = eqx.partition(model(), eqx.is_inexact_array)

    def run(arrays, xs, keys):
        def step(carry, batch):
            arrays, state = carry
            gradient = jax.grad(lambda arrays: loss(eqx.combine(arrays, static), *batch))(arrays)
            updates, state = ADAM.update(gradient, state)
            return (optax.apply_updates(arrays, updates), state), None

        return jax.lax.scan(step, (arrays, ADAM.init(arrays)), (xs, keys))[0]

    keys = jax.random.split(jax.random.key(0), 4)
    return products(jax.jit(run).lower(arrays, XS.reshape(4, BATCH, FEATURES), keys))


@functools.cache
def products_by_hand(*, path):
    """Six layers forward, six by their weights, five back through what lies between them."""
    return products_of_scan(by_hand(3, path=path))


def by_hand(num_samples, *, path):
    """The IWAE step that one would write: every row once through the decoder, there and back."""

    def loss(model, xs, key):
        location, log_scale = jnp.moveaxis(jax.vmap(model.encoder)(xs), 1, 0)

        def log_weight(x, location, log_scale, noise):
            z = location + jnp.exp(log_scale) * noise
            z = z if path else jax.lax.stop_gradient(z)
            logits = model.decoder(z)
            log_p = jnp.sum(x * logits - jax.nn.softplus(logits)) - jnp.sum(z**2) / 2
            return log_p + jnp.sum(((z - location) / jnp.exp(log_scale)) ** 2 / 2 + log_scale)

        noise = jax.random.normal(key, (num_samples * BATCH, LATENTS))
        rows = (jnp.concatenate([part] * num_samples) for part in (xs, location, log_scale))
        log_weights = jax.vmap(log_weight)(*rows, noise).reshape(num_samples, BATCH)
        return -jnp.mean(jax.nn.logsumexp(log_weights, axis=0))

    return loss


def ours(objective):
    return lambda model, xs, key: -jnp.mean(objective.batch(model, xs, key=key))


OBJECTIVES = {
    **{name: Objective(IWAE(), make(), num_samples=3) for name, make in ESTIMATORS.items()},
    "one draw": Objective(ELBO(), num_samples=1),
    "several bounds": Objective(Renyi(0.5), DoublyReparameterized(), num_samples=2, num_outer=2),
    "path and score": Objective(
        IWAE(), Split(theta=IWAE(), phi=(Grouped(IWAE(), 2), Reparameterized())), num_samples=4
    ),
    "two estimators": Objective(IWAE(), Split(theta=IWAE(), phi=VIMCO()), num_samples=3),
    "KL in closed form": AnalyticKL(num_samples=2),
    "entropy in closed form": AnalyticEntropy(num_samples=2),
    "KL in closed form, score": AnalyticKL(gradient=ScoreFunction(), num_samples=2),
}


IN_CI = ("reparameterized", "doubly-reparameterized", "vimco", "path and score")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in IN_CI else [pytest.mark.slow]) for n in OBJECTIVES],
)
def test_loops_hold_the_products_of_one_pass(name):
    objective = OBJECTIVES[name]
    path = objective.gradient.uses_path
    hand = products_by_hand(path=path)
    assert hand == (17 if path else 16)
    assert products_of_fit(objective) <= hand
    assert products_of_scan(ours(objective)) <= hand


@pytest.mark.parametrize("estimator", [DoublyReparameterized(), VIMCO()])
def test_a_closure_an_example_holds_them_too(estimator):
    objective = Objective(IWAE(), estimator, num_samples=3)

    def loss(model, xs, key):
        def one(x, key):
            return objective(model.log_joint(x), model.posterior(x), key=key)

        return -jnp.mean(jax.vmap(one)(xs, jax.random.split(key, BATCH)))

    assert products_of_scan(loss) <= (17 if estimator.uses_path else 16)


@pytest.mark.parametrize(
    "estimator", [pytest.param(Reparameterized(), marks=pytest.mark.slow), DoublyReparameterized()]
)
def test_few_draws_backward_cost_one_more_pass_forward(estimator):
    objective = Objective(IWAE(), estimator, num_samples=4, num_backward=2)
    assert products_of_fit(objective) <= 17 + 3
