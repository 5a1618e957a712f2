"""Priors that are learned: a mixture, and the posteriors at pseudo-inputs."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from tighter._checks import check_counts, require
from tighter._extras import check_installed
from tighter._programs import compiled
from tighter._protocols import PosteriorHooks
from tighter.distributions import Posterior, draw
from tighter.models._families import PosteriorFamily, PriorFamily, Space
from tighter.models.posteriors.real import GaussianMixture

# Examples through the encoder at a time, and draws where moments aren't known.
_AT_A_TIME, _DRAWS = 1024, 16
# Examples that the start is found from.
_EXAMPLES = 5000
# Of the start's standard deviations: all encodings may be the same.
_LEAST_SCALE = 1e-3


class MixturePrior(PriorFamily):
    r"""$\sum_c \pi_c\, \mathrm N(z; \mu_c, \mathrm{diag}\, \sigma_c^2)$, learned.

    Attributes:
        logits: Log π, up to a constant.
        locs: μ.
        log_scales: log σ.

    References:
        Dilokthanakul et al., "Deep unsupervised clustering with Gaussian mixture variational
        autoencoders", 2017; Jiang et al., "Variational deep embedding", 2017, eq. 4.
    """

    logits: Float[Array, " components"]
    locs: Float[Array, "components latent"]
    log_scales: Float[Array, "components latent"]

    @classmethod
    def create(cls, num_components: int, num_latent: int, *, key: Key[Array, ""]) -> MixturePrior:
        """Equal components of scale 1 around draws of N(0, I).

        Raises:
            InputError: If there is no component.
        """
        check_counts(num_components=num_components)
        locs = jax.random.normal(key, (num_components, num_latent))
        return cls(jnp.zeros(num_components), locs, jnp.zeros((num_components, num_latent)))

    @classmethod
    def from_encodings(
        cls, zs: ArrayLike, num_components: int, *, key: Key[Array, ""]
    ) -> MixturePrior:
        """The clusters that k-means finds: their means, spreads and shares.

        To each cluster one encoding is added whose distance from the mean is that of all encodings
        from theirs, so that a cluster of one has a spread.

        Args:
            zs: Encodings, shape (N, latent).
            num_components: C.
            key: Random key.

        Raises:
            InputError: If there are fewer encodings than components.
        """
        check_installed("sklearn")
        from sklearn.cluster import KMeans  # a second to import, so that it is done late
        from sklearn.exceptions import ConvergenceWarning

        zs = np.asarray(zs, np.float64)
        check_counts(num_components=num_components)
        _check_enough("mixture prior", len(zs), num_components)
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of equal encodings
            labels = KMeans(num_components, n_init=4, random_state=seed).fit_predict(zs)  # pyright: ignore[reportArgumentType]
        members = np.eye(num_components)[labels]  # (N, C)
        counts = members.sum(axis=0)
        locs = members.T @ zs / np.maximum(counts, 1)[:, None]
        squares = members.T @ (zs - locs[labels]) ** 2
        variances = (squares + zs.var(axis=0)) / (counts + 1)[:, None]
        log_scales = 0.5 * np.log(np.maximum(variances, _LEAST_SCALE**2))
        logits = np.log((counts + 1) / (len(zs) + num_components))
        return cls(*(jnp.asarray(part, jnp.float32) for part in (logits, locs, log_scales)))

    def initialized_from(self, model: Any, xs: np.ndarray, *, key: Key[Array, ""]) -> MixturePrior:
        """The same, started at the clusters of the examples' posterior means.

        The posteriors' own variance is added to that of the means.

        Args:
            model: The model before training.
            xs: Training examples, of which 5,000 at most are taken.
            key: Random key.

        Raises:
            InputError: If there are more components than examples.
        """
        num_components = self.logits.size
        _check_enough("mixture prior", len(xs), num_components)
        choice_key, encoding_key, cluster_key = jax.random.split(key, 3)
        chosen = np.asarray(jax.random.permutation(choice_key, len(xs)))[:_EXAMPLES]
        means, variances = encodings(model, np.asarray(xs)[chosen], key=encoding_key)
        start = self.from_encodings(means, num_components, key=cluster_key)
        own = jnp.log(jnp.mean(variances, axis=0))
        log_scales = 0.5 * jnp.logaddexp(2 * start.log_scales, own[None])
        return dataclasses.replace(start, log_scales=log_scales)

    def distribution(self, model: Any) -> GaussianMixture:
        """The mixture."""
        return GaussianMixture(self.logits, self.locs, self.log_scales)

    def log_prob(self, model: Any, z: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        return jax.nn.logsumexp(self._joint(z))

    def responsibilities(self, z: Float[Array, " latent"]) -> Float[Array, " components"]:
        """The probabilities p(c|z) of the components, given one z."""
        return jax.nn.softmax(self._joint(z))

    def _joint(self, z: Float[Array, " latent"]) -> Float[Array, " components"]:
        """Log of p(c, z), in nats."""
        units = (z[None] - self.locs) * jnp.exp(-self.log_scales)
        squares = jnp.sum(0.5 * units**2 + self.log_scales, axis=1)
        constant = 0.5 * z.size * math.log(2 * math.pi)
        return jax.nn.log_softmax(self.logits) - squares - constant


class VampPrior(PriorFamily):
    r"""$p(z) = \tfrac1C \sum_c q(z \mid u_c)$, with pseudo-inputs u that are learned.

    For any amortized posterior family, in whichever space. The posteriors are the encoder's own
    (of a semi-amortized model those before its steps), computed once for all draws of a batch.
    Pseudo-inputs are what the encoder sees of an example (`observation.features`), and not the
    example: they start there and are free afterwards, whatever the support of x.

    Attributes:
        pseudo_inputs: u, shape (C, *shape of the features).

    References:
        Tomczak & Welling, "VAE with a VampPrior", 2018, eq. 9.
    """

    space: ClassVar[Space] = Space.ANY  # that of the posterior

    pseudo_inputs: Float[Array, "components ..."]

    @classmethod
    def create(cls, num_components: int, shape: Sequence[int], *, key: Key[Array, ""]) -> VampPrior:
        """Pseudo-inputs uniform between 0 and 1, where no examples are known yet.

        Args:
            num_components: C.
            shape: Shape of the features of one example.
            key: Random key.

        Raises:
            InputError: If there is no component.
        """
        check_counts(num_components=num_components)
        return cls(jax.random.uniform(key, (num_components, *shape)))

    def initialized_from(self, model: Any, xs: np.ndarray, *, key: Key[Array, ""]) -> VampPrior:
        """The same, started at the features of examples picked at random.

        Args:
            model: The model before training.
            xs: Training examples (N, *shape).
            key: Random key.

        Raises:
            InputError: If there are more components than examples.
        """
        num_components = len(self.pseudo_inputs)
        _check_enough("VampPrior", len(xs), num_components)
        picked = np.asarray(xs)[np.asarray(jax.random.permutation(key, len(xs)))[:num_components]]
        features = jax.vmap(model.observation.features)(jnp.asarray(picked, jnp.float32))
        return dataclasses.replace(self, pseudo_inputs=features)

    def distribution(self, model: Any) -> PosteriorsInEqualParts:
        """The mixture.

        Args:
            model: Has `encoder` and `family`, as a `VAE`.
        """
        # Not by model.posterior: where that takes steps on the bound, it would ask for the prior.
        return PosteriorsInEqualParts(model.family, jax.vmap(model.encoder)(self.pseudo_inputs))


class PosteriorsInEqualParts(PosteriorHooks, eqx.Module):
    """The mixture with equal weights of a family's members.

    Attributes:
        family: The family.
        outputs: What the encoder said of each member, shape (C, *family.shape).
    """

    family: PosteriorFamily
    outputs: Float[Array, "components ..."]

    def log_prob(self, value: Array) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        log_probs = jax.vmap(lambda output: self.family.distribution(output).log_prob(value))
        return jax.nn.logsumexp(log_probs(self.outputs)) - math.log(len(self.outputs))

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, each of a member picked at random."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.sample(key, sample_shape[1:]))(keys)
        index_key, key = jax.random.split(key)
        index = jax.random.randint(index_key, (), 0, len(self.outputs))
        return jax.lax.stop_gradient(draw(self._member(index), key=key))

    def _member(self, index: Int[Array, ""]) -> Posterior:
        return self.family.distribution(self.outputs[index])


def encodings(
    model: Any, xs: ArrayLike, *, key: Key[Array, ""]
) -> tuple[Float[Array, "examples ..."], Float[Array, "examples ..."]]:
    """Mean and variance of each example's posterior; over draws where they have no closed form.

    Args:
        model: Has `posterior(x)`.
        xs: Examples (N, *shape).
        key: Random key, for the draws.
    """
    return _all(model, jnp.asarray(xs), key)


@compiled
def _all(model: Any, xs: Array, key: Key[Array, ""]) -> tuple[Array, Array]:
    def moments(given: tuple[Array, Key[Array, ""]]) -> tuple[Array, Array]:
        x, key = given
        posterior: Any = model.posterior(x)
        try:
            return posterior.mean, posterior.variance
        except (AttributeError, NotImplementedError):
            keys = jax.random.split(key, _DRAWS)
            zs = jax.vmap(lambda key: draw(posterior, key=key))(keys)
            return jnp.mean(zs, axis=0), jnp.var(zs, axis=0, ddof=1)

    return jax.lax.map(moments, (xs, jax.random.split(key, xs.shape[0])), batch_size=_AT_A_TIME)


def _check_enough(what: str, num_examples: int, num_components: int) -> None:
    require(
        num_examples >= num_components,
        f"a {what} of {num_components} components is started from as many examples or more, got "
        f"{num_examples}: take fewer components",
    )
