"""The bound of a diffusion model against exact answers on Gaussian data."""

import dataclasses
import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from tests.models.diffusion.oracles import (
    ancestral_variance,
    diffusion_loss,
    gaussian_model,
    levels,
)
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.models.diffusion import (
    PREDICTIONS,
    SCHEDULES,
    CosineSchedule,
    DiffusionBound,
    DiffusionModel,
    LearnedSchedule,
    LinearSchedule,
    Schedule,
    diffusion_terms,
)
from tighter.models.diffusion.bound import closed_terms
from tighter.models.diffusion.schedules import as_schedule

KEY = jax.random.key(3)
# log SNR from 13.3 to −5, x ~ N(0, 1), the exact denoiser.
TARGETS = {8: 23.51, 16: 11.90, 32: 8.776, 64: 7.612, 128: 7.107, 256: 6.872, 1000: 6.703}
LIMIT = 0.5 * np.log((1 + np.exp(13.3)) / (1 + np.exp(-5.0)))
NARROW = LinearSchedule(2.0, -2.0)
UNIT = "epsilon"


@functools.cache
def mean_diffusion(num_steps, schedule="linear", num=2**16):
    """Mean and standard error of the diffusion term over x ~ N(0, 1)."""
    model = gaussian_model(schedule=schedule, num_steps=num_steps, prediction=UNIT, key=KEY)
    xs = jax.random.normal(jax.random.key(1), (num, 1))
    bound = DiffusionBound(antithetic=False)
    losses = quick_jit(lambda key: bound.terms(model, xs, key=key).diffusion)(KEY)
    losses = np.asarray(losses, float)
    return losses.mean(), losses.std() / np.sqrt(num)


def within(values, expected, *, floor=0.0):
    """Whether the mean of replicates is within 5 standard errors."""
    values = np.asarray(values, float)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return (np.abs(values.mean(axis=0) - expected) <= 5 * error + floor).all()


@pytest.mark.parametrize("num_steps", TARGETS)
def test_the_diffusion_loss_is_exact_at_every_number_of_steps(num_steps):
    expected = diffusion_loss(np.linspace(13.3, -5, num_steps + 1))
    np.testing.assert_allclose(expected, TARGETS[num_steps], rtol=5e-4)
    mean, error = mean_diffusion(num_steps)
    assert abs(mean - expected) <= 5 * error


def test_the_loss_falls_with_the_number_of_steps():
    means = [mean_diffusion(num_steps)[0] for num_steps in (8, 16, 32, 64, 128)]
    assert all(later < earlier for earlier, later in itertools.pairwise(means))


@pytest.mark.parametrize("schedule", [*SCHEDULES, lambda t: 13.3 - 18.3 * t**3 - 1e-3 * (t - t**3)])
def test_the_limit_does_not_depend_on_the_schedule_between_its_ends(schedule):
    assert pytest.approx(6.6466, abs=1e-4) == LIMIT
    mean, error = mean_diffusion(None, schedule)
    assert abs(mean - LIMIT) <= 5 * error


@pytest.mark.parametrize("num_steps", [None, 3])
def test_antithetic_times_have_the_same_mean_and_less_noise(num_steps):
    model = gaussian_model((2,), prediction=UNIT, num_steps=num_steps, schedule=NARROW, key=KEY)
    xs = jnp.array([[0.3, -1.2], [2.0, 0.1], [0.5, 0.5]])
    keys = jax.random.split(KEY, 4096)

    def bounds(antithetic):
        bound = DiffusionBound(2, antithetic=antithetic)
        return quick_jit(jax.vmap(lambda key: bound.batch(model, xs, key=key)))(keys)

    spread, independent = np.asarray(bounds(True)), np.asarray(bounds(False))
    assert within(spread - independent, 0.0)
    assert spread.mean(axis=1).var() < independent.mean(axis=1).var()


def test_two_terms_are_exact_in_the_units_of_the_data():
    xs = np.random.default_rng(0).normal(3.0, [[0.2, 5.0]], size=(500, 2))
    model = gaussian_model((2,), schedule=NARROW, key=KEY).initialized_from(xs)
    x = jnp.asarray(xs[0], float)
    prior_kl, reconstruction = closed_terms(model, model.standardized(x)[None])
    expected = dist.kl_divergence(model.diffused(x, 1.0), dist.Normal(jnp.zeros(2)).to_event(1))
    np.testing.assert_allclose(prior_kl[0], expected, rtol=1e-5)

    def drawn(key):
        z0 = model.diffused(x, jnp.asarray(0.0)).sample(key)
        return model.likelihood(z0[None]).log_prob(x)

    values = quick_jit(jax.vmap(drawn))(jax.random.split(KEY, 20_000))
    assert within(values, reconstruction[0])


def exact_elbo(model, x, factor):
    """Of one example, from its terms in double precision."""
    log_snrs = np.linspace(2.0, -2.0, model.num_steps + 1)
    alpha, sigma = levels(log_snrs[[0, -1]])
    prior_kl = 0.5 * (alpha[1] ** 2 * x**2 + sigma[1] ** 2 - 1 - 2 * np.log(sigma[1]))
    reconstruction = -0.5 * (1 + np.log(2 * np.pi)) - np.log(sigma[0] / alpha[0])
    return reconstruction - prior_kl - diffusion_loss(log_snrs, x, factor)


OBJECTIVES = {
    "own bound": DiffusionBound(),
    "chain": tt.Objective(tt.bounds.ELBO(), tt.gradients.Reparameterized()),
    "chain, sticking the landing": tt.Objective(tt.bounds.ELBO()),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bound_and_gradient_are_those_of_the_chain(name):
    """The bound of one time and the ELBO on the whole chain: one value, one derivative, exact."""
    x, replicates = 1.3, 2**13

    def elbo(factor, key):
        model = gaussian_model(schedule=NARROW, num_steps=4, prediction="v", key=KEY)
        model = eqx.tree_at(lambda m: m.denoiser.factor, model, factor)
        return OBJECTIVES[name].batch(model, jnp.full((1, 1), x), key=key)[0]

    both = quick_jit(jax.vmap(jax.value_and_grad(elbo), (None, 0)))
    values, gradients = both(jnp.asarray(0.7), jax.random.split(KEY, replicates))
    model = gaussian_model(schedule=NARROW, num_steps=4, key=KEY)
    expected = exact_elbo(model, x, 0.7)
    slope = (exact_elbo(model, x, 0.71) - exact_elbo(model, x, 0.69)) / 0.02
    assert within(values, expected)
    assert within(gradients, slope)


def test_the_log_likelihood_of_a_chain_is_exact():
    model = gaussian_model(schedule=NARROW, num_steps=8, key=KEY)
    xs = jnp.array([[0.0], [1.5]])
    estimate = tt.log_likelihood(model, xs, num_samples=4096, key=KEY)
    scale = np.sqrt(ancestral_variance(np.linspace(2.0, -2.0, 9)))
    expected = dist.Normal(0.0, scale).log_prob(xs[:, 0])
    assert (np.abs(estimate.value - expected) <= 5 * estimate.standard_error).all()
    assert (estimate.standard_error < 0.1).all()
    elbo = [exact_elbo(model, float(x), 1.0) for x in xs[:, 0]]
    assert (elbo < np.asarray(expected) - 0.05).all()


def test_noise_data_and_velocity_are_one_denoiser():
    xs = jax.random.normal(KEY, (16, 3))
    made = {
        name: gaussian_model((3,), prediction=name, factor=0.6, schedule=NARROW, key=KEY)
        for name in PREDICTIONS
    }

    @quick_jit
    def told(xs):
        z, log_snr = xs[0], jnp.asarray(0.4)
        return [
            (
                DiffusionBound().batch(model, xs, key=KEY),
                model.prediction.clean(z, model.denoiser(z, log_snr), log_snr),
                model.prediction.noise(z, model.denoiser(z, log_snr), log_snr),
            )
            for model in made.values()
        ]

    first, *others = told(xs)
    for other in others:
        for part, same in zip(first, other, strict=True):
            np.testing.assert_allclose(part, same, rtol=2e-5)


# Learned schedules

GRID = (np.arange(5000) + 0.5) / 5000


def expected_moments(schedule):
    """E and E² of the loss at one uniform time: 𝔼‖ε − ε̂‖² is m = sigmoid(λ), its square 3m²."""
    log_snr, slope = jax.vmap(schedule.with_slope)(jnp.asarray(GRID, float))
    mean = -0.5 * slope * jax.nn.sigmoid(log_snr)
    return jnp.mean(mean), 3 * jnp.mean(mean**2)


def learned(**options):
    return LearnedSchedule.create(4.0, -3.0, num_units=3, key=jax.random.key(8), **options)


def test_a_learned_schedule_follows_the_variance_and_its_ends_the_bound():
    schedule = learned(trained_ends=True)
    schedule = eqx.tree_at(lambda s: s.log_heights, schedule, schedule.log_heights + 3)
    model = gaussian_model(schedule=schedule, prediction="v", key=KEY)

    def loss(schedule, key):
        x_key, key = jax.random.split(key)
        replaced = eqx.tree_at(lambda m: m.schedule, model, schedule)
        xs = jax.random.normal(x_key, (2, 1))
        return -jnp.mean(DiffusionBound(antithetic=False).terms(replaced, xs, key=key).bound)

    drawn = quick_jit(jax.vmap(jax.grad(loss), (None, 0)))(schedule, jax.random.split(KEY, 2**14))

    def bound(schedule):  # the mean over x ~ N(0, 1) of minus the bound
        first, last = schedule.largest, schedule.smallest
        alpha2 = jax.nn.sigmoid(last)
        prior_kl = 0.5 * (alpha2 - alpha2 - jax.nn.log_sigmoid(-last))
        limit = 0.5 * (jax.nn.softplus(first) - jax.nn.softplus(last))
        return prior_kl - 0.5 * first + limit

    of_bound = quick_jit(jax.grad(bound))(schedule)
    of_square = quick_jit(jax.grad(lambda schedule: expected_moments(schedule)[1]))(schedule)
    for name in ("largest", "smallest"):
        assert within(getattr(drawn, name), getattr(of_bound, name))
    for name in ("log_heights", "log_slopes", "offsets"):
        assert within(getattr(drawn, name), getattr(of_square, name))


def test_training_a_learned_schedule_lowers_the_variance_and_not_the_mean():
    model = gaussian_model(schedule="learned", prediction="v", key=KEY)
    xs = jax.random.normal(KEY, (512, 1))
    optimizer = optax.adam(0.03)

    def loss(schedule, key):
        replaced = eqx.tree_at(lambda m: m.schedule, model, schedule)
        return -jnp.mean(DiffusionBound().batch(replaced, xs, key=key))

    def step(carry, key):
        schedule, state = carry
        updates, state = optimizer.update(jax.grad(loss)(schedule, key), state)
        return (eqx.apply_updates(schedule, updates), state), None

    @quick_jit
    def train(schedule):
        carry = (schedule, optimizer.init(schedule))
        return jax.lax.scan(step, carry, jax.random.split(KEY, 300))[0][0]

    moments = quick_jit(expected_moments)
    before, after = moments(model.schedule), moments(train(model.schedule))
    np.testing.assert_allclose([before[0], after[0]], LIMIT, rtol=2e-3)
    best = 3 * LIMIT**2  # where the loss's mean is the same at every time
    assert before[1] > 160
    assert best <= after[1] * 1.001
    assert after[1] < best + 0.35 * (before[1] - best)


def test_with_finitely_many_steps_the_schedule_follows_the_bound():
    schedule = learned()
    xs = jnp.array([[0.7]])

    def expected(schedule):
        log_snrs = jax.vmap(schedule.log_snr)(jnp.linspace(0.0, 1.0, 4))
        alpha2 = jax.nn.sigmoid(log_snrs[1:])
        error = 0.7**2 * (1 - alpha2) ** 2 + alpha2 * (1 - alpha2)
        snr = jnp.exp(log_snrs)
        return 0.5 * jnp.sum((snr[:-1] - snr[1:]) * error)

    def loss(schedule, key):
        model = gaussian_model(schedule=schedule, num_steps=3, prediction="v", key=KEY)
        return -jnp.sum(DiffusionBound(antithetic=False).batch(model, xs, key=key))

    drawn = quick_jit(jax.vmap(jax.grad(loss), (None, 0)))(schedule, jax.random.split(KEY, 2**14))
    exact = quick_jit(jax.grad(expected))(schedule)
    for name in ("log_heights", "log_slopes", "offsets"):
        assert within(getattr(drawn, name), getattr(exact, name))
    assert not np.asarray(drawn.largest).any()


# The terms over many examples


def test_terms_are_measured_apart_with_errors():
    xs = 3.0 + 0.5 * jax.random.normal(KEY, (4000, 2))
    model = gaussian_model((2,), schedule=NARROW, prediction="v", num_steps=6, key=KEY)
    model = model.initialized_from(np.asarray(xs))
    terms = diffusion_terms(model, xs, num_times=3, levels=4, key=KEY)
    expected = 2 * diffusion_loss(np.linspace(2.0, -2.0, 7))
    assert abs(terms.diffusion.mean - expected) <= 5 * terms.diffusion.standard_error
    whole = terms.reconstruction.mean - terms.prior_kl.mean - terms.diffusion.mean
    assert terms.bound.mean == pytest.approx(whole)
    assert terms.bits_per_dimension.mean == pytest.approx(-whole / (2 * np.log(2)) + 2)
    assert terms.bound.standard_error == pytest.approx(
        2 * np.log(2) * terms.bits_per_dimension.standard_error
    )
    again = DiffusionBound(3).batch(model, xs, key=KEY)
    error = np.hypot(terms.bound.standard_error, np.std(again) / np.sqrt(4000))
    assert abs(np.mean(again) - terms.bound.mean) <= 5 * error


# What is refused


def test_a_schedule_that_rises_is_refused_with_its_place():
    def rising(t):
        return jnp.where((t > 0.3) & (t < 0.6), 5.0 + 10 * (t - 0.3), 5.0 - 8.0 * t)

    with pytest.raises(InputError, match=r"does not from t = 0\.3 to 0\.599"):
        DiffusionModel.create((1,), schedule=rising, hidden=(2,), key=KEY)
    with pytest.raises(InputError, match="finite, got inf at t = 0"):
        DiffusionModel.create((1,), schedule=lambda t: -jnp.log(t), hidden=(2,), key=KEY)
    for make in (LinearSchedule, CosineSchedule, LearnedSchedule.create):
        options = {"key": KEY} if make == LearnedSchedule.create else {}
        with pytest.raises(InputError, match="got -5 at t = 0 and 13"):
            make(-5.0, 13.0, **options)


def test_times_names_numbers_and_shapes_are_refused():
    model = gaussian_model((2,), schedule=NARROW, key=KEY)
    for time in (-0.1, 1.5, np.array([0.2, np.nan])):
        with pytest.raises(InputError, match=r"between 0 \(data\) and 1 \(noise\)"):
            model.diffused(jnp.zeros(2), time)
    with pytest.raises(InputError, match="discretized"):
        model.posterior(jnp.zeros(2))
    with pytest.raises(InputError, match="noise schedule"):
        DiffusionModel.create((2,), schedule="cosin", key=KEY)
    with pytest.raises(InputError, match="prediction"):
        DiffusionModel.create((2,), prediction="noise", key=KEY)
    with pytest.raises(InputError, match="num_steps is a whole number"):
        model.discretized(0)
    with pytest.raises(InputError, match="num_times is a whole number of at least 1"):
        DiffusionBound(0)
    with pytest.raises(InputError, match=r"got shape \(4, 3\)"):
        DiffusionBound().batch(model, jnp.zeros((4, 3)), key=KEY)
    with pytest.raises(InputError, match="did you mean 'ddim'"):
        model.sample(KEY, 2, method="ddmi")
    np.testing.assert_allclose(model.schedule(np.array([[0.0, 1.0]])), [[2.0, -2.0]])
    for number in (0, -1, True, 2.0, "3"):
        for call in (model.discretized, lambda n: model.sample(KEY, n)):
            with pytest.raises(InputError, match="is a whole number of at least 1"):
                call(number)
        with pytest.raises(InputError, match="num_steps is a whole number"):
            model.sample(KEY, 1, num_steps=number)
        with pytest.raises(InputError, match="num_steps is a whole number"):
            model.complete(jnp.zeros((1, 2)), num_steps=number, key=KEY)
    assert type(model.discretized(np.int64(8)).num_steps) is int
    ours = model.sample(KEY, np.int64(2), num_steps=np.int32(3))
    np.testing.assert_array_equal(ours, model.sample(KEY, 2, num_steps=3))
    xs = jnp.zeros((5, 2)).at[3, 1].set(jnp.nan)
    with pytest.raises(InputError, match="not finite in 1 of 5 examples, row 3 first"):
        diffusion_terms(model, xs, key=KEY)
    with pytest.raises(InputError, match=r"shape of z, \(2,\), got \(1,\)"):
        DiffusionModel.create((2,), denoiser=lambda z, _: z[:1], key=KEY)


class OfTime(Schedule):
    rate: float

    def log_snr(self, time):
        return self.rate * time


def test_schedules_that_are_none_are_refused_wherever_they_are_from():
    learned = LearnedSchedule.create(key=KEY)
    upside_down = dataclasses.replace(learned, largest=learned.smallest, smallest=learned.largest)
    for schedule in (OfTime(1.0), OfTime(0.0), upside_down):
        with pytest.raises(InputError, match="falls from t = 0 to t = 1"):
            as_schedule(schedule)
    assert as_schedule(OfTime(-1.0)) == OfTime(-1.0)
    assert as_schedule(learned) is learned
    for function in (lambda t: -math.cos(t), lambda t: 1 - float(t), lambda t: None):
        with pytest.raises(InputError, match=r"write it with jax\.numpy"):
            as_schedule(function)


def test_a_schedule_with_ties_is_one_of_continuous_time():
    schedule = as_schedule(lambda t: 13.3 - 18.3 * t**3)
    model = DiffusionModel.create((1,), schedule=schedule, denoiser=lambda z, _: 0 * z, key=KEY)
    assert np.isfinite(DiffusionBound().batch(model, jnp.ones((2, 1)), key=KEY)).all()
    model.discretized(50)
    with pytest.raises(InputError, match=r"step 1 of 1000 leaves it at 13\.3"):
        model.discretized(1000)
