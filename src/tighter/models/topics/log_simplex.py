"""Distributions of log θ, θ a vector of proportions: Dirichlet and logistic-normal.

Densities are by the measure dθ / Πθ_k, which is du for u_k = log θ_k − log θ_K: the same for both,
so that either can be weighed by the other, and without the floor that θ itself has in a float.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key
from numpyro.distributions import Dirichlet, Distribution, biject_to, constraints, kl_divergence
from numpyro.distributions.transforms import ParameterFreeTransform

from tighter.distributions.gamma import check_positive, log_gamma
from tighter.distributions.kl import kl

# Draws by which a logistic-normal's mean proportions are found.
_DRAWS = 256


class _LogSimplex(constraints.ParameterFreeConstraint):
    """Logarithms of numbers that add up to one."""

    event_dim = 1

    def __call__(self, x: Any) -> Any:
        """Whether they do."""
        return jnp.abs(jax.scipy.special.logsumexp(x, axis=-1)) < 1e-4

    def feasible_like(self, prototype: Any) -> Any:
        """All the same."""
        return jnp.full_like(prototype, -math.log(jnp.shape(prototype)[-1]))


log_simplex = _LogSimplex()


class _FromLogRatios(ParameterFreeTransform):
    """Log ratios to the last entry -> log proportions, with volume one by their measure."""

    domain = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    codomain = log_simplex  # pyright: ignore[reportAssignmentType]

    def __call__(self, x: Any) -> Any:
        """Log proportions."""
        return jax.nn.log_softmax(jnp.concatenate([x, jnp.zeros_like(x[..., :1])], axis=-1))

    def _inverse(self, y: Any) -> Any:
        return y[..., :-1] - y[..., -1:]

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """Zero."""
        return jnp.zeros_like(x[..., 0])

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One entry more."""
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One entry less."""
        return (*shape[:-1], shape[-1] - 1)


biject_to.register(type(log_simplex))(lambda constraint: _FromLogRatios())


class LogDirichlet(Distribution):
    r"""log θ for θ ~ Dirichlet(α), density $\prod_k \theta_k^{\alpha_k} / B(\alpha)$.

    Draws carry the implicit derivative, and hold at concentrations of 0.01, where most entries of θ
    are too small for a float.

    Args:
        concentration: α > 0, shape (…, topics).

    Raises:
        InputError: If a concentration is not above zero.
    """

    concentration: Array
    arg_constraints: ClassVar[dict[str, Any]] = {
        "concentration": constraints.independent(constraints.positive, 1)
    }
    reparametrized_params: ClassVar[list[str]] = ["concentration"]
    support = log_simplex  # pyright: ignore[reportAssignmentType]

    def __init__(self, concentration: Any, *, validate_args: bool = False):
        check_positive("LogDirichlet", concentration=concentration)
        self.concentration = jnp.asarray(concentration)
        shape = self.concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Log proportions, with derivatives."""
        shape = sample_shape + self.batch_shape + self.event_shape
        draws = log_gamma(key, jnp.broadcast_to(self.concentration, shape))
        return jax.nn.log_softmax(draws)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of log proportions, in nats."""
        total = jnp.sum(self.concentration, axis=-1)
        normalizer = gammaln(total) - jnp.sum(gammaln(self.concentration), axis=-1)
        linear = jnp.sum(jnp.broadcast_to(self.concentration, value.shape) * value, axis=-1)
        return linear + jnp.broadcast_to(normalizer, linear.shape)

    @property
    def mean_proportions(self) -> Array:
        """E[θ]."""
        return self.concentration / jnp.sum(self.concentration, axis=-1, keepdims=True)

    @property
    def mean(self) -> Array:
        """E[log θ]."""
        total = jnp.sum(self.concentration, axis=-1, keepdims=True)
        return digamma(self.concentration) - digamma(total)


class LogDirichletMixture(Distribution):
    """Log θ for θ ~ a mixture of Dirichlets that is held: it has no derivative by its parameters.

    Args:
        weights: Of the components, adding up to one.
        concentrations: A row a component, shape (components, topics); the first one's mean is that
            of θ which is told.
    """

    weights: Array
    concentrations: Array
    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("weights", "concentrations")
    support = log_simplex  # pyright: ignore[reportAssignmentType]
    has_rsample = True  # pyright: ignore[reportAssignmentType]

    def __init__(self, weights: Any, concentrations: Any):
        self.weights, self.concentrations = jax.lax.stop_gradient(
            (jnp.asarray(weights), jnp.asarray(concentrations))
        )
        super().__init__((), self.concentrations.shape[-1:], validate_args=False)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Log proportions."""
        which_key, key = jax.random.split(key)
        which = jax.random.categorical(which_key, jnp.log(self.weights), shape=sample_shape)
        concentrations = jax.lax.stop_gradient(self.concentrations)
        return LogDirichlet(concentrations[which]).sample(key)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of log proportions, in nats."""
        weights, rows = jax.lax.stop_gradient((self.weights, self.concentrations))
        parts = [
            jnp.log(weight) + LogDirichlet(row).log_prob(value)
            for weight, row in zip(weights, rows, strict=True)
        ]
        return jax.nn.logsumexp(jnp.stack(parts), axis=0)

    @property
    def mean_proportions(self) -> Array:
        """E[θ] of the first component."""
        return LogDirichlet(self.concentrations[0]).mean_proportions


class LogisticNormal(Distribution):
    r"""$\log\theta$ for θ = softmax(u), u ~ N(μ, diag σ²).

    The sum over all shifts of u is in closed form: with weights $a_k = \sigma_k^{-2}$, $r_k =
    \log\theta_k - \mu_k$ and $\bar r$ their weighted mean, the density is
    $\prod_k \sigma_k^{-1}\, (\sum_k a_k)^{-1/2}\, (2\pi)^{-(K-1)/2}
    \exp(-\tfrac12 \sum_k a_k (r_k - \bar r)^2)$.

    Args:
        loc: μ, shape (…, topics).
        log_scale: log σ, of the same shape.
    """

    loc: Array
    log_scale: Array
    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real_vector,
        "log_scale": constraints.real_vector,
    }
    reparametrized_params: ClassVar[list[str]] = ["loc", "log_scale"]
    support = log_simplex  # pyright: ignore[reportAssignmentType]

    def __init__(self, loc: Any, log_scale: Any, *, validate_args: bool = False):
        self.loc, self.log_scale = jnp.broadcast_arrays(jnp.asarray(loc), jnp.asarray(log_scale))
        shape = self.loc.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Log proportions, with derivatives."""
        shape = sample_shape + self.batch_shape + self.event_shape
        noise = jax.random.normal(key, shape, self.loc.dtype)
        return jax.nn.log_softmax(self.loc + jnp.exp(self.log_scale) * noise)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density of log proportions, in nats."""
        loc, log_scale = (jnp.broadcast_to(a, value.shape) for a in (self.loc, self.log_scale))
        weight = jnp.exp(-2 * log_scale)
        total = jnp.sum(weight, axis=-1)
        apart = value - loc
        centered = apart - (jnp.sum(weight * apart, axis=-1) / total)[..., None]
        constant = 0.5 * (self.event_shape[0] - 1) * math.log(2 * math.pi)
        log_determinant = jnp.sum(log_scale, axis=-1) + 0.5 * jnp.log(total)
        return -0.5 * jnp.sum(weight * centered**2, axis=-1) - log_determinant - constant

    @property
    def mean_proportions(self) -> Array:
        """E[θ], over a few hundred draws that are the same at each call."""
        return jnp.mean(jnp.exp(self.sample(jax.random.key(0), (_DRAWS,))), axis=0)


def laplace_of_dirichlet(concentration: Float[Array, " topics"]) -> LogisticNormal:
    r"""The logistic-normal nearest to a Dirichlet at its mode, in softmax space.

    $\mu_k = \log\alpha_k - \tfrac1K\sum_i\log\alpha_i$ and $\sigma_k^2 = \tfrac{1}{\alpha_k}(1 -
    \tfrac2K) + \tfrac1{K^2}\sum_i \tfrac1{\alpha_i}$.

    References:
        Srivastava & Sutton, "Autoencoding variational inference for topic models", 2017, eq. 3.
    """
    num = concentration.size
    log_concentration = jnp.log(concentration)
    variance = (1 - 2 / num) / concentration + jnp.sum(1 / concentration) / num**2
    return LogisticNormal(log_concentration - jnp.mean(log_concentration), 0.5 * jnp.log(variance))


@kl_divergence.register(LogDirichlet, LogDirichlet)
def _dirichlet_kl(p: LogDirichlet, q: LogDirichlet) -> Any:
    return kl(
        Dirichlet(p.concentration, validate_args=False),
        Dirichlet(q.concentration, validate_args=False),
    )


@kl_divergence.register(LogisticNormal, LogisticNormal)
def _logistic_normal_kl(p: LogisticNormal, q: LogisticNormal) -> Any:
    weight = jnp.exp(-2 * q.log_scale)
    share = weight / jnp.sum(weight, axis=-1, keepdims=True)
    apart = p.loc - q.loc
    apart = apart - jnp.sum(share * apart, axis=-1, keepdims=True)
    spread = weight * (1 - share) * jnp.exp(2 * p.log_scale)

    def log_determinant(d: LogisticNormal) -> Array:
        total = jnp.sum(jnp.exp(-2 * d.log_scale), axis=-1)
        return jnp.sum(d.log_scale, axis=-1) + 0.5 * jnp.log(total)

    quadratic = jnp.sum(spread + weight * apart**2, axis=-1) - (p.event_shape[0] - 1)
    return 0.5 * quadratic + log_determinant(q) - log_determinant(p)
