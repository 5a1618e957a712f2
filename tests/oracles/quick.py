"""Compiling is what takes the time in most tests: the machine code need not be the fastest."""

import functools

import jax

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
