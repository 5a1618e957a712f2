"""Strict JAX, and the annotations of the whole package checked at run time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is what takes the time: the machine code need not be the fastest.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
from jaxtyping import install_import_hook

install_import_hook("tighter", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
