"""A mixture of Gaussians as a prior: examples fall into clusters."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.models._families import PriorFamily, check_count
from tighter.models.priors._encodings import encodings
from tighter.models.priors._gaussian_mixture import GaussianMixture

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
        check_count("the number of components of a mixture prior", num_components)
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
        check_count("the number of components of a mixture prior", num_components)
        _check_enough(len(zs), num_components)
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
        _check_enough(len(xs), num_components)
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


def _check_enough(num_examples: int, num_components: int) -> None:
    if num_examples < num_components:
        raise InputError(
            f"a mixture prior of {num_components} components is started from as many examples or "
            f"more, got {num_examples}: take fewer components"
        )
