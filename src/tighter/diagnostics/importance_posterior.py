"""The posterior that importance weighting implies: K draws of q, one of them kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from tighter._checks import check_counts, require
from tighter._chunks import map_chunks
from tighter._rows import check_scalar
from tighter.distributions import Posterior, draw

# Draws in memory at a time where many sets of K are averaged.
_DRAWS = 65_536


class ImportanceWeightedPosterior(eqx.Module):
    r"""q_EW, the distribution of one of K draws of q resampled by its weight.

    With $w = p(x, z) / q(z)$ and draws $z_2 \ldots z_K$ of q,

    $$\tilde q_{\mathrm{IW}}(z \mid z_{2:K}) = \frac{p(x, z)}{\frac1K [w(z) + \sum_{j \ge 2} w_j]},
    \qquad q_{\mathrm{EW}}(z) = \mathbb E_{z_{2:K}}[\tilde q_{\mathrm{IW}}(z \mid z_{2:K})].$$

    The first integrates to one on average over the sets only, and the mean over them of its ELBO,
    $\int \tilde q_{\mathrm{IW}} \log (p / \tilde q_{\mathrm{IW}})\, dz$, is the IWAE bound L_K. The
    second is a density, and the ELBO of it is above L_K: that bound is no ELBO of q_EW but less,

    $$L_1 \le L_K \le \mathrm{ELBO}[q_{\mathrm{EW}}] \le \log p(x),$$

    and KL(q_EW‖posterior) falls strictly in K unless q is the posterior. At K = 1 it is q.

    Attributes:
        log_joint: z -> log p(x, z), a scalar, for one example.
        posterior: q, which K draws are made of.
        num_samples: K.

    References:
        Cremer, Morris & Duvenaud, "Reinterpreting importance-weighted autoencoders", 2017, eqs. 5-9
        and appendix; Bachman & Precup, "Training deep generative models: variations on a theme",
        2015.
    """

    log_joint: Callable[[Any], Array]
    posterior: Posterior
    num_samples: int = eqx.field(static=True)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> PyTree:
        """Exact draws of q_EW: of K draws of q one, taken with probability ∝ its weight.

        Args:
            key: Random key.
            sample_shape: Shape of independent draws, each of K of its own.

        Returns:
            z, with leading axes of `sample_shape`.
        """
        num = math.prod(sample_shape)
        draws = map_chunks(
            lambda i: jax.vmap(self._resampled)(jax.vmap(lambda i: jax.random.fold_in(key, i))(i)),
            num,
            max(1, _DRAWS // self.num_samples),
        )
        return jax.tree.map(lambda leaf: leaf.reshape(*sample_shape, *leaf.shape[1:]), draws)

    def log_prob(
        self, z: PyTree, *, num_outer: int = 1000, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        r"""Log q_EW(z), in nats, from the mean of $\tilde q_{\mathrm{IW}}(z)$ over sets of draws.

        The mean is unbiased, and so its logarithm too low by about half its relative variance over
        `num_outer`. At K = 1 it is log q(z) itself.

        Args:
            z: One value.
            num_outer: Sets of K − 1 draws.
            key: Random key.

        Raises:
            InputError: If `num_outer` is below 1.
        """
        check_counts(num_outer=num_outer)

        def log_densities(outer: Array) -> Float[Array, " outer"]:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(outer)
            others = jax.vmap(lambda key: self.log_weights(self.num_samples - 1, key=key)[1])(keys)
            return jax.vmap(self.unnormalized_log_prob, (None, 0))(z, others)

        chunk = max(1, _DRAWS // self.num_samples)
        terms = map_chunks(log_densities, num_outer, chunk)
        return jax.nn.logsumexp(terms) - math.log(num_outer)

    def unnormalized_log_prob(
        self, z: PyTree, other_log_weights: Float[Array, " others"]
    ) -> Float[Array, ""]:
        r"""Log of $\tilde q_{\mathrm{IW}}(z \mid z_{2:K})$, in nats: given the K − 1 other draws.

        Args:
            z: One value.
            other_log_weights: Log weights of the others, shape (K − 1,).

        Raises:
            InputError: If there are not K − 1.
        """
        num = self.num_samples
        require(
            other_log_weights.size == num - 1,
            f"of {num} draws {num - 1} are others, got {other_log_weights.size} log weights",
        )
        log_joint, log_weight = self._log_joint_and_weight(z)
        all_weights = jnp.concatenate([log_weight[None], other_log_weights])
        # Where q has no mass the weight is infinite and this density zero.
        return log_joint - jax.nn.logsumexp(all_weights) + math.log(self.num_samples)

    def log_weights(
        self, num: int, *, key: Key[Array, ""]
    ) -> tuple[PyTree, Float[Array, " draws"]]:
        """Draws of q, and their log weights log p(x, z) − log q(z) in nats."""
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num))
        z = jax.vmap(lambda key: draw(self.posterior, key=key))(keys)
        return z, jax.vmap(lambda z: self._log_joint_and_weight(z)[1])(z)

    def ess(self, key: Key[Array, ""]) -> Float[Array, ""]:
        r"""Effective sample size of one set of K draws, $(\sum w)^2 / \sum w^2$: from 1 to K."""
        _, log_weights = self.log_weights(self.num_samples, key=key)
        return 1 / jnp.sum(jax.nn.softmax(log_weights) ** 2)

    def _resampled(self, key: Key[Array, ""]) -> PyTree:
        draws_key, choice_key = jax.random.split(key)
        z, log_weights = self.log_weights(self.num_samples, key=draws_key)
        kept = jax.random.categorical(choice_key, log_weights)
        return jax.tree.map(lambda leaf: leaf[kept], z)

    def _log_joint_and_weight(self, z: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        log_joint = check_scalar(self.log_joint(z), "log_joint(z)", "sum the log densities")
        log_density = check_scalar(
            self.posterior.log_prob(z), "posterior.log_prob(z)", "write .to_event() for a vector"
        )
        return log_joint, log_joint - log_density


def importance_weighted_posterior(
    log_joint: Callable[[Any], Array], posterior: Posterior, *, num_samples: int
) -> ImportanceWeightedPosterior:
    """The posterior that an IWAE bound of K draws implies for one example.

    Args:
        log_joint: z -> log p(x, z), a scalar.
        posterior: q(z|x), as in `Objective`; z may be any pytree.
        num_samples: K.

    Returns:
        A distribution with `sample`, `log_prob` and `ess`, each of which asks for a key.

    Raises:
        InputError: If K is below 1.

    Example:
        >>> log_joint, posterior = model.log_joint(x), model.posterior(x)
        >>> q = importance_weighted_posterior(log_joint, posterior, num_samples=10)
        >>> z = q.sample(key, (1000,))
    """
    check_counts(num_samples=num_samples)
    return ImportanceWeightedPosterior(log_joint, posterior, num_samples)
