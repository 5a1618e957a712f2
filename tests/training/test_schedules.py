"""Learning rates at steps where they are known."""

import numpy as np
import pytest

from tighter.training import SCHEDULES


def rates(name: str, steps, num_steps: int, learning_rate: float = 1e-3) -> np.ndarray:
    schedule = SCHEDULES[name](learning_rate, num_steps)
    return np.array([float(schedule(step)) for step in steps])


def test_constant():
    np.testing.assert_allclose(rates("constant", [0, 50, 99], 100), 1e-3)


def test_cosine_falls_to_a_hundredth_by_half_a_cosine():
    expected = 1e-3 * np.array([1, 0.01 + 0.99 * 0.5, 0.01])
    np.testing.assert_allclose(rates("cosine", [0, 50, 100], 100), expected, rtol=1e-5)


def test_steps_cut_the_rate_at_60_and_85_percent():
    expected = 1e-3 * np.array([1, 1, 0.3, 0.3, 0.09, 0.09])
    steps = [0, 119, 121, 169, 171, 199]
    np.testing.assert_allclose(rates("steps", steps, 200), expected, rtol=1e-5)


def test_iwae_has_stages_of_3_to_the_i_passes_at_rates_falling_by_10_to_the_i_over_7():
    # The paper's own run: 1 + 3 + 9 + ... + 2187 = 3280 passes, here of ten steps.
    found = rates("iwae", range(0, 32800, 5), 32800)
    stages, lengths = np.unique(found, return_counts=True)
    np.testing.assert_allclose(stages[::-1], 1e-3 * 10.0 ** (-np.arange(8) / 7), rtol=1e-5)
    np.testing.assert_array_equal(lengths[::-1] * 5, 10 * 3 ** np.arange(8))
    assert (np.diff(found) <= 0).all()


def test_iwae_of_a_shorter_run_keeps_the_proportions():
    found = rates("iwae", range(1000), 1000)
    lengths = np.array([np.isclose(found, 1e-3 * 10 ** (-i / 7)).sum() for i in range(8)])
    assert lengths.sum() == 1000
    # Stages are of whole steps.
    np.testing.assert_allclose(lengths, 1000 * 3.0 ** np.arange(8) / 3280, atol=1)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_the_shortest_runs_have_rates_too(name, num_steps):
    found = rates(name, range(num_steps), num_steps)
    assert ((found > 0) & (found <= 1e-3 * (1 + 1e-6))).all()
