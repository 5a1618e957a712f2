"""A posterior with mass where the prior has none is refused, and told where."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import tighter as tt
from tighter.distributions import Chain, check_supports

PAIR = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
VECTOR = dist.Normal(jnp.zeros(3), 1.0).to_event(1)


@pytest.mark.parametrize(
    ("q", "p", "words"),
    [
        (dist.Normal(), dist.HalfNormal(), "Normal of z has mass at z < 0, .* HalfNormal has none"),
        (dist.Normal(), dist.Uniform(-1.0, 2.0), "z < -1"),
        (dist.Gamma(1.0, 1.0), dist.Beta(1.0, 1.0), "z > 1"),
        (dist.Normal(), dist.Bernoulli(0.5), r"a continuum \(p: whole numbers\)"),
        (dist.Poisson(1.0), dist.Normal(), r"whole numbers \(p: a continuum\)"),
        (dist.Poisson(1.0), dist.Bernoulli(0.5), "z > 1"),
        (VECTOR, dist.Dirichlet(jnp.ones(3)), "vectors off the simplex"),
        (dist.Dirichlet(jnp.ones(3)), VECTOR, "the simplex alone"),
        (VECTOR, PAIR, r"shape \(3,\) .* \(2,\) in the prior"),
        (
            Chain({"a": dist.Normal(), "b": dist.Normal()}),
            Chain({"a": dist.Normal(), "b": dist.Exponential(1.0)}),
            "the latent 'b' has mass at z < 0",
        ),
    ],
)  # fmt: skip
def test_refused(q, p, words):
    with pytest.raises(tt.InputError, match=words):
        check_supports(q, p)


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (dist.Uniform(-1.0, 1.0), dist.Normal()),
        (dist.LogNormal(), dist.Gamma(1.0, 1.0)),
        (dist.MultivariateNormal(jnp.zeros(3), jnp.eye(3)), VECTOR),
        (dist.Dirichlet(jnp.ones(3)), dist.Dirichlet(jnp.ones(3))),
        (Chain({"a": dist.Normal()}), Chain({"a": lambda z: dist.HalfNormal()})),
        (dist.Normal(), None),
    ],
)
def test_let_pass(q, p):
    check_supports(q, p)


def test_where_a_model_is_trained():
    class Positive(eqx.Module):
        mean: jax.Array

        @property
        def prior(self):
            return dist.Exponential(1.0)

        def posterior(self, x):
            return dist.Normal(self.mean, 1.0)

        def log_joint(self, x):
            return lambda z: self.prior.log_prob(z) + dist.Normal(z, 1.0).log_prob(x)

    batch = jax.jit(lambda m: tt.Objective().batch(m, jnp.zeros(4), key=jax.random.key(0)))
    with pytest.raises(tt.InputError, match="posterior Normal of z has mass at z < 0"):
        batch(Positive(jnp.zeros(())))
