"""KL divergences against quadrature, sums and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.oracles.thinning import every

import tighter as tt
from tighter.distributions import has_closed_form, kl

FACTOR = jnp.array([[1.0, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.2, 0.4, 1.1]])
FULL = dist.MultivariateNormal(jnp.array([0.2, -0.3, 0.5]), scale_tril=FACTOR)
LOW = dist.LowRankMultivariateNormal(jnp.zeros(3), 0.5 * jnp.ones((3, 1)), jnp.array([1.0, 0.6, 2]))
DIAGONAL = dist.Normal(jnp.array([0.1, 0.0, -0.4]), jnp.array([1.0, 0.5, 1.5])).to_event(1)

PAIRS = {
    "normal": (dist.Normal(0.3, 0.8), dist.Normal(-0.2, 1.5)),
    "diagonal": (DIAGONAL, dist.Normal(jnp.zeros(3), 1.0).to_event(1)),
    "full-diagonal": (FULL, DIAGONAL),
    "diagonal-full": (DIAGONAL, FULL),
    "full-full": (FULL, dist.MultivariateNormal(jnp.zeros(3), 2 * jnp.eye(3))),
    "low-rank-diagonal": (LOW, DIAGONAL),
    "full-low-rank": (FULL, LOW),
    "expanded": (DIAGONAL, dist.Normal(0.0, 1.0).expand([3]).to_event(1)),
    "bernoulli": (dist.Bernoulli(logits=0.4), dist.Bernoulli(probs=0.3)),
    "categorical": (
        dist.Categorical(logits=jnp.array([0.3, -1.0, 0.2])),
        dist.Categorical(probs=jnp.array([0.2, 0.5, 0.3])),
    ),
    "laplace": (dist.Laplace(0.4, 0.7), dist.Laplace(-0.5, 1.3)),
    "lognormal": (dist.LogNormal(0.2, 0.5), dist.LogNormal(-0.1, 0.9)),
    "half-normal": (dist.HalfNormal(0.6), dist.HalfNormal(1.4)),
    "poisson": (dist.Poisson(2.0), dist.Poisson(3.5)),
    "exponential": (dist.Exponential(2.0), dist.Exponential(0.7)),
    "gamma": (dist.Gamma(2.5, 1.5), dist.Gamma(1.2, 0.8)),
    "gamma-exponential": (dist.Gamma(2.5, 1.5), dist.Exponential(0.8)),
    "beta": (dist.Beta(2.5, 1.5), dist.Beta(1.2, 0.8)),
    "dirichlet": (
        dist.Dirichlet(jnp.array([1.5, 2.0, 0.7])),
        dist.Dirichlet(jnp.array([1.0, 1.0, 2.0])),
    ),
    "uniform": (dist.Uniform(0.2, 0.7), dist.Uniform(0.0, 1.0)),
    "geometric": (dist.Geometric(probs=0.4), dist.Geometric(logits=-0.2)),
}


@pytest.mark.parametrize("pair", every(5, PAIRS))
def test_closed_forms_against_simulation(pair):
    q, p = PAIRS[pair]
    assert has_closed_form(q, p)
    num = 200_000
    with jax.numpy_rank_promotion("allow"):
        z = q.sample(jax.random.key(0), (num,))
        ratio = np.asarray(q.log_prob(z) - p.log_prob(z), np.float64)
    found = kl(q, p)
    assert found.shape == ()
    assert abs(found - ratio.mean()) < 5 * ratio.std() / np.sqrt(num) + 1e-6


@pytest.mark.parametrize("pair", PAIRS)
def test_zero_only_at_itself(pair):
    q, p = PAIRS[pair]
    np.testing.assert_allclose(kl(q, q), 0.0, atol=1e-5)
    assert kl(q, p) > 0.01


def test_batches_and_gradients():
    q, p = dist.Laplace(jnp.array([0.1, 0.2]), 1.0), dist.Laplace(0.0, jnp.array([1.0, 2.0]))
    assert kl(q, p).shape == (2,)
    slope = jax.grad(lambda loc: kl(dist.Normal(loc, 1.0), dist.Normal(0.0, 2.0)))(0.8)
    np.testing.assert_allclose(slope, 0.8 / 4, rtol=1e-6)


def test_a_value_never_taken_adds_nothing():
    q = dist.Categorical(logits=jnp.array([0.0, -jnp.inf, 0.0]), validate_args=False)
    p = dist.Categorical(probs=jnp.array([0.25, 0.5, 0.25]))
    np.testing.assert_allclose(kl(q, p), np.log(2), rtol=1e-6)


def test_monte_carlo_only_on_request():
    q, p = dist.StudentT(5.0, 0.0, 1.0), dist.Normal(0.0, 1.2)
    assert not has_closed_form(q, p)
    with pytest.raises(tt.InputError, match=r"KL\(StudentT‖Normal\) has no closed form"):
        kl(q, p)
    estimate = kl(q, p, num_samples=50_000, key=jax.random.key(0))
    z = np.linspace(-60, 60, 400_001)
    with jax.enable_x64(True):
        log_q, log_p = (np.asarray(d.log_prob(z)) for d in (q, p))
    truth = np.sum(np.exp(log_q) * (log_q - log_p)) * (z[1] - z[0])
    assert abs(estimate - truth) < 0.02


@pytest.mark.parametrize(
    ("q", "p", "message"),
    [
        (dist.Normal(0.0, 1.0), dist.Gamma(1.0, 1.0), "z < 0"),
        (dist.Exponential(1.0), dist.Beta(1.0, 1.0), "z > 1"),
        (dist.Poisson(1.0), dist.Normal(0.0, 1.0), "whole numbers"),
        (dist.Uniform(-1.0, 0.5), dist.Uniform(0.0, 1.0), "z < 0"),
        (DIAGONAL, dist.Normal(0.0, 1.0), "event shapes"),
    ],
)
def test_mass_where_there_is_none(q, p, message):
    with pytest.raises(tt.InputError, match=message):
        kl(q, p)
