"""Observation families: what turns a decoder's output into p(x|z)."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from numpyro.distributions import BernoulliLogits, Distribution, Normal


class Observation(eqx.Module):
    """A family p(x | decoder output), for one example of any shape."""

    @abc.abstractmethod
    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """p(x|z) given the decoder's output, which has the shape of x."""

    @abc.abstractmethod
    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density of x in nats: that of `distribution`, in the form that runs fastest."""

    @abc.abstractmethod
    def initial_bias(self, mean: Float[Array, ...]) -> Float[Array, ...]:
        """The decoder's output whose distribution has the data's mean."""

    @property
    @abc.abstractmethod
    def support(self) -> tuple[float, float]:
        """The range of values that the family can explain."""


class Bernoulli(Observation):
    r"""Independent Bernoulli pixels from logits; values between 0 and 1 are taken as their means.

    $\log p = \sum_i x_i l_i - \log(1 + e^{l_i})$.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Bernoulli with the output as logits."""
        return BernoulliLogits(output, validate_args=False).to_event(output.ndim)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Cross entropy from logits, of vectors: XLA sums one axis faster than two."""
        return _bernoulli_log_prob(output.reshape(-1), x.reshape(-1))

    def initial_bias(self, mean: Float[Array, ...]) -> Float[Array, ...]:
        """Logit of the mean, clipped to [0.001, 0.999]."""
        clipped = jnp.clip(mean, 1e-3, 1 - 1e-3)
        return jnp.log(clipped) - jnp.log1p(-clipped)

    @property
    def support(self) -> tuple[float, float]:
        """[0, 1]."""
        return 0.0, 1.0


class Gaussian(Observation):
    r"""Independent Gaussian values around the output, of one known standard deviation.

    Args:
        scale: The standard deviation, above zero.

    Raises:
        ValueError: If `scale` is not above zero.
    """

    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        """Refuse what is no standard deviation."""
        if not self.scale > 0:
            raise ValueError(f"a standard deviation is above zero, got {self.scale}")

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal around the output."""
        return Normal(output, self.scale, validate_args=False).to_event(output.ndim)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        return _gaussian_log_prob(x - output, jnp.log(jnp.asarray(self.scale, output.dtype)))

    def initial_bias(self, mean: Float[Array, ...]) -> Float[Array, ...]:
        """The mean."""
        return mean

    @property
    def support(self) -> tuple[float, float]:
        """Every number."""
        return -math.inf, math.inf


class LearnedGaussian(Observation):
    """Independent Gaussian values around the output, with one standard deviation that is learned.

    Attributes:
        log_scale: Logarithm of the standard deviation, a scalar.
    """

    log_scale: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Normal around the output."""
        scale = jnp.exp(self.log_scale)
        return Normal(output, scale, validate_args=False).to_event(output.ndim)

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Log density."""
        return _gaussian_log_prob(x - output, self.log_scale)

    def initial_bias(self, mean: Float[Array, ...]) -> Float[Array, ...]:
        """The mean."""
        return mean

    @property
    def support(self) -> tuple[float, float]:
        """Every number."""
        return -math.inf, math.inf


@jax.custom_jvp
def _bernoulli_log_prob(logits: Float[Array, " n"], x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of x l − log(1 + e^l); log1p(exp(−|l|)) is half the price of softplus.

    Its derivative x − sigmoid(l) is given, at half the price of differentiating the formula, and
    right at l = 0, where those of max and abs don't add up.
    """
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus)


def _bernoulli_log_prob_jvp(primals, tangents):
    logits, x = primals
    terms = [jnp.zeros((), logits.dtype)]
    for tangent, derivative in (
        (tangents[0], lambda: x - jax.nn.sigmoid(logits)),
        (tangents[1], lambda: logits),
    ):
        if not isinstance(tangent, SymbolicZero):
            terms.append(jnp.sum(derivative() * tangent))
    return _bernoulli_log_prob(logits, x), sum(terms[1:], start=terms[0])


_bernoulli_log_prob.defjvp(_bernoulli_log_prob_jvp, symbolic_zeros=True)


def _gaussian_log_prob(residual: Float[Array, ...], log_scale: Array) -> Float[Array, ""]:
    constant = residual.size * (0.5 * jnp.log(2 * jnp.pi) + log_scale)
    return -0.5 * jnp.exp(-2 * log_scale) * jnp.sum(residual**2) - jax.lax.convert_element_type(
        constant, residual.dtype
    )


OBSERVATIONS: dict[str, Callable[..., Observation]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "learned-gaussian": LearnedGaussian,
}
