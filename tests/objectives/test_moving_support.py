"""Supports that move with a parameter: the total derivative is right, and it alone is let in."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import transforms
from numpyro.infer import Trace_ELBO
from scipy import integrate, stats

import tighter as tt
from tighter.gradients import ESTIMATORS
from tighter.integrations.numpyro import ELBO
from tighter.models import LatentVariableModel

LOW, HIGH = -0.7, 1.6
TOTAL = {"reparameterized", "split"}
ALL = {
    **ESTIMATORS,
    "split": lambda: tt.gradients.Split(
        theta=tt.gradients.DoublyReparameterized(), phi=tt.gradients.Reparameterized()
    ),
}


def log_joint(z):
    """Of one number, or of several that are independent."""
    of_each = dist.Normal(0.3, 1.0).log_prob(z) + dist.Normal(z, 0.8).log_prob(1.1)
    return jnp.sum(of_each)


def uniform(low, high):
    return dist.Uniform(low, high)


def truncated(low, high):
    return dist.TruncatedNormal(0.5, 0.7, low=low, high=high)


def exact(name, low, high):
    """ELBO of one number by quadrature."""
    if name == "uniform":
        q = stats.uniform(low, high - low)
    else:
        q = stats.truncnorm((low - 0.5) / 0.7, (high - 0.5) / 0.7, 0.5, 0.7)

    def integrand(z):
        log_p = stats.norm(0.3, 1.0).logpdf(z) + stats.norm(z, 0.8).logpdf(1.1)
        return q.pdf(z) * (log_p - q.logpdf(z))

    return integrate.quad(integrand, low, high, epsabs=1e-11)[0]


def slopes(name):
    """The ELBO's derivative by both ends, by central differences."""
    step = 1e-4
    return [
        (exact(name, LOW + step, HIGH) - exact(name, LOW - step, HIGH)) / (2 * step),
        (exact(name, LOW, HIGH + step) - exact(name, LOW, HIGH - step)) / (2 * step),
    ]


def grad_of(make, estimator, ends=(LOW, HIGH), bound=None, num=4, **options):
    objective = tt.Objective(bound or tt.bounds.ELBO(), estimator, num_samples=num, **options)

    def value(ends, key):
        return objective(log_joint, make(*ends), key=key)

    return jax.jit(jax.vmap(jax.grad(value), (None, 0))), tuple(map(jnp.float32, ends))


@pytest.mark.parametrize("num_backward", [None, 1])
@pytest.mark.parametrize("estimator", sorted(TOTAL))
@pytest.mark.parametrize("make", [uniform, truncated])
def test_the_total_derivative_has_the_boundary_in_it(make, estimator, num_backward):
    gradient, ends = grad_of(make, ALL[estimator](), num_backward=num_backward)
    draws = np.stack(gradient(ends, jax.random.split(jax.random.key(0), 20_000)), axis=1)
    errors = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - slopes(make.__name__)) < 5 * errors)
    assert np.max(errors) < 0.01


def test_the_published_numbers():
    np.testing.assert_allclose(slopes("uniform"), [0.489, 0.376], atol=1e-3)
    np.testing.assert_allclose(slopes("truncated"), [0.024, 0.293], atol=1e-3)


@pytest.mark.parametrize("estimator", sorted(set(ALL) - TOTAL))
def test_every_other_estimator_is_refused_where_it_is_differentiated(estimator):
    for make in (uniform, truncated):
        gradient, ends = grad_of(make, ALL[estimator]())
        with pytest.raises(TypeError, match=r"moves with .* use Reparameterized"):
            jax.make_jaxpr(gradient)(ends, jax.random.split(jax.random.key(0), 2))
    # Other parameters may be differentiated.
    objective = tt.Objective(tt.bounds.ELBO(), ALL[estimator](), num_samples=4)

    def of_location(loc):
        q = dist.TruncatedNormal(loc, 0.7, low=LOW, high=HIGH)
        return objective(log_joint, q, key=jax.random.key(0))

    jax.make_jaxpr(jax.grad(of_location))(0.5)


def affine(base, loc, scale):
    return dist.TransformedDistribution(base, transforms.AffineTransform(loc, scale))


def chain(part):
    return lambda a: tt.distributions.Chain({"a": dist.Normal(a, 1.0), "b": part(a)})


MOVING = {
    "expanded": lambda a: dist.Uniform(-a, a).expand([2]).to_event(1),
    "truncated on the left": lambda a: dist.TruncatedNormal(0.5, 0.7, low=-a),
    "shifted": lambda a: affine(dist.HalfNormal(1.0), a, 1.0),
    "scaled": lambda a: affine(dist.Beta(2.0, 3.0), 0.0, a),
    "transformed": lambda a: dist.TransformedDistribution(
        dist.Uniform(-a, 1.0), transforms.ExpTransform()
    ),
    "squashed, then scaled": lambda a: dist.TransformedDistribution(
        dist.Logistic(0.0, 1.0),
        [transforms.SigmoidTransform(), transforms.AffineTransform(0.0, a)],
    ),
    "simplex, scaled": lambda a: affine(dist.Dirichlet(jnp.ones(3)), 0.0, a),
    "Pareto": lambda a: dist.Pareto(a, 3.0),
    "LogUniform": lambda a: dist.LogUniform(a, 3.0),
    "masked": lambda a: dist.Uniform(-a, a).mask(True),
    "moved within one transform": lambda a: dist.TransformedDistribution(
        dist.Normal(0.0, 1.0),
        transforms.ComposeTransform(
            [transforms.ExpTransform(), transforms.AffineTransform(a, 1.0)]
        ),
    ),
    "moved by entries": lambda a: dist.TransformedDistribution(
        dist.Normal(jnp.zeros(2), 1.0).to_event(1),
        transforms.IndependentTransform(
            transforms.ComposeTransform(
                [transforms.ExpTransform(), transforms.AffineTransform(a, 1.0)]
            ),
            1,
        ),
    ),
    "a point": lambda a: dist.Delta(a * jnp.ones(2), event_dim=1),
    "in a chain": chain(lambda a: lambda z: dist.Uniform(z["a"], z["a"] + a)),
    "in a chain in a chain": chain(lambda a: tt.distributions.Chain({"c": dist.Uniform(-a, a)})),
}
FIXED = {
    "normal": lambda a: dist.Normal(a, a),
    "HalfNormal": lambda a: dist.HalfNormal(a),
    "a scaled half": lambda a: affine(dist.HalfNormal(1.0), 0.0, a),
    "a full line, moved": lambda a: affine(dist.Normal(0.0, 1.0), a, a),
    "Gamma": lambda a: dist.Gamma(a, a),
    "Dirichlet": lambda a: dist.Dirichlet(a * jnp.ones(3)),
    "Pareto": lambda a: dist.Pareto(1.0, a),
    "InverseGamma": lambda a: dist.InverseGamma(a, a),
    "power of a half": lambda a: dist.TransformedDistribution(
        dist.Gamma(2.0, 1.0), transforms.PowerTransform(a)
    ),
    "squashed into fixed ends": lambda a: dist.TransformedDistribution(
        dist.Normal(a, 1.0),
        [transforms.SigmoidTransform(), transforms.AffineTransform(-1.0, 3.0)],
    ),
    "held ends": lambda a: dist.Uniform(-jax.lax.stop_gradient(a), 3.0),
    "ends that are latents": chain(lambda a: lambda z: dist.Uniform(z["a"], z["a"] + 1)),
}


def differentiate(make, estimator):
    objective = tt.Objective(tt.bounds.IWAE(), estimator, num_samples=2)

    def value(a):
        quadratic = lambda z: -sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(z))  # noqa: E731
        return objective(quadratic, make(a), key=jax.random.key(0))

    jax.make_jaxpr(jax.grad(jax.jit(value)))(1.3)


@pytest.mark.parametrize("name", MOVING)
def test_any_wrapper_of_a_moving_support_is_seen(name):
    for estimator in (tt.gradients.DoublyReparameterized(), tt.gradients.ScoreFunction()):
        with pytest.raises(TypeError, match="moves with a parameter"):
            differentiate(MOVING[name], estimator)
    differentiate(MOVING[name], tt.gradients.Reparameterized())
    if name != "in a chain":
        with pytest.raises(TypeError, match="moves with a parameter"):
            jax.make_jaxpr(
                jax.grad(
                    lambda a: tt.expectation(
                        jnp.sum,
                        MOVING[name](a),
                        gradient=tt.gradients.ScoreFunction(),
                        key=jax.random.key(0),
                    )
                )
            )(1.3)


@pytest.mark.parametrize("name", FIXED)
def test_a_support_that_stays_is_let_in(name):
    differentiate(FIXED[name], tt.gradients.DoublyReparameterized())


def test_a_point_may_move_where_there_is_no_score_to_miss():
    """With K draws at one place F = ℓ, whose derivative the double reparameterization divides."""

    def slope(bound, estimator):
        objective = tt.Objective(bound, estimator, num_samples=3)
        value = lambda a: objective(log_joint, dist.Delta(a), key=jax.random.key(0))  # noqa: E731
        return jax.grad(value)(0.4)

    expected = (0.3 - 0.4) + (1.1 - 0.4) / 0.8**2
    iwae, elbo = tt.bounds.IWAE(), tt.bounds.ELBO()
    for bound, name in ((iwae, "reparameterized"), (elbo, "doubly-reparameterized")):
        np.testing.assert_allclose(slope(bound, ALL[name]()), expected, rtol=1e-5)
    with pytest.raises(TypeError, match="moves with a parameter"):
        slope(iwae, ALL["doubly-reparameterized"]())


class Located(LatentVariableModel):
    """A uniform posterior about the datum."""

    width: jax.Array

    @property
    def prior(self):
        return dist.Normal(0.3, 1.0)

    def likelihood(self, z):
        return dist.Normal(z, 0.8)

    def log_joint(self, x):
        return lambda z: self.prior.log_prob(z) + self.likelihood(z).log_prob(x)

    def posterior(self, x):
        return dist.Uniform(x - self.width, x + self.width)


@pytest.mark.filterwarnings("ignore:SUMO")
@pytest.mark.parametrize(
    ("make", "accepts"),
    [
        (lambda: tt.Objective(), False),
        (lambda: tt.Objective(gradient=tt.gradients.Reparameterized()), True),
        (lambda: tt.AnalyticEntropy(), True),
        (lambda: tt.AnalyticEntropy(tt.gradients.ScoreFunction()), False),
        (lambda: tt.SUMO(max_samples=4), False),
        (lambda: tt.SUMO(tt.gradients.Reparameterized(), max_samples=4), True),
    ],
)
def test_every_objective_asks(make, accepts):
    xs = jnp.asarray([0.5, 1.1])

    def value(width):
        return jnp.sum(make().batch(Located(width), xs, key=jax.random.key(0)))

    slope = jax.make_jaxpr(jax.grad(value))
    if accepts:
        slope(0.8)
    else:
        with pytest.raises(TypeError, match="moves with a parameter"):
            slope(0.8)


def model():
    z = numpyro.sample("z", dist.Normal(0.3, 1.0))
    numpyro.sample("x", dist.Normal(z, 0.8), obs=1.1)


def guide():
    low = numpyro.param("low", LOW)
    width = numpyro.param("width", HIGH - LOW)
    numpyro.sample("z", dist.Uniform(low, low + width))


def nested_guide():
    z = numpyro.sample("z", dist.Normal(numpyro.param("low", LOW), numpyro.param("width", 1.0)))
    numpyro.sample("other", dist.Uniform(z, z + 1))


def nested_model():
    model()
    numpyro.sample("other", dist.Normal(0.0, 1.0))


def loss_slope(loss, model, guide):
    params = {"low": LOW, "width": HIGH - LOW}
    return jax.grad(lambda params: loss.loss(jax.random.key(1), params, model, guide))(params)


def test_the_loss_of_numpyro_asks_too():
    refused = ELBO(tt.Objective(num_samples=3))
    with pytest.raises(TypeError, match="moves with a parameter"):
        loss_slope(refused, model, guide)
    taken = ELBO(tt.Objective(gradient=tt.gradients.Reparameterized(), num_samples=3))
    ours = loss_slope(taken, model, guide)
    theirs = loss_slope(Trace_ELBO(num_particles=3), model, guide)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5)
    # An end that is another latent moves with no parameter.
    assert all(np.isfinite(list(loss_slope(refused, nested_model, nested_guide).values())))
