"""Binarized images and the autoencoder of them, as five of the papers have them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from tighter.data import Binarization, Splits, binarize, check_pixels, load
from tighter.models import VAE

# From so many examples on, data count as many: fewer passes over them are enough.
MANY = 5000


def binary_images(
    source: str, *, seed: int, binarization: str = "stochastic"
) -> tuple[Splits, Callable[..., Array]]:
    """The images in three parts, and what makes a batch of them binary.

    Args:
        source: As for `tighter train`: "digits", a folder of IDX files, a .npy or .npz file.
        seed: Of the split.
        binarization: "stochastic", anew at each pass, or "threshold".

    Raises:
        InputError: If the data can't be read, or is none of images in [0, 1].
    """
    splits, kind = load(source, seed=seed), Binarization(binarization)
    for part in (splits.train, splits.validation, splits.test):
        check_pixels(part, kind)
    return splits, functools.partial(binarize, binarization=kind)


def autoencoder(splits: Splits, *, seed: int, **sizes: Any) -> VAE:
    """The model before training: a decoder of Bernoulli pixels and a diagonal Gaussian encoder.

    Args:
        splits: The data, whose training examples the model starts at.
        seed: Of the parameters.
        sizes: `hidden`, `num_latent`, as of `VAE.create`.
    """
    key = jax.random.key(seed)
    create = functools.partial(VAE.create, splits.train.shape, **sizes)
    # One program instead of one a layer, which runs once, so that its speed is no matter.
    options = {"xla_backend_optimization_level": 0}
    arrays = jax.jit(
        lambda key: eqx.filter(create(key=key), eqx.is_array), compiler_options=options
    )(key)
    model = eqx.combine(arrays, eqx.filter_eval_shape(create, key=key))
    return model.initialized_from(splits.train.x, key=key)
