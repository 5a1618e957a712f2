"""Strict JAX, and the annotations of the whole package checked at run time."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is what takes the time here: the machine code need not be the fastest. Later versions
# have these emitters alone, and a process ends at a flag that it doesn't know.
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
# Programs that are compiled once serve both processes, and every later run of the tests.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
from jaxtyping import install_import_hook

install_import_hook("tighter", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
# For the whole process and never taken back: programs compiled before and after round differently.
jax.config.update("jax_disable_most_optimizations", True)
# Tracing makes many objects that live long: looking through all of them again takes a fifth of it.
gc.set_threshold(200_000, 50, 100)


def pytest_collection_modifyitems(items: list) -> None:
    """The longest test first: last, it would keep one process waiting for the other."""
    items.sort(key=lambda item: "resume_after_kill" not in item.nodeid)
