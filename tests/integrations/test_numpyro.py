"""The loss for numpyro's SVI: against numpyro's own, exact evidences, and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax.scipy.special import logsumexp
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from numpyro.infer.autoguide import (
    AutoBNAFNormal,
    AutoDelta,
    AutoGuideList,
    AutoMultivariateNormal,
    AutoNormal,
)
from tests.oracles.expected_bound import by_enumeration, by_quadrature
from tests.oracles.quick import quick_jit

from tighter import Objective
from tighter._errors import InputError
from tighter.bounds import ELBO as ELBOBound
from tighter.bounds import IWAE, Jackknife, Renyi
from tighter.gradients import (
    VIMCO,
    DoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
)
from tighter.integrations._numpyro_bounds import Blockwise
from tighter.integrations._numpyro_program import Program
from tighter.integrations.numpyro import ELBO

NUM, BATCH = 6, 3
X = jnp.array([0.3, -1.2, 0.8, 2.0, -0.4, 1.1])
NOISE = 0.7
KEY = jax.random.key(7)


@pytest.fixture(autouse=True)
def _numpyro_broadcasts():
    with jax.numpy_rank_promotion("allow"):
        yield


def local_model(batch=None):
    weight = numpyro.param("weight", 0.7)
    with numpyro.plate("data", NUM, subsample_size=batch):
        x = numpyro.subsample(X, event_dim=0)
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(weight * z, NOISE), obs=x)


def local_guide(batch=None):
    slope = numpyro.param("slope", 0.3)
    log_scale = numpyro.param("log_scale", -0.1)
    with numpyro.plate("data", NUM, subsample_size=batch):
        x = numpyro.subsample(X, event_dim=0)
        numpyro.sample("z", dist.Normal(slope * x, jnp.exp(log_scale)))


LOCAL = {"weight": jnp.array(0.7), "slope": jnp.array(0.3), "log_scale": jnp.array(-0.1)}


def mixed_model(batch=None):
    mean = numpyro.sample("mean", dist.Normal(numpyro.param("prior", 0.2), 1.0))
    with numpyro.plate("data", NUM, subsample_size=batch):
        x = numpyro.subsample(X, event_dim=0)
        z = numpyro.sample("z", dist.Normal(mean, 1.0))
        numpyro.sample("x", dist.Normal(z, NOISE), obs=x)


def mixed_guide(batch=None):
    loc, log_scale = numpyro.param("loc", 0.2), numpyro.param("log_scale", -0.9)
    mean = numpyro.sample("mean", dist.Normal(loc, jnp.exp(log_scale)))
    slope, of_mean = numpyro.param("slope", 0.5), numpyro.param("of_mean", 0.2)
    local = numpyro.param("local", -0.6)
    with numpyro.plate("data", NUM, subsample_size=batch):
        x = numpyro.subsample(X, event_dim=0)
        numpyro.sample("z", dist.Normal(slope * x + of_mean * mean, jnp.exp(local)))


MIXED = {
    name: jnp.array(value)
    for name, value in [
        ("prior", 0.2),
        ("loc", 0.2),
        ("log_scale", -0.9),
        ("slope", 0.5),
        ("of_mean", 0.2),
        ("local", -0.6),
    ]
}


def mixed_evidence(prior):
    covariance = jnp.ones((NUM, NUM)) + (1 + NOISE**2) * jnp.eye(NUM)
    return dist.MultivariateNormal(prior * jnp.ones(NUM), covariance).log_prob(X)


def value_and_grad(loss, model, guide, parameters, key, *args):
    """Of the bound."""

    def bound(parameters):
        return -loss.loss(key, parameters, model, guide, *args)

    return jax.value_and_grad(bound)(parameters)


def replicated(loss, model, guide, parameters, num, *args, key=KEY):
    """Values and gradients with many keys, one program."""

    def one(key):
        return value_and_grad(loss, model, guide, parameters, key, *args)

    return quick_jit(jax.vmap(one))(jax.random.split(key, num))


def assert_mean(draws, expected, *, errors=5):
    """Five standard errors, number by number."""
    draws = np.asarray(draws, np.float64)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws)) + 1e-6
    assert np.all(np.abs(draws.mean(0) - expected) < errors * error), (draws.mean(0), expected)


def assert_same_mean(draws, others):
    """Two estimators of one gradient, from independent keys."""
    for name in draws:
        a, b = (np.asarray(d[name], np.float64) for d in (draws, others))
        error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) + 1e-6
        assert abs(a.mean() - b.mean()) < 5 * error, (name, a.mean(), b.mean(), error)


def assert_close(ours, theirs):
    """To rounding: numbers here are up to 100, and sums of up to 100."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), ours, theirs)


# numpyro's own, to rounding


def everything_model():
    """Scale, mask, factor, obs_mask, deterministic, nested plates, a parameter, two latents."""
    numpyro.factor("penalty", -0.3 * numpyro.param("weight", 0.7) ** 2)
    with numpyro.handlers.scale(scale=0.5):
        mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    doubled = numpyro.deterministic("doubled", 2 * mean)
    groups, data = numpyro.plate("groups", 2, dim=-2), numpyro.plate("data", 3, dim=-1)
    with data, numpyro.handlers.mask(mask=jnp.array([True, False, True])):
        z = numpyro.sample("z", dist.Normal(doubled, 1.0))
    with groups, data:
        x = X.reshape(2, 3)
        likelihood = dist.Normal(numpyro.param("weight", 0.7) * z, 1.0)
        numpyro.sample("x", likelihood, obs=x, obs_mask=x > 0)


def everything_guide():
    mean = numpyro.sample("mean", dist.Normal(numpyro.param("loc", 0.3), 0.8))
    groups, data = numpyro.plate("groups", 2, dim=-2), numpyro.plate("data", 3, dim=-1)
    with data:
        numpyro.sample("z", dist.StudentT(5.0, mean, jnp.exp(numpyro.param("log_scale", -0.5))))
    with groups, data:
        numpyro.sample("x_unobserved", dist.Normal(numpyro.param("missing", jnp.ones(3)), 1.0))


EVERYTHING = {
    "weight": jnp.array(0.7),
    "loc": jnp.array(0.3),
    "log_scale": jnp.array(-0.5),
    "missing": jnp.ones(3),
}


def test_everything_is_as_numpyros():
    pairs = [
        (Trace_ELBO(num_particles=3), ELBOBound()),
        (RenyiELBO(alpha=0.5, num_particles=3), Renyi(0.5)),
    ]

    @quick_jit
    def both(key):
        return [
            [
                value_and_grad(loss, everything_model, everything_guide, EVERYTHING, key)
                for loss in (theirs, ELBO(Objective(bound, Reparameterized(), num_samples=3)))
            ]
            for theirs, bound in pairs
        ]

    for theirs, ours in both(KEY):
        assert_close(ours, theirs)


def test_local_latents_are_as_numpyros():
    pairs = [
        (Trace_ELBO(num_particles=4), ELBOBound(), 4),
        (RenyiELBO(alpha=0, num_particles=4), IWAE(), 4),
        (RenyiELBO(alpha=2.0, num_particles=4), Renyi(2.0), 4),
    ]

    @quick_jit
    def both(key):
        return [
            [
                value_and_grad(loss, local_model, local_guide, LOCAL, key, BATCH)
                for loss in (theirs, ELBO(Objective(bound, Reparameterized(), num_samples=num)))
            ]
            for theirs, bound, num in pairs
        ]

    for theirs, ours in both(KEY):
        assert_close(ours, theirs)


def test_a_guide_outside_the_plate_makes_one_block():
    guide = AutoMultivariateNormal(local_model)
    svi = SVI(local_model, guide, optax.sgd(0.1), Trace_ELBO())

    @quick_jit
    def both(key):
        parameters = svi.get_params(svi.init(key))
        keys = jax.random.split(jax.random.split(key)[1], 4)
        single = jax.vmap(lambda key: -Trace_ELBO().loss(key, parameters, local_model, guide))(keys)
        loss = ELBO(Objective(IWAE(), num_samples=4))
        theirs = RenyiELBO(alpha=0, num_particles=4)
        return (
            loss.loss(key, parameters, local_model, guide),
            np.log(4) - logsumexp(single),
            theirs.loss(key, parameters, local_model, guide),
        )

    ours, by_hand, numpyros = both(KEY)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-5)
    assert abs(numpyros - by_hand) > 1  # log q of the whole is subtracted from every datum


# exact


def test_each_datum_has_its_own_weights():
    @quick_jit
    def both(key):
        keys = jax.random.split(jax.random.split(key)[1], 5)

        def log_weights(key):
            guide = numpyro.handlers.seed(local_guide, jax.random.split(key)[1])
            z = numpyro.handlers.trace(guide).get_trace()["z"]["value"]
            q = dist.Normal(0.3 * X, jnp.exp(-0.1))
            return (
                dist.Normal(0, 1).log_prob(z)
                + dist.Normal(0.7 * z, NOISE).log_prob(X)
                - q.log_prob(z)
            )

        by_hand = jnp.sum(jax.vmap(IWAE())(jax.vmap(log_weights)(keys).T))
        loss = ELBO(Objective(IWAE(), num_samples=5))
        return -loss.loss(key, LOCAL, local_model, local_guide), by_hand

    ours, by_hand = both(KEY)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-5)


def test_subsampling_is_unbiased():
    loss = ELBO(Objective(IWAE(), DoublyReparameterized(), num_samples=3))
    whole = replicated(loss, local_model, local_guide, LOCAL, 4000)
    part = replicated(loss, local_model, local_guide, LOCAL, 4000, BATCH, key=jax.random.key(8))
    assert_same_mean({"value": whole[0], **whole[1]}, {"value": part[0], **part[1]})


FORMS = {
    "one block": ELBO(Objective(IWAE(), num_samples=3)),
    "nested": ELBO(Objective(IWAE(), num_samples=2), local_plate="data", num_local=3),
}


@pytest.mark.parametrize("form", FORMS)
def test_global_and_local_latents_have_a_lower_bound(form):
    # exp of the bound has the mean p(data), which is more than that the bound is below it.
    values, _ = replicated(FORMS[form], mixed_model, mixed_guide, MIXED, 8000)
    evidence = mixed_evidence(MIXED["prior"])
    assert np.mean(values) < evidence - 0.01
    assert_mean(np.exp(values - evidence), 1.0)


def nested_by_hand(parameters, noise, of_mean, num_local):
    """log mean_k p(b)/q(b) prod_n mean_l w."""
    prior, loc, log_scale, slope, of_mean_, local = (parameters[name] for name in MIXED)
    mean = loc + jnp.exp(log_scale) * of_mean  # (K,)
    outside = dist.Normal(prior, 1).log_prob(mean) - dist.Normal(loc, jnp.exp(log_scale)).log_prob(
        mean
    )
    mean = mean[:, None, None]
    q = dist.Normal(slope * X + of_mean_ * mean, jnp.exp(local))
    z = q.loc + jnp.exp(local) * noise  # (K, L, data)
    ell = dist.Normal(mean, 1).log_prob(z) + dist.Normal(z, NOISE).log_prob(X) - q.log_prob(z)
    inside = jnp.sum(logsumexp(ell, axis=1) - np.log(num_local), axis=-1)
    return logsumexp(outside + inside) - np.log(len(of_mean))


def test_nested_bound_and_its_gradient_are_those_by_hand():
    loss = ELBO(
        Objective(IWAE(), Reparameterized(), num_samples=2), local_plate="data", num_local=3
    )

    def draw(key):
        guide = numpyro.handlers.substitute(
            numpyro.handlers.seed(mixed_guide, jax.random.split(key)[1]), data=MIXED
        )
        drawn = numpyro.handlers.trace(guide).get_trace()
        mean, z = drawn["mean"]["value"], drawn["z"]["value"]
        of_mean = (mean - MIXED["loc"]) / jnp.exp(MIXED["log_scale"])
        center = MIXED["slope"] * X + MIXED["of_mean"] * mean
        return of_mean, (z - center) / jnp.exp(MIXED["local"])

    @quick_jit
    def both(key):
        keys = jax.random.split(jax.random.split(key)[1], 2)
        of_mean, _ = jax.vmap(draw)(keys)
        _, noise = jax.vmap(jax.vmap(draw))(jax.vmap(lambda key: jax.random.split(key, 3))(keys))
        by_hand = jax.value_and_grad(nested_by_hand)(MIXED, noise, of_mean, 3)
        return value_and_grad(loss, mixed_model, mixed_guide, MIXED, key), by_hand

    assert_close(*both(KEY))


# estimators


def exact_local_gradient():
    """Of the sum over data of the expected IWAE bound with two draws."""

    def total(parameters):
        def one(x):
            def log_weight(noise):
                q = dist.Normal(parameters["slope"] * x, jnp.exp(parameters["log_scale"]))
                z = q.loc + q.scale * noise[0]
                log_p = dist.Normal(0, 1).log_prob(z)
                return (
                    log_p + dist.Normal(parameters["weight"] * z, NOISE).log_prob(x) - q.log_prob(z)
                )

            return by_quadrature(IWAE(), log_weight, num_noise=1, num_samples=2, num_nodes=24)

        return jnp.sum(jax.vmap(one)(X))

    return quick_jit(jax.value_and_grad(total))(LOCAL)


LOCAL_ESTIMATORS = {
    "doubly reparameterized": {"gradient": DoublyReparameterized()},
    "of one draw, total": {"gradient": Reparameterized(), "num_backward": 1},
    "in chunks": {"gradient": DoublyReparameterized(), "num_outer": 2, "chunk_size": 3},
    "VIMCO, of one draw": {"gradient": VIMCO(), "num_backward": 1},
}


def test_estimators_with_weights_per_datum_have_the_exact_gradient():
    value, gradient = exact_local_gradient()
    losses = [
        ELBO(Objective(IWAE(), num_samples=2, **options)) for options in LOCAL_ESTIMATORS.values()
    ]

    @quick_jit
    @jax.vmap
    def all_of_them(key):
        return [value_and_grad(loss, local_model, local_guide, LOCAL, key) for loss in losses]

    for values, gradients in all_of_them(jax.random.split(KEY, 6000)):
        assert_mean(values, value)
        for name in LOCAL:
            assert_mean(gradients[name], gradient[name])


@pytest.mark.parametrize(
    "plate", [{}, pytest.param({"local_plate": "data", "num_local": 2}, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_estimators_with_global_latents_have_the_same_mean(plate):
    losses = [
        ELBO(Objective(IWAE(), Reparameterized(), num_samples=2), **plate),
        ELBO(Objective(IWAE(), num_samples=2, chunk_size=1), **plate),
        ELBO(Objective(IWAE(), num_samples=2, num_backward=None if plate else 1), **plate),
    ]

    @quick_jit
    @jax.vmap
    def all_of_them(key):
        keys = jax.random.split(key, len(losses))
        return [
            value_and_grad(loss, mixed_model, mixed_guide, MIXED, key)[1]
            for loss, key in zip(losses, keys, strict=True)
        ]

    total, *others = all_of_them(jax.random.split(KEY, 6000))
    for other in others:
        assert_same_mean(other, total)


def test_resampled_draws_are_of_their_own_bound():
    objective = Objective(IWAE(), num_samples=3, num_outer=2, num_backward=2)
    program = Program(local_model, local_guide, (), {}, None)
    draws = Blockwise(objective, program, jax.random.split(KEY, 6))
    picked, factor = draws._resample(jnp.ones((6, 4)))
    np.testing.assert_array_equal(picked // 3, [[0] * 4] * 2 + [[1] * 4] * 2)
    np.testing.assert_allclose(factor, 1.5)


def test_sticking_the_landing_has_no_noise_at_the_exact_posterior():
    def model():
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("data", NUM):
            z = numpyro.sample("z", dist.Normal(mean, 1.0))
            numpyro.sample("x", dist.Normal(z, NOISE), obs=X)

    def guide():
        loc, scale = numpyro.param("loc"), numpyro.param("scale")
        mean = numpyro.sample("mean", dist.Normal(loc, scale))
        slope, of_mean, local = (numpyro.param(name) for name in ("slope", "of_mean", "local"))
        with numpyro.plate("data", NUM):
            numpyro.sample("z", dist.Normal(slope * X + of_mean * mean, local))

    precision = 1 + NUM / (1 + NOISE**2)
    total = 1 + NOISE**2
    exact = {
        "loc": jnp.sum(X) / total / precision,
        "scale": precision**-0.5,
        "slope": 1 / total,
        "of_mean": NOISE**2 / total,
        "local": NOISE / total**0.5,
    }
    exact = {name: jnp.asarray(value, jnp.float32) for name, value in exact.items()}
    losses = [
        ELBO(Objective(IWAE(), num_samples=2)),
        ELBO(Objective(ELBOBound(), StickingTheLanding(), num_samples=2)),
        ELBO(Objective(IWAE(), num_samples=2), local_plate="data", num_local=2),
    ]

    @quick_jit
    @jax.vmap
    def all_of_them(key):
        return [value_and_grad(loss, model, guide, exact, key) for loss in losses]

    for values, gradients in all_of_them(jax.random.split(KEY, 20)):
        np.testing.assert_allclose(values, mixed_evidence(0.0), rtol=1e-5)
        jax.tree.map(lambda g: np.testing.assert_allclose(g, 0, atol=2e-4), gradients)


def discrete_model():
    logit = numpyro.param("prior")
    with numpyro.plate("data", 3):
        z = numpyro.sample("z", dist.Bernoulli(logits=logit))
        numpyro.sample("x", dist.Normal(z, NOISE), obs=X[:3])


def discrete_guide():
    logits = numpyro.param("logits")
    with numpyro.plate("data", 3):
        numpyro.sample("z", dist.Bernoulli(logits=logits))


DISCRETE = {"prior": jnp.array(-0.4), "logits": jnp.array([0.5, -0.3, 1.0])}


def test_discrete_latents_have_the_enumerated_gradient():
    def exact(parameters):
        def one(x, logit):
            z, q = jnp.arange(2.0), dist.Bernoulli(logits=logit)
            log_q = q.log_prob(z)
            prior = dist.Bernoulli(logits=parameters["prior"])
            log_p = prior.log_prob(z) + dist.Normal(z, NOISE).log_prob(x)
            return by_enumeration(IWAE(), log_p - log_q, log_q, num_samples=3)

        return sum(map(one, X[:3], parameters["logits"]))

    loss = ELBO(Objective(IWAE(), VIMCO(), num_samples=3))
    value, gradient = quick_jit(jax.value_and_grad(exact))(DISCRETE)
    values, gradients = replicated(loss, discrete_model, discrete_guide, DISCRETE, 8000)
    assert_mean(values, value)
    for name in DISCRETE:
        assert_mean(gradients[name], gradient[name])


def test_point_masses_are_the_models_parameters():
    guide = AutoGuideList(mixed_model)
    guide.append(AutoDelta(numpyro.handlers.block(mixed_model, hide=["z"])))
    guide.append(AutoNormal(numpyro.handlers.block(mixed_model, hide=["mean"])))
    svi = SVI(mixed_model, guide, optax.sgd(0.1), Trace_ELBO())

    @quick_jit
    def gradients(key):
        parameters = svi.get_params(svi.init(key))

        def of(gradient):
            loss = ELBO(Objective(IWAE(), gradient, num_samples=3))
            return value_and_grad(loss, mixed_model, guide, parameters, key)[1]

        return of(Reparameterized()), of(DoublyReparameterized())

    total, double = gradients(KEY)
    (name,) = (name for name in total if name.startswith("mean"))
    np.testing.assert_allclose(total[name], double[name], rtol=1e-5)


# SVI


def counting_model(x):
    state = numpyro.primitives.mutable("state", {"steps": jnp.array(0.0), "z": jnp.array(0.0)})
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    state["steps"], state["z"] = state["steps"] + 1, z
    numpyro.sample("x", dist.Normal(z, 1.0), obs=x)


def counting_guide(x):
    numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.3), 1.0))


def test_mutable_state_is_the_first_draws():
    theirs = SVI(counting_model, counting_guide, optax.sgd(0.1), Trace_ELBO())
    ours = SVI(
        counting_model,
        counting_guide,
        optax.sgd(0.1),
        ELBO(Objective(gradient=Reparameterized(), num_samples=1)),
    )
    several = SVI(
        counting_model, counting_guide, optax.sgd(0.0), ELBO(Objective(IWAE(), num_samples=3))
    )

    @quick_jit
    def steps(key, missing):
        single = []
        for svi in (theirs, ours):
            start = svi.init(key, 1.0)
            single.append(svi.update(svi.update(start, 1.0)[0], 1.0)[0])
        start = several.init(key, 1.0)
        of_first, _ = several.stable_update(start, 1.0)
        # The step's key, without the plates', the first draw's, the guide's, the first site's.
        draws = jax.random.split(jax.random.split(start.rng_key)[1])[1]
        guide_key = jax.random.split(jax.random.split(draws, 3)[0])[1]
        z = 0.3 + jax.random.normal(jax.random.split(guide_key)[1])
        return single, start, of_first, z, several.stable_update(start, missing)

    (theirs, ours), start, of_first, z, (kept, loss) = steps(KEY, jnp.nan)
    assert_close(ours.mutable_state, theirs.mutable_state)
    assert ours.mutable_state["state"]["steps"] == start.mutable_state["state"]["steps"] + 2
    np.testing.assert_allclose(of_first.mutable_state["state"]["z"], z, rtol=1e-6)
    assert np.isnan(loss)
    jax.tree.map(np.testing.assert_array_equal, kept.optim_state, start.optim_state)


def test_svi_reaches_the_exact_posterior():
    model = numpyro.handlers.block(local_model, hide=["weight"])
    loss = ELBO(Objective(IWAE(), num_samples=4))
    svi = SVI(model, local_guide, optax.adam(0.05), loss)

    @quick_jit
    def run(key):
        result = svi.run(key, 500, BATCH, progress_bar=False)
        return result.params, svi.evaluate(result.state)

    parameters, last = run(KEY)
    variance = NOISE**2 + 0.7**2
    np.testing.assert_allclose(parameters["slope"], 0.7 / variance, rtol=1e-3)
    np.testing.assert_allclose(
        parameters["log_scale"], np.log(NOISE / np.sqrt(variance)), rtol=1e-3
    )
    evidence = jnp.sum(dist.Normal(0.0, variance**0.5).log_prob(X))
    np.testing.assert_allclose(-last, evidence, rtol=1e-4)


# refused


def refusal(loss, model, guide, parameters, *args, match):
    with pytest.raises((TypeError, InputError), match=match):
        jax.eval_shape(lambda key: loss.loss(key, parameters, model, guide, *args), KEY)


@pytest.mark.parametrize("plated", [True, False], ids=["plate", "no plate"])
def test_values_that_are_counted_many_times_are_told(plated):
    """Of N = 12 numbers (N, 1) log densities are N × N: 241.4 nats where 21.1 are right."""
    num = 12

    def model(x):
        with numpyro.plate("data", num) if plated else numpyro.handlers.block(hide=[]):
            numpyro.sample("x", dist.Normal(jnp.zeros(num), 1.0), obs=x)

    loss = ELBO(Objective(ELBOBound()))
    x = jnp.linspace(-2.0, 2.0, num)
    right = loss.loss(KEY, {}, model, lambda x: None, x)  # no warning: an error here
    np.testing.assert_allclose(right, -dist.Normal(0.0, 1.0).log_prob(x).sum(), rtol=1e-6)
    with pytest.warns(UserWarning, match=r"dimension -[12] of the site 'x'.* has shape \(12, 12\)"):
        wrong = loss.loss(KEY, {}, model, lambda x: None, x[:, None])
    np.testing.assert_allclose(wrong, num * right, rtol=1e-6)
    vector = lambda x: numpyro.sample("x", dist.Normal(jnp.zeros(num), 1.0), obs=x)  # noqa: E731
    np.testing.assert_allclose(loss.loss(KEY, {}, vector, lambda x: None, x), right, rtol=1e-6)


def test_what_the_guide_draws_alone_is_told():
    def guide():
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("other", dist.Normal(0.0, 1.0))

    model = lambda: numpyro.sample("z", dist.Normal(0.0, 1.0))  # noqa: E731
    with pytest.warns(UserWarning, match="non-auxiliary vars in guide but not model"):
        ELBO(Objective(ELBOBound())).loss(KEY, {}, model, guide)


def test_what_cannot_be_right_is_refused():
    iwae = Objective(IWAE(), num_samples=2)
    nested = ELBO(iwae, local_plate="data", num_local=2)
    one = ELBO(Objective(IWAE(), num_samples=1), local_plate="data", num_local=2)
    refusal(ELBO(iwae), discrete_model, discrete_guide, DISCRETE, match="site 'z' .Bernoulli")
    refusal(ELBO(iwae), mixed_model, local_guide, LOCAL, match="draws the site 'mean'")
    refusal(ELBO(iwae), mixed_model, mixed_guide, MIXED, BATCH, match="plate 'data' is not around")
    refusal(nested, mixed_model, mixed_guide, MIXED, BATCH, match="plate 'data' is not around")
    elsewhere = ELBO(iwae, local_plate="elsewhere", num_local=2)
    refusal(elsewhere, mixed_model, mixed_guide, MIXED, match="no random site .* 'elsewhere'")

    def mixing():
        with numpyro.plate("data", NUM):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(jnp.mean(z), 1.0), obs=1.0)

    refusal(one, mixing, local_guide, LOCAL, match="depends on latents inside")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_local": 3}, "no plate"),
        ({"num_local": 0}, "whole number of at least 1, got 0"),
        ({"local_plate": "data", "gradient": VIMCO()}, "through the path alone"),
        ({"local_plate": "data", "num_backward": 1}, "num_backward out"),
        ({"local_plate": "data", "bound": Jackknife(1), "num_local": 1}, "num_local of 2"),
    ],
)
def test_local_draws_that_cannot_be_right_are_refused(options, match):
    options = {"bound": IWAE(), "num_samples": 2, **options}
    local = {name: options.pop(name) for name in ("local_plate", "num_local") if name in options}
    with pytest.raises(InputError, match=match):
        ELBO(Objective(**options), **local)


def test_a_flow_without_an_inverse_takes_the_total_derivative():
    def model():
        numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))

    guide = AutoBNAFNormal(model, num_flows=1, hidden_factors=[2])
    svi = SVI(model, guide, optax.sgd(0.1), ELBO(Objective(num_samples=2)))
    with pytest.raises(TypeError, match=r"'_auto_latent' can't be told .* Reparameterized"):
        jax.eval_shape(lambda key: svi.update(svi.init(key)), KEY)
