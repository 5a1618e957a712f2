"""What a model may ask of training: batch statistics, one latent for all data, averaged weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jaxtyping import Array

import tighter as tt
from tighter._errors import NonFiniteError

XS = np.arange(12.0, dtype=np.float32)[:, None] - 3


class GlobalMean(eqx.Module):
    """One mean for all data: p(mu) = Normal(0, 1), p(x_n | mu) = Normal(mu, 1)."""

    location: Array
    log_scale: Array

    def posterior(self, xs):
        return dist.Normal(self.location, jnp.exp(self.log_scale))

    def log_joint(self, xs):
        return self.minibatch_log_joint(xs, xs.shape[0])

    def minibatch_log_joint(self, xs, num_examples):
        def log_joint(mu):
            data = jnp.sum(dist.Normal(mu, 1.0).log_prob(xs[:, 0]))
            return dist.Normal(0.0, 1.0).log_prob(mu) + num_examples / xs.shape[0] * data

        return log_joint


class Centered(eqx.Module):
    """x - m ~ Normal(0, 1), with m the batch's mean in training and a moving mean elsewhere."""

    moving: Array
    trained: Array

    def posterior(self, x):
        return dist.Normal(self.trained, 1.0)

    def log_joint(self, x):
        held = jax.lax.stop_gradient(self.moving)
        return lambda z: dist.Normal(0.0, 1.0).log_prob(z) + jnp.sum(-0.5 * (x - held) ** 2)

    def in_training(self, xs, *, key):
        return eqx.tree_at(lambda model: model.moving, self, jnp.mean(xs))

    def after_step(self, xs, *, key):
        moved = 0.75 * self.moving + 0.25 * jnp.mean(xs)
        return eqx.tree_at(lambda model: model.moving, self, moved)


def fit(model, **options):
    options = {"optimizer": optax.adam(0.1), "num_epochs": 3, "batch_size": 4} | options
    objective = options.pop("objective", tt.Objective(tt.bounds.ELBO()))
    return tt.fit(model, XS, objective, key=jax.random.key(0), **options)


def test_a_data_set_in_minibatches_reaches_the_exact_posterior():
    model = GlobalMean(jnp.zeros(()), jnp.zeros(()))
    objective = tt.Objective(gradient=tt.gradients.StickingTheLanding(), num_samples=4)
    decay = optax.exponential_decay(0.1, 900, 0.1)
    result = fit(model, objective=objective, optimizer=optax.adam(decay), num_epochs=900)
    mean, variance = XS.sum() / (1 + len(XS)), 1 / (1 + len(XS))
    # Minibatches leave a noise in the location, the more the larger the last steps are.
    assert abs(float(result.model.location) - mean) < 0.05
    assert abs(float(jnp.exp(2 * result.model.log_scale)) / variance - 1) < 0.05
    # The bound is that of all twelve data.
    log_evidence = dist.MultivariateNormal(jnp.zeros(12), jnp.eye(12) + 1).log_prob(XS[:, 0])
    bounds = np.array([row["bound"] for row in result.history[-400:]])
    error = bounds.std() / np.sqrt(bounds.size)
    assert abs(bounds.mean() - float(log_evidence)) < 5 * error + 0.01


def test_a_model_of_the_whole_data_set_has_no_validation_and_takes_an_objective():
    model = GlobalMean(jnp.zeros(()), jnp.zeros(()))
    with pytest.raises(ValueError, match="leave validation out"):
        fit(model, validation=XS)
    with pytest.raises(ValueError, match="trained by an Objective"):
        fit(model, objective=tt.AnalyticEntropy())


@pytest.mark.slow
def test_a_value_that_is_not_finite_is_found_in_its_row():
    model = GlobalMean(jnp.zeros(()), jnp.zeros(()))
    data = XS.copy()
    data[7] = 3e38
    with pytest.raises(NonFiniteError, match=r"(likelihood|log joint), at rows 7 of"):
        tt.fit(
            model, data, tt.Objective(), optimizer=optax.sgd(0.1), num_epochs=1, batch_size=12,
            key=jax.random.key(0),
        )  # fmt: skip


def test_statistics_are_of_the_batch_in_training_and_move_on():
    model = Centered(jnp.zeros(()), jnp.zeros(()))
    result = fit(model, optimizer=optax.sgd(0.0), num_epochs=1, batch_size=12)
    assert float(result.model.moving) == pytest.approx(0.25 * XS.mean())
    # In training the batch's mean is taken off, whatever the moving one is.
    moved = fit(Centered(jnp.asarray(50.0), jnp.zeros(())), optimizer=optax.sgd(0.0), num_epochs=1)
    assert moved.history[0]["bound"] > -20


def test_the_average_is_the_recursion_of_the_parameters():
    model = GlobalMean(jnp.zeros(()), jnp.zeros(()))
    plain = [fit(model, num_epochs=n, batch_size=12).model.location for n in range(1, 5)]
    expected = 0.0
    for step, location in enumerate(plain):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * float(location)
    averaged = fit(model, num_epochs=4, batch_size=12, average=0.3)
    assert float(averaged.model.location) == pytest.approx(expected, rel=1e-5)
    assert (
        averaged.history[-1]["bound"]
        == fit(model, num_epochs=4, batch_size=12).history[-1]["bound"]
    )


def test_an_average_resumes_where_it_was(tmp_path):
    model = GlobalMean(jnp.zeros(()), jnp.zeros(()))
    whole = fit(model, average=0.9)
    fit(model, average=0.9, directory=tmp_path)
    again = fit(model, average=0.9, directory=tmp_path, resume=True)
    assert float(again.model.location) == float(whole.model.location)
    with pytest.raises(ValueError, match=r"average was 0\.9 and is 0\.5"):
        fit(model, average=0.5, directory=tmp_path, resume=True)


def test_a_decay_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"below 1, got 1\.0"):
        fit(GlobalMean(jnp.zeros(()), jnp.zeros(())), average=1.0)


def test_a_batch_of_weights_in_a_bound_that_is_not_linear():
    """Scaled log weights of four of twelve data: their importance-weighted bound bounds nothing."""
    data = np.random.default_rng(0).normal(size=12).astype(np.float32)
    model = tt.models.BayesianModel(
        lambda mean, x: dist.Normal(mean, 1.0).log_prob(x), dist.Normal(0.0, 1.0)
    )

    def fitted(bound, num_samples, batch_size):
        objective = tt.Objective(bound, num_samples=num_samples)
        return tt.fit(
            model, data, objective, optimizer=optax.sgd(0.01), num_epochs=1, batch_size=batch_size,
            key=jax.random.key(0), show_progress=False,
        )  # fmt: skip

    words = r"IWAE of the scaled log weights of a batch of 4 .* take ELBO\(\), num_samples=1"
    with pytest.raises(tt.InputError, match=words):
        fitted(tt.bounds.IWAE(), 5, 4)
    for sound in ((tt.bounds.IWAE(), 5, 12), (tt.bounds.IWAE(), 1, 4), (tt.bounds.ELBO(), 5, 4)):
        assert len(fitted(*sound).history) == 1
