"""The ELBO with its divergence taken apart, and a weight on each part."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Distribution, Independent

from tighter._checks import require
from tighter._rows import rows_of_batch
from tighter.distributions import draw, is_reparameterizable
from tighter.gradients import Bias, BiasKind
from tighter.objectives.base import AnyObjective


class WeightedSurgery(AnyObjective):
    r"""The ELBO with weights on the three parts of its average divergence.

    $\mathrm E\,\log p(x|z) - \alpha\, I(n; z) - \beta\, \mathrm{KL}(q(z) \| \prod_j q(z_j)) -
    \gamma \sum_j \mathrm{KL}(q(z_j) \| p(z_j))$

    with the index-code mutual information, the total correlation of the latent units, and each
    unit's marginal divergence; q(z) is the mean of the posteriors over all N training examples. In
    a batch of B it is estimated without bias by the example's own posterior with weight 1/N and the
    others' with (N − 1) / (N (B − 1)); its logarithm is biased, which vanishes at B = N. With all
    weights 1 the parts add up to log q(z|x) − log p(z) of each draw: the ELBO, with no bias.

    Args:
        num_examples: N, training examples.
        mutual_information: α.
        total_correlation: β; above 1 it presses the units towards independence (β-TCVAE).
        marginal_kl: γ.
        num_samples: K, draws of z an example.

    Raises:
        InputError: If a number is out of range; when used, if the posterior or prior doesn't
            factorize over units or the posterior has no reparameterized draws.

    Example:
        >>> objective = WeightedSurgery(len(xs), total_correlation=6.0)
        >>> tt.fit(model, xs, objective, ...)

    References:
        Chen, Li, Grosse & Duvenaud, "Isolating sources of disentanglement in variational
        autoencoders", 2018, eq. 2 and appendix C.2; Hoffman & Johnson, "ELBO surgery", 2016.
    """

    num_examples: int = eqx.field(static=True)
    mutual_information: float = eqx.field(default=1.0, static=True, converter=float)
    total_correlation: float = eqx.field(default=1.0, static=True, converter=float)
    marginal_kl: float = eqx.field(default=1.0, static=True, converter=float)
    num_samples: int = eqx.field(default=1, static=True)

    def __check_init__(self) -> None:
        """Refuse what can't be right, when it is built."""
        weights = (self.mutual_information, self.total_correlation, self.marginal_kl)
        require(
            all(weight >= 0 for weight in weights),
            f"weights of the surgery are at least 0, got {weights}",
        )
        require(
            self.num_examples >= 2 and self.num_samples >= 1,
            "a surgery takes 2 examples and 1 draw or more, got "
            f"num_examples={self.num_examples} and num_samples={self.num_samples}",
        )

    @property
    def bias(self) -> Bias:
        """Of the total derivative it has: that of its own value, which the batch makes biased."""
        if self.mutual_information == self.total_correlation == self.marginal_kl:
            return Bias("with equal weights no mean over the batch is left")
        reason = (
            "the log of a mean over the batch is biased, the less so the nearer the batch is to "
            "num_examples"
        )
        return Bias(reason, theta=BiasKind.BIASED, phi=BiasKind.BIASED)

    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The weighted bound of each example of a batch, in nats.

        Args:
            model: Has `prior`, `posterior(x)` and `log_likelihood(x)`.
            xs: Two examples or more, at most N.
            key: Random key.
        """
        rows = rows_of_batch(model, xs, key=key)
        num = rows.keys.shape[0]
        require(
            2 <= num <= self.num_examples,
            f"a batch of a surgery has 2 to num_examples={self.num_examples} examples, got {num}",
        )
        prior = model.prior
        units = jax.eval_shape(lambda: _by_unit(rows.example_posterior(), _drawn(rows), prior)[0])
        own, others = 1 / self.num_examples, 1 - 1 / self.num_examples
        log_shares = jnp.where(
            jnp.eye(num, dtype=bool), jnp.log(own), jnp.log(others / (num - 1))
        ).astype(units.dtype)

        def of_draw(index: Array) -> Float[Array, " batch"]:
            def draw_one(batched: PyTree, key: Array) -> Array:
                posterior = eqx.combine(batched, rows.shared)
                return draw(posterior, key=jax.random.fold_in(key, index))

            zs = jax.vmap(draw_one)(rows.batched, rows.keys)

            def between(z: Array) -> tuple[Array, Array]:
                def under(batched: PyTree) -> tuple[Array, Array]:
                    return _by_unit(eqx.combine(batched, rows.shared), z, prior)

                log_q, log_p = jax.vmap(under)(rows.batched)
                return log_q, log_p[0]

            log_q, log_p = jax.vmap(between)(zs)  # (draw of i, posterior of j, unit)
            log_conditional = jnp.sum(jnp.diagonal(log_q).T, axis=1)
            log_joint = jax.nn.logsumexp(jnp.sum(log_q, axis=2) + log_shares, axis=1)
            log_units = jnp.sum(jax.nn.logsumexp(log_q + log_shares[:, :, None], axis=1), axis=1)
            likelihood = jax.vmap(lambda x, z: model.log_likelihood(x)(z))(xs, zs)
            return (
                likelihood
                - self.mutual_information * (log_conditional - log_joint)
                - self.total_correlation * (log_joint - log_units)
                - self.marginal_kl * (log_units - jnp.sum(log_p, axis=1))
            )

        return jnp.mean(jax.vmap(of_draw)(jnp.arange(self.num_samples)), axis=0)


def _drawn(rows: Any) -> Array:
    return draw(rows.example_posterior(), key=jax.random.key(0))


def _by_unit(posterior: Any, z: Array, prior: Any) -> tuple[Array, Array]:
    """Log densities of each unit of z, of q and p."""
    for name, distribution in (("posterior", posterior), ("prior", prior)):
        require(
            isinstance(distribution, Independent) and distribution.event_dim == 1,
            f"a surgery by units takes a {name} that factorizes over them, got "
            f"{type(distribution).__name__}: take the diagonal Gaussian and the standard prior",
        )
    require(
        is_reparameterizable(posterior),
        "a surgery in training takes a posterior with reparameterized draws",
    )
    of_q: Distribution = posterior.base_dist
    return jnp.asarray(of_q.log_prob(z)), prior.base_dist.log_prob(z)
