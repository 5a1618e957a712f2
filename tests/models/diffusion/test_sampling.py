"""Drawing and completing examples, exactly known for Gaussian data; denoisers and training."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.models.diffusion.oracles import (
    ancestral_variance,
    ddim_variance,
    diffusion_loss,
    gaussian_model,
    levels,
    steps,
)
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.models.diffusion import (
    DENOISERS,
    CosineSchedule,
    DiffusionBound,
    DiffusionModel,
    LinearSchedule,
    UNet,
)
from tighter.models.diffusion.denoisers import denoiser_from_name, fourier_features
from tighter.models.diffusion.schedules import signal_and_noise

KEY = jax.random.key(5)
NARROW = LinearSchedule(3.0, -3.0)


@pytest.mark.parametrize(
    ("method", "schedule", "num_steps"),
    [("ancestral", None, 6), ("ancestral", "cosine", 6), ("ddim", None, 6), ("ddim", "cosine", 24)],
)
def test_moments_of_draws_are_exact(method, schedule, num_steps):
    num = 2**14
    model = gaussian_model(schedule=NARROW, key=KEY)
    model = eqx.tree_at(
        lambda m: (m.location, m.scale), model, (jnp.full(1, 2.0), jnp.full(1, 3.0))
    )
    xs = model.sample(KEY, num, num_steps=num_steps, method=method, schedule=schedule)
    line = NARROW if schedule is None else CosineSchedule(3.0, -3.0)
    log_snrs = line(np.linspace(0, 1, num_steps + 1))
    exact = {"ancestral": ancestral_variance, "ddim": ddim_variance}[method](log_snrs)
    assert abs(xs.mean() - 2) <= 5 * 3 * np.sqrt(exact / num)
    assert abs(xs.var() / 9 - exact) <= 5 * exact * np.sqrt(2 / num)


def test_a_draw_is_one_of_the_models_prior():
    """Sampling walks the chain whose density the prior says."""
    model = gaussian_model(schedule=NARROW, num_steps=6, key=KEY)
    z = quick_jit(lambda key: model.prior.sample(key, (2**13,)))(KEY)
    first = z[:, 0, 0] / levels(3.0)[0]
    exact = ancestral_variance(np.linspace(3, -3, 7)) - np.exp(-3.0)
    assert abs(first.var() - exact) <= 5 * exact * np.sqrt(2 / 2**13)


def test_ddim_comes_near_the_data_as_its_steps_grow():
    errors = [
        abs(
            ddim_variance(CosineSchedule(3.0, -3.0)(np.linspace(0, 1, n + 1)))
            / ddim_variance([3.0, 3.0])
            - 1
        )
        for n in (20, 40, 80)
    ]
    # The order is 1, less what the next one adds, which halves too.
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 1, atol=0.5 / 20)
    np.testing.assert_allclose(np.log2(errors[1] / errors[2]), 1, atol=0.5 / 40)


# Completing


class Correlated(eqx.Module):
    """x̂ of data N(0, S), exactly."""

    covariance: jnp.ndarray

    def __call__(self, z, log_snr):
        alpha, sigma = signal_and_noise(log_snr)
        noisy = alpha**2 * self.covariance + sigma**2 * jnp.eye(2)
        return alpha * self.covariance @ jnp.linalg.solve(noisy, z)


def joint_of_chain(covariance, log_snrs):
    """Covariance of z_1, …, z_0 (two entries each) and x under the model's chain."""
    alpha, sigma = levels(log_snrs)
    joint = np.eye(2)
    for keep, add, scale, a, s in zip(*steps(log_snrs), alpha[:0:-1], sigma[:0:-1], strict=True):
        noisy = a**2 * covariance + s**2 * np.eye(2)
        matrix = keep * np.eye(2) + add * a * covariance @ np.linalg.inv(noisy)
        cross = matrix @ joint[-2:]
        own = cross[:, -2:] @ matrix.T + scale**2 * np.eye(2)
        joint = np.block([[joint, cross.T], [cross, own]])
    cross = joint[-2:] / alpha[0]
    own = cross[:, -2:] / alpha[0] + (sigma[0] / alpha[0]) ** 2 * np.eye(2)
    return np.block([[joint, cross.T], [cross, own]])


def chain_of_known(x, log_snrs):
    """Mean and covariance of z_1, …, z_0 of one entry given x."""
    alpha, sigma = levels(log_snrs)
    mean, covariance = [alpha[-1] * x], np.array([[sigma[-1] ** 2]])
    for keep, add, scale in zip(*steps(log_snrs), strict=True):
        mean.append(keep * mean[-1] + add * x)
        cross = keep * covariance[-1:]
        own = keep * cross[:, -1:] + scale**2
        covariance = np.block([[covariance, cross.T], [cross, own]])
    return np.array(mean), covariance


def test_missing_entries_are_drawn_given_the_others():
    covariance, num_steps, observed = np.array([[1.0, 0.8], [0.8, 1.0]]), 12, 1.5
    log_snrs = np.linspace(3.0, -3.0, num_steps + 1)
    joint = joint_of_chain(covariance, log_snrs)
    # Given the observed entry's chain and x, the missing entry is linear Gaussian.
    known = [*range(1, joint.shape[0] - 2, 2), joint.shape[0] - 1]
    missing = joint.shape[0] - 2
    weights = np.linalg.solve(joint[np.ix_(known, known)], joint[known, missing])
    of_chain, spread = chain_of_known(observed, log_snrs)
    mean = weights[:-1] @ of_chain + weights[-1] * observed
    variance = joint[missing, missing] - weights @ joint[known, missing]
    variance += weights[:-1] @ spread @ weights[:-1]

    model = DiffusionModel.create(
        (2,), denoiser=Correlated(jnp.asarray(covariance, float)), prediction="x",
        schedule=NARROW, num_steps=num_steps, key=KEY,
    )  # fmt: skip
    model = eqx.tree_at(lambda m: m.location, model, jnp.array([10.0, 20.0]))
    num = 400
    xs = np.tile([np.nan, 20.0 + observed], (num, 1))
    completed = model.complete(xs, num_particles=256, key=KEY)
    values = completed.values[:, 0] - 10
    assert (completed.values[:, 1] == np.float32(21.5)).all()
    assert abs(values.mean() - mean) <= 5 * values.std() / np.sqrt(num)
    drawn = completed.draws[0, :, 0] - 10
    assert abs(drawn.var() - variance) <= 5 * variance * np.sqrt(2 / num)
    # p(observed), unbiased.
    likelihood = np.exp(completed.log_likelihood)
    scale = np.sqrt(joint[-1, -1])
    exact = np.exp(-0.5 * (observed / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    assert abs(likelihood.mean() - exact) <= 5 * likelihood.std() / np.sqrt(num)
    assert (completed.ess >= 1).all()


# Denoisers


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("mlp", (3,), (4, 5)),
        ("mlp", (2, 3), None),
        ("unet", (7, 5), (2, 3, 4)),
        ("unet", (28, 28), None),
        ("unet", (8, 9, 3), (3,)),
    ],
)
def test_denoisers_take_any_size(name, shape, hidden):
    def made(key):
        denoiser = denoiser_from_name(name, shape, hidden, fourier=(1, 2), key=key)
        return denoiser(jnp.zeros(shape), jnp.asarray(0.5))

    assert jax.eval_shape(made, KEY).shape == shape


def test_every_parameter_of_the_unet_matters_at_an_odd_size():
    @quick_jit
    def gradient(key):
        network = UNet((5, 3), (2, 3), key=key)
        z = jax.random.normal(key, (5, 3))
        return eqx.filter_grad(lambda network: jnp.sum(network(z, jnp.asarray(0.5)) ** 2))(network)

    leaves = jax.tree_util.tree_leaves_with_path(gradient(KEY))
    assert [jax.tree_util.keystr(path) for path, leaf in leaves if not np.abs(leaf).max()] == []


def test_fourier_features_are_the_papers():
    z = jnp.array([[0.1], [0.7]])
    made = fourier_features(z, (0, 3))
    expected = [z, *(f(2**n * np.pi * z) for n in (0, 3) for f in (np.sin, np.cos))]
    np.testing.assert_allclose(made, np.concatenate(expected, axis=-1), atol=1e-5)


def test_what_is_no_denoiser_is_refused():
    for name, shape, hidden, message in (
        ("resnet", (3,), None, "unknown denoiser 'resnet'"),
        ("unet", (3,), None, "takes images"),
        ("mlp", (3,), (4, 0), "at least one unit"),
    ):
        with pytest.raises(InputError, match=message):
            DiffusionModel.create(shape, denoiser=name, hidden=hidden, key=KEY)
    assert set(DENOISERS) == {"mlp", "unet"}
    model = DiffusionModel.create((3,), hidden=(2,), key=KEY)
    with pytest.raises(InputError, match="drop these rows or fill"):
        model.initialized_from(np.array([[1.0, np.nan, 2.0]]))


# Training


@functools.cache
def trained(denoiser):
    rng = np.random.default_rng(0)
    xs = rng.normal(5.0, 0.1, size=(640, 3, 3)).astype(np.float32)
    model = DiffusionModel.create(
        (3, 3), denoiser=denoiser, hidden=(4,), schedule=NARROW, prediction="epsilon", key=KEY
    )
    result = tt.fit(
        model.initialized_from(xs), xs, DiffusionBound(), optimizer=optax.adam(1e-2), num_epochs=12,
        batch_size=32, key=KEY, show_progress=False,
    )  # fmt: skip
    return xs, result


@pytest.mark.slow
@pytest.mark.parametrize("denoiser", DENOISERS)
def test_a_trained_model_comes_near_the_exact_bound(denoiser):
    """White data, whose best denoiser is a gain: the bound is within .05 nat an entry of it."""
    xs, result = trained(denoiser)
    alpha, sigma = levels([3.0, -3.0])
    limit = 0.5 * (np.logaddexp(0, 3.0) - np.logaddexp(0, -3.0))
    prior_kl = 0.5 * (alpha[1] ** 2 + sigma[1] ** 2 - 1 - 2 * np.log(sigma[1]))
    entry = -0.5 * (1 + np.log(2 * np.pi) - 3.0) - prior_kl - limit - np.log(xs.std())
    assert diffusion_loss(np.linspace(3, -3, 2**14)) == pytest.approx(limit, rel=1e-3)
    bound = result.history[-1]["bound"]
    assert result.history[0]["bound"] < bound
    assert abs(bound / 9 - entry) < 0.05
    assert result.model.location[0, 0] == pytest.approx(xs.mean(), rel=1e-6)
