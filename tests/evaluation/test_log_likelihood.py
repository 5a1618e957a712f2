import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from tighter import log_likelihood
from tighter._errors import InputError
from tighter._rows import rows_of_batch
from tighter.evaluation.log_likelihood import _stream
from tighter.models import LinearGaussian, ProbabilisticPCA

# Compiling is what takes the time here: the machine code need not be the fastest.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(11)


class Shifted(eqx.Module):
    """p(z, x) = N(z; 0, 1) whatever x, and q = N(δ, 1): log p(x) = 0, log w ~ N(−δ²/2, δ²)."""

    delta: float

    def posterior(self, x):
        return dist.Normal(self.delta + 0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        return dist.Normal(0.0, 1.0, validate_args=False).log_prob


@functools.cache
def good_proposals():
    """A linear-Gaussian model whose encoder is near the exact posterior, and a bit wider."""
    loading = np.random.default_rng(0).normal(size=(3, 2)) / 2
    offset = np.array([0.5, -1.0, 2.0])
    covariance = np.linalg.inv(np.eye(2) + loading.T @ loading)
    numbers = {
        "prior_mean": np.zeros(2),
        "loading": loading,
        "offset": offset,
        "log_scale": np.zeros(()),
        "encoder_weight": covariance @ loading.T,
        "encoder_bias": 0.1 - covariance @ loading.T @ offset,
        "encoder_log_scale": 0.5 * np.log(1.3 * np.diag(covariance)),
    }
    return LinearGaussian(**{name: jnp.asarray(part, float) for name, part in numbers.items()})


NUM, NUM_SAMPLES = 400, 2000


@functools.cache
def on_many_examples(repeated):
    """Of different examples, or of one example with many keys."""
    model = good_proposals()

    @quick_jit
    def examples(key):
        xs = model.sample(key, NUM)
        xs = jnp.broadcast_to(xs[:1], xs.shape) if repeated else xs
        return xs, jax.vmap(model.log_evidence)(xs)

    xs, evidence = examples(jax.random.key(1))
    return log_likelihood(model, xs, num_samples=NUM_SAMPLES, key=KEY), evidence


def test_errors_are_those_that_are_told():
    """Each within 5 of its own standard errors, and together of the size that was told."""
    result, evidence = on_many_examples(repeated=False)
    assert all(part.shape == (NUM,) for part in result)
    assert all(part.dtype == np.float64 for part in result)
    # The logarithm's bias is minus half the variance.
    deviations = result.value + 0.5 * result.standard_error**2 - evidence
    in_errors = deviations / result.standard_error
    assert (np.abs(in_errors) < 5).all()
    assert abs(np.mean(in_errors**2) - 1) < 5 * math.sqrt(2 / NUM)
    assert abs(in_errors.mean()) < 5 / math.sqrt(NUM)
    assert (result.pareto_k < 0.7).all()
    assert (result.ess < NUM_SAMPLES).all()
    assert (result.ess > NUM_SAMPLES / 2).all()


def test_the_standard_error_is_the_spread_over_keys():
    result, _ = on_many_examples(repeated=True)
    spread = result.value.std(ddof=1)
    told = math.sqrt(np.mean(result.standard_error**2))
    # A standard deviation of n numbers has a relative error of 1/√(2(n − 1)).
    assert abs(spread / told - 1) < 5 / math.sqrt(2 * (NUM - 1))


def test_standard_error_and_effective_sample_size_are_two_views_of_one_number():
    """relative variance = (K/ESS − 1)/(K − 1)."""
    result, _ = on_many_examples(repeated=False)
    expected = np.sqrt((NUM_SAMPLES / result.ess - 1) / (NUM_SAMPLES - 1))
    np.testing.assert_allclose(result.standard_error, expected, rtol=1e-6)


# Against plain numpy


@functools.cache
def plainly(num_samples):
    """All log weights at once, and three examples' statistics of them, in numpy."""
    model = good_proposals()
    xs = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)), jnp.float32)
    keys = jax.random.split(KEY, 3)

    def log_weights(x, key):
        q, log_joint = model.posterior(x), model.log_joint(x)

        def one(i):
            z = q.rsample(jax.random.fold_in(key, i), ())
            return log_joint(z) - q.log_prob(z)

        return jax.vmap(one)(jnp.arange(num_samples))

    ell = np.asarray(quick_jit(jax.vmap(log_weights))(xs, keys), np.float64)
    weights = np.exp(ell - ell.max(axis=1, keepdims=True))
    relative_error = weights.std(axis=1, ddof=1) / weights.mean(axis=1) / math.sqrt(num_samples)
    return xs, {
        "value": logsumexp(ell, axis=1) - math.log(num_samples),
        "standard_error": relative_error,
        "ess": weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1),
        "pareto_k": np.array([float(array_stats.psislw(-row)[1]) for row in ell]),
    }


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_chunks_change_nothing(chunk_size):
    num_samples = 600
    xs, expected = plainly(num_samples)
    result = log_likelihood(
        good_proposals(), xs, num_samples=num_samples, chunk_size=chunk_size, key=KEY
    )
    for name, theirs in expected.items():
        # k̂ is a fit, through which the rounding of the weights goes.
        rtol = 1e-3 if name == "pareto_k" else 1e-5
        np.testing.assert_allclose(getattr(result, name), theirs, rtol=rtol)


def test_many_blocks_of_examples():
    """More examples than fit in one program, which fills up its last block."""
    # A chunk of 2048 draws leaves room for two examples in a block.
    result = log_likelihood(Shifted(0.3), jnp.zeros(11), num_samples=2048, chunk_size=2048, key=KEY)
    assert result.value.shape == (11,)
    assert len(set(result.value)) == 11
    assert (np.abs(result.value) < 5 * result.standard_error).all()


def test_same_key_same_numbers():
    model, xs = Shifted(0.5), jnp.zeros(3)
    one, again, other = (
        log_likelihood(model, xs, num_samples=24, key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.value, again.value)
    assert (one.value != other.value).all()


# Known answers


@pytest.mark.parametrize("delta", [0.25, 0.5, 1.0])
def test_effective_sample_size_of_the_shifted_gaussian(delta):
    num, num_samples = 64, 20_000
    result = log_likelihood(
        Shifted(jnp.asarray(delta)), jnp.zeros(num), num_samples=num_samples, key=KEY
    )
    share = result.ess / num_samples
    error = share.std(ddof=1) / math.sqrt(num)
    assert abs(share.mean() - math.exp(-(delta**2))) < 5 * error
    error = result.value.std(ddof=1) / math.sqrt(num)
    gap = math.expm1(delta**2) / (2 * num_samples)
    assert abs(result.value.mean() + gap) < 5 * error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_the_exact_posterior_there_is_no_error(dtype):
    with jax.enable_x64(dtype == "float64"):
        xs = jnp.asarray(np.random.default_rng(3).normal(0, 2, size=(20, 5)), dtype)
        model = ProbabilisticPCA.from_data(xs, 2)
        result = log_likelihood(model, xs[:4], num_samples=300, key=KEY)
        evidence = np.asarray(quick_jit(jax.vmap(model.log_evidence))(xs[:4]))
    rounding = np.finfo(dtype).eps
    np.testing.assert_allclose(result.value, evidence, rtol=20 * rounding)
    # The square of the standard error is a difference of numbers that are equal but for rounding.
    assert (result.standard_error <= math.sqrt(20 * rounding / 300)).all()
    np.testing.assert_allclose(result.ess, 300, rtol=20 * rounding)
    np.testing.assert_array_equal(result.pareto_k, 0)


def test_one_draw():
    result = log_likelihood(Shifted(0.5), jnp.zeros(3), num_samples=1, key=KEY)
    assert np.isfinite(result.value).all()
    np.testing.assert_allclose(result.ess, 1, rtol=1e-6)
    assert np.isnan(result.standard_error).all()
    assert np.isnan(result.pareto_k).all()


def test_few_draws_have_no_shape():
    result = log_likelihood(Shifted(0.5), jnp.zeros(3), num_samples=24, key=KEY)
    assert np.isnan(result.pareto_k).all()
    assert np.isfinite(result.standard_error).all()


class OnHalfTheLine(eqx.Module):
    """p(z, x) is zero for z < x, q = N(0, 1); for large z NaN at x = 1, infinite at x = 1.5."""

    def posterior(self, x):
        return dist.Normal(0 * x, 1.0, validate_args=False)

    def log_joint(self, x):
        def log_joint(z):
            density = jnp.where(z > x, -0.5 * z**2, -jnp.inf)
            density = jnp.where((z > 2) & (x == 1.5), jnp.inf, density)
            return jnp.where((z > 2) & (x == 1), jnp.nan, density)

        return log_joint


def test_draws_without_weight():
    """Half have weight √2π and the others none, all have it, none has, one is NaN or infinite."""
    num_samples = 4000
    xs = jnp.array([0.0, -100.0, 100.0, 1.0, 1.5])
    result = log_likelihood(OnHalfTheLine(), xs, num_samples=num_samples, key=KEY)
    half, whole, none, bad, infinite = range(5)
    expected = 0.5 * math.log(2 * math.pi)
    assert abs(result.value[half] - (expected - math.log(2))) < 5 * result.standard_error[half]
    # Of n draws n/2 ± √n/2 have weight, and the error goes with the root of what is left over.
    np.testing.assert_allclose(
        result.standard_error[half], num_samples**-0.5, rtol=5 * num_samples**-0.5
    )
    np.testing.assert_allclose(result.value[whole], expected, rtol=1e-5)
    assert result.value[none] == -np.inf
    assert np.isnan([result.standard_error[none], result.pareto_k[none]]).all()
    assert np.isnan([part[bad] for part in result]).all()
    assert result.value[infinite] == result.pareto_smoothed[infinite] == np.inf
    assert 0 < result.ess[infinite] < 0.05 * num_samples  # those that are infinite, alike


def test_examples_may_be_dicts():
    class OfTwo(Shifted):
        def posterior(self, x):
            return dist.Normal(x["mean"], 1.0, validate_args=False)

        def log_joint(self, x):
            return lambda z: dist.Normal(x["mean"], 1.0, validate_args=False).log_prob(z) + x["c"]

    xs = {"mean": np.array([0.0, 5.0], np.float32), "c": np.array([-1.0, -2.0], np.float32)}
    result = log_likelihood(OfTwo(0.0), xs, num_samples=24, key=KEY)
    np.testing.assert_allclose(result.value, [-1, -2], rtol=1e-5)


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_samples": 0}, "num_samples is a whole number of at least 1, got 0"),
        ({"num_samples": -5}, "num_samples is a whole number of at least 1, got -5"),
        ({"chunk_size": 0}, "chunk_size is a whole number of at least 1, got 0"),
        ({"x": jnp.zeros(0)}, "leading axis of at least 1"),
        ({"x": jnp.zeros(())}, "leading axis of at least 1"),
        ({"x": {"a": jnp.zeros(2), "b": jnp.zeros(3)}}, "same leading axis"),
    ],
)
def test_what_cannot_be_estimated(arguments, words):
    arguments = {"x": jnp.zeros(2), **arguments}
    with pytest.raises(InputError, match=words):
        log_likelihood(Shifted(0.1), arguments.pop("x"), **arguments, key=KEY)


# What must not happen


def temporary_bytes(num_samples):
    rows = rows_of_batch(good_proposals(), jnp.zeros((8, 3)), key=KEY)
    compiled = _stream.lower(rows, jnp.arange(8), num_samples, 64).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_draws():
    """But for the largest weights, 3√K of them, which are few and sorted in."""
    few, many = temporary_bytes(640), temporary_bytes(64_000)
    # 75 and 758 weights of 8 examples, which a step holds a few times over, with their indices.
    assert many - few < 8 * 4 * (758 - 75) * 8
    assert many < 8 * 4 * 64_000 / 10
