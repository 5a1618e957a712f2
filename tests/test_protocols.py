"""What a model and a posterior may have, and the defaults of what a user's own lacks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jaxtyping import Array

import tighter as tt
from tighter._errors import InputError
from tighter._protocols import (
    ModelHooks,
    PosteriorHooks,
    as_model,
    as_posterior,
    prior_if_any,
    untrained_fields,
)
from tighter.distributions import as_reparameterized


class Own(eqx.Module):
    """z ~ N(0, 1), x given z ~ N(wz, 1), with nothing beside the two densities."""

    weight: Array

    def log_joint(self, x):
        return lambda z: (
            dist.Normal(0.0, 1.0).log_prob(z)
            + jnp.sum(dist.Normal(self.weight * z, 1.0).log_prob(x))
        )

    def posterior(self, x):
        return dist.Normal(jnp.vdot(self.weight, x) / 4, 0.5)


class WithHooks(Own):
    """The same, with some hooks of its own."""

    takes_missing = True

    def for_scoring(self):
        return Own(self.weight + 1)

    def after_step(self, xs, *, key):
        return WithHooks(self.weight * 2)


class Drawing(eqx.Module):
    """A density with draws and nothing else."""

    scale: Array

    def sample(self, key, sample_shape=()):
        return self.scale * jax.random.normal(key, sample_shape)

    def log_prob(self, value):
        return dist.Normal(0.0, self.scale).log_prob(value)


def test_what_a_model_lacks_has_its_default():
    model = Own(jnp.ones(3))
    hooks = as_model(model)
    assert not hooks.takes_missing
    assert hooks.origin == 0.0
    for absent in (hooks.prior, hooks.likelihood, hooks.completion, hooks.minibatch_log_joint):
        assert absent is None
    # What is given back is the user's own, and nothing in its place.
    key = jax.random.key(0)
    assert hooks.in_training(jnp.ones(2), key=key) is model
    assert hooks.after_step(jnp.ones(2), key=key) is model
    assert hooks.for_scoring() is model
    hooks.check_examples(np.full((4, 3), 1e30))
    assert hooks.log_joint(jnp.ones(3))(jnp.ones(())) == model.log_joint(jnp.ones(3))(jnp.ones(()))


def test_what_a_model_has_is_its_own():
    model = WithHooks(jnp.ones(3))
    assert as_model(model).takes_missing
    np.testing.assert_array_equal(as_model(model).for_scoring().weight, 2.0)
    moved = as_model(model).after_step(None, key=jax.random.key(0))
    assert type(moved) is WithHooks
    assert float(moved.weight[0]) == 2.0
    xs = np.ones((2, 3))
    scored = tt.log_likelihood(model, xs, num_samples=10, key=jax.random.key(0))
    other = tt.log_likelihood(Own(model.weight + 1), xs, num_samples=10, key=jax.random.key(0))
    np.testing.assert_array_equal(scored.value, other.value)


def test_own_models_are_asked_as_they_are():
    model = tt.models.ProbabilisticPCA(jnp.ones((3, 1)), jnp.zeros(3), jnp.asarray(0.1))
    assert isinstance(model, ModelHooks)
    assert as_model(model) is model
    assert as_posterior(experts := tt.distributions.Experts(dist.Normal(jnp.zeros(2), 1.0))) is (
        experts
    )


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"in_training": lambda self, xs: self}, r"def in_training\(self, xs, \*, key\)"),
        ({"after_step": lambda self, xs, key: self}, None),
        ({"minibatch_log_joint": lambda self, xs: self}, r"\(self, xs, num_examples\)"),
        ({"for_scoring": lambda self, x: self}, r"has for_scoring\(x\).*def for_scoring\(self\)"),
        ({"completion": 3}, "has completion = 3, which is called otherwise"),
        ({"check_examples": lambda self: None}, r"def check_examples\(self, xs\)"),
    ],
)
def test_a_hook_that_takes_something_else_is_told_in_a_line(method, words):
    model = type("Mine", (Own,), method)(jnp.ones(3))
    if words is None:
        as_model(model)
        return
    with pytest.raises(InputError, match=words) as error:
        tt.Objective().batch(model, jnp.ones((2, 3)), key=jax.random.key(0))
    assert "\n" not in str(error.value)


def test_what_a_posterior_lacks_has_its_default():
    for posterior in (Drawing(jnp.ones(())), dist.Normal(0.0, 1.0)):
        hooks = as_posterior(posterior)
        assert hooks.num_strata is None
        assert hooks.drawn_log_prob is None
        assert hooks.turn == hooks.num_experts == 1
        assert hooks.stratum(jnp.asarray(3)) is posterior
    assert as_posterior(Drawing(jnp.ones(()))).rsample is None
    assert as_reparameterized(Drawing(jnp.ones(()))) is None
    assert isinstance(tt.distributions.Chain({"a": dist.Normal()}), PosteriorHooks)
    with pytest.raises(TypeError, match=r"a posterior has log_prob\(z\) and rsample"):
        as_posterior(jnp.ones(3))


def test_a_prior_that_asks_for_the_context_is_none_of_the_model():
    assert prior_if_any(Own(jnp.ones(3))) is None
    model = tt.models.ProbabilisticPCA(jnp.ones((3, 1)), jnp.zeros(3), jnp.asarray(0.1))
    assert prior_if_any(model) is not None


def test_fields_that_no_optimizer_moves():
    assert untrained_fields(Own(jnp.ones(3))) == ()
    assert untrained_fields({"a": 1}) == ()
    assert untrained_fields(type("Held", (), {"untrained": ("scale",)})()) == ("scale",)


def test_the_adapter_leaves_no_trace_in_gradients():
    """Derivatives are by the user's own arrays, in its own structure."""
    model = Own(jnp.ones(3))
    gradient = eqx.filter_grad(
        lambda model: tt.Objective().batch(model, jnp.ones((2, 3)), key=jax.random.key(0)).sum()
    )(model)
    assert jax.tree.structure(gradient) == jax.tree.structure(model)
    assert type(gradient) is Own
