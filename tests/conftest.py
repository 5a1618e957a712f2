"""Strict JAX, and the annotations of the whole package checked at run time."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

KEPT = Path(__file__).parent.parent / ".pytest_cache"

# Where Python is told to leave no bytecode beside the sources, each of some hundred processes would
# compile all that it imports, which is half of its start: it is kept with what else is kept.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(KEPT / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is what takes the time here: the machine code need not be the fastest. A process ends at
# a flag that it doesn't know: these are of the version for Python 3.11, and others go without.
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
# Programs that are compiled once serve every later run of the tests, in a folder for each process,
# as JAX's way of writing is not for two; those of one operation are compiled as fast as read.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
    KEPT / "jax" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("tighter", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
# For the whole process and never taken back: programs compiled before and after round differently.
jax.config.update("jax_disable_most_optimizations", True)
# Tracing makes many objects that live long: looking through all of them again takes a fifth of it.
gc.set_threshold(200_000, 50, 100)


@pytest.fixture(scope="session")
def keep_every_program() -> Callable[[], AbstractContextManager[None]]:
    """Of what is compiled within, nothing is compiled again: a program made anew may round anew."""

    @contextlib.contextmanager
    def kept() -> Iterator[None]:
        name = "jax_persistent_cache_min_compile_time_secs"
        before = jax.config.values[name]
        jax.config.update(name, 0.0)
        yield
        jax.config.update(name, before)

    return kept


def pytest_collection_modifyitems(items: list) -> None:
    """The longest test first: last, it would keep one process waiting for the other."""
    items.sort(key=lambda item: "resume_after_kill" not in item.nodeid)
