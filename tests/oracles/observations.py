"""The observation families with numbers of their own, their draws and densities, made once."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.oracles.quick import quick_jit
from tighter.models.observations import (
    OBSERVATIONS,
    DiscretizedLogisticMixture,
    Mixed,
    observation_from_name,
)

KEY = jax.random.key(11)
NUM_ROWS, NUM_DRAWS = 256, 2500
COLUMNS = {
    "length": "heteroscedastic-gaussian",
    "color": "categorical:3",
    "share": "beta",
    "width": "heteroscedastic-gaussian",
    "sick": "bernoulli",
    "visits": "poisson",
    "wage": "log-normal",
    "shock": "student-t",
}
# Families that need more than a name, or are slow in a table's size; all others are made of theirs.
MADE = {
    "categorical": lambda: observation_from_name("categorical:4", (3,)),
    "categorical-pixels": lambda: observation_from_name("categorical-pixels:16", (3,)),
    "multinomial": lambda: observation_from_name("multinomial:5", (3,)),
    "low-rank-gaussian": lambda: observation_from_name("low-rank-gaussian:2", (3,)),
    "discretized-logistic": lambda: observation_from_name("discretized-logistic:16", (3,)),
    "discretized-logistic-mixture": lambda: DiscretizedLogisticMixture(2, num_levels=16),
    "mixed": lambda: Mixed(COLUMNS),
}
ALL = tuple(OBSERVATIONS)


def made_of(name):
    return MADE[name]() if name in MADE else observation_from_name(name, (3,))


def family_of(name):
    """Its learned arrays and units away from their defaults."""
    family = made_of(name)
    rng = np.random.default_rng(3)
    moved = lambda leaf: np.asarray(leaf + rng.uniform(0.1, 0.6, leaf.shape), np.float32)  # noqa: E731
    family = jax.tree.map(moved, family)
    if name == "low-rank-gaussian":  # as much in common as alone
        return eqx.tree_at(lambda family: family.factors, family, 3 * family.factors)
    return family


def cast(family, dtype="float64"):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), family)


def shape_of(name):
    return (len(COLUMNS),) if name == "mixed" else (3,)


def families_of_entries(name):
    return list(COLUMNS.values()) if name == "mixed" else [name] * 3


def output_of(name):
    output = np.random.default_rng(4).normal(0, 0.6, family_of(name).output_shape(shape_of(name)))
    # A Student's t with a variance, and Beta values that float32 tells from 1.
    if name in ("student-t", "beta"):
        output[:, -1] += 3
    if name == "mixed":
        output[[8, -1]] += 3
    return output


IN_64 = functools.partial(jax.enable_x64, True)
FACTORIZED = tuple(name for name in ALL if name not in ("full-gaussian", "low-rank-gaussian"))
FACTORIZED = tuple(name for name in FACTORIZED if name != "multinomial")
CORRELATED = ("full-gaussian", "low-rank-gaussian")


def support_of(family):
    return made_of(family).support


def by_hand(names, quick):
    """All names; those whose test takes the same way as a quick one's are run by hand."""
    slow = pytest.mark.slow
    return [name if name in quick else pytest.param(name, marks=slow) for name in names]


def grid_of(family):
    """Values and the weights of a sum over them, or of an integral by the trapezoidal rule."""
    if family == "bernoulli":
        return np.array([0.0, 1.0]), np.ones(2)
    support = support_of(family)
    if support.step:
        values = np.arange(support.low, support.high + support.step / 2, support.step)
        return values, np.ones_like(values)
    if support.whole:
        values = np.arange(0.0, min(support.high, 1500) + 1)
        return values, np.ones_like(values)
    u = np.linspace(-34, 34, 12_001)
    step = np.full_like(u, u[1] - u[0])
    if np.isinf(support.low):
        return np.sinh(u), step * np.cosh(u)
    if np.isinf(support.high):
        return np.exp(u), step * np.exp(u)
    return scipy.special.expit(u), step * scipy.special.expit(u) * scipy.special.expit(-u)


def grids_of(name):
    """A column an entry, the shorter ones filled up with weight zero."""
    grids = [grid_of(family) for family in families_of_entries(name)]
    longest = max(len(values) for values, _ in grids)
    values = [np.pad(v, (0, longest - len(v)), mode="edge") for v, _ in grids]
    weights = [np.pad(w, (0, longest - len(w))) for _, w in grids]
    return np.stack(values, axis=1), np.stack(weights, axis=1)


@quick_jit
def _facts(family, output, grid, keys):
    distribution = family.distribution(output)
    draws = jax.vmap(lambda key: jnp.asarray(distribution.sample(key), output.dtype))(keys)
    told = jax.vmap(distribution.log_prob)(draws[:NUM_ROWS])
    each = None
    if grid is not None:
        each = jax.vmap(lambda x: family.log_probs(output, x))(grid)
    return draws, told, family.mean(output), each


@functools.cache
def facts(name):
    """Draws, their log densities by the distribution, the mean, log densities on the grid."""
    family = family_of(name)
    with IN_64():
        grid = jnp.asarray(grids_of(name)[0]) if name in FACTORIZED else None
        keys = jax.random.split(KEY, NUM_DRAWS)
        made = _facts(cast(family), jnp.asarray(output_of(name)), grid, keys)
        return jax.tree.map(np.asarray, made)


@quick_jit
def _rows(family, outputs, xs):
    return jax.vmap(jax.value_and_grad(family.log_prob))(outputs, xs)


def rows(family, outputs, xs, dtype="float64"):
    """Log density and its gradient at each of `NUM_ROWS` outputs and examples."""
    assert len(outputs) == len(xs) == NUM_ROWS  # else it would be compiled anew
    with jax.enable_x64(dtype == "float64"):
        made = _rows(cast(family, dtype), jnp.asarray(outputs, dtype), jnp.asarray(xs, dtype))
        assert all(part.dtype == dtype for part in made)
        return [np.asarray(part, np.float64) for part in made]


def log_prob(family, output, xs):
    return rows(family, np.broadcast_to(output, (NUM_ROWS, *np.shape(output))), xs)[0]


def units_of(family):
    return np.float64(family.location), np.float64(family.scale)


def covariance_of(family):
    """As the formulas of the docstrings say, in x's units."""
    scale = np.exp(np.asarray(family.log_scale, np.float64))
    if hasattr(family, "factors"):
        factors = np.asarray(family.factors, np.float64)
        inner = np.eye(3) + factors @ factors.T / family.rank
    else:
        unit = np.eye(3) + np.tril(np.asarray(family.lower, np.float64), -1) / np.sqrt(3)
        inner = unit @ unit.T
    return scale[:, None] * inner * scale
