"""SVI's compiled loop with our loss holds no more matrix products than with numpyro's own."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.distributions.transforms import Transform
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO

from tighter import Objective
from tighter.bounds import ELBO as ELBOBound
from tighter.bounds import IWAE
from tighter.gradients import (
    VIMCO,
    DoublyReparameterized,
    Reparameterized,
    ScoreFunction,
    StickingTheLanding,
    WakePhi,
    doubly_reparameterize,
)
from tighter.integrations._numpyro_program import Program
from tighter.integrations.numpyro import ELBO

ROWS, FEATURES, LATENTS, HIDDEN, BATCH = 12, 7, 2, 5, 4
XS = (jnp.sin(jnp.arange(1.0 * ROWS * FEATURES)) > 0).astype(float).reshape(ROWS, FEATURES)


@pytest.fixture(autouse=True)
def _numpyro_broadcasts():
    with jax.numpy_rank_promotion("allow"):
        yield


def network(name, x, width):
    weights = (
        numpyro.param(f"{name}{i}", 0.1 * jnp.cos(jnp.arange(1.0 * a * b)).reshape(a, b))
        for i, (a, b) in enumerate([(x.shape[-1], HIDDEN), (HIDDEN, width)])
    )
    first, second = weights
    return jnp.tanh(x @ first) @ second


def model(batch):
    with numpyro.plate("data", ROWS, subsample_size=batch):
        x = numpyro.subsample(XS, event_dim=1)
        z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENTS), 1.0).to_event(1))
        logits = network("decoder", z, FEATURES)
        numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def guide(batch):
    with numpyro.plate("data", ROWS, subsample_size=batch):
        x = numpyro.subsample(XS, event_dim=1)
        loc, log_scale = jnp.split(network("encoder", x, 2 * LATENTS), 2, axis=-1)
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


@functools.cache
def products(loss, batch):
    """Matrix products of `svi.update` in a scan."""
    svi = SVI(model, guide, optax.adam(1e-3), loss)
    state = svi.init(jax.random.key(0), batch)

    def run(state):
        return jax.lax.scan(lambda held, _: svi.update(held, batch), state, None, length=3)

    return len(re.findall(r" dot\(", jax.jit(run).lower(state).compile().as_text()))


NUMPYROS = {1: Trace_ELBO(), 3: RenyiELBO(alpha=0, num_particles=3)}
ESTIMATORS = [
    Reparameterized(),
    StickingTheLanding(),
    DoublyReparameterized(),
    doubly_reparameterize(WakePhi()),
    ScoreFunction(),
    VIMCO(),
]


@pytest.mark.parametrize("gradient", ESTIMATORS)
@pytest.mark.parametrize(
    ("num", "batch"), [(3, BATCH), pytest.param(1, None, marks=pytest.mark.slow)]
)
def test_svi_holds_the_products_of_its_own_loss(gradient, num, batch):
    if num < gradient.min_samples(IWAE()):
        num = 3
    theirs = products(NUMPYROS[num], batch)
    assert theirs == 11
    ours = products(ELBO(Objective(IWAE(), gradient, num_samples=num)), batch)
    assert ours <= (theirs if gradient.uses_path else theirs - 1)


def test_local_draws_of_a_plate_hold_them_too():
    objective = Objective(ELBOBound(), num_samples=1)
    assert products(ELBO(objective, local_plate="data", num_local=3), BATCH) <= 11


class Shift(Transform):
    """By a number that the distribution's pytree does not tell."""

    domain = codomain = dist.constraints.real

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x + self.by()

    def _inverse(self, y):
        return y - self.by()

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.zeros_like(x)

    def tree_flatten(self):
        return (), ((), {"by": self.by})

    def __eq__(self, other):
        return isinstance(other, Shift)

    def __hash__(self):
        return 0


def shifted(closure):
    loc = numpyro.param("loc", 0.3)
    shift = Shift(lambda: loc) if closure else dist.transforms.AffineTransform(loc, 1.0)
    numpyro.sample("z", dist.TransformedDistribution(dist.Normal(0.0, 0.5), [shift]))


def chain(_):
    first = numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.3), 0.5))
    numpyro.sample("second", dist.Normal(first, 1.0))


@pytest.mark.parametrize(
    ("guide", "argument", "factorized"),
    [(guide, BATCH, True), (shifted, False, True), (shifted, True, False), (chain, None, False)],
)
def test_only_a_guide_whose_sites_hold_their_parameters_runs_once(guide, argument, factorized):
    with numpyro.handlers.seed(rng_seed=0):
        run = numpyro.handlers.trace(guide).get_trace(argument)
    parameters = {name: site["value"] for name, site in run.items() if site["type"] == "param"}
    program = Program(model, guide, (argument,), {}, None)
    assert program.is_factorized(parameters, jax.random.key(0)) is factorized


@pytest.mark.parametrize("closure", [False, True])
def test_a_parameter_in_a_closure_has_no_noise_at_the_exact_posterior(closure):
    def normal(closure):
        numpyro.sample("z", dist.Normal(0.3, 0.5))

    loss = ELBO(Objective(ELBOBound(), StickingTheLanding(), num_samples=1))

    def of_loc(loc, key):
        return loss.loss(key, {"loc": loc}, normal, shifted, closure)

    keys = jax.random.split(jax.random.key(0), 20)
    gradients = jax.jit(jax.vmap(jax.grad(of_loc), in_axes=(None, 0)))(jnp.array(0.3), keys)
    np.testing.assert_allclose(gradients, 0, atol=1e-5)


def test_what_a_guide_keeps_of_a_draw_is_held_with_it():
    """A mutable site that the model reads: without a path there is none through it either."""

    def keeping():
        held = numpyro.primitives.mutable("held", {"value": jnp.zeros(())})
        held["value"] = numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.3), 0.5))

    def reading():
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        held = numpyro.primitives.mutable("held", {"value": jnp.zeros(())})
        numpyro.sample("x", dist.Normal(held["value"], 0.5), obs=jnp.array(1.0))

    parameters = {"loc": jnp.array(0.3), "held": {"value": jnp.zeros(())}}
    program = Program(reading, keeping, (), {}, None)
    assert not program.is_factorized(parameters, jax.random.key(0))
