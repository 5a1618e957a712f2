"""What a model holds is left alone, by optimizers too that move what has no gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import tighter as tt
from tighter.models import VAE, BayesianModel, DiffusionModel, TopicModel
from tighter.models.diffusion import DiffusionBound
from tighter.training.steps import left_alone, training_bounds

KEY = jax.random.key(3)
XS = np.random.default_rng(0).normal(3.0, 2.0, (40, 4)).astype(np.float32)
COUNTS = np.random.default_rng(1).poisson(1.5, (40, 6)).astype(np.float32)


def table():
    model = VAE.create((4,), num_latent=2, hidden=(3,), observation="learned-gaussian", key=KEY)
    family = tt.models.observations.Standardized(model.observation, (4,)).initialized_from(XS)
    return eqx.tree_at(lambda model: model.observation, model, family), XS, tt.Objective()


def bayesian():
    def log_likelihood(parameters, datum):
        return dist.Normal(parameters["mean"], parameters["sd"]).log_prob(datum)

    prior = {"mean": dist.Normal(0.0, jnp.array(10.0)), "sd": dist.HalfCauchy(jnp.array(2.5))}
    return BayesianModel(log_likelihood, prior), XS[:, 0], tt.Objective()


def diffusion():
    model = DiffusionModel.create((4,), hidden=(3,), key=KEY).initialized_from(XS)
    return model, XS, DiffusionBound()


def topics():
    return (
        TopicModel.create(6, num_topics=2, product=True, hidden=(3,), key=KEY),
        COUNTS,
        tt.Objective(),
    )


@pytest.mark.parametrize("make", [table, bayesian, diffusion, topics])
def test_weight_decay_moves_what_is_trained(make):
    """Every step halves what is trained; and what never has a gradient is what is left alone."""
    model, xs, objective = make()
    arrays = eqx.filter(model, eqx.is_inexact_array)
    alone = jax.tree.leaves(left_alone(arrays))
    batch = jnp.asarray(xs[:20])

    def loss(model, key):
        return jnp.mean(training_bounds(model, objective, batch, len(xs), key=key))

    gradients = eqx.filter_jit(eqx.filter_grad(loss))(model, KEY)
    for told, gradient in zip(alone, jax.tree.leaves(gradients), strict=True):
        assert not told or not np.any(gradient)

    halved = optax.chain(optax.scale(0.0), optax.add_decayed_weights(-0.5))
    result = tt.fit(model, xs, objective, optimizer=halved, num_epochs=1, batch_size=20, key=KEY)
    before, after = (
        jax.tree.leaves(eqx.filter(m, eqx.is_inexact_array)) for m in (model, result.model)
    )
    assert any(alone)
    for told, old, new in zip(alone, before, after, strict=True):
        if not told:
            np.testing.assert_allclose(new, old * 0.25, rtol=1e-5)
        elif make is not topics:  # whose statistics follow the batches
            np.testing.assert_array_equal(new, old)
