"""Several modalities: exact posteriors and quadrature, with modalities missing here and there."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from scipy import stats
from tests.oracles.quick import quick_jit
from tests.oracles.thinning import every

import tighter as tt
from tighter.bounds import IWAE, Custom
from tighter.diagnostics.coherence import cross_coherence, joint_coherence
from tighter.distributions import Experts
from tighter.gradients import (
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    Reparameterized,
)
from tighter.models import MLP, Gaussian, Missing, MixturePrior
from tighter.models.multimodal.joint import JOINT_POSTERIORS, ExpertByExpert, MixtureOfExperts
from tighter.models.multimodal.model import MultimodalVAE
from tighter.models.observations import Bernoulli, Mixed

NAN = np.nan


def linear(weight, bias, shape_out):
    """x -> x W + b, as an MLP without hidden layers."""
    weight, bias = jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32)
    mlp = MLP((weight.shape[0],), (), shape_out, key=jax.random.key(0))
    layers = lambda mlp: (mlp.layers[0].weight, mlp.layers[0].bias)  # noqa: E731
    return eqx.tree_at(layers, mlp, (weight, bias))


# x_a = A z + c + noise, x_b = B z + d + noise: columns at right angles keep the posterior diagonal.

MAPS = {"a": np.array([[1.0, 0.5], [-0.5, 1.0], [0.5, 0.0]]), "b": np.array([[0.0, 1.2], [0.8, 0]])}
MAPS["a"][2, 1] = 0.0
MAPS["a"][:, 1] -= MAPS["a"][:, 0] * (MAPS["a"][:, 0] @ MAPS["a"][:, 1]) / 1.5
OFFSETS = {"a": np.array([0.3, -0.1, 0.2]), "b": np.array([0.5, 0.0])}
SCALES = {"a": 0.7, "b": 0.5}
PAIR = {
    "a": np.array([[0.9, -0.4, 0.1], [0.9, -0.4, 0.1], [NAN] * 3], np.float32),
    "b": np.array([[0.2, 1.1], [NAN] * 2, [0.2, 1.1]], np.float32),
}
THERE = (("a", "b"), ("a",), ("b",))  # row by row


def linear_pair():
    encoders, decoders = {}, {}
    for name, map_ in MAPS.items():
        squares = (map_**2).sum(axis=0)
        to_mean = map_ / squares
        weight = np.concatenate([to_mean, np.zeros_like(map_)], axis=1)
        log_scale = np.log(SCALES[name]) - 0.5 * np.log(squares)
        bias = np.concatenate([-OFFSETS[name] @ to_mean, log_scale])
        encoders[name] = linear(weight, bias, (2, 2))
        decoders[name] = linear(map_.T, OFFSETS[name], (len(map_),))
    observations = {name: Gaussian(scale) for name, scale in SCALES.items()}
    return MultimodalVAE(encoders, decoders, observations, 2)


def exact(names):
    """Mean and covariance of those modalities together, and the map from z."""
    map_ = np.concatenate([MAPS[name] for name in names])
    noise = np.concatenate([np.full(len(MAPS[name]), SCALES[name] ** 2) for name in names])
    return np.concatenate([OFFSETS[n] for n in names]), map_ @ map_.T + np.diag(noise), map_


def test_the_product_of_exact_experts_is_the_posterior():
    model = linear_pair()
    keys = jax.random.split(jax.random.key(0), 50)
    objective = tt.Objective(IWAE(), DoublyReparameterized(), num_samples=2)
    bounds = quick_jit(jax.vmap(lambda key: objective.batch(model, PAIR, key=key)))(keys)
    found = tt.log_likelihood(model, PAIR, num_samples=100, key=jax.random.key(1))
    for row, names in enumerate(THERE):
        mean, covariance, map_ = exact(names)
        x = np.concatenate([PAIR[name][row] for name in names])
        truth = stats.multivariate_normal(mean, covariance).logpdf(x)
        np.testing.assert_allclose(bounds[:, row], truth, atol=2e-5)
        np.testing.assert_allclose(found.value[row], truth, atol=2e-5)
        assert found.standard_error[row] < 1e-4
        q = model.posterior(jax.tree.map(lambda column, row=row: column[row], PAIR))
        solved = np.linalg.solve(covariance, map_).T
        np.testing.assert_allclose(q.mean, solved @ (x - mean), atol=1e-5)
        np.testing.assert_allclose(np.diag(q.variance), np.eye(2) - solved @ map_, atol=1e-5)


def test_draws_of_the_model_and_across_modalities():
    model = linear_pair()
    # 5 standard errors of means and of second moments, the noise's included.
    for given in ((), ("a",)):
        names = ("a", "b")
        mean, covariance, _ = exact(names)
        if given:
            seen, rest = slice(0, 3), slice(3, 5)
            gain = covariance[rest, seen] @ np.linalg.inv(covariance[seen, seen])
            mean = mean[rest] + gain @ (PAIR["a"][1] - mean[seen])
            covariance = covariance[rest, rest] - gain @ covariance[seen, rest]
            x = {"a": PAIR["a"][1], "b": PAIR["b"][1]}
            drawn = np.asarray(model.cross(x, jax.random.key(2), num=20_000)["b"], np.float64)
        else:
            samples = model.sample(jax.random.key(2), 20_000)
            drawn = np.concatenate([samples[name] for name in names], axis=1).astype(np.float64)
        errors = np.sqrt(np.diag(covariance) / len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * errors)
        centered = drawn - mean
        products = centered[:, :, None] * centered[:, None]
        errors = products.std(axis=0) / np.sqrt(len(drawn))
        assert np.all(np.abs(products.mean(axis=0) - covariance) < 5 * errors)


# One-dimensional z and modalities, and the expected bound on a grid.


def curve(seed=0):
    key = jax.random.key(seed)
    encoders = {"a": linear([[0.8, 0.1]], [0.1, -0.6], (2, 1)),
                "b": linear([[-0.3, 0.05]], [-0.6, -0.1], (2, 1))}  # fmt: skip
    decoders = {
        name: MLP((1,), (), (1,), key=key_)
        for name, key_ in zip("ab", jax.random.split(key), strict=True)
    }
    return MultimodalVAE(encoders, decoders, {"a": Gaussian(0.8), "b": Gaussian(0.6)}, 1)


CURVE = {"a": np.array([[1.2], [1.2], [NAN], [-0.7]], np.float32),
         "b": np.array([[0.4], [NAN], [0.4], [0.9]], np.float32)}  # fmt: skip
GRID = np.linspace(-9, 9, 181)


def normal(z, mean, scale):
    return -0.5 * ((z - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * np.log(2 * np.pi)


def on_the_grid(model, row):
    """log p(x, z) and the experts that are there, by their formulas, on the grid."""
    log_joint, experts = normal(GRID, 0.0, 1.0), []
    for name in "ab":
        x = CURVE[name][row].astype(float)
        if np.isnan(x).any():
            continue
        layer = model.encoders[name].layers[0]
        mean, log_scale = x @ layer.weight + layer.bias
        experts.append((mean, jnp.exp(log_scale)))
        layer = model.decoders[name].layers[0]
        output = GRID * layer.weight[0, 0] + layer.bias[0]
        log_joint = log_joint + normal(x[0], output, model.observations[name].scale)
    return log_joint, experts


def product(experts):
    precision = sum(1 / scale**2 for _, scale in experts)
    mean = sum(mean / scale**2 for mean, scale in experts) / precision
    return normal(GRID, mean, precision**-0.5)


def mixture(log_densities):
    return jax.nn.logsumexp(jnp.stack(log_densities), axis=0) - np.log(len(log_densities))


def expected(model, name, apart):
    """Expected IWAE bounds of two draws, each row by itself, or of one expert's two by turns."""
    values = []
    for row in range(len(CURVE["a"])):
        log_joint, experts = on_the_grid(model, row)
        if name == "product":
            q = product([*experts, (0.0, 1.0)])
            pairs = [(q, q)]
        elif name == "mixture":
            drawn = [normal(GRID, *expert) for expert in experts]
            q = mixture(drawn)
            turns = drawn if len(drawn) == 2 else drawn * 2
            pairs = [(turn, turn) for turn in turns] if apart else [tuple(turns)]
        else:
            subsets = [s for n in (1, 2) for s in itertools.combinations(experts, n)]
            q = mixture([product(subset) for subset in subsets])
            pairs = [(q, q)]
        log_weights = log_joint - q
        bound = jnp.logaddexp(log_weights[:, None], log_weights[None]) - np.log(2)
        masses = [jnp.exp(one[:, None] + other[None]) for one, other in pairs]
        step = GRID[1] - GRID[0]
        values.append(sum(jnp.sum(mass * bound) for mass in masses) * step**2 / len(pairs))
    return jnp.stack(values)


@pytest.mark.parametrize(
    ("name", "gradient", "apart"),
    [
        pytest.param("product", DoublyReparameterized(), False, marks=pytest.mark.slow),
        ("mixture", GeneralizedDoublyReparameterized(), False),
        pytest.param("mixture", Reparameterized(), False, marks=pytest.mark.slow),
        pytest.param("mixture", GeneralizedDoublyReparameterized(), True, marks=pytest.mark.slow),
        ("mixture-of-products", DoublyReparameterized(), False),
    ],
)
def test_bounds_and_gradients_with_missing_modalities(name, gradient, apart):
    joint = JOINT_POSTERIORS[name]()
    plain = curve()
    model = MultimodalVAE(plain.encoders, plain.decoders, plain.observations, 1, joint)
    bound, num_samples = (ExpertByExpert(IWAE(), 2), 4) if apart else (IWAE(), 2)
    objective = tt.Objective(bound, gradient, num_samples=num_samples)
    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def total(arrays, key):
        bounds = objective.batch(eqx.combine(arrays, static), CURVE, key=key)
        return jnp.sum(bounds), bounds

    keys = jax.random.split(jax.random.key(3), 20_000)
    run = quick_jit(jax.vmap(jax.grad(total, has_aux=True), in_axes=(None, 0)))
    slopes, values = run(arrays, keys)
    with jax.enable_x64(True):
        exactly = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), arrays)
        by_grid = lambda arrays: expected(eqx.combine(arrays, static), name, apart)  # noqa: E731
        truth = quick_jit(by_grid)(exactly)
        slope = quick_jit(jax.grad(lambda arrays: jnp.sum(by_grid(arrays))))(exactly)
        truth, slope = jax.device_get((truth, slope))
    found, right = jax.tree.leaves(slopes), jax.tree.leaves(slope)
    assert len(found) == 8
    for samples, number in zip([values, *found], [truth, *right], strict=True):
        samples = np.asarray(samples, np.float64)
        errors = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
        assert np.all(np.abs(samples.mean(axis=0) - number) < 5 * errors)


def test_the_looser_bound_of_experts():
    plain = curve()
    model = MultimodalVAE(plain.encoders, plain.decoders, plain.observations, 1, MixtureOfExperts())
    keys = jax.random.split(jax.random.key(4), 500)
    gradient = GeneralizedDoublyReparameterized()

    def bounds(bound):
        objective = tt.Objective(bound, gradient, num_samples=8)
        run = quick_jit(jax.vmap(lambda key: objective.batch(model, CURVE, key=key)))
        return np.asarray(run(keys), np.float64)

    tighter, looser = bounds(IWAE()), bounds(ExpertByExpert(IWAE(), 2))
    assert np.all(looser <= tighter + 1e-5)  # draw by draw, by Jensen's inequality
    assert np.all((tighter - looser).mean(axis=0) > 0.005)


def test_the_looser_bound_of_numbers():
    bound = ExpertByExpert(IWAE(), 3)  # six turns: of one, two and three experts
    log_weights = jnp.asarray(np.random.default_rng(0).normal(size=12), jnp.float32)
    by_hand = np.mean([np.log(np.mean(np.exp(log_weights[i::6]))) for i in range(6)])
    np.testing.assert_allclose(bound(log_weights), by_hand, rtol=1e-5)
    both = quick_jit(lambda at: [(b.weights(at), b.curvature(at)) for b in (bound, Custom(bound))])
    np.testing.assert_allclose(*both(log_weights), atol=1e-6)
    with pytest.raises(ValueError, match="6 equal groups"):
        bound(log_weights[:9])
    with pytest.raises(ValueError, match="one modality or more"):
        ExpertByExpert(IWAE(), 0)


# The posterior of three modalities, by enumeration.


@pytest.mark.parametrize("name", JOINT_POSTERIORS)
def test_densities_by_enumeration(name):
    rng = np.random.default_rng(1)
    experts = rng.normal(size=(3, 2, 2)) * 0.7
    zs = rng.normal(size=(20, 2))

    def log_product(members):
        precision = sum(np.exp(-2 * experts[m, 1]) if m >= 0 else np.ones(2) for m in members)
        mean = sum(
            experts[m, 0] * np.exp(-2 * experts[m, 1]) if m >= 0 else np.zeros(2) for m in members
        )
        return stats.norm(mean / precision, precision**-0.5).logpdf(zs).sum(axis=1)

    @quick_jit
    def density(experts, present, zs):
        return jax.vmap(JOINT_POSTERIORS[name]().distribution(experts, present).log_prob)(zs)

    for present in itertools.product([False, True], repeat=3):
        there = np.flatnonzero(present)
        if name == "product":
            truth = log_product([-1, *there])
        elif not len(there):
            continue
        else:
            most = 1 if name == "mixture" else 3
            subsets = [s for n in range(1, most + 1) for s in itertools.combinations(there, n)]
            truth = np.log(np.mean(np.exp([log_product(subset) for subset in subsets]), axis=0))
        absent = np.where(np.array(present)[:, None, None], experts, 0.0)
        found = density(jnp.asarray(absent, jnp.float32), jnp.array(present), jnp.asarray(zs, "f4"))
        np.testing.assert_allclose(found, truth, rtol=2e-5, atol=2e-5)


def test_absent_experts_have_no_turn():
    components = dist.Normal(jnp.array([10.0, 20.0, 30.0]), 1e-3)

    @quick_jit
    def draws(present):
        experts = Experts(components, present=present)
        assert experts.num_strata == 6
        turns = jax.vmap(experts.stratum)(jnp.arange(6)).index
        return turns, experts.rsample(jax.random.key(0), (50,))

    for present in itertools.product([False, True], repeat=3):
        there = np.flatnonzero(present) if any(present) else np.arange(3)
        turns, drawn = draws(jnp.array(present))
        np.testing.assert_array_equal(turns, np.resize(there, 6))
        assert set(np.round(np.asarray(drawn) / 10).astype(int) - 1) <= set(there.tolist())
    with pytest.raises(tt.InputError, match="each of 3 experts"):
        Experts(components, present=jnp.array([True]))


# Networks: images, labels, and a table of which single entries may be missing as well.

SHAPES = {"image": (4, 3), "label": (1,), "extra": (2,)}
FAMILIES = {"image": "bernoulli", "label": "categorical:3", "extra": Missing(Gaussian(0.5))}


def small(posterior="product", **options):
    return MultimodalVAE.create(
        SHAPES, num_latent=2, hidden=(5,), observations=FAMILIES, posterior=posterior,
        key=jax.random.key(7), **options,
    )  # fmt: skip


def examples(num=24):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, size=num)
    image = (rng.random((num, 4, 3)) < (labels[:, None, None] + 1) / 4).astype(np.float32)
    label = labels[:, None].astype(np.float32)
    extra = (rng.normal(size=(num, 2)) + labels[:, None]).astype(np.float32)
    label[3::4], image[1::5], extra[2::6] = NAN, NAN, NAN
    extra[0, 1] = NAN
    return {"label": label, "image": image, "extra": extra}


@pytest.mark.parametrize("name", every(2, JOINT_POSTERIORS))
def test_a_missing_modality_is_one_that_the_model_lacks(name):
    model = small(name)
    example = {"image": np.full((4, 3), NAN), "label": np.array([2.0]), "extra": np.full(2, NAN)}
    rest = {"label": example["label"]}
    z = jnp.array([0.3, -0.8])

    def without(model):
        parts = (model.encoders, model.decoders, model.observations)
        fewer = ({key: part[key] for key in rest} for part in parts)
        return MultimodalVAE(*fewer, 2, model.joint)

    arrays, static = eqx.partition(model, eqx.is_inexact_array)

    def density(arrays, example):
        model = eqx.combine(arrays, static)
        if "image" not in example:
            model = without(model)
        return model.log_joint(example)(z) - model.posterior(example).log_prob(z)

    both = quick_jit(
        lambda arrays: [jax.value_and_grad(density)(arrays, x) for x in (example, rest)]
    )
    (value, slopes), (truth, right) = both(arrays)
    np.testing.assert_allclose(value, truth, rtol=1e-5)
    for found, exactly in zip(jax.tree.leaves(slopes), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(found, exactly, rtol=1e-4, atol=1e-6)
    for absent in ("image", "extra"):
        for unused in jax.tree.leaves((slopes.encoders[absent], slopes.decoders[absent])):
            np.testing.assert_array_equal(unused, 0.0)
    nothing = model.posterior({**example, "label": np.array([NAN])})
    np.testing.assert_allclose(nothing.log_prob(z), stats.norm.logpdf(z).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "mixture",
        pytest.param("product", marks=pytest.mark.slow),
        pytest.param("mixture-of-products", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_training_with_modalities_missing(name):
    data = examples()
    model = small(name).initialized_from(data)
    gradient = GeneralizedDoublyReparameterized()
    objective = tt.Objective(IWAE(), gradient, num_samples=6)
    result = tt.fit(
        model, data, objective, optimizer=optax.adam(0.02), num_epochs=15, batch_size=12,
        key=jax.random.key(8), show_progress=False,
    )  # fmt: skip
    bounds = [row["bound"] for row in result.history]
    assert np.mean(bounds[-3:]) > np.mean(bounds[:3]) + 0.5


def test_one_program_for_any_pattern():
    model, count = small("mixture"), 0
    objective = tt.Objective(IWAE(), GeneralizedDoublyReparameterized(), num_samples=6)

    @quick_jit
    def run(xs):
        nonlocal count
        count += 1
        return objective.batch(model, xs, key=jax.random.key(0))

    data = examples()
    run(data)
    shuffled = jax.tree.map(lambda column: column[::-1].copy(), data)
    run(shuffled)
    assert count == 1


def test_the_start():
    data = examples()
    model = small(prior="mixture:2").initialized_from(data)
    there = ~np.isnan(data["image"]).all(axis=(1, 2))
    mean = np.clip(data["image"][there].mean(axis=0), 1e-3, 1 - 1e-3)
    bias = model.decoders["image"].layers[-1].bias.reshape(4, 3)
    np.testing.assert_allclose(jax.nn.sigmoid(bias), mean, atol=1e-5)
    first = model.encoders["image"].layers[0]
    seen = data["image"][there].reshape(-1, 12) @ np.asarray(first.weight) + np.asarray(first.bias)
    np.testing.assert_allclose(np.mean(seen, axis=0), 0.0, atol=1e-5)
    assert isinstance(model.prior_family, MixturePrior)
    assert np.all(np.isfinite(model.prior_family.locs))
    assert model.modalities == ("extra", "image", "label")
    made = model.reconstruct({name: column[1] for name, column in data.items()}, jax.random.key(0))
    assert {name: part.shape for name, part in made.items()} == SHAPES


def test_bad_input():
    model, data = small("mixture"), examples()

    def refused(message, build):
        with pytest.raises(tt.InputError, match=message):
            build()

    def create(shapes, **options):
        return MultimodalVAE.create(shapes, key=jax.random.key(0), **options)

    refused("no 'sum'|'sum'", lambda: small("sum"))
    refused("1 or more", lambda: create({"a": (0,)}))
    refused("1 or more", lambda: create({}))
    refused("are 4 at most, got 5", lambda: create(
        dict.fromkeys("abcde", (2,)), posterior="mixture-of-products"
    ))  # fmt: skip
    refused("each modality has", lambda: create({"a": (2,)}, observations={"b": "bernoulli"}))
    refused("experts are Gaussians", lambda: create({"a": (2,)}, prior="uniform"))
    refused("experts are Gaussians", lambda: create({"a": (2,)}, prior="vampprior:3"))
    refused("an encoder and a decoder", lambda: MultimodalVAE(
        {}, model.decoders, model.observations, 2
    ))  # fmt: skip
    refused(r"Missing\(Mixed", lambda: create({"a": (1,)}, observations=Mixed({"x": "gaussian"})))
    refused("NaN throughout", lambda: model.posterior({"image": data["image"][0]}))
    refused("an example is a dict of", lambda: model.log_joint({"picture": data["image"][0]}))

    def changed(name, rows, value):
        column = data[name].copy()
        column[rows] = value
        return {**data, name: column}

    refused(
        "label is missing in all 24",
        lambda: model.initialized_from(changed("label", slice(None), NAN)),
    )
    refused("image has missing entries in row 0", lambda: model.initialized_from(
        changed("image", (0, 0, 0), NAN)
    ))  # fmt: skip
    refused("Categorical explains", lambda: model.initialized_from(changed("label", 0, 7.0)))
    lacking = {name: column.copy() for name, column in data.items()}
    for column in lacking.values():
        column[5] = NAN
    refused("row 5 has no modality", lambda: model.initialized_from(lacking))
    refused(
        "as many examples each",
        lambda: model.initialized_from({**data, "label": data["label"][:5]}),
    )
    objective = tt.Objective(IWAE(), DoublyReparameterized(), num_samples=6)
    with pytest.raises(TypeError, match="use GeneralizedDoublyReparameterized"):
        jax.eval_shape(lambda: objective.batch(model, data, key=jax.random.key(0)))
    objective = tt.Objective(IWAE(), Reparameterized(), num_samples=3)
    with pytest.raises(ValueError, match="multiple of 6"):
        jax.eval_shape(lambda: objective.batch(model, data, key=jax.random.key(0)))


# Coherence: signs of a bivariate Gaussian agree with probability 1 − arccos(correlation) / π.


def signs():
    def decoder(slope):
        return linear([[slope]], [0.0], (1,))

    encoders = {"a": linear([[1.0, 0.0]], [0.0, 0.2], (2, 1)),
                "b": linear([[0.5, 0.0]], [0.0, 0.1], (2, 1))}  # fmt: skip
    decoders = {"a": decoder(1.0), "b": decoder(0.7)}
    return MultimodalVAE(encoders, decoders, {"a": Gaussian(0.5), "b": Gaussian(0.6)}, 1)


def sign(x):
    return x[:, 0] > 0


def test_coherence():
    model, classifiers = signs(), {"a": sign, "b": sign}
    share = joint_coherence(model, classifiers, num_samples=4500, key=jax.random.key(5))
    correlation = 0.7 / np.sqrt((1 + 0.25) * (0.49 + 0.36))
    truth = 1 - np.arccos(correlation) / np.pi
    assert abs(share.value - truth) < 5 * share.standard_error
    np.testing.assert_allclose(share.standard_error, np.sqrt(truth * (1 - truth) / 4500), rtol=0.05)
    same = {"a": lambda x: np.ones(len(x)), "b": lambda x: np.ones(len(x))}
    whole = joint_coherence(model, same, num_samples=1000, key=jax.random.key(5))
    np.testing.assert_allclose(whole, (1, np.sqrt(1002 * 2 / 1000) / 1004, 1000), rtol=1e-6)

    xs = np.random.default_rng(3).normal(size=(3000, 1)).astype(np.float32)
    data = {"a": xs, "b": np.where(np.arange(3000)[:, None] < 1200, NAN, xs)}
    labels = sign(xs)
    shares = cross_coherence(model, data, labels, classifiers, key=jax.random.key(6))
    assert set(shares) == {("a", "b"), ("b", "a")}
    for (given, other), share in shares.items():
        # The product of the expert and the prior, then the decoder and its noise.
        slope, log_scale = {"a": (1.0, 0.2), "b": (0.5, 0.1)}[given]
        variance = 1 / (1 + np.exp(-2 * log_scale))
        seen = data[given][:, 0][~np.isnan(data[given][:, 0])].astype(np.float64)
        mean = slope * seen * (1 - variance)
        down, noise = {"a": (1.0, 0.5), "b": (0.7, 0.6)}[other]
        z = down * np.abs(mean) / np.sqrt(down**2 * variance + noise**2)
        agreeing = stats.norm.cdf(z)
        assert share.num_examples == len(seen)
        errors = np.sqrt(np.sum(agreeing * (1 - agreeing))) / len(seen)
        assert abs(share.value - agreeing.mean()) < 5 * errors


def test_coherence_of_bad_input():
    model, x = signs(), {"a": np.zeros((4, 1)), "b": np.zeros((4, 1))}
    key = jax.random.key(0)
    both = {"a": sign, "b": sign}
    with pytest.raises(tt.InputError, match="two modalities or more"):
        joint_coherence(model, {"a": sign}, num_samples=3, key=key)
    with pytest.raises(tt.InputError, match="a classifier of c"):
        joint_coherence(model, {"a": sign, "c": sign}, num_samples=3, key=key)
    with pytest.raises(tt.InputError, match="a label an array"):
        joint_coherence(model, {"a": sign, "b": np.abs}, num_samples=3, key=key)
    with pytest.raises(tt.InputError, match=r"got \['c'\]"):
        cross_coherence(model, x, np.zeros(4), {"c": sign}, key=key)
    with pytest.raises(tt.InputError, match="a label for each example"):
        cross_coherence(model, x, np.zeros(3), both, key=key)
    with pytest.raises(tt.InputError, match="a is missing in all 4"):
        cross_coherence(model, {**x, "a": np.full((4, 1), NAN)}, np.zeros(4), both, key=key)


def test_bernoulli_is_the_usual_family():
    model = MultimodalVAE.create({"a": (2,), "b": (3,)}, key=jax.random.key(0))
    assert all(isinstance(family, Bernoulli) for family in model.observations.values())
