"""The arrays that a report's pictures are drawn from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution

from tighter._examples import admitted, restored
from tighter._programs import compiled
from tighter.data import Splits
from tighter.models import VAE, LatentVariableModel, MissingNotAtRandom

_SAMPLES, _RECONSTRUCTIONS, _ENCODINGS, _GRID = 64, 12, 2000, 20
_DRAWS = 32


@compiled
def sample_means(
    model: LatentVariableModel, key: Key[Array, ""], num: int
) -> Float[Array, "num ..."]:
    """Means of p(x|z) for z from the prior."""
    zs = jax.vmap(model.prior.sample)(jax.random.split(key, num))
    return jax.vmap(model.likelihood_mean)(zs)


def picture_arrays(
    model: LatentVariableModel, splits: Splits, transform, *, key: Key[Array, ""]
) -> dict[str, np.ndarray]:
    """Prior samples, reconstructions, encodings with their labels, and the grid of a 2-D latent."""
    sample_key, transform_key, reconstruct_key = jax.random.split(key, 3)
    draw_key = jax.random.fold_in(reconstruct_key, 0)
    encoded = np.concatenate([part.x[:_ENCODINGS] for part in (splits.test, splits.train)])[
        :_ENCODINGS
    ]
    model, encoded, origin = admitted(model, encoded)
    encoded = transform(jnp.asarray(encoded), key=transform_key)
    shown = encoded[: min(_RECONSTRUCTIONS, len(splits.test))]
    keys = jax.random.split(reconstruct_key, shown.shape[0])
    # Where missing entries are latents as well, z is the part to look at.
    encoder = model.vae if isinstance(model, MissingNotAtRandom) else model
    arrays = {
        "encodings": jax.jit(jax.vmap(lambda x: _center(encoder.posterior(x)).reshape(-1)))(
            encoded
        ),
    }
    if splits.train.schema is None:  # the page of a table is drawn from table.json
        rebuilt = jax.jit(jax.vmap(model.reconstruct))(shown, keys)
        arrays["prior_samples"] = restored(sample_means(model, sample_key, _SAMPLES), origin)
        arrays["originals"] = restored(shown, origin)
        arrays["reconstructions"] = restored(rebuilt, origin)
        pixels = splits.test.x[: len(shown)]
        if set(np.unique(shown)) <= {0.0, 1.0} and not np.array_equal(pixels, shown):
            # What was binarized, and the reconstruction binarized as well, to be compared with it.
            arrays["pixels"] = pixels
            drawn = jax.random.bernoulli(draw_key, rebuilt)
            arrays["reconstructed_draws"] = drawn.astype(rebuilt.dtype)
    if splits.test.labels is not None and splits.train.labels is not None:
        labels = np.concatenate([splits.test.labels, splits.train.labels])
        arrays["encoding_labels"] = _codes(labels)[:_ENCODINGS]
        if labels.dtype.kind == "U":
            arrays["label_names"] = np.unique(labels)
    if isinstance(model, VAE) and model.is_plane:
        quantiles = jax.scipy.special.ndtri((jnp.arange(_GRID) + 0.5) / _GRID)
        across, up = jnp.meshgrid(quantiles, quantiles[::-1])
        zs = jnp.stack([across, up], axis=-1).reshape(-1, 2)
        means = restored(jax.jit(jax.vmap(model.likelihood_mean))(zs), origin)
        arrays["grid"] = means.reshape(_GRID, _GRID, *means.shape[1:])
    return {name: np.asarray(array) for name, array in arrays.items()}


def _codes(labels: np.ndarray) -> np.ndarray:
    """Whole numbers as they are; words and other numbers counted in their order."""
    return labels if labels.dtype.kind in "biu" else np.unique(labels, return_inverse=True)[1]


def _center(posterior: Any) -> Array:
    """The posterior's mean; of a flow, which has none in closed form, the mean of some draws."""
    if isinstance(posterior, Distribution):
        return posterior.mean
    return jnp.mean(posterior.sample(jax.random.key(0), (_DRAWS,)), axis=0)
