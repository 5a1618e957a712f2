"""Chains and experts: gradients against quadrature, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.oracles.expected_bound import by_quadrature
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.bounds import ELBO, IWAE, Grouped, Renyi
from tighter.distributions import Chain, Experts, stop_parameters
from tighter.gradients import (
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    Reparameterized,
    ScoreFunction,
    StickingTheLanding,
    WakePhi,
)

REPLICATES = 40_000


def gradients(objective, build, log_joint, phi):
    def bound(phi, key):
        return objective(log_joint, build(phi), key=key)

    keys = jax.random.split(jax.random.key(0), REPLICATES)
    run = quick_jit(jax.vmap(jax.value_and_grad(bound), in_axes=(None, 0)))
    value, slopes = run(jnp.asarray(phi, jnp.float32), keys)
    return np.asarray(value, np.float64), np.asarray(slopes, np.float64)


def standard_errors_off(samples, truth):
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return np.abs(samples.mean(axis=0) - truth) / np.maximum(error, 1e-9)


# Two layers, linear and Gaussian; the posterior is a chain.


def chain(phi):
    first = dist.Normal(phi[0], jnp.exp(phi[1]), validate_args=False)
    return Chain(
        {
            "top": first,
            "bottom": lambda z: dist.Normal(
                phi[2] + phi[3] * z["top"], jnp.exp(phi[4]), validate_args=False
            ),
        }
    )


def two_layers(z):
    prior = dist.Normal(0.0, 1.0).log_prob(z["top"])
    middle = dist.Normal(0.8 * z["top"], 0.7).log_prob(z["bottom"])
    return prior + middle + dist.Normal(z["bottom"], 0.6).log_prob(0.9)


PHI = np.array([0.3, -0.2, 0.1, 0.4, -0.5])


@pytest.mark.parametrize("gradient", [DoublyReparameterized(), Reparameterized()])
@pytest.mark.parametrize("bound", every(2, [IWAE(), ELBO(), Renyi(0.5)]))
def test_the_gradient_passes_down_the_chain(bound, gradient):
    with jax.enable_x64(True):

        def expected(phi):
            def log_weight(noise):
                top = phi[0] + jnp.exp(phi[1]) * noise[0]
                z = {"top": top, "bottom": phi[2] + phi[3] * top + jnp.exp(phi[4]) * noise[1]}
                return two_layers(z) - chain(phi).log_prob(z)

            return by_quadrature(bound, log_weight, num_noise=2, num_samples=2, num_nodes=24)

        truth, slope = map(np.asarray, quick_jit(jax.value_and_grad(expected))(jnp.asarray(PHI)))
    value, slopes = gradients(tt.Objective(bound, gradient, num_samples=2), chain, two_layers, PHI)
    assert standard_errors_off(value, truth) < 5
    assert standard_errors_off(slopes, slope).max() < 5


@pytest.mark.parametrize("gradient", [DoublyReparameterized(), StickingTheLanding()])
def test_no_noise_where_the_chain_is_the_posterior(gradient):
    target = chain(jnp.asarray(PHI))
    objective = tt.Objective(IWAE(), gradient, num_samples=3)
    value, slopes = gradients(objective, chain, lambda z: target.log_prob(z) - 2.0, PHI)
    np.testing.assert_allclose(value, -2.0, atol=1e-5)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-4)


def test_a_stopped_chain_passes_its_latents_on():
    def density(phi, top):
        z = {"top": top, "bottom": jnp.asarray(0.2)}
        return stop_parameters(chain(phi)).log_prob(z)

    by_phi, by_top = jax.grad(density, argnums=(0, 1))(jnp.asarray(PHI, jnp.float32), 0.7)
    np.testing.assert_array_equal(by_phi, 0.0)
    plain = jax.grad(lambda top: chain(jnp.asarray(PHI, jnp.float32)).log_prob(
        {"top": top, "bottom": jnp.asarray(0.2)}
    ))(0.7)  # fmt: skip
    np.testing.assert_allclose(by_top, plain, rtol=1e-6)


@pytest.mark.slow
def test_a_chain_with_a_discrete_part_has_no_path():
    def build(logit):
        return Chain({"on": dist.Bernoulli(logits=logit), "z": dist.Normal(0.0, 1.0)})

    with pytest.raises(TypeError, match="no reparameterized"):
        tt.Objective()(lambda z: z["z"], build(0.3), key=jax.random.key(0))
    score = tt.Objective(gradient=ScoreFunction())
    assert np.isfinite(score(lambda z: -(z["z"] ** 2), build(0.3), key=jax.random.key(0)))
    with pytest.raises(tt.InputError, match="one part or more"):
        Chain({})


# Two experts in one dimension, drawn in turn.


def experts(phi):
    return Experts(dist.Normal(phi[:2], jnp.exp(phi[2:]), validate_args=False))


def bimodal(z):
    one = dist.Normal(-0.8, 0.6).log_prob(z)
    return jnp.logaddexp(one, dist.Normal(1.0, 0.8).log_prob(z) - 0.4) - 1.0


EXPERTS = np.array([-0.6, 0.7, -0.3, 0.1])


def exact_of_experts(bound, turns):
    """Quadrature over the noise of every draw, each of its own expert."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    grids = np.meshgrid(*[nodes] * turns, indexing="ij")
    mass = np.prod(np.meshgrid(*[weights / weights.sum()] * turns, indexing="ij"), axis=0)
    noise = np.stack(grids, -1).reshape(-1, turns)

    def expected(phi):
        q = experts(phi)

        def one(noise):
            index = np.arange(turns) % 2
            z = phi[:2][index] + jnp.exp(phi[2:])[index] * noise
            return bound(jax.vmap(lambda z: bimodal(z) - q.log_prob(z))(z))

        return jnp.sum(mass.reshape(-1) * jax.vmap(one)(jnp.asarray(noise)))

    with jax.enable_x64(True):
        value, slope = quick_jit(jax.value_and_grad(expected))(jnp.asarray(EXPERTS))
        return float(value), np.asarray(slope)


@pytest.mark.parametrize("gradient", [GeneralizedDoublyReparameterized(), Reparameterized()])
@pytest.mark.parametrize("bound", every(3, [IWAE(), ELBO(), Renyi(2.0)]))
def test_experts_in_turn(bound, gradient):
    truth, slope = exact_of_experts(bound, 4)
    objective = tt.Objective(bound, gradient, num_samples=4)
    value, slopes = gradients(objective, experts, bimodal, EXPERTS)
    assert standard_errors_off(value, truth) < 5
    assert standard_errors_off(slopes, slope).max() < 5


@pytest.mark.slow
def test_fewer_draws_of_experts_backward():
    _, slope = exact_of_experts(IWAE(), 4)
    objective = tt.Objective(
        IWAE(), GeneralizedDoublyReparameterized(), num_samples=4, num_outer=2, num_backward=2
    )
    _, slopes = gradients(objective, experts, bimodal, EXPERTS)
    assert standard_errors_off(slopes, slope).max() < 5


def test_the_generalized_rule_is_the_plain_one_for_one_density():
    def normal(phi):
        return dist.Normal(phi[0], jnp.exp(phi[1]), validate_args=False)

    found = [
        gradients(tt.Objective(IWAE(), gradient, num_samples=3), normal, bimodal, EXPERTS[1:3])[1]
        for gradient in (GeneralizedDoublyReparameterized(), DoublyReparameterized())
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_the_plain_rules_are_refused_for_experts():
    q = experts(jnp.asarray(EXPERTS))
    split = tt.gradients.Split(theta=IWAE(), phi=GeneralizedDoublyReparameterized())
    for gradient in (DoublyReparameterized(), ScoreFunction(), tt.gradients.VIMCO(), split):
        with pytest.raises(TypeError, match="use GeneralizedDoublyReparameterized"):
            tt.Objective(IWAE(), gradient, num_samples=4)(bimodal, q, key=jax.random.key(0))
    for gradient in (DoublyReparameterized(), StickingTheLanding(), WakePhi()):
        tt.Objective(ELBO(), gradient, num_samples=4)(bimodal, q, key=jax.random.key(0))
    with pytest.raises(ValueError, match="multiple of 2"):
        tt.Objective(IWAE(), Reparameterized(), num_samples=3)(bimodal, q, key=jax.random.key(0))
    # The bounds of a split's parts too take whole turns.
    for part in ("theta", "phi"):
        splits = [
            tt.gradients.Split(
                **{"theta": IWAE(), "phi": Reparameterized()}
                | {part: (Grouped(IWAE(), groups), Reparameterized())}
            )
            for groups in (2, 4)
        ]
        objectives = [tt.Objective(IWAE(), split, num_samples=4) for split in splits]
        objectives[0](bimodal, q, key=jax.random.key(0))
        with pytest.raises(ValueError, match=r"Grouped takes means .* parts of a turn"):
            objectives[1](bimodal, q, key=jax.random.key(0))
    with pytest.raises(tt.InputError, match="batch shape"):
        Experts(dist.Normal(0.0, 1.0))
