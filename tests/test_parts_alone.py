"""Each part works without the others and without `fit`: what one would take from here for a loss.

One model with an exact answer serves all: z ~ N(0, 1), x | z ~ N(z, 1), so that p(x) = N(x; 0, √2)
and the posterior is N(x/2, √½).
"""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.infer import SVI
from numpyro.infer.autoguide import AutoNormal

import tighter as tt
from tighter.integrations.numpyro import ELBO

KEY = jax.random.key(0)
XS = np.array([-1.0, 0.5, 2.0, 0.0], np.float32)
EVIDENCE = np.asarray(dist.Normal(0, jnp.sqrt(2.0)).log_prob(XS))
OBJECTIVE = tt.Objective(tt.bounds.IWAE(), tt.gradients.DoublyReparameterized(), num_samples=8)


class Own(eqx.Module):
    """A user's own: nothing of ours in it."""

    slope: jax.Array
    log_scale: jax.Array

    @property
    def prior(self):
        return dist.Normal(0.0, 1.0)

    def likelihood(self, z):
        return dist.Normal(z, 1.0)

    def log_joint(self, x):
        return lambda z: self.prior.log_prob(z) + self.likelihood(z).log_prob(x)

    def posterior(self, x):
        return dist.Normal(self.slope * x, jnp.exp(self.log_scale))


EXACT = Own(jnp.array(0.5), jnp.array(0.5 * np.log(0.5), jnp.float32))
ROUGH = Own(jnp.array(0.4), jnp.array(-0.2))


@pytest.fixture(autouse=True)
def without_fit(monkeypatch):
    monkeypatch.setattr(tt.training, "fit", None)
    monkeypatch.setattr(tt, "fit", None)


def test_objective_under_plain_grad_and_optax():
    optimizer = optax.adam(0.05)

    @jax.jit
    def step(model, state, key):
        loss = lambda model: -jnp.mean(OBJECTIVE.batch(model, XS, key=key))  # noqa: E731
        updates, state = optimizer.update(jax.grad(loss)(model), state)
        return optax.apply_updates(model, updates), state

    model, state = Own(jnp.array(0.0), jnp.array(0.0)), optimizer.init(EXACT)
    for key in jax.random.split(KEY, 300):
        model, state = step(model, state, key)
    np.testing.assert_allclose(model.slope, 0.5, atol=0.02)
    np.testing.assert_allclose(model.log_scale, EXACT.log_scale, atol=0.02)


def test_objective_of_one_example():
    value = OBJECTIVE(EXACT.log_joint(XS[0]), EXACT.posterior(XS[0]), key=KEY)
    np.testing.assert_allclose(value, EVIDENCE[0], rtol=1e-5)


def test_loss_of_plain_svi():
    def model(xs):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("data", len(xs)):
            numpyro.sample("x", dist.Normal(mean, 1.0), obs=xs)

    guide = AutoNormal(model)
    svi = SVI(model, guide, optax.adam(0.05), loss=ELBO(OBJECTIVE))
    result = svi.run(KEY, 400, XS, progress_bar=False)
    median = guide.median(result.params)["mean"]
    np.testing.assert_allclose(median, XS.sum() / 5, atol=0.05)


def test_log_likelihood_of_a_users_own_model():
    value = tt.log_likelihood(EXACT, XS, num_samples=40, key=KEY).value
    np.testing.assert_allclose(value, EVIDENCE, rtol=1e-4)


DIAGNOSTICS = {
    "elbo_surgery": lambda: tt.diagnostics.elbo_surgery(ROUGH, XS, num_samples=20, key=KEY),
    "gradient_noise": lambda: tt.diagnostics.gradient_noise(
        ROUGH, XS, OBJECTIVE, num_replicates=40, key=KEY
    ),
    "compare": lambda: tt.diagnostics.compare(
        ROUGH, XS, bounds=(tt.bounds.IWAE(),), gradients=(tt.gradients.Reparameterized(),),
        num_samples=(4,), num_replicates=40, key=KEY,
    ),
    "active_units": lambda: tt.diagnostics.active_units(ROUGH, np.tile(XS, 10)),
    "importance_weighted_posterior": lambda: tt.diagnostics.importance_weighted_posterior(
        ROUGH.log_joint(XS[0]), ROUGH.posterior(XS[0]), num_samples=5
    ).sample(KEY, (3,)),
    "sandwich": lambda: tt.diagnostics.sandwich(ROUGH, XS, key=KEY),
    "annealed": lambda: tt.evaluation.annealed_log_likelihood(
        ROUGH, XS, num_temperatures=5, num_chains=2, key=KEY
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_diagnostics_of_a_users_own_model(name):
    """That they are right is tested where they are; here, that they ask for nothing else."""
    assert DIAGNOSTICS[name]() is not None


def test_expectation_alone():
    def mean_square(scale):
        return tt.expectation(
            jnp.square, dist.Normal(0.0, scale), gradient=tt.gradients.Reparameterized(),
            num_samples=20_000, key=KEY,
        )  # fmt: skip

    # d/ds (s ε)² = 2 s ε², whose standard deviation is 2 s √2.
    error = 2 * 1.5 * np.sqrt(2 / 20_000)
    np.testing.assert_allclose(jax.grad(mean_square)(1.5), 3.0, atol=5 * error)


def test_bounds_and_gradients_alone():
    """Arithmetic on K numbers: log 2 for weights 1 and 3."""
    log_weights = jnp.log(jnp.array([1.0, 3.0]))
    bound = tt.bounds.IWAE()
    np.testing.assert_allclose(bound(log_weights), np.log(2.0), rtol=1e-6)
    coefficients = tt.gradients.DoublyReparameterized().coefficients(bound, log_weights)
    np.testing.assert_allclose(coefficients.model, [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(coefficients.path, [0.0625, 0.5625], rtol=1e-6)


def test_distributions_alone():
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)
    np.testing.assert_allclose(tt.distributions.kl(q, p), 0.5, rtol=1e-6)
    mixture = tt.distributions.Mixture(jnp.zeros(2), dist.Normal(jnp.array([-1.0, 1.0]), 1.0))
    assert np.isfinite(mixture.log_prob(mixture.rsample(KEY)))


def test_graph_without_jax():
    code = (
        "import sys, tighter as tt; dag = tt.graph.DAG([('z', 'x'), ('z', 'y')]); "
        "assert dag.d_separated('x', 'y', 'z') and not dag.d_separated('x', 'y'); "
        "assert not {'jax', 'numpyro', 'networkx', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
