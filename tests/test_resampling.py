import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles.quick import quick_jit
from tighter._resampling import systematic

KEYS = jax.random.split(jax.random.key(0), 4096)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sum_over_few_has_the_expectation_of_the_whole(dtype):
    """In half precision too, where many that are small meet one that is large."""
    magnitudes = jnp.asarray([0.9] + [0.1 / 99] * 99, dtype)
    terms = np.asarray(magnitudes, np.float64) * np.linspace(-1, 1, 100)

    @quick_jit
    def sums(keys):
        picked, factor = jax.vmap(lambda key: systematic(magnitudes, 4, key=key))(keys)
        assert factor.dtype == magnitudes.dtype
        return jnp.sum(jnp.asarray(terms, jnp.float32)[picked] * factor, axis=1)

    found = np.asarray(sums(KEYS), np.float64)
    rounding = 0 if dtype == "float32" else 2.0**-9 * np.abs(terms).sum()
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - terms.sum()) < 5 * error + rounding


@pytest.mark.parametrize(
    ("magnitudes", "probabilities"),
    [
        ([np.inf, 1.0, np.inf, 0.0], [0.5, 0, 0.5, 0]),
        ([3e38, 3e38, 0.0, 3e38], [1 / 3, 1 / 3, 0, 1 / 3]),
        ([1e-37, 0.0, 0.0, 0.0], [1, 0, 0, 0]),
        ([0.0, 0.0, 0.0, 0.0], [0.25] * 4),
    ],
)
def test_magnitudes_of_any_size(magnitudes, probabilities):
    picked, factor = jax.vmap(lambda key: systematic(jnp.asarray(magnitudes), 2, key=key))(KEYS)
    np.testing.assert_allclose(factor * np.asarray(probabilities)[picked], 0.5, rtol=1e-5)
    share = np.bincount(np.ravel(picked), minlength=4) / picked.size
    p = np.asarray(probabilities, float)
    # Two picks of a key are of the same uniform number: no more is counted on than one.
    assert np.all(np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / len(KEYS)))


def test_what_is_unknown_stays_so():
    _, factor = systematic(jnp.asarray([1.0, jnp.nan, 2.0]), 2, key=KEYS[0])
    assert jnp.isnan(factor).all()
