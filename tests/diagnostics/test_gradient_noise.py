"""Signal and noise against exact moments, the laws of Rainforth et al. 2018, and plain numpy."""

import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

from tighter import Objective
from tighter._errors import InputError
from tighter.bounds import ELBO, IWAE
from tighter.diagnostics.gradient_noise import gradient_noise
from tighter.diagnostics.jackknife import QUANTILE, Interval
from tighter.diagnostics.parameter_roles import parameter_roles
from tighter.diagnostics.replicates import (
    _BYTES,
    NUM_GROUPS,
    Gradient,
    _add,
    _chunk_that_fits,
    _even_chunk,
    _nothing,
    replicate,
)
from tighter.gradients import (
    VIMCO,
    DoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
    WakePhi,
)
from tighter.models import VAE, LinearGaussian

KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def _quick_machine_code(monkeypatch, request):
    """Compiling is what takes the time in most tests: the machine code need not be the fastest."""
    if "slow" not in request.keywords:
        quick = functools.partialmethod(
            jax.stages.Lowered.compile, {"xla_backend_optimization_level": 0}
        )
        monkeypatch.setattr(jax.stages.Lowered, "compile", quick)


DIMENSIONS, SHIFT = 20, 0.15


@functools.cache
def rainforth():
    """z ~ N(mu, I), x|z ~ N(z, I), q = N(x/2 + b, 2/3 I) with b off by 0.15; one x."""
    mean = jax.random.normal(jax.random.key(1), (DIMENSIONS,))
    x = mean + jnp.sqrt(2.0) * jax.random.normal(jax.random.key(2), (DIMENSIONS,))
    identity = jnp.eye(DIMENSIONS)
    model = LinearGaussian(
        prior_mean=mean,
        loading=identity,
        offset=jnp.zeros(DIMENSIONS),
        log_scale=jnp.zeros(()),
        encoder_weight=identity / 2,
        encoder_bias=mean / 2 + SHIFT,
        encoder_log_scale=jnp.full(DIMENSIONS, 0.5 * jnp.log(2 / 3)),
    )
    return model, x[None]


def error(interval):
    """A standard error from a 95 % interval."""
    return (interval.high - interval.low) / (2 * QUANTILE)


# The laws in K


NUMBERS = (1, 4, 16, 64, 256, 1024)
TABLE = {
    "total": (Reparameterized(), "snr", (0.185, 0.110, 0.060, 0.031, 0.0155, 0.0075), 3),
    "doubly": (DoublyReparameterized(), "snr", (0.74, 0.73, 0.87, 1.36, 2.49, 4.86), 2),
    "landing": (StickingTheLanding(), "mean", (-0.3, -0.252, -0.233, -0.227, -0.2256, -0.2251), 3),
    "wake": (WakePhi(), "mean", (0, -0.144, -0.200, -0.218, -0.2233, -0.2246), 3),
}


def check_against_table(name, number, num_replicates):
    """Within 5 of our standard errors and those of the table, which is of 60,000 replicates."""
    estimator, statistic, values, digits = TABLE[name]
    model, x = rainforth()
    objective = Objective(IWAE(), estimator, num_samples=number)
    noise = gradient_noise(
        model,
        x,
        objective,
        num_replicates=num_replicates,
        phi=lambda model: model.encoder_bias,
        key=KEY,
    )
    expected = values[NUMBERS.index(number)]
    last_digit = 0.5 * 10**-digits
    if statistic == "mean":
        ours = float(np.mean(noise.mean.encoder_bias))
        spread = math.sqrt(noise.phi.variance / noise.num_replicates) / DIMENSIONS
    else:
        ours, spread = noise.phi.snr, error(noise.phi.snr_interval)
    table_error = spread * math.sqrt(num_replicates / 6e4)
    assert abs(ours - expected) < 5 * math.hypot(spread, table_error) + last_digit
    assert noise.phi.num_coordinates == DIMENSIONS
    return noise


@pytest.mark.parametrize("name", every(2, TABLE))
def test_laws_of_signal_to_noise(name):
    check_against_table(name, 64, 1600)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("number", NUMBERS)
def test_laws_of_signal_to_noise_with_as_many_replicates_as_the_table(name, number):
    """In a process of its own: tests compile programs that are slower than users'."""
    code = (
        "import time; from tests.diagnostics.test_gradient_noise import check_against_table\n"
        "start = time.process_time()\n"
        f"noise = check_against_table({name!r}, {number}, 60_000)\n"
        "seconds = time.process_time() - start\n"
        "print(seconds, noise.phi.snr, *noise.phi.snr_interval)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, snr, low, high = map(float, done.stdout.split())
    assert seconds < 60  # as long as it takes alone on the machine
    if name == "total":
        slope = 0.06 * (number / 16) ** -0.5
        assert number < 16 or abs(snr / slope - 1) < 0.05 + 5 * error(Interval(low, high)) / slope


@pytest.mark.slow
def test_the_models_signal_grows_as_root_k():
    model, x = rainforth()
    others = eqx.tree_at(
        lambda model: model.prior_mean, jax.tree.map(lambda _: True, model), replace=False
    )
    signals = [
        gradient_noise(
            model,
            x,
            Objective(IWAE(), DoublyReparameterized(), num_samples=number),
            num_replicates=10_000,
            phi=others,
            key=KEY,
        ).theta.snr
        for number in (16, 64, 256, 1024)
    ]
    slope = np.polyfit(np.log([16, 64, 256, 1024]), np.log(signals), 1)[0]
    assert abs(slope - 0.49) < 0.01


# Exact moments


@pytest.mark.slow
def test_moments_of_one_draw_are_exact():
    """The φ-gradient is −2·0.15 − 2tε in all, and −2·0.15 + (1/t − 2t)ε without its score."""
    model, x = rainforth()
    scale = math.sqrt(2 / 3)
    for estimator, deviation in (
        (Reparameterized(), 2 * scale),
        (StickingTheLanding(), 1 / scale - 2 * scale),
    ):
        noise = gradient_noise(
            model,
            x,
            Objective(ELBO(), estimator),
            num_replicates=1600,
            phi=lambda model: model.encoder_bias,
            key=KEY,
        )
        low, high = noise.phi.variance_interval
        told = (math.log(high) - math.log(low)) / (2 * QUANTILE)
        expected = DIMENSIONS * deviation**2
        assert abs(math.log(noise.phi.variance / expected)) < 5 * told
        # All is normal: the variance of a variance is 2 σ⁴ / R in every coordinate.
        assert abs(told / math.sqrt(2 / (1600 * DIMENSIONS)) - 1) < 5 / math.sqrt(2 * 19)
        for ratio, interval in (
            (noise.phi.snr, noise.phi.snr_interval),
            (noise.phi.mean_snr, noise.phi.mean_snr_interval),
        ):
            assert abs(ratio - 2 * SHIFT / abs(deviation)) < 5 * error(interval)
        elbo = jax.vmap(model.elbo)(x)[0]
        assert abs(noise.value - elbo) < 5 * noise.value_error


@functools.cache
def small_problem():
    model = LinearGaussian.create(4, 3, key=jax.random.key(5))
    return model, jax.random.normal(jax.random.key(6), (5, 4))


def test_means_are_the_exact_gradient_of_every_parameter():
    model, xs = small_problem()
    noise = gradient_noise(model, xs, Objective(ELBO(), VIMCO(), 2), num_replicates=2000, key=KEY)
    exact = quick_jit(jax.grad(lambda model: jnp.mean(jax.vmap(model.elbo)(xs))))(model)
    errors = jax.tree.map(lambda low, high: (high - low) / (2 * QUANTILE), *noise.mean_interval)
    inside = jax.tree.map(
        lambda ours, theirs, spread: (np.abs(ours - theirs) < 5 * spread).all(),
        noise.mean,
        exact,
        errors,
    )
    assert all(jax.tree.leaves(inside))
    assert noise.theta.num_coordinates == 3 + 12 + 4 + 1
    assert noise.phi.num_coordinates == 12 + 3 + 3
    whole = sum(float(leaf.sum()) for leaf in jax.tree.leaves(noise.variance))
    np.testing.assert_allclose(noise.theta.variance + noise.phi.variance, whole, rtol=1e-6)


class Independent(eqx.Module):
    """log p = −½|z|² + constant·Σx, q = N(mean, scale): every coordinate by itself, and normal.

    The gradient of log p − log q is −mean − scale·ε for the mean, 1 − scale·ε(mean + scale·ε) for
    log scale, and 1 for the constant.
    """

    mean: jax.Array
    log_scale: jax.Array
    constant: jax.Array

    def posterior(self, x):
        return dist.Normal(self.mean, jnp.exp(self.log_scale), validate_args=False).to_event(1)

    def log_joint(self, x):
        return lambda z: -0.5 * jnp.sum(z**2) + self.constant * jnp.sum(x)


@functools.cache
def independent_noise(num_replicates=1000):
    num = 600
    means = jnp.linspace(-1, 1, num)
    model = Independent(means, jnp.linspace(-0.5, 0.5, num), jnp.asarray(0.3))
    return model, gradient_noise(
        model,
        jnp.ones((1, 1)),
        Objective(ELBO(), Reparameterized()),
        num_replicates=num_replicates,
        key=KEY,
    )


@pytest.mark.parametrize("name", ["mean", "variance", "snr"])
@pytest.mark.parametrize("part", ["mean", "log_scale"])
def test_intervals_cover_as_often_as_they_say(name, part):
    model, noise = independent_noise()
    mean, scale = np.asarray(model.mean, float), np.exp(np.asarray(model.log_scale, float))
    exact = {
        "mean": (-mean, scale**2),
        "log_scale": (1 - scale**2, scale**2 * mean**2 + 2 * scale**4),
    }[part]
    expected = {
        "mean": exact[0],
        "variance": exact[1],
        "snr": np.abs(exact[0]) / np.sqrt(exact[1]),
    }[name]
    low, high = (getattr(end, part) for end in getattr(noise, f"{name}_interval"))
    covered = np.mean((low <= expected) & (expected <= high))
    assert abs(covered - 0.95) < 5 * math.sqrt(0.05 * 0.95 / mean.size)


def test_pools_of_independent_coordinates():
    model, noise = independent_noise()
    mean, scale = np.asarray(model.mean, float), np.exp(np.asarray(model.log_scale, float))
    variance = np.sum(scale**2 + scale**2 * mean**2 + 2 * scale**4)
    signal = np.sum(mean**2 + (1 - scale**2) ** 2)
    assert abs(noise.phi.variance - variance) < 5 * error(noise.phi.variance_interval)
    assert abs(noise.phi.snr - math.sqrt(signal / variance)) < 5 * error(noise.phi.snr_interval)


def test_what_has_no_noise():
    """The constant's derivative is 1 in every replicate."""
    _, noise = independent_noise()
    np.testing.assert_allclose(noise.mean.constant, 1, rtol=1e-6)
    assert noise.variance.constant == 0
    assert noise.snr.constant == np.inf
    assert noise.snr_interval.low.constant == np.inf
    assert noise.theta.num_coordinates == 1
    assert noise.theta.snr == np.inf
    assert noise.theta.mean_snr == 0  # no coordinate has any noise


def test_a_signal_that_is_not_there_reads_zero():
    """Wake-phi with one draw is all score: its mean is zero, and |mean|² is not."""
    model, x = rainforth()
    noise = gradient_noise(
        model,
        x,
        Objective(IWAE(), WakePhi()),
        num_replicates=400,
        phi=lambda model: model.encoder_bias,
        key=KEY,
    )
    assert noise.phi.snr_interval.low == 0
    assert noise.phi.snr < 5 * math.sqrt(math.sqrt(2 / DIMENSIONS) / 400)
    # As it says of itself: about .8 / √R without any signal.
    assert abs(noise.phi.mean_snr - math.sqrt(2 / math.pi / 400)) < 5 * error(
        noise.phi.mean_snr_interval
    )


# Against plain numpy


def test_moments_and_groups_are_those_of_numpy():
    model, xs = small_problem()
    objective, num = Objective(IWAE(), DoublyReparameterized(), 3), 3 * NUM_GROUPS
    noise = gradient_noise(model, xs, objective, num_replicates=num - 1, key=KEY)
    assert noise.num_replicates == num

    @quick_jit
    def replicates(model):
        def one(i):
            key = jax.random.fold_in(KEY, i)
            return jax.value_and_grad(lambda model: jnp.mean(objective.batch(model, xs, key=key)))(
                model
            )

        return jax.vmap(one)(jnp.arange(num))

    values, gradients = replicates(model)
    phi = [gradients.encoder_weight, gradients.encoder_bias, gradients.encoder_log_scale]
    flat = np.concatenate([np.reshape(leaf, (num, -1)) for leaf in phi], axis=1).astype(float)
    values = np.asarray(values, float)

    def statistics(kept):
        mean, variance = flat[kept].mean(axis=0), flat[kept].var(axis=0, ddof=1)
        return (
            variance.sum(),
            (mean**2).sum() - variance.sum() / kept.sum(),
            np.mean(np.abs(mean) / np.sqrt(variance)),
            values[kept].mean(),
        )

    group = np.arange(num) // 3
    expected = np.array([statistics(group != left) for left in range(-1, NUM_GROUPS)]).T
    pool = noise.phi
    ours = (pool.variances, pool.signals, pool.mean_snrs, noise.values)
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4)
    np.testing.assert_allclose(
        noise.variance.encoder_bias, np.var(gradients.encoder_bias, axis=0, ddof=1), rtol=1e-4
    )
    # Of a mean, the jackknife's error is that of the groups' means.
    of_groups = values.reshape(NUM_GROUPS, 3).mean(axis=1).std(ddof=1) / math.sqrt(NUM_GROUPS)
    np.testing.assert_allclose(noise.value_error, of_groups, rtol=1e-3)


@functools.cache
def small_gradient():
    return Gradient(*small_problem(), Objective(IWAE(), DoublyReparameterized(), 3))


def test_chunks_change_nothing():
    whole, single, uneven = (
        replicate(small_gradient(), 140, chunk_size=chunk, key=KEY) for chunk in (None, 1, 5)
    )
    for other in (single, uneven):
        for ours, theirs in zip(whole.leaves, other.leaves, strict=True):
            # Rounding is of the size of the gradients, whose deviations are squared.
            for mine, its in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-4 * np.abs(its).max())


def test_same_key_same_numbers():
    one, again, other = (
        replicate(small_gradient(), 140, key=jax.random.key(seed)).value for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).all()


def test_a_gradient_that_is_not_finite_is_told():
    model, xs = small_problem()
    broken = eqx.tree_at(lambda model: model.offset, model, jnp.full(4, jnp.inf))
    noise = gradient_noise(broken, xs, Objective(), num_replicates=40, key=KEY)
    assert np.isnan(noise.phi.variance)
    assert np.isnan(noise.phi.snr)
    assert not np.isfinite(noise.value)


@pytest.mark.slow
def test_seconds_are_those_of_one_gradient():
    model, xs = small_problem()
    few, many = (
        gradient_noise(model, xs, Objective(IWAE(), num_samples=number), num_replicates=40, key=KEY)
        for number in (1, 1000)
    )
    assert few.timings.size >= 9
    assert few.seconds == np.median(few.timings)
    assert many.seconds > 4 * few.seconds
    assert few.phi_snr_squared_per_second == few.phi.snr**2 / few.seconds
    assert few.theta_snr_squared_per_second == few.theta.snr**2 / few.seconds


# Which parameters are which


class Crossed(eqx.Module):
    """One array of each kind, behind jit, scan and stop_gradient."""

    theta: jax.Array
    phi: jax.Array
    both: jax.Array
    stopped: jax.Array
    unused: jax.Array
    count: jax.Array

    @eqx.filter_jit
    def location(self, x):
        def step(carry, _):
            kept, dropped = carry
            return (kept + jnp.sin(self.phi), dropped * self.unused), None

        (kept, _), _ = jax.lax.scan(step, (x, x), None, length=3)
        return kept + jax.lax.stop_gradient(self.stopped)

    def posterior(self, x):
        return dist.Normal(self.location(x), jnp.exp(self.both), validate_args=False)

    @eqx.filter_jit
    def density(self, z):
        return -0.5 * (z - self.theta) ** 2 - jax.nn.softplus(self.both)

    def log_joint(self, x):
        return lambda z: self.density(z) + 0 * self.stopped.astype(int)


def crossed():
    return Crossed(*(jnp.asarray(number) for number in (0.1, 0.2, 0.3, 0.4, 0.5)), jnp.asarray(1))


def test_roles_are_told_by_differentiation():
    roles = parameter_roles(crossed(), jnp.zeros(2), key=KEY)
    assert roles.theta == Crossed(True, False, True, False, False, None)
    assert roles.phi == Crossed(False, True, True, False, False, None)


def test_roles_of_a_network():
    model = VAE.create((3, 2), num_latent=2, hidden=(4,), key=KEY)
    roles = parameter_roles(model, jnp.zeros((2, 3, 2)), key=KEY)
    encoder = eqx.filter(model.encoder, eqx.is_inexact_array)
    assert roles.phi.encoder == jax.tree.map(lambda _: True, encoder)
    assert not any(jax.tree.leaves(roles.phi.decoder))
    assert roles.theta == jax.tree.map(lambda flag: not flag, roles.phi)


def test_roles_may_be_said():
    model = crossed()
    arrays = eqx.filter(model, eqx.is_inexact_array)
    chosen = eqx.tree_at(
        lambda model: model.both,
        jax.tree.map(lambda _: False, arrays),
        replace=True,
    )
    for phi in (lambda model: model.both, chosen):
        roles = parameter_roles(model, jnp.zeros(2), phi=phi, key=KEY)
        assert roles.phi == chosen
        assert roles.theta == jax.tree.map(lambda flag: not flag, chosen)


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_replicates": 39}, "num_replicates is at least 40, two in each of the 20 groups"),
        ({"num_replicates": 0}, "got 0"),
        ({"chunk_size": 0}, "chunk_size is a whole number of at least 1, got 0"),
        ({"x": jnp.zeros((0, 4))}, "leading axis of at least 1"),
        ({"x": jnp.zeros(())}, "leading axis of at least 1"),
        ({"phi": {"encoder": True}}, "phi is a function from the model to a part of it"),
        ({"model": Independent(1.0, 2.0, 3.0)}, "no floating-point arrays"),
    ],
)
def test_what_cannot_be_measured(arguments, words):
    model, xs = small_problem()
    arguments = {"model": model, "x": xs, "objective": Objective(), **arguments}
    with pytest.raises(InputError, match=words):
        gradient_noise(**arguments, key=KEY)


# What must not happen


@pytest.mark.slow
def test_memory_does_not_grow_with_the_replicates():
    model, x = rainforth()
    gradient = Gradient(model, x, Objective(IWAE(), DoublyReparameterized(), 64))
    fits = _chunk_that_fits(gradient, KEY)

    def bytes_needed(num_replicates):
        keys = jax.random.split(KEY, _even_chunk(num_replicates // NUM_GROUPS, fits))
        program = gradient.program(keys)
        nothing = _nothing(gradient.arrays)
        replicates = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*keys.shape, *leaf.shape), leaf.dtype), nothing.mean
        )
        added = _add.lower(nothing, replicates, jnp.ones(keys.shape, bool)).compile()
        return sum(
            part.memory_analysis().temp_size_in_bytes + part.memory_analysis().output_size_in_bytes
            for part in (program, added)
        )

    few, many = bytes_needed(2_000), bytes_needed(2_000_000)
    assert many < 1.6 * few
    assert many < 3 * _BYTES
