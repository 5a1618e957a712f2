"""Labels known and summed over, against Gaussians whose mean depends on the label."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter._errors import InputError
from tighter.models.semi_supervised import SemiSupervisedVAE
from tighter.objectives.enumerated_labels import EnumeratedLabels

KEY = jax.random.key(2)
WEIGHT, MEANS, NOISE = 0.8, np.array([-1.0, 0.5, 2.0]), 0.6


def exact_model():
    """x = .8 z + mean of the label + noise; encoder exact, classifier not."""
    model = SemiSupervisedVAE.create(
        (1,), 3, hidden=(), num_latent=1, observation=f"gaussian:{NOISE}", key=KEY
    )
    precision = 1 + WEIGHT**2 / NOISE**2
    gain = WEIGHT / NOISE**2 / precision
    decoder = np.array([[WEIGHT], *([mean] for mean in MEANS)])
    encoder = np.array([[gain, 0.0], *([-gain * mean, 0.0] for mean in MEANS)])
    log_scale = -0.5 * np.log(precision)
    where = lambda model: (  # noqa: E731
        model.conditional.decoder.layers[0].weight,
        model.conditional.encoder.layers[0].weight,
        model.conditional.encoder.layers[0].bias,
    )
    arrays = decoder, encoder, np.array([0.0, log_scale])
    return eqx.tree_at(where, model, [jnp.asarray(array, jnp.float32) for array in arrays])


XS = np.array([[-1.3], [0.4], [2.2], [0.9]])
LABELS = np.array([0, -1, 2, -1])


def log_joints():
    sd = np.hypot(WEIGHT, NOISE)
    return scipy.stats.norm.logpdf(XS, MEANS, sd) + np.log(1 / 3)


def test_value_is_exact():
    """At the exact q(z|x, y) there is no noise: known labels, and labels summed over."""
    model, weight = exact_model(), 3.0
    examples = {"x": jnp.asarray(XS, jnp.float32), "label": jnp.asarray(LABELS)}
    objective = EnumeratedLabels(tt.Objective(tt.bounds.ELBO(), num_samples=2), weight)
    bounds = quick_jit(lambda model: objective.batch(model, examples, key=KEY))(model)
    log_q = np.asarray(jax.vmap(model.log_classes)(examples["x"]), float)
    joint = log_joints()
    expected = np.sum(np.exp(log_q) * (joint - log_q), axis=1)
    for i, label in enumerate(LABELS):
        if label >= 0:
            expected[i] = joint[i, label] + weight * log_q[i, label]
    np.testing.assert_allclose(bounds, expected, rtol=1e-4)
    assert (
        np.asarray(bounds)[LABELS < 0] < scipy.special.logsumexp(joint, axis=1)[LABELS < 0]
    ).all()


@pytest.mark.slow
def test_log_likelihoods_are_of_what_is_known():
    examples = {"x": jnp.asarray(XS, jnp.float32), "label": jnp.asarray(LABELS)}
    estimates = tt.log_likelihood(exact_model(), examples, num_samples=20_000, key=KEY)
    joint = log_joints()
    for i, label in enumerate(LABELS):
        exact = joint[i, label] if label >= 0 else scipy.special.logsumexp(joint[i])
        error = max(estimates.standard_error[i], 1e-5)
        assert abs(estimates.value[i] - exact) < 5 * error


@pytest.mark.slow
def test_ten_labels_classify_clusters():
    """Three clusters in the plane, of which ten points have labels."""
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=600)
    centers = np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    xs = (centers[labels] + 0.4 * rng.normal(size=(600, 2))).astype(np.float32)
    known = np.where(np.arange(600) < 10, labels, -1)
    model = SemiSupervisedVAE.create(
        (2,), 3, hidden=(16,), num_latent=2, observation="learned-gaussian", key=KEY
    ).initialized_from({"x": xs, "label": known})
    result = tt.fit(
        model, {"x": xs, "label": known},
        EnumeratedLabels(tt.Objective(tt.bounds.ELBO()), weight=60.0),
        optimizer=optax.adam(1e-2), num_epochs=25, batch_size=100, key=KEY,
    )  # fmt: skip
    accuracy = np.mean(np.asarray(result.model.classify(xs)) == labels)
    assert accuracy > 0.97


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SemiSupervisedVAE.create((2,), 1, key=KEY), "2 classes or more, got 1"),
        (lambda: EnumeratedLabels(weight=-1.0), "at least 0"),
        (
            lambda: exact_model().initialized_from({"x": XS, "label": np.array([0, 1, 3, -1])}),
            "got 3 in row 2",
        ),
        (
            lambda: exact_model().initialized_from({"x": XS, "label": np.full(4, -1)}),
            "no label is known",
        ),
    ],
    ids=["classes", "weight", "label", "labels"],
)
def test_what_can_not_be(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_an_impossible_class_leaves_the_others_labeled():
    """log p(y) = −∞ times "not this one" is no term, and no NaN."""
    model = dataclasses.replace(exact_model(), frequencies=(0.5, 0.5, 0.0))
    objective = EnumeratedLabels()
    assert not objective.bias
    examples = {"x": jnp.asarray(XS, jnp.float32), "label": jnp.array([0, 1, 0, 1])}
    bounds = objective.batch(model, examples, key=KEY)
    assert np.all(np.isfinite(bounds))
