"""Clusters of examples: the components of a mixture prior that their encodings are of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from tighter._errors import InputError
from tighter._programs import compiled
from tighter._protocols import as_model
from tighter.distributions import draw
from tighter.models.priors import MixturePrior

# Examples through the encoder at a time.
_EXAMPLES = 1024


def cluster(
    model: Any, xs: ArrayLike, *, num_samples: int = 16, key: Key[Array, ""]
) -> Int[np.ndarray, " examples"]:
    r"""The component of largest $\mathbb E_{q(z \mid x)}[p(c \mid z)]$ of each example.

    Args:
        model: A model with a `MixturePrior` for its `prior_family`.
        xs: Examples (N, *shape).
        num_samples: Draws of an example, over which the expectation is averaged.
        key: Random key.

    Returns:
        Components, from 0.

    Raises:
        InputError: If the prior is no mixture.

    Example:
        >>> clustering_accuracy(labels, cluster(model, xs, key=jax.random.key(0)))
    """
    prior = as_model(model).prior_family
    if not isinstance(prior, MixturePrior):
        raise InputError(
            f"clusters are the components of a mixture prior, and this {type(model).__name__}'s "
            f"prior is {type(prior).__name__}: create it with prior='mixture:10'"
        )
    return np.asarray(_cluster(model, jnp.asarray(xs), num_samples, key))


@compiled
def _cluster(model: Any, xs: Array, num_samples: int, key: Key[Array, ""]) -> Array:
    def cluster_of(given: tuple[Array, Key[Array, ""]]) -> Array:
        x, key = given
        posterior = model.posterior(x)
        zs = jax.vmap(lambda key: draw(posterior, key=key))(jax.random.split(key, num_samples))
        return jnp.argmax(jnp.sum(jax.vmap(model.prior_family.responsibilities)(zs), axis=0))

    return jax.lax.map(cluster_of, (xs, jax.random.split(key, xs.shape[0])), batch_size=_EXAMPLES)


def clustering_accuracy(labels: Any, clusters: Any) -> float:
    """The share of examples whose cluster is their label's, clusters named to make it largest.

    A label has one cluster at most: where there are more clusters than labels, the examples of
    those left over count as wrong.

    Args:
        labels: True classes (N,), of any kind.
        clusters: Clusters (N,).

    Returns:
        Between 0 and 1.

    Raises:
        InputError: If the two differ in length, or are empty.

    References:
        Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, so that it is done late

    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.ndim != 1 or labels.shape != clusters.shape or not labels.size:
        raise InputError(
            "labels and clusters are of the same examples, one number each, got shapes "
            f"{labels.shape} and {clusters.shape}"
        )
    rows = np.unique(labels, return_inverse=True)[1]
    columns = np.unique(clusters, return_inverse=True)[1]
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / labels.size)
