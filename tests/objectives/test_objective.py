import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import tighter as tt
from tighter import Objective
from tighter.bounds import (
    BOUNDS,
    CUBO,
    ELBO,
    IWAE,
    Combination,
    Grouped,
    Jackknife,
    Renyi,
    as_bound,
)
from tighter.gradients import (
    ESTIMATORS,
    VIMCO,
    BiasKind,
    Coefficients,
    DoublyReparameterized,
    Estimator,
    LeaveOneOut,
    Reparameterized,
    ScoreFunction,
    Split,
    StickingTheLanding,
    WakePhi,
)
from tighter.models import VAE

# Compiling is what takes the time here: the machine code need not be the fastest.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(7)
NUM = 6
NEEDS_PATH = [name for name, make in ESTIMATORS.items() if make().uses_path]
NEEDS_NO_PATH = [name for name, make in ESTIMATORS.items() if not make().uses_path]


# A small problem: two latent numbers, a joint that is not Gaussian


THETA = {"weight": np.array([0.7, -1.1]), "bias": np.array(0.4)}
PHI = {"mean": np.array([0.2, -0.3]), "log_scale": np.array([0.1, -0.6])}


def log_joint_of(theta):
    def log_joint(z):
        return jnp.sin(theta["weight"] @ z) - 0.5 * jnp.sum((z - theta["bias"]) ** 2) - 90

    return log_joint


def posterior_of(phi):
    scale = jnp.exp(phi["log_scale"])
    return dist.Normal(phi["mean"], scale, validate_args=False).to_event(1)


def estimate(objective, theta, phi, key=KEY):
    return objective(log_joint_of(theta), posterior_of(phi), key=key)


def parameters(dtype="float32"):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (THETA, PHI))


PAIRS = [
    *((IWAE(), make()) for make in ESTIMATORS.values()),
    *((make(), DoublyReparameterized()) for make in BOUNDS.values()),
    (CUBO(2), Reparameterized()),
    (Jackknife(2), DoublyReparameterized()),
    (Renyi(2), ScoreFunction(baseline=LeaveOneOut())),
    (IWAE(), Split(theta=IWAE(), phi=Grouped(IWAE(), 3))),
    (IWAE(), Split(theta=ELBO(), phi=(Renyi(0.5), VIMCO()))),
]
OUTER = {
    "renyi": Objective(Renyi(0.5), num_samples=2, num_outer=3),
    "renyi grouped": Objective(Grouped(Renyi(0.5), 3), num_samples=6),
    "vimco": Objective(IWAE(), VIMCO(), num_samples=2, num_outer=3),
}


@functools.cache
def compiled_together():
    """Value and both gradients of many objectives, in one program, in 64 bits."""
    objectives = [Objective(*pair, num_samples=NUM) for pair in PAIRS] + list(OUTER.values())

    def run(theta, phi):
        return [
            jax.value_and_grad(estimate, argnums=(1, 2))(objective, theta, phi)
            for objective in objectives
        ]

    with jax.enable_x64(True):
        results = jax.tree.map(np.asarray, quick_jit(run)(*parameters("float64")))
    return dict(zip(objectives, results, strict=True))


@functools.cache
def value_and_gradients(objective):
    """Value and both gradients at the problem's parameters, in 64 bits."""
    if objective in compiled_together():
        return compiled_together()[objective]

    def run(theta, phi):
        return jax.value_and_grad(estimate, argnums=(1, 2))(objective, theta, phi)

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, quick_jit(run)(*parameters("float64")))


def draw_keys(num, key=KEY):
    """The keys of an example's draws: any of them can be drawn again, alone or in any chunk."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num))


@functools.cache
def log_weights():
    @quick_jit
    def run(theta, phi):
        zs = jax.vmap(lambda key: posterior_of(phi).rsample(key, ()))(draw_keys(NUM))
        return jax.vmap(lambda z: log_joint_of(theta)(z) - posterior_of(phi).log_prob(z))(zs)

    with jax.enable_x64(True):
        return run(*parameters("float64"))


def assert_trees_close(ours, theirs, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, theirs)


# The value


def test_value_is_the_bound_of_the_log_weights():
    with jax.enable_x64(True):
        expected = quick_jit(lambda ell: {name: make()(ell) for name, make in BOUNDS.items()})(
            log_weights()
        )
    for name, make in BOUNDS.items():
        value, _ = value_and_gradients(Objective(make(), num_samples=NUM))
        np.testing.assert_allclose(value, expected[name], rtol=1e-14)


def test_log_weights_are_log_p_minus_log_q_at_draws_from_q():
    """The draws, seen through a joint chosen so that a draw's log weight is the draw."""
    num = 20_000
    mean, scale = np.array([0.5, -1.0]), np.array([0.3, 2.0])
    q = dist.Normal(jnp.asarray(mean), jnp.asarray(scale), validate_args=False).to_event(1)

    def seen(bound, i):
        objective = Objective(bound, StickingTheLanding(), num_samples=num)
        return objective(lambda z: q.log_prob(z) + z[i], q, key=KEY)

    means, variances = quick_jit(
        lambda: tuple([seen(bound, i) for i in range(2)] for bound in (jnp.mean, jnp.var))
    )()
    assert (np.abs(means - mean) < 5 * scale / np.sqrt(num)).all()
    assert (np.abs(variances - scale**2) < 5 * np.sqrt(2 / num) * scale**2).all()


def test_the_exact_posterior_leaves_the_evidence():
    @quick_jit
    def bound(phi):
        q = posterior_of(phi)
        return Objective(IWAE(), num_samples=NUM)(lambda z: q.log_prob(z) - 3.5, q, key=KEY)

    with jax.enable_x64(True):
        np.testing.assert_allclose(bound(parameters("float64")[1]), -3.5, rtol=1e-14)


def test_value_does_not_depend_on_the_estimator():
    """To the last bit, in programs of their own, without and with the gradient."""
    values = set()
    at = parameters()
    for estimator in (DoublyReparameterized(), Reparameterized(), VIMCO(), WakePhi()):
        objective = Objective(IWAE(), estimator, num_samples=NUM)
        value = quick_jit(lambda theta, phi, o=objective: estimate(o, theta, phi))
        values.add(float(value(*at)))
    with_gradient = quick_jit(lambda *at: jax.value_and_grad(estimate, argnums=1)(objective, *at))
    values.add(float(with_gradient(*at)[0]))
    assert len(values) == 1
    together = {
        float(value_and_gradients(Objective(IWAE(), make(), num_samples=NUM))[0])
        for make in ESTIMATORS.values()
    }
    assert len(together) == 1


def test_same_key_same_number_other_key_other_number():
    objective = Objective(IWAE(), num_samples=NUM)
    run = quick_jit(lambda key: estimate(objective, *parameters(), key))
    values = [float(run(jax.random.key(seed))) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_types_are_those_of_the_parameters(dtype):
    objective = Objective(Renyi(0.5), VIMCO(), num_samples=NUM, num_backward=2, chunk_size=4)
    with jax.enable_x64(dtype == "float64"):
        run = jax.value_and_grad(estimate, argnums=(1, 2))
        result = jax.eval_shape(lambda at: run(objective, *at), parameters(dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(dtype)}


# The gradient


@functools.cache
def coefficients_together():
    def run(ell):
        return [estimator.coefficients(bound, ell) for bound, estimator in PAIRS]

    with jax.enable_x64(True):
        return dict(zip(PAIRS, quick_jit(run)(log_weights()), strict=True))


@quick_jit
def explicit_gradients(coefficients, theta, phi):
    """The sum that the coefficients stand in, term by term and draw by draw."""

    def of_draw(key, model, score, path):
        def draw(phi):
            return posterior_of(phi).rsample(key, ())

        z, back_to_phi = jax.vjp(draw, phi)
        by_theta = jax.grad(lambda theta: log_joint_of(theta)(z))(theta)
        by_phi = jax.grad(lambda phi: posterior_of(phi).log_prob(z))(phi)
        by_z = jax.grad(lambda z: log_joint_of(theta)(z) - posterior_of(phi).log_prob(z))(z)
        (by_path,) = back_to_phi(by_z)
        return (
            jax.tree.map(lambda leaf: model * leaf, by_theta),
            jax.tree.map(lambda s, p: score * s + path * p, by_phi, by_path),
        )

    terms = jax.vmap(of_draw)(draw_keys(NUM), *coefficients)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), terms)


@pytest.mark.parametrize(("bound", "estimator"), PAIRS)
def test_gradient_is_the_sum_that_the_coefficients_say(bound, estimator):
    _, gradients = value_and_gradients(Objective(bound, estimator, num_samples=NUM))
    with jax.enable_x64(True):
        coefficients = coefficients_together()[bound, estimator]
        expected = explicit_gradients(coefficients, *parameters("float64"))
    assert_trees_close(gradients, expected, rtol=1e-10, atol=1e-11)


def test_the_total_derivative_is_what_autodiff_gives():
    def plainly(theta, phi):
        zs = jax.vmap(lambda key: posterior_of(phi).rsample(key, ()))(draw_keys(NUM))
        weigh = jax.vmap(lambda z: log_joint_of(theta)(z) - posterior_of(phi).log_prob(z))
        return IWAE()(weigh(zs))

    ours = value_and_gradients(Objective(IWAE(), Reparameterized(), num_samples=NUM))
    with jax.enable_x64(True):
        expected = quick_jit(jax.value_and_grad(plainly, argnums=(0, 1)))(*parameters("float64"))
    assert_trees_close(ours, expected, rtol=1e-10, atol=1e-11)


def test_draws_without_weight():
    """Outside the support of p the log weight is −∞, and the gradient takes no notice."""

    def bound(scale, shift):
        q = dist.Normal(shift, 1.0, validate_args=False)

        def log_joint(z):
            return jnp.where(z > 0, jnp.log(scale) - scale * z, -jnp.inf)

        return Objective(IWAE(), num_samples=16)(log_joint, q, key=KEY)

    zs = np.asarray(jax.vmap(lambda key: jax.random.normal(key))(draw_keys(16)), np.float64)
    inside = zs[zs > 0]
    assert 0 < len(inside) < 16
    log_w = -inside + 0.5 * inside**2 + 0.5 * np.log(2 * np.pi)
    share = np.exp(log_w) / np.exp(log_w).sum()
    value, gradient = quick_jit(jax.value_and_grad(bound, argnums=(0, 1)))(1.0, 0.0)
    np.testing.assert_allclose(value, np.log(np.exp(log_w).sum() / 16), rtol=1e-5)
    np.testing.assert_allclose(gradient[0], np.sum(share * (1 - inside)), rtol=1e-4)
    np.testing.assert_allclose(gradient[1], np.sum(share**2 * (inside - 1)), rtol=1e-4)


def test_one_draw_of_a_bound_that_somebody_brings_along_is_not_the_elbo():
    """Alone, in a sum or in groups: it may bend, so that path and model differ."""

    def bent(log_weights):
        return jnp.mean(log_weights) - 0.1 * jnp.sum(log_weights**2)

    alone, *within = (
        Objective(bound, DoublyReparameterized(), num_samples=1)
        for bound in (bent, Combination({bent: 0.5, as_bound(bent): 0.5}), Grouped(bent, 1))
    )
    slope = lambda objective: jax.grad(estimate, argnums=2)(objective, *parameters())  # noqa: E731
    expected, *found = quick_jit(lambda: [slope(each) for each in (alone, *within)])()
    for ours in found:
        assert_trees_close(ours, expected)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(IWAE(), ScoreFunction(baseline=LeaveOneOut()), num_samples=NUM),
        Objective(IWAE(), Reparameterized(), num_samples=NUM),
        Objective(IWAE(), StickingTheLanding(), num_samples=NUM),
        Objective(ELBO(), DoublyReparameterized(), num_samples=NUM),
    ],
)
def test_forward_mode_gives_the_same_derivative(objective):
    _, gradients = value_and_gradients(objective)
    with jax.enable_x64(True):
        at = parameters("float64")
        tangents = jax.tree.map(lambda leaf: jnp.cos(leaf), at)
        _, along = quick_jit(
            lambda at, tangents: jax.jvp(lambda *at: estimate(objective, *at), at, tangents)
        )(at, tangents)
    products = jax.tree.map(lambda g, t: np.sum(g * np.asarray(t)), gradients, tangents)
    np.testing.assert_allclose(along, sum(jax.tree.leaves(products)), rtol=1e-10)


# Chunks, outer samples, fewer draws backward


@pytest.mark.parametrize(
    ("estimator", "chunk_size"),
    [
        (DoublyReparameterized(), 4),
        (Reparameterized(), 3),
        (VIMCO(), 1),
    ],
)
def test_chunks_change_nothing(estimator, chunk_size):
    whole = value_and_gradients(Objective(IWAE(), estimator, num_samples=NUM))
    chunked = value_and_gradients(
        Objective(IWAE(), estimator, num_samples=NUM, chunk_size=chunk_size)
    )
    assert_trees_close(chunked, whole, rtol=1e-10, atol=1e-11)


def test_outer_samples_are_a_mean():
    """M bounds of K draws are the mean over M groups of M·K draws."""
    grouped = value_and_gradients(OUTER["renyi grouped"])
    assert_trees_close(value_and_gradients(OUTER["renyi"]), grouped, rtol=1e-10, atol=1e-11)
    chunked = Objective(Renyi(0.5), num_samples=2, num_outer=3, chunk_size=4)
    assert_trees_close(value_and_gradients(chunked), grouped, rtol=1e-10, atol=1e-11)


def test_outer_samples_have_control_variates_of_their_own():
    """VIMCO of two draws, three times over, and not of six."""

    @quick_jit
    def coefficients(groups):
        columns = jax.vmap(lambda group: VIMCO().coefficients(IWAE(), group))(groups)
        return jax.tree.map(lambda column: column.reshape(-1) / 3, columns)

    with jax.enable_x64(True):
        columns = coefficients(log_weights().reshape(3, 2))
        expected = explicit_gradients(columns, *parameters("float64"))
    _, gradients = value_and_gradients(OUTER["vimco"])
    assert_trees_close(gradients, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["num_backward", "chunk_size"])
def test_all_draws_at_once_are_the_default(name):
    """Not only are the numbers the same, the programs are."""

    def program(number):
        objective = Objective(IWAE(), num_samples=NUM, **{name: number})
        gradient = jax.grad(lambda theta: estimate(objective, theta, parameters()[1]))
        return str(jax.make_jaxpr(gradient)(parameters()[0]))

    assert program(NUM) == program(None) != program(NUM - 1)
    if name == "chunk_size":
        assert program(100) == program(None)


def test_fewer_draws_backward_have_the_same_expectation():
    """The jackknife's coefficients have either sign, and those of θ and φ differ."""

    def both(key):
        def run(num_backward):
            objective = Objective(
                Jackknife(1), num_samples=3, num_outer=2, num_backward=num_backward
            )
            return jax.value_and_grad(lambda at: estimate(objective, *at, key))(parameters())

        many, few = run(None), run(2)
        return many[0], few[0], jax.tree.map(jnp.subtract, many[1], few[1])

    replicates = 2**13
    keys = jax.random.split(KEY, replicates)
    many, few, differences = quick_jit(jax.vmap(both))(keys)
    np.testing.assert_allclose(many, few, rtol=1e-6)
    for difference in jax.tree.leaves(differences):
        difference = np.asarray(difference, np.float64)
        error = difference.std(axis=0) / np.sqrt(replicates)
        assert (error > 0).all()
        assert (np.abs(difference.mean(axis=0)) < 5 * error).all()


# Batches


@pytest.fixture(scope="module")
def model():
    xs = np.random.default_rng(0).integers(0, 2, size=(3, 5))
    create = quick_jit(lambda key: VAE.create((5,), num_latent=2, hidden=(4,), key=key))
    return create(jax.random.key(1)), jnp.asarray(xs, jnp.float32)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(IWAE(), num_samples=4, chunk_size=2),
        Objective(Renyi(0.5), VIMCO(), num_samples=2, num_outer=2, num_backward=1),
    ],
)
def test_a_batch_is_single_calls_with_split_keys(objective, model):
    vae, xs = model
    arrays, static = eqx.partition(vae, eqx.is_array)

    def in_one(arrays):
        bounds = objective.batch(eqx.combine(arrays, static), xs, key=KEY)
        return jnp.mean(bounds), bounds

    def one_by_one(arrays):
        vae = eqx.combine(arrays, static)

        def single(x, key):
            return objective(vae.log_joint(x), vae.posterior(x), key=key)

        bounds = jax.vmap(single)(xs, jax.random.split(KEY, xs.shape[0]))
        return jnp.mean(bounds), bounds

    @quick_jit
    def both(arrays):
        return [jax.value_and_grad(form, has_aux=True)(arrays) for form in (in_one, one_by_one)]

    ((_, ours), our_gradient), ((_, theirs), their_gradient) = both(arrays)
    assert ours.shape == (3,)
    assert_trees_close(ours, theirs)
    assert_trees_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-5)


class TwoParts(eqx.Module):
    """A latent and an example of two parts each; the posterior keeps an array of the model."""

    weight: jax.Array
    log_scale: jax.Array

    def posterior(self, x):
        return TwoPartPosterior(x["features"] * self.weight, self.log_scale)

    def log_joint(self, x):
        def log_joint(z):
            mean = z["vector"].sum() + z["number"]
            prior = -0.5 * (jnp.sum(z["vector"] ** 2) + z["number"] ** 2)
            return prior - 0.5 * (x["target"] - mean) ** 2

        return log_joint


class TwoPartPosterior(eqx.Module):
    """A normal vector, and a normal number whose mean is the vector's sum."""

    mean: jax.Array
    log_scale: jax.Array

    def rsample(self, key, sample_shape=()):
        assert sample_shape == ()
        vector_key, number_key = jax.random.split(key)
        noise = jax.random.normal(vector_key, self.mean.shape, self.mean.dtype)
        vector = self.mean + jnp.exp(self.log_scale) * noise
        noise = jax.random.normal(number_key, (), self.mean.dtype)
        return {"vector": vector, "number": jnp.sum(vector) + noise}

    def log_prob(self, z):
        noise = (z["vector"] - self.mean) * jnp.exp(-self.log_scale)
        number = z["number"] - jnp.sum(z["vector"])
        return -0.5 * (jnp.sum(noise**2) + number**2) - jnp.sum(self.log_scale)


def test_latents_and_examples_may_be_dicts():
    """Against the total derivative of the bound, taken plainly."""
    xs = {
        "features": jnp.array([[0.3, -0.2], [1.0, 0.4]], jnp.float32),
        "target": jnp.array([0.5, -1.0], jnp.float32),
    }

    def batch(model):
        objective = Objective(IWAE(), Reparameterized(), num_samples=3)
        return jnp.sum(objective.batch(model, xs, key=KEY))

    def plainly(model):
        def one(x, key):
            q, log_joint = model.posterior(x), model.log_joint(x)
            zs = jax.vmap(lambda key: q.rsample(key, ()))(draw_keys(3, key))
            return IWAE()(jax.vmap(lambda z: log_joint(z) - q.log_prob(z))(zs))

        return jnp.sum(jax.vmap(one)(xs, jax.random.split(KEY, 2)))

    @quick_jit
    def both(model):
        return [jax.value_and_grad(form)(model) for form in (batch, plainly)]

    ours, expected = both(TwoParts(jnp.array([0.5, -0.7]), jnp.array([-0.3, 0.2])))
    assert_trees_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "xs",
    [
        jnp.zeros((0, 5)),
        jnp.zeros(()),
        {"one": jnp.zeros((2, 5)), "other": jnp.zeros((3, 5))},
        {},
    ],
)
def test_what_is_no_batch(xs, model):
    with pytest.raises(ValueError, match="same leading axis of at least 1"):
        Objective().batch(model[0], xs, key=KEY)


# Posteriors


class SampleOnly(eqx.Module):
    """A normal that doesn't offer the path of its draws."""

    mean: jax.Array

    def sample(self, key, sample_shape=()):
        return self.mean + jax.random.normal(key, sample_shape, self.mean.dtype)

    def log_prob(self, z):
        return -0.5 * (z - self.mean) ** 2 - 0.5 * jnp.log(2 * jnp.pi)


def test_a_posterior_without_path_for_estimators_that_need_none():
    def normal(mean):
        return dist.Normal(mean, 1.0, validate_args=False)

    def gradient(mean, name, make):
        objective = Objective(IWAE(), ESTIMATORS[name](), num_samples=4)
        return jax.grad(lambda mean: objective(lambda z: -(z**2), make(mean), key=KEY))(mean)

    ours, expected = quick_jit(
        lambda mean: tuple(
            jnp.stack([gradient(mean, name, make) for name in NEEDS_NO_PATH])
            for make in (SampleOnly, normal)
        )
    )(0.3)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert (ours != 0).all()


@pytest.mark.parametrize("name", NEEDS_PATH)
@pytest.mark.parametrize(
    "posterior",
    [
        SampleOnly(jnp.array(0.3)),
        dist.BernoulliLogits(jnp.array(0.3)),
        dist.CategoricalLogits(jnp.zeros(3)),
        dist.Poisson(jnp.array(2.0)),
    ],
    ids=lambda posterior: type(posterior).__name__,
)
def test_a_posterior_without_path_is_refused_where_one_is_needed(name, posterior):
    objective = Objective(IWAE(), ESTIMATORS[name](), num_samples=4)
    with pytest.raises(TypeError, match="use ScoreFunction, VIMCO or WakePhi"):
        objective(lambda z: 0.1 * z, posterior, key=KEY)


@pytest.mark.parametrize("make", [dist.BernoulliLogits, dist.CategoricalLogits])
def test_discrete_posteriors_take_score_functions(make):
    def q(logits):
        return make(logits, validate_args=False)

    def log_joint(z):
        return jnp.log(0.1 + 0.3 * z)

    def ours(logits, estimator):
        return Objective(IWAE(), estimator, num_samples=3)(log_joint, q(logits), key=KEY)

    def by_hand(logits, estimator):
        fixed = jax.lax.stop_gradient(logits)
        zs = jax.vmap(lambda key: q(fixed).sample(key, ()))(draw_keys(3))
        log_weights = jax.vmap(lambda z: log_joint(z) - q(fixed).log_prob(z))(zs)
        score = estimator.coefficients(IWAE(), log_weights).score
        return score @ jax.vmap(q(logits).log_prob)(zs)

    logits = jnp.array(0.3) if make is dist.BernoulliLogits else jnp.array([0.3, -0.2, 0.1])
    gradients, expected = quick_jit(
        lambda logits: tuple(
            [
                jax.grad(form)(logits, estimator)
                for estimator in (VIMCO(), ScoreFunction(), WakePhi())
            ]
            for form in (ours, by_hand)
        )
    )(logits)
    assert_trees_close(gradients, expected, rtol=1e-4)


class Plain:
    """No pytree."""

    def rsample(self, key, sample_shape=()):
        return jax.random.normal(key)

    def log_prob(self, z):
        return -0.5 * z**2


class NoDraws(eqx.Module):
    mean: jax.Array

    def log_prob(self, z):
        return -0.5 * (z - self.mean) ** 2


class NoDensity(eqx.Module):
    mean: jax.Array

    def rsample(self, key, sample_shape=()):
        return self.mean


@pytest.mark.parametrize(
    ("posterior", "error", "words"),
    [
        (dist.Normal(jnp.zeros(2), 1.0), ValueError, r"batch shape \(2,\).*to_event"),
        (dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1), ValueError, r"batch shape \(3,\)"),
        (Plain(), TypeError, "Plain is no pytree.*equinox.Module"),
        (NoDraws(jnp.zeros(())), TypeError, "got NoDraws"),
        (NoDensity(jnp.zeros(())), TypeError, "NoDensity"),
    ],
)
def test_what_is_no_posterior(posterior, error, words):
    with pytest.raises(error, match=words):
        Objective()(lambda z: jnp.sum(z), posterior, key=KEY)


class NoPosterior(eqx.Module):
    scale: jax.Array

    def log_joint(self, x):
        return lambda z: -self.scale * (z - x) ** 2


class JointOfBoth(NoPosterior):
    def log_joint(self, x, z):
        return -self.scale * (z - x) ** 2

    def posterior(self, x):
        return dist.Normal(x, self.scale)


class JointOfData(JointOfBoth):
    def log_joint(self, x):
        return -(x**2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (NoPosterior(jnp.ones(())), r"NoPosterior has no posterior\(x\)"),
        (JointOfBoth(jnp.ones(())), r"got log_joint\(x, z\)"),
        (JointOfData(jnp.ones(())), r"returns a function z -> log p\(x, z\), got an array"),
        (JointOfData, r"got log_joint\(self, x\); make an instance"),
        (lambda z: z, r"function has no log_joint\(x\)"),
    ],
)
def test_what_is_no_model(model, words):
    with pytest.raises(tt.InputError, match=words):
        tt.log_likelihood(model, jnp.ones((3, 1)), num_samples=4, key=KEY)


def test_what_is_no_joint():
    q = dist.Normal(jnp.zeros(2), 1.0, validate_args=False).to_event(1)
    with pytest.raises(ValueError, match=r"log_joint\(z\) is a scalar .* got shape \(2,\): sum"):
        Objective()(lambda z: z, q, key=KEY)


def test_what_is_no_density():
    class Vector(SampleOnly):
        pass

    q = Vector(jnp.zeros(1))
    with pytest.raises(ValueError, match=r"log_prob\(z\) is a scalar .* got shape \(1,\)"):
        Objective(gradient=ScoreFunction())(lambda z: jnp.sum(z), q, key=KEY)


# What is no objective


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_samples": 0}, ValueError, "num_samples is at least 1, got 0"),
        ({"num_samples": -3}, ValueError, "num_samples is at least 1"),
        ({"num_outer": 0}, ValueError, "num_outer is at least 1"),
        ({"chunk_size": 0}, ValueError, "chunk_size is at least 1, or None for all draws"),
        ({"num_backward": 0}, ValueError, "num_backward is at least 1"),
        ({"num_samples": 4, "num_backward": 5}, ValueError, "at most num_samples, got 5 of 4"),
        ({"num_samples": 1, "gradient": VIMCO()}, ValueError, "VIMCO needs num_samples of 2"),
        ({"num_samples": 2, "bound": Jackknife(2)}, ValueError, "needs num_samples of 3"),
        ({"num_samples": 2, "bound": Grouped(IWAE(), 3)}, ValueError, "needs num_samples of 3"),
        (
            {"num_samples": 1, "gradient": ScoreFunction(baseline=LeaveOneOut())},
            ValueError,
            "needs num_samples of 2",
        ),
        (
            {
                "num_samples": 2,
                "bound": Jackknife(1),
                "gradient": ScoreFunction(baseline=LeaveOneOut()),
            },
            ValueError,
            "needs num_samples of 3",
        ),
        ({"num_samples": 2.0}, TypeError, None),
        ({"num_samples": True}, TypeError, "num_samples is a whole number, got True"),
        ({"num_samples": None}, TypeError, None),
        ({"chunk_size": 1.5}, TypeError, None),
        ({"gradient": "dreg"}, TypeError, None),
        ({"gradient": IWAE()}, TypeError, None),
        ({"gradient": VIMCO}, TypeError, None),
        ({"bound": IWAE}, TypeError, r"write IWAE\(\.\.\.\)"),
        ({"bound": 3}, TypeError, None),
    ],
)
def test_what_is_no_objective(arguments, error, words):
    with pytest.raises(error, match=words):
        Objective(**arguments)


def test_an_objective_says_what_it_follows():
    assert not Objective(IWAE(), DoublyReparameterized(), num_samples=5).bias
    assert Objective(IWAE(), StickingTheLanding(), num_samples=5).bias.phi is (
        BiasKind.OTHER_OBJECTIVE
    )
    # With one draw every bound of ours is the ELBO, for which sticking the landing is unbiased.
    assert not Objective(IWAE(), StickingTheLanding(), num_samples=1).bias
    assert Objective(jnp.mean, StickingTheLanding(), num_samples=1).bias
    assert Objective(IWAE(), WakePhi(), num_samples=5).bias


# Transformations


def test_order_of_transformations_does_not_matter():
    objective = Objective(IWAE(), num_samples=3)
    theta, phi = parameters()
    keys = jax.random.split(KEY, 2)

    def one(phi, key):
        return estimate(objective, theta, phi, key)

    def total(phi):
        return jnp.sum(jax.vmap(one, in_axes=(None, 0))(phi, keys))

    def every_way(phi):
        plain = [jax.grad(one)(phi, keys[i]) for i in range(2)]
        return (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *plain),
            jax.vmap(jax.grad(one), in_axes=(None, 0))(phi, keys),
            jax.vmap(jax.grad(jax.jit(one)), in_axes=(None, 0))(phi, keys),
            jax.lax.map(lambda key: jax.grad(one)(phi, key), keys),
            jax.jacrev(lambda phi: jax.vmap(one, in_axes=(None, 0))(phi, keys))(phi),
        ), jax.grad(total)(phi)

    (expected, *others), summed = quick_jit(every_way)(phi)
    for other in others:
        assert_trees_close(other, expected)
    assert_trees_close(summed, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), expected))


@pytest.mark.parametrize("estimator", [DoublyReparameterized(), Split(ELBO(), VIMCO())])
@pytest.mark.parametrize("num_backward", [None, 2])
def test_one_draw_for_many_models_has_the_derivatives_of_each(estimator, num_backward):
    """Neither key nor posterior has the axis that the models have, and so the draws haven't."""
    objective = Objective(IWAE(), estimator, num_samples=3, num_backward=num_backward)
    _, phi = parameters()
    weights, counts = jnp.array([[0.7, -1.1], [0.1, 2.0]]), jnp.array([1, 4])

    def one(phi, weight, count):
        def log_joint(z):
            return count * jnp.sin(weight @ z) - 0.5 * jnp.sum(z**2)

        return objective(log_joint, posterior_of(phi), key=KEY)

    def total(phi, of_each):
        return of_each @ jax.vmap(one, in_axes=(None, 0, 0))(phi, weights, counts)

    each = [quick_jit(jax.grad(one))(phi, *pair) for pair in zip(weights, counts, strict=True)]
    scaled = jax.tree.map(lambda one, two: -3.0 * one + 2.0 * two, *each)
    assert_trees_close(quick_jit(jax.grad(total))(phi, jnp.array([-3.0, 2.0])), scaled)
    only = quick_jit(jax.grad(total))(phi, jnp.array([0.0, 1.0]))
    assert_trees_close(only, each[1])
    within = quick_jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 0)))(phi, weights, counts)
    assert_trees_close(within, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))


@pytest.mark.parametrize("num_backward", [None, 2])
def test_one_draw_for_many_bounds_has_the_derivatives_of_each(num_backward):
    """The axis comes with the bound alone: neither a draw nor its log weight has it."""
    theta, phi = parameters()

    def one(phi, alpha):
        def bound(log_weights):
            return jax.nn.logsumexp(alpha * log_weights) / alpha

        objective = Objective(bound, num_samples=3, num_backward=num_backward)
        return estimate(objective, theta, phi)

    def total(phi, alphas):
        return jnp.array([1.0, -1.0]) @ jax.vmap(one, in_axes=(None, 0))(phi, alphas)

    alphas = jnp.array([0.5, 2.0])
    first, second = (quick_jit(jax.grad(one))(phi, alpha) for alpha in alphas)
    together = quick_jit(jax.grad(total))(phi, alphas)
    assert_trees_close(together, jax.tree.map(jnp.subtract, first, second), rtol=1e-4, atol=1e-6)


def test_a_path_without_weight_in_the_model_stands_large_cotangents():
    class Lone(Estimator):
        uses_score = False
        uses_path = True

        def coefficients(self, bound, log_weights):
            path = jnp.ones_like(log_weights)
            return Coefficients(path.at[0].set(0.0), jnp.zeros_like(path), path)

        def bias(self, bound):
            return BiasKind.BIASED

    theta, phi = parameters()
    objective = Objective(IWAE(), Lone(), num_samples=2)

    def scaled(phi, scale):
        return scale * estimate(objective, theta, phi)

    plain, large = (quick_jit(jax.grad(scaled))(phi, scale) for scale in (1.0, 1e20))
    assert_trees_close(jax.tree.map(lambda leaf: leaf / 1e20, large), plain, rtol=1e-5, atol=1e-6)


def test_new_keys_and_parameters_do_not_retrace():
    traces = []

    @quick_jit
    def step(phi, key):
        traces.append(None)
        objective = Objective(IWAE(), num_samples=4, chunk_size=2)
        return jax.value_and_grad(lambda phi: estimate(objective, parameters()[0], phi, key))(phi)

    phi = parameters()[1]
    for seed in range(4):
        _, gradient = step(phi, jax.random.key(seed))
        phi = jax.tree.map(lambda leaf, g: leaf + 0.1 * g, phi, gradient)
    assert len(traces) == 1


def test_objectives_are_static_arguments_and_pytrees():
    objective = Objective(IWAE(), num_samples=3)
    assert hash(objective) == hash(Objective(IWAE(), num_samples=3))
    assert objective == Objective(IWAE(), num_samples=3)
    assert objective != Objective(IWAE(), num_samples=4)
    assert jax.tree.leaves(objective) == []


# What must not happen


@jax.custom_jvp
def _untouchable(z):
    return jnp.sum(z**2)


@_untouchable.defjvp
def _never(primals, tangents):
    raise AssertionError("log p was differentiated with respect to z")


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", NEEDS_NO_PATH)
def test_score_functions_do_not_differentiate_log_p_by_z(name, chunk_size):
    objective = Objective(IWAE(), ESTIMATORS[name](), num_samples=4, chunk_size=chunk_size)

    def bound(theta, phi):
        q = posterior_of(phi)
        return objective(lambda z: -theta["bias"] * _untouchable(z), q, key=KEY)

    # To trace is to differentiate; what comes of it is tested above.
    jax.make_jaxpr(jax.grad(bound, argnums=(0, 1)))(*parameters())


def test_the_untouchable_is_touched_by_a_path():
    def bound(phi):
        return Objective()(_untouchable, posterior_of(phi), key=KEY)

    with pytest.raises(AssertionError, match="with respect to z"):
        jax.make_jaxpr(jax.grad(bound))(parameters()[1])


class Wide(eqx.Module):
    """A few latents, and a layer of 256 units above them."""

    mean: jax.Array
    weight: jax.Array

    def posterior(self, x):
        return dist.Normal(self.mean + x, 1.0, validate_args=False).to_event(1)

    def log_joint(self, x):
        return lambda z: -jnp.sum(jnp.tanh(self.weight @ z - x[0]) ** 2)


def temporary_bytes(form, num_samples):
    """What the compiled value and gradient needs beside its arguments and results."""
    objective = Objective(IWAE(), num_samples=num_samples, chunk_size=8)
    xs = jnp.ones((2, 4))

    def bound(model, key):
        if form == "batch":
            return jnp.mean(objective.batch(model, xs, key=key))
        return objective(model.log_joint(xs[0]), model.posterior(xs[0]), key=key)

    model = Wide(jnp.zeros(4), jnp.ones((256, 4)))
    compiled = quick_jit(jax.value_and_grad(bound)).lower(model, KEY).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("form", ["batch", "closure"])
def test_memory_with_chunks_does_not_grow_with_the_draws(form):
    few, many = (temporary_bytes(form, num) for num in (64, 1024))
    examples = 2 if form == "batch" else 1
    # What may grow: a few numbers a draw, where the layer has 256.
    assert many - few < 16 * 4 * examples * (1024 - 64)
