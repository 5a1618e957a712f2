"""An epoch's order: a permutation of which a part is found without the rest."""

import jax
import numpy as np
import pytest

from tighter.training import order
from tighter.training.order import Order, epoch_order


@pytest.mark.parametrize("num", [1, 2, 7, 1000, 65_537])
def test_an_order_is_a_permutation_found_in_parts(num):
    seed = np.asarray([3, 4], np.uint32)
    whole = epoch_order(seed, num, 0, num)
    np.testing.assert_array_equal(np.sort(whole), np.arange(num))
    np.testing.assert_array_equal(epoch_order(seed, num, num // 3, num), whole[num // 3 :])


def test_orders_are_as_even_as_those_that_are_sorted():
    """Where a row comes, and which row comes next, over many epochs: chi square of 100 cells."""
    first, steps = np.zeros((10, 10)), np.zeros(10)
    for epoch in range(300):
        order = epoch_order(np.asarray([0, epoch], np.uint32), 1000, 0, 1000)
        np.add.at(first, (order // 100, np.arange(1000) // 100), 1)
        np.add.at(steps, np.diff(order) % 1000 // 100, 1)
    expected = 300 * 1000 / 100
    # A permutation's cells: variance expected · (1 − 1/10)² · n/(n − 1), 81 degrees of freedom.
    statistic = ((first - expected) ** 2 / expected).sum()
    assert abs(statistic - 81) < 5 * np.sqrt(2 * 81)
    share = steps / steps.sum()
    np.testing.assert_allclose(share, 0.1, atol=5 * np.sqrt(0.09 / steps.sum()) + 2e-4)


def test_steps_of_very_many_examples_are_those_of_the_whole_order(monkeypatch):
    monkeypatch.setattr(order, "_SORTED", 10)
    found = Order(jax.random.key(0), 103, 10)
    epoch = found.rows(10, 20)
    assert len(set(epoch.tolist())) == 100
    np.testing.assert_array_equal(found.rows(13, 15), epoch[30:50])
    assert (epoch != found.rows(0, 10)).any()
