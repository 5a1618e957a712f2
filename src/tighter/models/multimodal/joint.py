"""Joint posteriors of several modalities, the looser bound of their experts, and p(x|z)."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import Normal

from tighter._checks import require
from tighter._errors import InputError
from tighter.bounds import Bound, Grouped, Side, as_bound
from tighter.distributions import Experts, Mixture, Posterior
from tighter.distributions.structured import ABSENT, num_turns
from tighter.models.observations import Missing, Observation

# There are 2^M − 1 subsets of M modalities, each a component of the mixture.
_MOST_IN_SUBSETS = 4


class JointPosterior(eqx.Module):
    """What makes q(z|x) of the experts q(z|x_m) of the modalities that are there.

    Where none is, q(z|x) is N(0, I).
    """

    @abc.abstractmethod
    def distribution(
        self, experts: Float[Array, "M 2 latent"], present: Bool[Array, " M"]
    ) -> Posterior:
        """q(z|x).

        Args:
            experts: Means and log standard deviations of each expert; zeros where it is absent.
            present: Which modalities there are.
        """

    def check(self, num_modalities: int) -> None:
        """Refuse more modalities than there can be.

        Raises:
            InputError: If there are too many.
        """


class ProductOfExperts(JointPosterior):
    r"""$q(z \mid x) \propto \mathrm N(z; 0, I) \prod_{m\ \text{present}} q(z \mid x_m)$.

    An expert stands for what its modality adds to the prior, so that one N(0, I) is a factor too,
    whatever the model's prior is. Where the likelihoods are Gaussian in z, with independent
    dimensions, and the prior is N(0, I), the posterior is of this form.

    References:
        Wu & Goodman, "Multimodal generative models for scalable weakly-supervised learning", 2018,
        sec. 2.2.
    """

    def distribution(
        self, experts: Float[Array, "M 2 latent"], present: Bool[Array, " M"]
    ) -> Posterior:
        """A diagonal Gaussian."""
        of_prior = jnp.zeros_like(experts[:1])
        members = jnp.concatenate([present, jnp.ones(1, bool)])
        mean, log_scale = _product(jnp.concatenate([experts, of_prior]), members)
        return Normal(mean, jnp.exp(log_scale), validate_args=False).to_event(1)


class MixtureOfExperts(JointPosterior):
    r"""$q(z \mid x) = \frac1P \sum_{m\ \text{present}} q(z \mid x_m)$, drawn in turn (`Experts`).

    Draw i is of present expert i mod P, and weighed by the whole mixture. The number of draws is a
    multiple of 1, …, M, and the estimator `GeneralizedDoublyReparameterized` (or
    `Reparameterized`): the plain double reparameterization would be biased, and is refused.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 3.
    """

    def distribution(
        self, experts: Float[Array, "M 2 latent"], present: Bool[Array, " M"]
    ) -> Posterior:
        """The experts, drawn in turn."""
        return Experts(_normals(experts), present=present)


class MixtureOfProducts(JointPosterior):
    r"""$q(z \mid x) = \frac1{2^P - 1} \sum_{\emptyset \ne S \subseteq \text{present}} q_S(z)$.

    $q_S \propto \prod_{m \in S} q(z \mid x_m)$, the prior not among the factors. Subsets are drawn
    at random, and a draw moves as one of the mixture (`Mixture`), so that any number of draws and
    any estimator hold.

    References:
        Sutter, Daunhawer & Vogt, "Generalized multimodal ELBO", 2021, eq. 5.
    """

    def distribution(
        self, experts: Float[Array, "M 2 latent"], present: Bool[Array, " M"]
    ) -> Posterior:
        """The mixture; weights of subsets with an absent member are zero."""
        subsets = _subsets(len(experts))
        products = jax.vmap(_product, in_axes=(None, 0))(experts, jnp.asarray(subsets))
        there = jnp.all(present[None] | ~subsets, axis=1)
        there = jnp.where(jnp.any(present), there, subsets.sum(axis=1) == 1)
        return Mixture(jnp.where(there, 0.0, ABSENT), _normals(products))

    def check(self, num_modalities: int) -> None:
        """Refuse more subsets than pay."""
        if num_modalities > _MOST_IN_SUBSETS:
            raise InputError(
                f"a mixture of products has a component for each subset of the modalities, which "
                f"are {_MOST_IN_SUBSETS} at most, got {num_modalities}: take 'product' or 'mixture'"
            )


def _subsets(num: int) -> Bool[np.ndarray, "S M"]:
    """A row for each subset of so many that is not empty."""
    rows = np.array(list(itertools.product([False, True], repeat=num)))
    return rows[1:]


def _product(
    experts: Float[Array, "M 2 latent"], members: Bool[Array, " M"]
) -> Float[Array, "2 latent"]:
    """Mean and log standard deviation of the product of those that are members, one or more."""
    log_precisions = jnp.where(members[:, None], -2 * experts[:, 1], -jnp.inf)
    total = jax.nn.logsumexp(log_precisions, axis=0)
    shares = jnp.exp(log_precisions - total[None])
    return jnp.stack([jnp.sum(shares * experts[:, 0], axis=0), -0.5 * total])


def _normals(experts: Float[Array, "C 2 latent"]) -> Any:
    """As one numpyro distribution of batch shape (C,)."""
    return Normal(experts[:, 0], jnp.exp(experts[:, 1]), validate_args=False).to_event(1)


# Adding one here enrols it in the tests.
JOINT_POSTERIORS: dict[str, Callable[[], JointPosterior]] = {
    "product": ProductOfExperts,
    "mixture": MixtureOfExperts,
    "mixture-of-products": MixtureOfProducts,
}


Example = Mapping[str, Any]


class JointLikelihood(eqx.Module):
    r"""$p(x \mid z) = \prod_m p(x_m \mid z)$; x is a dict by the modalities' names.

    Attributes:
        observations: The modalities' families.
        outputs: Their decoders' outputs.
    """

    observations: dict[str, Observation]
    outputs: dict[str, Float[Array, ...]]

    @property
    def mean(self) -> dict[str, Float[Array, ...]]:
        """Mean of each modality."""
        return {name: family.mean(self.outputs[name]) for name, family in self.observations.items()}

    def log_prob(self, value: Example) -> Float[Array, ""]:
        """Log density of the modalities that are there, in nats."""
        total = jnp.zeros(())
        for name, family in self.observations.items():
            present, whole = filled(family, value[name])
            log_prob = family.log_prob(self.outputs[name], whole)
            total = total + jnp.where(present, log_prob, 0.0)
        return total

    def sample(
        self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()
    ) -> dict[str, Float[Array, ...]]:
        """A draw of every modality."""
        keys = jax.random.split(key, len(self.observations))
        return {
            name: family.distribution(self.outputs[name]).sample(own_key, sample_shape)
            for own_key, (name, family) in zip(keys, self.observations.items(), strict=True)
        }


def filled(family: Observation, x: Any) -> tuple[Bool[Array, ""], Float[Array, ...]]:
    """Whether a modality is there, and values of the family's support where it isn't.

    Filled before a network sees it, and not only masked behind, so that derivatives are finite.
    `Missing` does it by itself.
    """
    x = jnp.asarray(x)
    present = ~jnp.all(jnp.isnan(x))
    if isinstance(family, Missing):
        return present, x
    return present, jnp.where(present, x, jnp.asarray(family.support.inside, x.dtype))


class ExpertByExpert(Bound):
    r"""Mean over the experts of a bound of each one's draws, $\frac1P \sum_m F(\ell_{m1} \dots)$.

    For posteriors drawn in turn (`MixtureOfExperts`). Every draw is still weighed by the whole
    mixture, but the mean over experts is outside of the bound. With `IWAE` it is a mean of
    logarithms where `IWAE` of all draws is the logarithm of the mean: never larger, draw by draw
    (Jensen's inequality). With more draws it tends to
    $\frac1P \sum_m \log \mathrm E_{q_m}[p(x, z) / q(z \mid x)]$, below log p(x) where the experts
    differ in their mean weight. In return no expert is left to the others: each has to explain all
    modalities from its own.

    The draws fall into as many groups as there are turns of 1, …, M experts, each group of one
    expert, whichever modalities are missing: K draws are K over that number to a group.

    Args:
        bound: The bound within a group.
        num_modalities: M.

    Raises:
        ValueError: If there is no modality, or (when called) the draws don't divide into the turns.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 3; `m_iwae_looser` of their program.
    """

    bound: Bound = eqx.field(converter=as_bound)
    num_modalities: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no number of modalities."""
        num = self.num_modalities
        require(num >= 1, f"there is one modality or more, got {num}")

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of the groups' bounds."""
        return self._grouped(log_weights[self._order(log_weights)])

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """First derivatives within each group, over the number of groups."""
        order = self._order(log_weights)
        return self._grouped.weights(log_weights[order])[np.argsort(order)]

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Second derivatives within each group, over the number of groups."""
        order = self._order(log_weights)
        return self._grouped.curvature(log_weights[order])[np.argsort(order)]

    @property
    def side(self) -> Side:
        """That of the bound within a group: a mean of means keeps below or above log p(x)."""
        return self.bound.side

    @property
    def is_linear(self) -> bool:
        """If the bound within a group is."""
        return self.bound.is_linear

    @property
    def min_samples(self) -> int:
        """What a group needs, times the groups."""
        return self._grouped.min_samples

    @property
    def _grouped(self) -> Grouped:
        return Grouped(self.bound, num_turns(self.num_modalities))

    def _order(self, log_weights: Float[Array, " K"]) -> np.ndarray:
        """The draws group by group."""
        turn = np.arange(log_weights.shape[0]) % num_turns(self.num_modalities)
        return np.argsort(turn, kind="stable")
