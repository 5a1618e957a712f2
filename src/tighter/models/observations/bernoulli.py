"""Bernoulli observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from numpyro.distributions import BernoulliLogits, Distribution

from tighter.models.observations._observation import Factorized, Support


class Bernoulli(Factorized):
    r"""Independent Bernoulli pixels from logits; values between 0 and 1 are taken as their means.

    $\log p = \sum_i x_i l_i - \log(1 + e^{l_i})$.
    """

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """Bernoulli with the output as logits."""
        return BernoulliLogits(output, validate_args=False).to_event(output.ndim)

    def log_probs(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ...]:
        """Cross entropy of each entry."""
        softplus = jnp.maximum(output, 0) + jnp.log1p(jnp.exp(-jnp.abs(output)))
        return x * output - softplus

    def log_prob(self, output: Float[Array, ...], x: Float[Array, ...]) -> Float[Array, ""]:
        """Cross entropy from logits, of vectors: XLA sums one axis faster than two."""
        return _log_prob(output.reshape(-1), x.reshape(-1))

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Logit of the mean, clipped to [0.001, 0.999]."""
        mean = np.clip(np.nanmean(xs, axis=0), 1e-3, 1 - 1e-3)
        return np.log(mean) - np.log1p(-mean)

    @property
    def support(self) -> Support:
        """[0, 1]."""
        return Support(0.0, 1.0)


@jax.custom_jvp
def _log_prob(logits: Float[Array, " n"], x: Float[Array, " n"]) -> Float[Array, ""]:
    """Sum of x l − log(1 + e^l); log1p(exp(−|l|)) is half the price of softplus.

    Its derivative x − sigmoid(l) is given, at half the price of differentiating the formula, and
    right at l = 0, where those of max and abs don't add up.
    """
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus)


def _log_prob_jvp(primals, tangents):
    logits, x = primals
    terms = [jnp.zeros((), logits.dtype)]
    for tangent, derivative in (
        (tangents[0], lambda: x - jax.nn.sigmoid(logits)),
        (tangents[1], lambda: logits),
    ):
        if not isinstance(tangent, SymbolicZero):
            terms.append(jnp.sum(derivative() * tangent))
    return _log_prob(logits, x), sum(terms[1:], start=terms[0])


_log_prob.defjvp(_log_prob_jvp, symbolic_zeros=True)
