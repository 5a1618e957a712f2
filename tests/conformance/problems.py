"""Small models whose expected bounds are known exactly, and how to replicate an estimate."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree

from tests.oracles.expected_bound import by_enumeration, by_quadrature
from tests.oracles.quick import quick_jit
from tighter import Objective
from tighter.bounds import as_bound

REPLICATES = 2**16


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model with parameters, K, and the exact expectation of any bound over it."""

    theta: dict
    phi: dict
    num_samples: int
    build: Callable  # (theta, phi) -> (log_joint, posterior)
    expected: Callable  # (bound, theta, phi) -> scalar
    reparameterizable: bool = True


def _normal(mean, log_scale):
    return dist.Normal(mean, jnp.exp(log_scale), validate_args=False)


def _linear_gaussian() -> Problem:
    """One latent number, linear and Gaussian, one observation."""

    def build(theta, phi):
        def log_joint(z):
            likelihood = _normal(theta["slope"] * z, theta["log_scale"])
            return _normal(theta["prior_mean"], 0.0).log_prob(z) + likelihood.log_prob(1.3)

        return log_joint, _normal(phi["mean"], phi["log_scale"])

    def expected(bound, theta, phi):
        log_joint, posterior = build(theta, phi)

        def log_weight(noise):
            z = phi["mean"] + jnp.exp(phi["log_scale"]) * noise[0]
            return log_joint(z) - posterior.log_prob(z)

        return by_quadrature(bound, log_weight, num_noise=1, num_samples=3, num_nodes=56)

    theta = {"prior_mean": 0.3, "slope": 1.1, "log_scale": -0.4}
    return Problem(theta, {"mean": 0.1, "log_scale": 0.1}, 3, build, expected)


class _Chain(eqx.Module):
    """q(a) q(b | a), a latent of two parts."""

    phi: dict

    def rsample(self, key, sample_shape=()):
        key_a, key_b = jax.random.split(key)
        return self.from_noise(jax.random.normal(key_a), jax.random.normal(key_b))

    def from_noise(self, noise_a, noise_b):
        a = self.phi["mean"] + jnp.exp(self.phi["log_scale"]) * noise_a
        return {"a": a, "b": self.phi["offset"] + self.phi["slope"] * a + 0.9 * noise_b}

    def log_prob(self, z):
        log_q_a = _normal(self.phi["mean"], self.phi["log_scale"]).log_prob(z["a"])
        mean_b = self.phi["offset"] + self.phi["slope"] * z["a"]
        return log_q_a + dist.Normal(mean_b, 0.9, validate_args=False).log_prob(z["b"])


def _chain() -> Problem:
    """Two latent numbers in a dict, a structured posterior, a likelihood that is not linear."""

    def build(theta, phi):
        def log_joint(z):
            mean = theta["bias"] + z["a"] + theta["weight"] * jnp.tanh(z["b"])
            prior = -0.5 * (z["a"] ** 2 + z["b"] ** 2) - jnp.log(2 * jnp.pi)
            return prior + dist.Normal(mean, 0.8, validate_args=False).log_prob(1.5)

        return log_joint, _Chain(phi)

    def expected(bound, theta, phi):
        log_joint, posterior = build(theta, phi)

        def log_weight(noise):
            z = posterior.from_noise(noise[0], noise[1])
            return log_joint(z) - posterior.log_prob(z)

        return by_quadrature(bound, log_weight, num_noise=2, num_samples=2, num_nodes=28)

    theta = {"bias": 0.2, "weight": 0.8}
    phi = {"mean": 0.2, "log_scale": 0.0, "offset": -0.3, "slope": 0.4}
    return Problem(theta, phi, 2, build, expected)


def _categorical() -> Problem:
    """One latent of four values."""

    def build(theta, phi):
        def log_joint(z):
            prior = jax.nn.log_softmax(theta["logits"])[z]
            return prior + dist.Normal(theta["means"][z], 0.7, validate_args=False).log_prob(0.4)

        return log_joint, dist.CategoricalLogits(phi["logits"], validate_args=False)

    def expected(bound, theta, phi):
        log_joint, posterior = build(theta, phi)
        values = jnp.arange(4)
        log_q = posterior.log_prob(values)
        log_weights = jax.vmap(log_joint)(values) - log_q
        return by_enumeration(bound, log_weights, log_q, num_samples=3)

    theta = {"logits": np.array([0.3, -0.2, 0.5, 0.0]), "means": np.array([-1.0, 0.2, 1.0, 1.6])}
    phi = {"logits": np.array([0.4, 0.1, -0.3, 0.2])}
    return Problem(theta, phi, 3, build, expected, reparameterizable=False)


PROBLEMS = {
    "linear-gaussian": _linear_gaussian(),
    "chain": _chain(),
    "categorical": _categorical(),
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean and standard error over replicates: the value, and the flattened gradients."""

    value: tuple[float, float]
    theta: tuple[np.ndarray, np.ndarray]
    phi: tuple[np.ndarray, np.ndarray]


def exact(problem: Problem, bound) -> tuple[float, np.ndarray, np.ndarray]:
    """The expected bound and its gradients, in double precision."""
    with jax.enable_x64(True):
        theta, phi = (jax.tree.map(np.float64, part) for part in (problem.theta, problem.phi))

        def expected(theta, phi):
            return problem.expected(as_bound(bound), theta, phi)

        value, gradients = quick_jit(jax.value_and_grad(expected, argnums=(0, 1)))(theta, phi)
        flat = [np.asarray(ravel_pytree(gradient)[0]) for gradient in gradients]
        return float(value), flat[0], flat[1]


def replicate(
    problem: Problem, objective: Objective, *, seed: int = 0, replicates: int = REPLICATES
) -> Estimate:
    """Many independent estimates at the problem's parameters."""

    def one(theta, phi, key):
        log_joint, posterior = problem.build(theta, phi)
        return objective(log_joint, posterior, key=key)

    theta, phi = (jax.tree.map(jnp.float32, part) for part in (problem.theta, problem.phi))

    @quick_jit
    def many(theta, phi, keys):
        run = jax.vmap(jax.value_and_grad(one, argnums=(0, 1)), in_axes=(None, None, 0))
        value, gradients = run(theta, phi, keys)
        return value, *(jax.vmap(lambda g: ravel_pytree(g)[0])(g) for g in gradients)

    samples = many(theta, phi, jax.random.split(jax.random.key(seed), replicates))
    moments = []
    for sample in samples:
        sample = np.asarray(sample, np.float64)
        moments.append((sample.mean(axis=0), sample.std(axis=0, ddof=1) / np.sqrt(replicates)))
    return Estimate(*moments)


def standard_errors_off(moments: tuple, truth) -> np.ndarray:
    """How many standard errors a mean lies from the truth; rounding counts as none."""
    mean, error = moments
    rounding = 1e-5 * (1 + np.abs(truth))
    return np.maximum(np.abs(mean - truth) - rounding, 0) / np.maximum(error, 1e-12)
