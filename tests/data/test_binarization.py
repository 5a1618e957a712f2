import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tighter._errors import InputError
from tighter.data import Binarization, Dataset, binarize, check_pixels

KEY = jax.random.key(0)
GRAY = np.array([[0.0, 0.25, 0.5], [0.500001, 0.75, 1.0]], np.float32)


@pytest.mark.parametrize("binarization", Binarization)
@pytest.mark.parametrize("x", [GRAY, jnp.asarray(GRAY)])
def test_shape_and_type_are_kept(binarization, x):
    y = binarize(x, binarization, key=KEY)
    assert y.shape == x.shape
    assert y.dtype == jnp.float32


def test_none_changes_nothing():
    np.testing.assert_array_equal(binarize(GRAY, Binarization.NONE, key=KEY), GRAY)


def test_threshold_is_above_one_half():
    expected = [[0, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(binarize(GRAY, Binarization.THRESHOLD, key=KEY), expected)


def test_stochastic_has_the_right_mean():
    num_draws = 10_000
    keys = jax.random.split(KEY, num_draws)
    draws = jax.vmap(lambda key: binarize(GRAY, Binarization.STOCHASTIC, key=key))(keys)
    assert set(np.unique(draws)) == {0.0, 1.0}
    standard_error = np.sqrt(GRAY * (1 - GRAY) / num_draws)
    # Exact at 0 and 1, where the standard error is zero.
    assert (np.abs(np.asarray(draws).mean(axis=0) - GRAY) <= 5 * standard_error).all()


def test_stochastic_pixels_are_independent():
    draws = np.asarray(binarize(np.full((20_000, 2), 0.5), Binarization.STOCHASTIC, key=KEY))
    both = draws.prod(axis=1).mean()
    assert abs(both - 0.25) <= 5 * np.sqrt(0.25 * 0.75 / 20_000)


def test_stochastic_repeats_for_a_key_and_differs_between_keys():
    x = np.full((8, 8), 0.5, np.float32)
    first, again, other = (
        np.asarray(binarize(x, Binarization.STOCHASTIC, key=jax.random.key(seed)))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("binarization", Binarization)
def test_it_is_traceable_in_jit_and_scan(binarization):
    x = jnp.asarray(GRAY)

    def step(total, key):
        y = binarize(x, binarization, key=key)
        return total + y, y

    keys = jax.random.split(KEY, 3)
    total, scanned = jax.jit(lambda keys: jax.lax.scan(step, jnp.zeros_like(x), keys))(keys)
    eager = jnp.stack([binarize(x, binarization, key=key) for key in keys])
    np.testing.assert_array_equal(scanned, eager)
    np.testing.assert_allclose(total, eager.sum(axis=0), rtol=1e-6)


def test_the_choice_is_read_from_its_word():
    assert Binarization("stochastic") is Binarization.STOCHASTIC


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("stochastc", ["'stochastc'", "did you mean 'stochastic'?", "none, threshold, stochastic"]),
        ("zzz", ["'zzz'", "choose one of none"]),
    ],
)
def test_an_unknown_word_gets_the_nearest(word, words):
    with pytest.raises(InputError) as caught:
        Binarization(word)
    for part in words:
        assert part in str(caught.value)


@pytest.mark.parametrize("binarization", Binarization)
def test_values_in_the_unit_interval_pass(binarization):
    check_pixels(Dataset(GRAY), binarization)


@pytest.mark.parametrize(
    ("x", "binarization", "words"),
    [
        ([[0, 255]], "none", ["Bernoulli observations", "from 0 to 255", "divide by 255"]),
        ([[0, 16]], "stochastic", ["stochastic binarization", "from 0 to 16"]),
        ([[-1, 1]], "threshold", ["threshold binarization", "from -1 to 1", "x.max() - x.min()"]),
    ],
)
def test_values_outside_are_refused(x, binarization, words):
    dataset = Dataset(np.array(x, np.float32), name="mine")
    with pytest.raises(InputError) as caught:
        check_pixels(dataset, Binarization(binarization))
    message = str(caught.value)
    for word in ["[0, 1]", "mine", "another observation family", *words]:
        assert word in message


def test_the_observation_family_is_named():
    with pytest.raises(InputError, match="ContinuousBernoulli observations"):
        check_pixels(Dataset(2 * GRAY), Binarization.NONE, observation_name="ContinuousBernoulli")
