"""The door: data are checked against what a model can explain, by everything that takes data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import tighter as tt
from tests.oracles.observations import made_of
from tighter._errors import InputError
from tighter._examples import admitted
from tighter.models import (
    ConditionalVAE,
    FreePosterior,
    HierarchicalVAE,
    Missing,
    MissingNotAtRandom,
    MultimodalVAE,
    SemiAmortized,
    SemiSupervisedVAE,
)
from tighter.models.observations import Mixed

KEY = jax.random.key(0)
OBJECTIVE = tt.Objective(tt.bounds.ELBO(), tt.gradients.Reparameterized(), num_samples=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.uint8)
SIZES = {"num_latent": 2, "hidden": (4,), "key": KEY}


def vae(observation="bernoulli", shape=(6,)):
    return tt.models.VAE.create(shape, observation=observation, **SIZES)


def fit(model, data, **options):
    return tt.fit(
        model, data, OBJECTIVE, optimizer=optax.adam(1e-3), num_epochs=1, batch_size=10, key=KEY,
        show_progress=False, **options,
    )  # fmt: skip


def bits(data):
    return (data > 127).astype(np.uint8)


DOORS = {
    "fit": fit,
    "validation": lambda model, data: fit(model, bits(data), validation=data),
    "log_likelihood": lambda model, data: tt.log_likelihood(model, data, num_samples=4, key=KEY),
    "sandwich": lambda model, data: tt.diagnostics.sandwich(model, data, key=KEY),
    "annealing": lambda model, data: tt.evaluation.annealed_log_likelihood(model, data, key=KEY),
    "from the prior": lambda model, data: tt.evaluation.annealed_log_likelihood(
        model, data, start="prior", key=KEY
    ),
    "elbo_surgery": lambda model, data: tt.diagnostics.elbo_surgery(model, data, key=KEY),
    "active_units": lambda model, data: tt.diagnostics.active_units(model, data),
    "aggregated_posterior": lambda model, data: tt.diagnostics.aggregated_posterior(
        model, data, key=KEY
    ),
    "inference_gaps": lambda model, data: tt.diagnostics.inference_gaps(model, data, key=KEY),
    "gradient_noise": lambda model, data: tt.diagnostics.gradient_noise(
        model, data, OBJECTIVE, key=KEY
    ),
    "compare": lambda model, data: tt.diagnostics.compare(model, data, key=KEY),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_pixels_that_were_not_divided(door):
    """MNIST as it comes, 0 to 255, once trained a Bernoulli to +1979 nats without a word."""
    with pytest.raises(InputError, match=r"Bernoulli explains numbers from 0 to 1.*by 255"):
        DOORS[door](vae(), PIXELS)


def test_imputation_refuses_it_too():
    model = vae(Missing(tt.models.observation_from_name("bernoulli", (6,))))
    xs = np.where(np.arange(6) == 3, np.nan, PIXELS.astype(float))
    with pytest.raises(InputError, match="numbers from 0 to 1"):
        tt.evaluation.impute(model, xs, key=KEY)


def labeled(x, label):
    return {"x": x, "label": np.full(len(x), label)}


MODELS = {
    "hierarchical": (
        lambda: HierarchicalVAE.create((6,), num_latent=(2, 2), hidden=((4,), (4,)), key=KEY),
        lambda x: x,
    ),
    "not at random": (
        lambda: MissingNotAtRandom.create(
            vae(Missing(tt.models.observation_from_name("bernoulli", (6,)))), (6,), key=KEY
        ),
        lambda x: x,
    ),
    "semi-amortized": (lambda: SemiAmortized.create(vae(), num_steps=1), lambda x: x),
    "free": (
        lambda: FreePosterior.create(vae(), np.zeros((40, 6))),
        lambda x: {"x": x, "index": np.arange(40)},
    ),
    "conditional": (
        lambda: ConditionalVAE.create((6,), (3,), **SIZES),
        lambda x: {"x": x, "context": np.zeros((40, 3))},
    ),
    "semi-supervised": (
        lambda: SemiSupervisedVAE.create((6,), 3, **SIZES), lambda x: labeled(x, 2),
    ),
    "multimodal": (
        lambda: MultimodalVAE.create({"a": (6,), "b": (1,)}, **SIZES),
        lambda x: {"a": x, "b": np.ones((40, 1))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_asked_whether_it_was_started_or_not(name):
    model, examples = MODELS[name][0](), MODELS[name][1]
    with pytest.raises(InputError, match="numbers from 0 to 1"):
        admitted(model, examples(PIXELS))
    admitted(model, examples(bits(PIXELS)))


@pytest.mark.parametrize(
    ("name", "examples", "words"),
    [
        ("semi-supervised", labeled(bits(PIXELS), 3), "labels are 0 to 2, or -1"),
        ("semi-supervised", {"x": bits(PIXELS), "label": np.zeros((40, 1))}, r"reshape\(-1\)"),
        ("conditional", {"x": bits(PIXELS), "context": np.zeros((40, 2))}, r"shape \(3,\)"),
        ("free", {"x": bits(PIXELS), "index": np.arange(40) + 1}, "0 to 39, got 40 in row 39"),
        (
            "multimodal",
            {"a": bits(PIXELS), "b": np.full((40, 1), 2.0)},
            "b: Bernoulli explains numbers from 0 to 1",
        ),
    ],
)
def test_parts_beside_x(name, examples, words):
    with pytest.raises(InputError, match=words):
        admitted(MODELS[name][0](), examples)


WRONG = {
    "bernoulli": 2.0, "continuous-bernoulli": -0.1, "categorical": 4.0, "categorical-pixels": 0.3,
    "multinomial": 0.5, "poisson": -1.0, "negative-binomial": 1.5, "zero-inflated-poisson": 0.5,
    "zero-inflated-negative-binomial": -2.0, "discretized-logistic": 0.123,
    "discretized-logistic-mixture": 200.0, "beta": 1.0, "log-normal": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG))
def test_every_family_with_an_end_is_asked(name):
    model = vae(made_of(name), (3,))
    xs = np.full((4, 3), model.observation.support.inside)
    admitted(model, xs)
    xs[2, 1] = WRONG[name]
    with pytest.raises(InputError, match=r"explains .*entry 1 has .* in row 2: "):
        admitted(model, xs)


def test_columns_of_a_mixed_table_are_named():
    observation = Missing(Mixed({"age": "student-t", "visits": "poisson"}))
    xs = np.array([[30.0, 2], [np.nan, -1]])
    with pytest.raises(InputError, match=r"Poisson explains whole numbers.*column 'visits'"):
        admitted(vae(observation, (2,)), xs)


class Own(eqx.Module):
    """A model that nobody here wrote: its likelihood's support is all that there is to ask."""

    weights: jax.Array
    make: object = eqx.field(static=True)

    def likelihood(self, z):
        return self.make(z @ self.weights)

    def posterior(self, x):
        return dist.Normal(jnp.zeros(2), 1.0).to_event(1)

    def log_joint(self, x):
        prior = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        return lambda z: prior.log_prob(z) + self.likelihood(z).log_prob(x)


@pytest.mark.parametrize(
    ("make", "right", "wrong"),
    [
        (lambda out: dist.BernoulliLogits(out).to_event(1), 0.5, 17),
        (lambda out: dist.Poisson(jnp.exp(out)).to_event(1), 4, -1),
        (lambda out: dist.CategoricalLogits(jnp.stack([out, out], 1)).to_event(1), 1, 2),
        (lambda out: dist.Beta(jnp.exp(out), 1.0).to_event(1), 0.5, 1.5),
        (lambda out: dist.TruncatedNormal(out, 1.0, low=0.0).to_event(1), 2, -0.1),
        (lambda out: dist.LogNormal(out, 1.0).to_event(1), 0.1, 0),
        (lambda out: dist.Binomial(5, logits=out).to_event(1), 5, 6),
    ],
)
def test_the_support_of_a_likelihood_written_by_others(make, right, wrong):
    model, xs = Own(jnp.zeros((2, 3)), make), np.full((4, 3), right)
    admitted(model, xs)
    xs = np.where(np.arange(4)[:, None] == 2, wrong, xs)
    with pytest.raises(InputError, match=r"likelihood of Own explains .* 1 of 4 .* row 2 first"):
        fit(model, xs)


def test_a_support_that_moves_with_z_is_left_alone():
    model = Own(jnp.zeros((2, 3)), lambda out: dist.Uniform(out - 1, out + 1).to_event(1))
    assert admitted(model, np.full((4, 3), 7.0)).xs.shape == (4, 3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, np.float16, np.int8, np.uint16, bool])
def test_numbers_of_every_type_are_taken(dtype):
    xs = np.zeros((4, 6)).astype(dtype) if dtype in (np.float16, bool) else jnp.zeros((4, 6), dtype)
    taken = admitted(vae(), xs).xs
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(taken), 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((row for row in np.zeros((4, 6))), r"got generator.*np\.stack\(list"),
        ([[1, 2], [3]], "rows of different lengths"),
        (np.array([["a"] * 6]), "real numbers, got <U1"),
        (np.zeros(6), r"\(N, \.\.\.\).*got shape \(6,\)"),
    ],
)
def test_what_is_no_array_is_told_so(data, words):
    with pytest.raises(InputError, match=words):
        fit(vae(), data)


@pytest.mark.parametrize("door", ["fit", "log_likelihood", "active_units"])
@pytest.mark.parametrize("shape", [(6, 1), (1, 6), (5,)])
def test_examples_of_another_shape_are_not_broadcast(door, shape):
    """(N, 6, 1) under a model of (6,) summed six times six densities."""
    xs = np.zeros((40, *shape), np.float32)
    with pytest.raises(InputError, match=r"examples of shape \(.*don't fit .*x\.reshape"):
        DOORS[door](vae("student-t"), xs)


def test_pixels_of_another_shape_are_the_same_pixels():
    xs = bits(PIXELS)
    estimates = [
        tt.log_likelihood(vae(), data, num_samples=4, key=KEY).value
        for data in (xs, xs.reshape(40, 2, 3))
    ]
    np.testing.assert_allclose(*estimates, rtol=1e-6)


def test_nor_by_models_of_several_parts():
    wrong, context = np.zeros((40, 6, 1), np.float32), np.zeros((40, 1), np.float32)
    hierarchical = HierarchicalVAE.create(
        (6,), num_latent=(2, 2), hidden=((3,), (3,)), observation="student-t", key=KEY
    )
    conditional = ConditionalVAE.create((6,), (1,), observation="student-t", **SIZES)
    several = MultimodalVAE.create({"a": (6,), "b": (6,)}, observations="student-t", **SIZES)
    for model, data in [
        (hierarchical, wrong),
        (conditional, {"x": wrong, "context": context}),
        (several, {"a": wrong, "b": wrong}),
    ]:
        with pytest.raises(InputError, match=r"\(6, 1\) don't fit a decoder"):
            tt.log_likelihood(model, data, num_samples=12, key=KEY)
