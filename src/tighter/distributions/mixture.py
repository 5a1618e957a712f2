"""Mixtures whose draws carry the derivative of their weights, means and scales."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution, constraints

from tighter._derivatives import without_derivative
from tighter.distributions._checks import check_finite_parameters, name_of
from tighter.distributions._conditionals import Family, LocationScale, location_scale

_NO_DF = (
    "a mixture of Student's t is not differentiated by its degrees of freedom: make them a "
    "constant (jax.lax.stop_gradient)"
)


class Mixture(Distribution):
    r"""Mixture $\sum_c \pi_c\, q_c(z)$, reparameterized: one draw carries the gradient of all.

    A draw is taken from one component and then held at its place in the mixture's distribution
    functions, $F_d(z_d \mid z_{<d})$ for each coordinate in turn, while the parameters move. So
    its derivative is $\dot z_d = -\dot F_d / q(z_d \mid z_{<d})$, for weights, means and scales,
    at a cost of C·D (C·D² with full covariances). Of weights of components that lie many standard
    deviations apart, the derivative is carried by the rare draws between them: an average over
    draws that has met none misses it, and its standard error too. `ScoreFunction` has no such
    gap.

    Args:
        logits: Log weights up to a constant, shape (C,).
        components: A numpyro distribution with batch shape (C,): `Normal` or `StudentT`, alone or
            with `.to_event(1)`, `MultivariateNormal`, `LowRankMultivariateNormal` or
            `MultivariateStudentT`. Degrees of freedom have no derivative.

    Raises:
        ValueError: If the logits don't fit the components, or a parameter is not finite or a
            covariance not positive definite.
        TypeError: If the components are of another family.

    Example:
        >>> components = dist.Normal(jnp.array([-1.0, 2.0]), 1.0)
        >>> Mixture(jnp.array([0.3, -0.1]), components).rsample(jax.random.key(0))

    References:
        Graves, "Stochastic backpropagation through mixture density distributions", 2016;
        Figurnov, Mohamed & Mnih, "Implicit reparameterization gradients", 2018, sec. 3.
    """

    logits: Array
    components: Any
    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    pytree_data_fields = ("logits", "components")
    has_rsample = True  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: ArrayLike, components: Distribution, *, validate_args: bool = False):
        logits = jnp.asarray(logits)
        if logits.ndim != 1 or components.batch_shape != logits.shape:
            raise ValueError(
                f"a mixture of C components has logits of shape (C,) and components of batch shape "
                f"(C,), got logits {logits.shape} and {name_of(components)} of batch shape "
                f"{components.batch_shape}: write .to_event(1) for a vector"
            )
        location_scale(components)  # refuses other families
        self.logits, self.components = check_finite_parameters((logits, components), "Mixture")
        super().__init__((), components.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:  # type: ignore[override]
        """That of the components."""
        return self.components.support

    @property
    def mean(self) -> Array:
        """Weighted mean of the means."""
        return jnp.tensordot(jax.nn.softmax(self.logits), self.components.mean, 1)

    @property
    def variance(self) -> Array:
        """Weighted variances, plus the variance of the means."""
        spread = self.components.variance + (self.components.mean - self.mean[None]) ** 2
        return jnp.tensordot(jax.nn.softmax(self.logits), spread, 1)

    def component_log_probs(self, value: Array) -> Float[Array, " C"]:
        """Log of weight times density of each component at one value, in nats."""
        return jax.nn.log_softmax(self.logits) + self.components.log_prob(value[None])

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log density, in nats, over any leading axes."""
        value = jnp.asarray(value)
        lead = value.ndim - len(self.event_shape)
        log_prob = lambda z: jax.nn.logsumexp(self.component_log_probs(z))  # noqa: E731
        for _ in range(lead):
            log_prob = jax.vmap(log_prob)
        return log_prob(value)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with the derivative of every parameter."""
        if sample_shape:
            keys = jax.random.split(key, math.prod(sample_shape))
            draws = jax.vmap(self.rsample)(keys)
            return draws.reshape(*sample_shape, *self.event_shape)
        component_key, key = jax.random.split(key)
        index = jax.random.categorical(component_key, self.logits)
        return self.carry(self.components.sample(key)[index])

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with the derivative of every parameter."""
        return self.rsample(key, sample_shape)

    def carry(self, value: Array) -> Array:
        r"""The same values, moving with the parameters as if they had been drawn from the mixture.

        Args:
            value: Points, with any leading axes; their own derivative is dropped.

        Returns:
            The points with the derivative $-\dot F / q$, which keeps each at its place in the
            mixture's distribution functions.
        """
        carry = partial(carried, self.logits, location_scale(self.components))
        for _ in range(value.ndim - len(self.event_shape)):
            carry = jax.vmap(carry)
        return carry(jax.lax.stop_gradient(value))


def carried(logits: Float[Array, " C"], parts: LocationScale, value: Array) -> Array:
    """One point, coordinate by coordinate: each is held in the mixture given those before."""
    parts = eqx.tree_at(lambda p: p.df, parts, without_derivative(parts.df, _NO_DF))

    def coordinate(state, inputs):
        log_weights, whitened = state
        index, at = inputs
        place = parts.conditional(index, whitened)
        z = _held(parts.family, at, log_weights, *place)
        unit = (z - place.loc) / place.scale
        log_density = parts.family.log_density(unit, place.df) - jnp.log(place.scale)
        return (log_weights + log_density, parts.extended(whitened, index, z)), z

    flat = value.reshape(-1)
    start = (jax.nn.log_softmax(logits), jnp.zeros_like(parts.loc))
    if flat.shape[0] == 1:  # no loop to differentiate
        return coordinate(start, (jnp.asarray(0), flat[0]))[1].reshape(value.shape)
    _, zs = jax.lax.scan(coordinate, start, (jnp.arange(flat.shape[0]), flat))
    return zs.reshape(value.shape)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _held(
    family: Family,
    z: Float[Array, ""],
    log_weights: Float[Array, " C"],
    loc: Float[Array, " C"],
    scale: Float[Array, " C"],
    df: Float[Array, " C"],
) -> Float[Array, ""]:
    """z, whose derivative keeps the mixture's distribution function at z where it is."""
    return z


@partial(_held.defjvp, symbolic_zeros=True)
def _held_jvp(family, primals, tangents):
    z, log_weights, loc, scale, df = primals
    _, log_weights_dot, loc_dot, scale_dot, _ = tangents
    zero = jax.custom_derivatives.SymbolicZero
    log_weights = jax.nn.log_softmax(log_weights)
    unit = (z - loc) / scale
    log_parts = log_weights + family.log_density(unit, df) - jnp.log(scale)
    log_density = jax.nn.logsumexp(log_parts)
    shares = jnp.exp(log_parts - log_density)
    z_dot = jnp.zeros_like(z)
    if not isinstance(loc_dot, zero):
        z_dot = z_dot + jnp.sum(shares * loc_dot)
    if not isinstance(scale_dot, zero):
        z_dot = z_dot + jnp.sum(shares * unit * scale_dot)
    if not isinstance(log_weights_dot, zero):
        excess = _distribution_excess(family, log_weights, unit, df)
        flow = jnp.exp(log_weights - log_density) * excess
        z_dot = z_dot - jnp.sum(flow * log_weights_dot)
    return z, z_dot


def _distribution_excess(
    family: Family, log_weights: Float[Array, " C"], unit: Float[Array, " C"], df: Any
) -> Float[Array, " C"]:
    """F_c − Σ w F for each component, with no difference of numbers close to one.

    Above its center a component counts by what is left, F = 1 − S; the ones are summed apart.
    """
    weights = jnp.exp(log_weights)
    above = unit > 0
    tail = family.tail(jnp.abs(unit), df)
    signed = jnp.where(above, -tail, tail)
    weight_above = jnp.sum(jnp.where(above, weights, 0))
    weight_below = jnp.sum(jnp.where(above, 0, weights))
    return signed - jnp.sum(weights * signed) + jnp.where(above, weight_below, -weight_above)
