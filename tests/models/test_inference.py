"""Posteriors refined for an example, or with no encoder, against the exact linear-Gaussian one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.models import VAE
from tighter.models.inference import FreePosterior, SemiAmortized

KEY = jax.random.key(3)
XS = np.random.default_rng(0).normal(1.0, 1.4, size=(40, 2)).astype(np.float32)


def linear():
    """x = z W + b + noise of sd 0.8, with z of two dimensions: W is nearly orthogonal."""
    model = VAE.create((2,), num_latent=2, hidden=(), observation="gaussian:0.8", key=KEY)
    layer = lambda model: (model.decoder.layers[0].weight, model.decoder.layers[0].bias)  # noqa: E731
    return eqx.tree_at(layer, model, (jnp.array([[0.9, 0.3], [-0.3, 0.9]]), jnp.ones(2)))


def log_evidence(model, xs):
    layer = model.decoder.layers[0]
    covariance = layer.weight.T @ layer.weight + 0.64 * jnp.eye(2)
    centered = jnp.asarray(xs) - layer.bias[None]
    inverse = jnp.linalg.inv(covariance)
    quadratic = jnp.sum(centered @ inverse * centered, axis=1)
    return -0.5 * (quadratic + jnp.linalg.slogdet(2 * jnp.pi * covariance)[1])


def gap(model, xs, examples, num_samples=2000):
    """Mean divergence of q from the posterior, which the diagonal family holds."""
    objective = tt.Objective(tt.bounds.ELBO(), num_samples=num_samples)
    bounds = quick_jit(lambda model: objective.batch(model, examples, key=KEY))(model)
    vae = model if isinstance(model, VAE) else model.vae
    return float(jnp.mean(log_evidence(vae, xs) - bounds))


@pytest.mark.slow
def test_steps_close_the_gap():
    model, xs = linear(), jnp.asarray(XS)
    gaps = [gap(model, xs, xs)]
    for num_steps in (1, 5, 60):
        refined = SemiAmortized.create(
            model, num_steps=num_steps, num_samples=512, learning_rate=0.2
        )
        gaps.append(gap(refined, xs, xs))
    assert gaps == sorted(gaps, reverse=True)
    # What is left is that of the draws' noise, about half a nat a parameter and draw: 4 / 1024.
    assert gaps[-1] < 0.02 < gaps[0]


@pytest.mark.slow
def test_the_encoder_learns_through_the_steps():
    """Its derivative is that of the whole, by differences."""
    model = SemiAmortized.create(linear(), num_steps=3, learning_rate=0.05)
    objective = tt.Objective(tt.bounds.ELBO(), tt.gradients.Reparameterized(), num_samples=4)

    with jax.enable_x64(True):
        model = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model)
        xs = jnp.asarray(XS[:5], jnp.float64)

        def mean_bound(shift):
            moved = eqx.tree_at(
                lambda model: model.vae.encoder.layers[0].bias,
                model,
                replace_fn=lambda b: b + shift,
            )
            return jnp.mean(objective.batch(moved, xs, key=KEY))

        bound = quick_jit(mean_bound)
        at, step = jnp.array([0.3, -0.2, 0.1, 0.4]), 1e-5
        gradient = quick_jit(jax.grad(mean_bound))(at)
        differences = [
            (bound(at + step * unit) - bound(at - step * unit)) / (2 * step) for unit in jnp.eye(4)
        ]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-7)


def test_a_table_reaches_every_examples_posterior():
    model = FreePosterior(linear(), jnp.zeros((40, 2, 2)))
    held = jax.tree.map(jax.lax.stop_gradient, model.vae)
    objective = tt.Objective(tt.bounds.ELBO(), tt.gradients.StickingTheLanding(), num_samples=4)
    examples = {name: jnp.asarray(part) for name, part in model.examples(XS).items()}

    @quick_jit
    def trained(table):
        def loss(table, key):
            return -jnp.sum(objective.batch(FreePosterior(held, table), examples, key=key))

        def step(carry, key):
            table, state = carry
            updates, state = optimizer.update(jax.grad(loss)(table, key), state)
            return (optax.apply_updates(table, updates), state), None

        optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 300))
        keys = jax.random.split(KEY, 300)
        return jax.lax.scan(step, (table, optimizer.init(table)), keys)[0][0]

    after = FreePosterior(model.vae, trained(model.table))
    assert gap(model, XS, examples) > 0.1
    assert gap(after, XS, examples) < 1e-3


@pytest.mark.slow
def test_a_table_is_trained_by_fit():
    model = FreePosterior.create(linear(), XS)
    objective = tt.Objective(tt.bounds.ELBO(), num_samples=1)
    result = tt.fit(
        model, model.examples(XS), objective,
        optimizer=optax.adam(0.05), num_epochs=20, batch_size=10, key=KEY,
    )  # fmt: skip
    assert result.history[-1]["bound"] > result.history[0]["bound"] + 0.5
    encoders = (model.vae.encoder.layers[0].weight, result.model.vae.encoder.layers[0].weight)
    np.testing.assert_array_equal(*encoders)


def test_what_can_not_be():
    with pytest.raises(InputError, match="40 examples, got 7"):
        FreePosterior.create(linear(), XS).examples(XS[:7])
    with pytest.raises(InputError, match="num_steps is a whole number of at least 1"):
        SemiAmortized.create(linear(), num_steps=0)
