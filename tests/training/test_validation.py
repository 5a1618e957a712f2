"""A bound over held-out examples: its mean and its error, whatever the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tighter.training.steps import Steps, keys_of


class _Given:
    """Examples that are their own bounds."""

    num_samples = num_outer = 1

    def at(self, step):
        return self

    def batch(self, model, xs, *, key):
        return xs


@pytest.mark.parametrize(("num", "batch_size"), [(7, 3), (6, 3), (5, 50), (2, 1)])
def test_the_error_is_that_of_the_mean_over_examples(num, batch_size):
    steps = Steps(
        None, _Given(), optax.sgd(0.0), None, batch_size, num, jnp.asarray(1),
        keys_of(jax.random.key(0)), None,
    )  # fmt: skip
    # Far from zero beside their spread: sums of squares would lose all digits.
    xs = (-4096 + np.random.default_rng(0).integers(-8, 8, num) / 8).astype(np.float32)
    for mean, error in (
        steps.mean_bound(None, jnp.asarray(xs)),
        steps.mean_bound_by_rows(None, xs, num),
    ):
        np.testing.assert_allclose(mean, xs.mean(), rtol=1e-6)
        np.testing.assert_allclose(error, xs.std(ddof=1) / np.sqrt(num), rtol=1e-3)


def test_of_one_example_there_is_no_error():
    keys = keys_of(jax.random.key(0))
    steps = Steps(None, _Given(), optax.sgd(0.0), None, 4, 1, jnp.asarray(1), keys, None)
    mean, error = steps.mean_bound(None, jnp.asarray([-3.0]))
    assert mean == -3.0
    assert np.isnan(error)
