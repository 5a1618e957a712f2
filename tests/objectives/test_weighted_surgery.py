"""Weights on the parts of the divergence: the parts add up, and each is what surgery says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.distributions import draw
from tighter.models import VAE
from tighter.objectives.weighted_surgery import WeightedSurgery

KEY = jax.random.key(6)
XS = jnp.asarray(np.random.default_rng(3).normal(size=(30, 4)), jnp.float32)
MODEL = jax.tree.map(
    lambda leaf: 0.6 * leaf,
    VAE.create((4,), num_latent=2, hidden=(), observation="gaussian", key=KEY),
)


def values(objective, xs=XS, model=MODEL):
    return quick_jit(lambda model, key: objective.batch(model, xs, key=key))(model, KEY)


def test_with_all_weights_one_it_is_the_elbo():
    ours = values(WeightedSurgery(100, num_samples=3))
    elbo = values(tt.Objective(tt.bounds.ELBO(), num_samples=3))
    np.testing.assert_allclose(ours, elbo, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_the_parts_are_those_of_the_surgery():
    """At B = N: the mutual information and the marginal KL of `elbo_surgery`."""
    one = np.mean(values(WeightedSurgery(30, num_samples=400)), dtype=float)
    without = {
        name: np.mean(values(WeightedSurgery(30, num_samples=400, **weights)), dtype=float) - one
        for name, weights in {
            "mutual information": {"mutual_information": 0.0},
            "marginal kl": {"total_correlation": 0.0, "marginal_kl": 0.0},
        }.items()
    }
    surgery = tt.diagnostics.elbo_surgery(MODEL, XS, num_samples=400, key=jax.random.key(7))
    exact = {
        "mutual information": surgery.index_code_mutual_information,
        "marginal kl": surgery.marginal_kl,
    }
    for name, value in exact.items():
        assert value > 0.02
        # A draw's noise of either part is below that of log q(z|x) − log p(z), of some 1.5 nats.
        assert abs(without[name] - value) < 5 * np.sqrt(2) * 1.5 / np.sqrt(30 * 400)


def test_the_aggregate_is_that_of_all_examples():
    """At B = N each draw's log q(z|x) − log q(z), q(z) the mean of all posteriors."""
    part = values(WeightedSurgery(30, mutual_information=0.0)) - values(WeightedSurgery(30))

    @quick_jit
    def exact(xs):
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(jax.random.split(KEY, 30))
        zs = jax.vmap(lambda x, key: draw(MODEL.posterior(x), key=key))(xs, keys)
        log_q = jax.vmap(lambda z: jax.vmap(lambda x: MODEL.posterior(x).log_prob(z))(xs))(zs)
        return jnp.diagonal(log_q) - jax.nn.logsumexp(log_q, axis=1) + jnp.log(30.0)

    np.testing.assert_allclose(part, exact(XS), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_total_correlation_of_two_units_by_quadrature():
    objective = WeightedSurgery(30, total_correlation=0.0, num_samples=400)
    part = np.mean(values(objective) - values(WeightedSurgery(30, num_samples=400)), dtype=float)
    means, log_scales = np.asarray(jax.vmap(MODEL.encoder)(XS), float).swapaxes(0, 1)
    scales = np.exp(log_scales)
    centers = [np.linspace(-9, 9, 401)] * 2
    kernel = [
        np.exp(-0.5 * ((grid[:, None] - means[:, j]) / scales[:, j]) ** 2)
        / (scales[:, j] * np.sqrt(2 * np.pi))
        for j, grid in enumerate(centers)
    ]
    joint = kernel[0] @ kernel[1].T / 30
    product = np.outer(kernel[0].mean(axis=1), kernel[1].mean(axis=1))
    cell = (18 / 400) ** 2
    exact = np.sum(joint * (np.log(joint + 1e-300) - np.log(product + 1e-300))) * cell
    assert exact > 0.01
    assert abs(part - exact) < 5 * 1.0 / np.sqrt(30 * 400)


@pytest.mark.slow
def test_pressed_units_become_independent():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(400, 1))
    xs = np.concatenate([shared + 0.1 * rng.normal(size=(400, 1)) for _ in range(4)], axis=1)
    model = VAE.create((4,), num_latent=2, hidden=(16,), observation="gaussian:0.5", key=KEY)

    def correlation(weight):
        result = tt.fit(
            model, xs, WeightedSurgery(400, total_correlation=weight),
            optimizer=optax.adam(5e-3), num_epochs=15, batch_size=100, key=KEY,
        )  # fmt: skip
        given = jnp.asarray(xs, jnp.float32), result.model
        parts = [
            np.mean(values(WeightedSurgery(400, total_correlation=w, num_samples=8), *given))
            for w in (0.0, 1.0)
        ]
        return parts[0] - parts[1]

    assert correlation(20.0) < 0.5 * correlation(0.0) + 0.02


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightedSurgery(1), "2 examples and 1 draw"),
        (lambda: WeightedSurgery(9, total_correlation=-1.0), "at least 0"),
        (lambda: values(WeightedSurgery(10)), "2 to num_examples=10 examples, got 30"),
        (
            lambda: values(
                WeightedSurgery(30),
                model=VAE.create((4,), num_latent=2, hidden=(), posterior="full", key=KEY),
            ),
            "factorizes",
        ),
    ],
    ids=["examples", "weight", "batch", "posterior"],
)
def test_what_can_not_be(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_it_answers_for_its_bias():
    assert not WeightedSurgery(100).bias
    assert not WeightedSurgery(100, 2.0, 2.0, 2.0).bias
    assert "mean over the batch" in str(WeightedSurgery(100, total_correlation=6.0).bias)
