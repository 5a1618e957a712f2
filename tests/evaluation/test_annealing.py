import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

from tighter._errors import InputError
from tighter.distributions import Chain
from tighter.evaluation import annealing, chains
from tighter.evaluation.annealing import Hamiltonian, annealed_log_likelihood
from tighter.models import VAE, LinearGaussian

KEY = jax.random.key(5)


class Shifted(eqx.Module):
    """p(z, x) = N(z; 0, 1) whatever x, and q = N(δ, 1): f_β = N((1 − β)δ, 1), log p(x) = 0."""

    delta: jax.Array

    def posterior(self, x):
        return dist.Normal(self.delta + 0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob


def perfect(position, path, temperature, step_size, *, key):
    """A draw of f_β itself."""
    return jax.random.normal(key) + (1 - temperature) * path.start.loc, jnp.ones(())


def near_posterior():
    """A linear-Gaussian model whose encoder is shifted from the exact posterior, and wider."""
    loading = np.random.default_rng(0).normal(size=(5, 3))
    covariance = np.linalg.inv(np.eye(3) + loading.T @ loading)
    numbers = {
        "prior_mean": np.zeros(3),
        "loading": loading,
        "offset": np.zeros(5),
        "log_scale": np.zeros(()),
        "encoder_weight": covariance @ loading.T,
        "encoder_bias": np.full(3, 0.2),
        "encoder_log_scale": 0.5 * np.log(1.5 * np.diag(covariance)),
    }
    return LinearGaussian(**{name: jnp.asarray(part, float) for name, part in numbers.items()})


class OneLatent(eqx.Module):
    """One latent and a yes-or-no x = 1 or 0 of logit 2z − 1 (or 2 log z − 1); p(x) by quadrature.

    Attributes:
        prior: p(z).
        proposal: q(z|x), whatever x.
    """

    prior: dist.Distribution
    proposal: dist.Distribution

    def logit(self, z):
        positive = self.prior.support is dist.constraints.positive
        return 2 * (jnp.log(z) if positive else z) - 1

    def posterior(self, x):
        return self.proposal

    def log_joint(self, x):
        return lambda z: self.prior.log_prob(z) + dist.BernoulliLogits(self.logit(z)).log_prob(x)

    def log_evidence(self, x):
        """Over u = z, or u = log z, on a fine grid: exact to rounding for what is so smooth."""
        u = jnp.linspace(-12, 12, 4001)
        positive = self.prior.support is dist.constraints.positive
        values = jax.vmap(self.log_joint(x))(jnp.exp(u) if positive else u)
        values = np.asarray(values + (u if positive else 0), np.float64)
        return logsumexp(values) + math.log(u[1] - u[0])


def one_latent(positive):
    if positive:
        return OneLatent(dist.LogNormal(0.3, 0.8), dist.Gamma(2.0, 1.5))
    return OneLatent(dist.Normal(0.3, 1.2), dist.Normal(0.0, 1.4))


# Exact on the shifted Gaussian


@pytest.mark.parametrize("delta", [0.5, 2.0])
@pytest.mark.parametrize("num_temperatures", [1, 4, 100])
@pytest.mark.parametrize("schedule", ["geometric", "sigmoidal"])
def test_perfect_transitions(delta, num_temperatures, schedule):
    """E log w = −δ²/2 Σ(Δβ)², −δ²/(2T) for equal steps, and Var log w twice as much."""
    num = 2000
    result = annealed_log_likelihood(
        Shifted(jnp.asarray(delta)),
        jnp.zeros(num),
        num_temperatures=num_temperatures,
        num_chains=1,
        schedule=schedule,
        transition=perfect,
        key=KEY,
    )
    places = np.linspace(0, 1, num_temperatures + 1)
    if schedule == "sigmoidal":
        places = 1 / (1 + np.exp(-4 * (2 * places - 1)))
        places = (places - places[0]) / (places[-1] - places[0])
    variance = delta**2 * np.sum(np.diff(places) ** 2)
    if schedule == "geometric":
        np.testing.assert_allclose(variance, delta**2 / num_temperatures)
    assert abs(result.value.mean() + variance / 2) < 5 * math.sqrt(variance / num)
    assert abs(result.value.var(ddof=1) / variance - 1) < 5 * math.sqrt(2 / num)
    np.testing.assert_array_equal(result.acceptance, 1)


def test_temperatures_of_ones_own():
    given = [0, 0.5, 0.6, 1]
    num, delta = 2000, 1.0
    result = annealed_log_likelihood(
        Shifted(jnp.asarray(delta)),
        jnp.zeros(num),
        temperatures=given,
        num_chains=1,
        transition=perfect,
        key=KEY,
    )
    variance = delta**2 * np.sum(np.diff(given) ** 2)
    assert abs(result.value.mean() + variance / 2) < 5 * math.sqrt(variance / num)
    assert abs(result.value.var(ddof=1) / variance - 1) < 5 * math.sqrt(2 / num)


def test_from_the_prior_only_the_likelihood_weighs():
    class Constant(Shifted):
        """p(x|z) = e^x: of weights from the prior there is but one."""

        prior = dist.Normal(0.0, 1.0, validate_args=False)

        def log_joint(self, x):
            return lambda z: self.prior.log_prob(z) + x

    xs = jnp.array([-1.0, 2.0])
    result = annealed_log_likelihood(
        Constant(jnp.asarray(3.0)),
        xs,
        num_temperatures=2,
        start="prior",
        transition=lambda position, *_, key: (position, jnp.ones(())),
        key=KEY,
    )
    np.testing.assert_allclose(result.value, xs, rtol=1e-5)
    np.testing.assert_allclose(result.ess, 16, rtol=1e-5)


# Hamiltonian transitions


NUM, CHAINS = 12, 80


@functools.cache
def on_linear_gaussian(num_temperatures, step_size=0.2):
    model = near_posterior()
    xs = quick_jit(lambda key: model.sample(key, NUM))(jax.random.key(1))
    evidence = np.asarray(quick_jit(jax.vmap(model.log_evidence))(xs), np.float64)
    result = annealed_log_likelihood(
        model,
        xs,
        num_temperatures=num_temperatures,
        num_chains=CHAINS,
        step_size=step_size,
        key=KEY,
    )
    return result, evidence


def test_near_the_exact_evidence():
    result, evidence = on_linear_gaussian(400)
    assert all(part.shape == (NUM,) and part.dtype == np.float64 for part in result)
    deviations = result.value - evidence
    assert np.abs(deviations).max() < 0.05
    in_errors = deviations / result.standard_error
    assert np.abs(in_errors).max() < 5
    assert abs(np.mean(in_errors**2) - 1) < 5 * math.sqrt(2 / NUM)
    # relative variance = (C/ESS − 1)/(C − 1)
    expected = np.sqrt((CHAINS / result.ess - 1) / (CHAINS - 1))
    np.testing.assert_allclose(result.standard_error, expected, rtol=1e-6)


@pytest.mark.parametrize("step_size", [0.01, 0.2, 10.0])
def test_step_sizes_come_to_the_acceptance_that_is_aimed_at(step_size):
    result, _ = on_linear_gaussian(60, step_size)
    assert (np.abs(result.acceptance - 0.7) < 0.05).all()
    # The first size is forgotten, but for the noise of 60 steps of adaptation, some .4 %.
    expected = on_linear_gaussian(60)[0].step_size
    np.testing.assert_allclose(result.step_size, expected, rtol=0.02)


@pytest.mark.parametrize("num_temperatures", [2, 128])
def test_step_sizes_are_held_once_adapted(num_temperatures):
    """By a transition to its own step size, whose acceptance of .69 takes off 1 % at a time."""

    def told(position, path, temperature, step_size, *, key):
        return step_size, jnp.asarray(0.69)

    delta = 1.0
    result = annealed_log_likelihood(
        Shifted(jnp.asarray(delta)),
        jnp.zeros(2),
        num_temperatures=num_temperatures,
        num_chains=2,
        schedule="geometric",
        transition=told,
        key=KEY,
    )
    # 16 steps at the start and one at the first of 65 knots come before what is held.
    knots = 0.2 * np.exp(-0.01 * (17 + np.arange(65)))
    places = np.arange(num_temperatures) / num_temperatures
    held = 0.2 * np.exp(-0.01 * (17 + 64 * places))
    np.testing.assert_allclose(result.value, delta**2 / 2 - delta * held.mean(), rtol=1e-4)
    np.testing.assert_allclose(result.step_size, knots.mean(), rtol=1e-4)


class Scaled(eqx.Module):
    """q and p with latents of a size: log p(x) = 0."""

    scale: jax.Array

    def posterior(self, x):
        return dist.Normal(x * self.scale, self.scale).expand([2]).to_event(1)

    def log_joint(self, x):
        return dist.Normal(0.0, 0.7 * self.scale).expand([2]).to_event(1).log_prob


def test_step_sizes_are_in_units_of_the_start():
    found = []
    for scale in (1e-4, 1e4):
        result = annealed_log_likelihood(
            Scaled(jnp.asarray(scale)), jnp.ones(40), num_temperatures=50, key=KEY
        )
        assert abs(result.acceptance.mean() - 0.7) < 0.05
        errors = np.linalg.norm(result.standard_error)
        assert abs(np.sum(result.value)) < 5 * errors
        found.append(result.step_size)
    errors = np.hypot(*(part.std(ddof=1) for part in found)) / math.sqrt(40)
    assert abs(found[0].mean() - found[1].mean()) < 5 * errors


@pytest.mark.parametrize("num_temperatures", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("positive", "start"), every(2, [(False, "posterior"), (False, "prior"), (True, "posterior")])
)
def test_unbiased_whether_or_not_the_transitions_mix(positive, start, num_temperatures):
    """E[w] = p(x) for a posterior that is no Gaussian, by quadrature."""
    model, num = one_latent(positive), 500
    x = jnp.arange(num) % 2
    result = annealed_log_likelihood(
        model,
        x,
        num_temperatures=num_temperatures,
        num_chains=8,
        num_leapfrog=2,
        start=start,
        key=KEY,
    )
    ratios = np.exp(result.value - np.array([model.log_evidence(0), model.log_evidence(1)])[x])
    for some in (ratios[x == 0], ratios[x == 1]):
        error = some.std(ddof=1) / math.sqrt(some.size)
        assert error < (0.06 if num_temperatures == 3 else 0.02)
        assert abs(some.mean() - 1) < 5 * error


@pytest.mark.slow
def test_latents_of_several_kinds():
    """A chain whose second latent is between 0 and the first one, and a vector on a simplex."""
    q = Chain(
        {
            "rate": dist.LogNormal(0.2, 0.8),
            "part": lambda z: dist.Uniform(0.0, z["rate"]),
            "shares": dist.Dirichlet(jnp.array([2.0, 2.0, 2.0])),
        }
    )
    concentration = jnp.array([1.5, 3.0, 4.0])

    class Several(eqx.Module):
        def posterior(self, x):
            return q

        def log_joint(self, x):
            def log_joint(z):
                return (
                    x
                    + dist.LogNormal(0.0, 0.5).log_prob(z["rate"])
                    + dist.Beta(2.0, 3.0).log_prob(z["part"] / z["rate"])
                    - jnp.log(z["rate"])
                    + dist.Dirichlet(concentration).log_prob(z["shares"])
                )

            return log_joint

    result = annealed_log_likelihood(
        Several(), jnp.arange(4.0), num_temperatures=100, num_chains=48, key=KEY
    )
    assert (result.standard_error < 0.1).all()
    assert (np.abs(result.value - np.arange(4)) < 5 * result.standard_error).all()


@pytest.mark.slow
def test_images():
    model = VAE.create((4, 3), num_latent=2, hidden=(6,), key=jax.random.key(2))
    xs = jnp.asarray(np.random.default_rng(3).integers(0, 2, size=(6, 4, 3)), float)
    result = annealed_log_likelihood(model, xs, num_temperatures=100, num_chains=48, key=KEY)
    axis = np.linspace(-7, 7, 141)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), float)
    values = quick_jit(jax.vmap(lambda x: jax.vmap(model.log_joint(x))(grid)))(xs)
    exact = logsumexp(np.asarray(values, np.float64), axis=1) + 2 * math.log(axis[1] - axis[0])
    assert (result.standard_error < 0.2).all()
    assert (np.abs(result.value - exact) < 5 * result.standard_error).all()


# What must not change anything


def test_blocks_and_segments_change_nothing(monkeypatch):
    model = Shifted(jnp.asarray(1.0))

    def values():
        return annealed_log_likelihood(
            model, jnp.zeros(7), num_temperatures=70, num_chains=4, transition=perfect, key=KEY
        )

    whole = values()
    monkeypatch.setattr(annealing, "_CHAINS", 13)
    monkeypatch.setattr(chains, "_SEGMENT", 9)
    for one, other in zip(whole, values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert len(set(whole.value)) == 7


def test_same_key_same_numbers():
    one, again, other = (
        annealed_log_likelihood(
            Shifted(jnp.asarray(1.0)),
            jnp.zeros(3),
            num_temperatures=2,
            num_chains=4,
            transition=perfect,
            key=jax.random.key(seed),
        )
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.value, again.value)
    assert (one.value != other.value).all()


def test_one_chain_has_no_error():
    result = annealed_log_likelihood(
        Shifted(jnp.asarray(1.0)),
        jnp.zeros(3),
        num_temperatures=2,
        num_chains=1,
        transition=perfect,
        key=KEY,
    )
    assert np.isnan(result.standard_error).all()
    np.testing.assert_allclose(result.ess, 1)


class OnHalfTheLine(eqx.Module):
    """p(z, x) is N(0, 1)'s density above x and zero below; q = N(0, 1)."""

    def posterior(self, x):
        return dist.Normal(0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        density = dist.Normal(0.0, 1.0, validate_args=False)
        return lambda z: jnp.where(z > x, density.log_prob(z), -jnp.inf)


def test_chains_without_weight():
    """Half of the draws have no weight ever after, all have weight one, and none has."""
    result = annealed_log_likelihood(
        OnHalfTheLine(), jnp.array([0.0, -100, 100]), num_temperatures=5, num_chains=400, key=KEY
    )
    assert abs(result.value[0] + math.log(2)) < 5 * result.standard_error[0]
    np.testing.assert_allclose(result.standard_error[0], 400**-0.5, rtol=5 * 400**-0.5)
    np.testing.assert_allclose(result.value[1], 0, atol=1e-5)
    assert result.value[2] == -np.inf


# What must not happen


def memory_of_a_segment(length):
    rows = annealing.rows_of_all(Scaled(jnp.ones(())), jnp.ones(8), key=KEY)
    started, _ = chains._begin(rows, None, 4)
    numbers = (np.zeros(length + 1), np.zeros((8, length)), *map(np.asarray, (0.0, 0, length)))
    compiled = chains._loop.lower(Hamiltonian(10), rows, started, *numbers).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_temperatures():
    """But for the step sizes of a segment, a number an example, held a few times over.

    The positions of 32 chains of two numbers at every temperature would take eight a temperature
    and example.
    """
    few, many = memory_of_a_segment(64), memory_of_a_segment(6400)
    assert many - few < 4 * 8 * 6400 * 4


def test_any_number_of_temperatures_is_the_same_program():
    traces = []

    def counted(position, path, temperature, step_size, *, key):
        traces.append(temperature)
        return position, jnp.ones(())

    for num_temperatures in (1, 30, 200):
        annealed_log_likelihood(
            Shifted(jnp.asarray(1.0)),
            jnp.zeros(3),
            num_temperatures=num_temperatures,
            num_chains=2,
            transition=counted,
            key=KEY,
        )
        once = len(traces) if num_temperatures == 1 else once
    assert len(traces) == once


# Errors


class Discrete(Shifted):
    def posterior(self, x):
        return dist.BernoulliLogits(0 * x)


class OnTheSphere(Shifted):
    def posterior(self, x):
        return dist.ProjectedNormal(jnp.ones(3))


class Vectors(Shifted):
    def log_joint(self, x):
        return lambda z: jnp.stack([z, z])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_temperatures": 0}, "num_temperatures is a whole number of at least 1, got 0"),
        ({"num_chains": 0}, "num_chains is a whole number of at least 1, got 0"),
        ({"num_leapfrog": 0}, "num_leapfrog is a whole number of at least 1, got 0"),
        ({"step_size": 0.0}, "step_size is a finite number above 0, got 0.0"),
        ({"step_size": math.nan}, "step_size is a finite number above 0, got nan"),
        ({"schedule": "linear"}, "unknown schedule 'linear'.*geometric, sigmoidal"),
        ({"start": "likelihood"}, "unknown start 'likelihood'.*posterior, prior"),
        ({"start": "prior"}, "start 'prior' is model.prior, and Shifted has none"),
        ({"temperatures": [0, 0.5, 1.5]}, r"within \[0, 1\], got 1.5"),
        ({"temperatures": [-0.1, 0.5, 1]}, r"within \[0, 1\], got -0.1"),
        ({"temperatures": [0, math.nan, 1]}, r"within \[0, 1\], got nan"),
        ({"temperatures": [0, 0.5, 0.5, 1]}, "rise strictly, got 0.5 after 0.5"),
        ({"temperatures": [1, 0.5, 0]}, "rise strictly, got 0.5 after 1.0"),
        ({"temperatures": [0.1, 1]}, "go from 0 .* to 1 .*, got 0.1 to 1.0"),
        ({"temperatures": [0, 0.9]}, "go from 0 .* to 1 .*, got 0.0 to 0.9"),
        ({"temperatures": [0]}, r"two or more in a row, got shape \(1,\)"),
        ({"temperatures": 0.5}, r"two or more in a row, got shape \(\)"),
        ({"x": jnp.zeros(0)}, "leading axis of at least 1"),
        ({"model": Discrete(jnp.ones(()))}, "moves real latents, and BernoulliLogits has others"),
        ({"model": OnTheSphere(jnp.ones(()))}, "ProjectedNormal has a support"),
        ({"model": Vectors(jnp.ones(()))}, r"log_joint\(z\) is a scalar .* got shape \(2,\)"),
    ],
)
def test_what_cannot_be_annealed(arguments, words):
    arguments = {"model": Shifted(jnp.ones(())), "x": jnp.zeros(2), **arguments}
    with pytest.raises(ValueError if "scalar" in words else InputError, match=words):
        annealed_log_likelihood(arguments.pop("model"), arguments.pop("x"), **arguments, key=KEY)
