"""Strict JAX, and the annotations of the whole package checked at run time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jaxtyping import install_import_hook

install_import_hook("tighter", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling is what takes the time: the machine code need not be the fastest.
jax.config.update("jax_disable_most_optimizations", True)
